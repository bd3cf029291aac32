package dispatcher

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// plan is what to write for a binding, or why its content cannot be written; then changes only adjust how Works are applied.
type plan struct {
	changes work.Changes
	// wanted names the Works whose reports make the binding's status; nil if they are those that are there.
	wanted []string
	// override and sync say what keeps the content from being worked out, or from being written.
	override, sync string
	// passing is whether that ends without anybody's doing.
	passing bool
	// idle are the overrides made for this placement that select nothing of its content.
	idle []v1beta1.OverrideSnapshotObject
	// events are recorded when the status says what they are about for the first time.
	events []happening
}

// plan asks the deciding package. Its error is a failed read, after which nothing may be written.
func (d *Dispatcher) plan(ctx context.Context, seen *seen) (plan, error) {
	group, err := work.GroupOf(seen.order.Snapshot, seen.snapshots)
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
	if is := seen.order.Fingerprint; is != "" && is != override.Fingerprint(overrides, seen.cluster) {
		work.Leave(wanted, works)
	}
	changes, err := work.Compare(wanted, works, orphans)
	if err != nil {
		return unsound(seen, overrides, err), nil
	}
	seen.works = works
	out := plan{changes: changes, wanted: names(wanted)}
	if out.idle, err = d.idle(ctx, seen.order, group); err != nil {
		return plan{}, err
	}
	if len(changes.Await) > 0 {
		out.sync, out.passing = fmt.Sprintf("Waiting for the cluster to clean up after the deleted work %s", changes.Await[0]), true
	}
	return out, nil
}

// without is the plan for content that cannot be had, which err says.
func without(seen *seen, err error) plan {
	out := plan{changes: work.Tune(seen.order, seen.works)}
	gone := errors.Is(err, work.ErrNoSnapshot) || errors.Is(err, errNoOverride)
	if gone && work.Holds(seen.order, seen.works) {
		return out // it has been pruned or deleted, and the Works hold it
	}
	// It may be on its way to the cache; its arrival brings us back.
	out.override, out.passing = "The content cannot be had: "+err.Error(), true
	return out
}

// unsound is the plan for content, or for Works, that somebody has to put right, as err says.
func unsound(seen *seen, overrides []v1beta1.OverrideSnapshotObject, err error) plan {
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

// namesakes returns the binding's Works and, for wanted ones not among them, whatever else has their name. orphans are those of
// another binding that does not exist.
func (d *Dispatcher) namesakes(ctx context.Context, seen *seen, wanted []*v1beta1.Work) (works []*v1beta1.Work, orphans map[string]bool, err error) {
	works, orphans = seen.works, map[string]bool{}
	known := map[string]bool{}
	for _, w := range works {
		known[w.Name] = true
	}
	for _, w := range wanted {
		if known[w.Name] {
			continue
		}
		// This read waits for our own last write of that Work, so what we made a moment ago is not made again.
		var found v1beta1.Work
		key := client.ObjectKeyFromObject(w)
		if err := d.Client.Get(ctx, key, &found, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return nil, nil, fmt.Errorf("get work %s: %w", key, err)
		}
		if orphans[w.Name], err = d.isOrphan(ctx, seen.order, &found); err != nil {
			return nil, nil, err
		}
		works = append(works[:len(works):len(works)], &found)
	}
	return works, orphans, nil
}

// isOrphan says whether a Work was made for a binding that does not exist.
func (d *Dispatcher) isOrphan(ctx context.Context, order work.Order, found *v1beta1.Work) (bool, error) {
	owner, ok := scope.BindingOf(found)
	if !ok || owner == order.Binding {
		return false, nil
	}
	_, err := scope.Bindings.Get(ctx, d.Client, owner)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// eventDuplicates is the reason of the event on a binding of which several Works hold the same envelope.
const eventDuplicates = "DuplicateEnvelopeWorks"

// tell records events. One that names no object is about the binding.
func (d *Dispatcher) tell(binding v1beta1.BindingObject, events []happening) {
	recorder := d.Recorder
	if binding.GetNamespace() != "" {
		recorder = d.NamespacedRecorder
	}
	for _, e := range events {
		if e.about == nil {
			e.about = binding
		}
		recorder.Event(e.about, corev1.EventTypeWarning, e.reason, e.message)
	}
}
