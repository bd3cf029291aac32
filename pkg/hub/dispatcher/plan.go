package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/trace"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// plan is what to write for a binding, or why its content cannot be written; then changes adjust the strategies of
// Works only.
type plan struct {
	changes work.Changes
	// wanted names the Works whose reports form the binding's status; nil for the existing ones.
	wanted []string
	// override and sync are why the content cannot be resolved, or cannot be written.
	override, sync string
	// passing is whether that may end without a user's action.
	passing bool
	// idle are the overrides made for this placement that select none of its objects.
	idle []v1beta1.OverrideSnapshotObject
	// again is when to check again without an event; zero for never.
	again time.Duration
	// braked is whether it was decided what is held of what the changes remove: held, with the objects that stay on
	// the cluster only because of that.
	braked bool
	held   *v1beta1.HeldRemoval
	kept   []removal.Object
	// events are recorded when the status first reports their cause.
	events []happening
}

// plan decides with package work. Its error is a failed read, after which nothing may be written.
func (d *Dispatcher) plan(ctx context.Context, seen *observed) (plan, error) {
	ctx, end := trace.Step(ctx, "plan")
	defer end()
	if seen.doubt != nil {
		return kept(seen), nil
	}
	group, err := work.GroupOf(seen.order.Content.ResourceSnapshotName, seen.snapshots)
	if err != nil {
		return without(seen, err), nil
	}
	overrides, err := d.overrides(ctx, seen.order)
	if errors.Is(err, errNoOverride) {
		return without(seen, err), nil
	}
	if err != nil {
		return plan{}, err
	}
	if seen.order.OverrideContent, err = contentOf(overrides); err != nil {
		return plan{}, err
	}
	if seen.divided && seen.shares == nil {
		return plan{
			changes: work.Tune(seen.order, seen.works), passing: true,
			sync: "Waiting until the replicas are divided; see condition ReplicasDivided of the placement",
		}, nil
	}
	wanted, err := work.Wanted(seen.order, group, override.New(seen.cluster, overrides).Apply)
	if err != nil {
		if out, ok := inPlace(seen, group); ok {
			return out, nil
		}
		return unsound(seen, overrides, err), nil
	}
	works, orphans, err := d.namesakes(ctx, seen, wanted)
	if err != nil {
		return plan{}, err
	}
	is := seen.order.Fingerprint
	left, waits := is != "" && is != override.Fingerprint(overrides, seen.cluster), false
	if left {
		waits = work.Leave(wanted, works)
	}
	changes, err := work.Compare(wanted, works, orphans)
	if err != nil {
		return unsound(seen, overrides, err), nil
	}
	var again time.Duration
	var edited map[string]bool
	if !left { // otherwise the Works would get changes before the agents that decide about them permit it
		edited, again = d.edited(seen.works)
		changes.Restore(wanted, works, edited)
	}
	err = changes.Within(seen.order, d.ClusterScoped)
	if stray := new(work.StrayError); errors.As(err, &stray) {
		return unsound(seen, overrides, err), nil
	}
	if err != nil {
		return plan{}, err
	}
	brake, err := d.brake(ctx, seen, stage{wanted: wanted, works: works, orphans: orphans, edited: edited, left: left, changes: changes})
	if err != nil {
		return plan{}, err
	}
	seen.works = works
	out := plan{
		changes: brake.changes, wanted: names(wanted), again: again, idle: d.idle(ctx, seen.order, group),
		braked: true, held: brake.held, kept: brake.kept, sync: brake.unknown,
	}
	if waits && out.sync == "" {
		out.sync, out.passing = "Waiting until the rollout gives the cluster the new result of its overrides, to change its share of replicas, "+
			"or the annotations that were taken along from another cluster", true
	}
	if len(changes.Await) > 0 && out.sync == "" {
		out.sync, out.passing = fmt.Sprintf("Waiting for the cluster to remove the objects of the deleted work %s", changes.Await[0]), true
	}
	return out, nil
}

// edited names the Works whose specs another client has changed, and returns when to check again if the restoration of
// one is not due yet.
func (d *Dispatcher) edited(works []*v1beta1.Work) (map[string]bool, time.Duration) {
	out := map[string]bool{}
	var again time.Duration
	for _, w := range works {
		changed, wait := d.hands.changed(w, d.Now())
		out[w.Name] = changed
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return out, again
}

// kept is the plan for a binding in doubt whose Works are kept.
func kept(seen *observed) plan {
	out := plan{changes: work.Tune(seen.order, seen.works)}
	if !work.Holds(seen.order, seen.works) {
		out.sync, out.passing = seen.doubt.Why, seen.doubt.Passing
	}
	return out
}

// without is the plan for content that cannot be resolved because of err.
func without(seen *observed, err error) plan {
	out := plan{changes: work.Tune(seen.order, seen.works)}
	gone := errors.Is(err, work.ErrNoSnapshot) || errors.Is(err, errNoOverride)
	if gone && work.Holds(seen.order, seen.works) {
		return out // the snapshot was pruned or deleted, and the Works have its content
	}
	// The snapshot may not have reached the cache yet; its arrival requeues the binding.
	out.override, out.passing = "Cannot resolve the content: "+err.Error(), true
	return out
}

// unsound is the plan for content, or for Works, that a user has to correct because of err.
func unsound(seen *observed, overrides []v1beta1.OverrideSnapshotObject, err error) plan {
	out := plan{changes: work.Tune(seen.order, seen.works)}
	if bad := new(work.OverrideError); errors.As(err, &bad) {
		out.override, out.events = err.Error(), failing(seen.order, overrides, err)
		return out
	}
	if twins := new(work.DuplicateError); errors.As(err, &twins) {
		out.events = []happening{{reason: eventDuplicates, message: twins.Error()}}
	}
	out.sync = err.Error()
	return out
}

func names(works []*v1beta1.Work) []string {
	out := make([]string, len(works))
	for i, w := range works {
		out[i] = w.Name
	}
	return out
}

// namesakes returns the binding's Works and, for wanted ones not among them, other Works with a name that they may
// get. orphans are Works of another binding that does not exist.
func (d *Dispatcher) namesakes(ctx context.Context, seen *observed, wanted []*v1beta1.Work) (works []*v1beta1.Work, orphans map[string]bool, err error) {
	works, orphans = slices.Clone(seen.works), map[string]bool{}
	known := map[string]bool{}
	for _, w := range works {
		known[w.Name] = true
	}
	for _, w := range wanted {
		names := work.NamesOf(w)
		if slices.ContainsFunc(names, func(name string) bool { return known[name] }) {
			continue
		}
		for _, name := range names {
			found, err := d.namesake(ctx, types.NamespacedName{Namespace: w.Namespace, Name: name})
			if err != nil {
				return nil, nil, err
			}
			if found == nil {
				continue
			}
			if orphans[name], err = d.isOrphan(ctx, seen.order, found); err != nil {
				return nil, nil, err
			}
			works = append(works, found)
		}
	}
	return works, orphans, nil
}

// namesake reads a Work by its name; nil if there is none. The read waits for this agent's last write of that Work, so
// that a Work created a moment ago is not created again.
func (d *Dispatcher) namesake(ctx context.Context, key types.NamespacedName) (*v1beta1.Work, error) {
	var found v1beta1.Work
	err := d.Client.Get(ctx, key, &found, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get work %s: %w", key, err)
	}
	return &found, nil
}

// isOrphan reports whether a Work was made for a binding that does not exist (any more): the order's own may have its
// name now.
func (d *Dispatcher) isOrphan(ctx context.Context, order work.Order, found *v1beta1.Work) (bool, error) {
	owner, ok := scope.BindingOf(found)
	if !ok {
		return false, nil
	}
	if owner == order.Binding {
		return !order.Adopts(found), nil
	}
	_, err := scope.Bindings.Get(ctx, d.Client, owner)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// eventDuplicates is the reason of the event on a binding with several Works for the same envelope.
const eventDuplicates = "DuplicateEnvelopeWorks"

// eventForeign is the reason of the event on a binding that is named by a Work which was not made for it.
const eventForeign = "ForeignWork"

// recordEvents records events. One without an object is about the binding.
func (d *Dispatcher) recordEvents(binding v1beta1.BindingObject, events []happening) {
	recorder := d.recorder(binding)
	for _, e := range events {
		if e.about == nil {
			e.about = binding
		}
		recorder.Event(e.about, corev1.EventTypeWarning, e.reason, e.message)
	}
}

// recorder is the recorder for a binding's scope.
func (d *Dispatcher) recorder(binding v1beta1.BindingObject) record.EventRecorder {
	if binding.GetNamespace() != "" {
		return d.NamespacedRecorder
	}
	return d.Recorder
}
