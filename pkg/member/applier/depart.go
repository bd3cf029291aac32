package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// restWait is the first delay before objects that are being removed are checked again, while others of the same ledger
// stay. It grows with the duration of the removal.
const restWait = 500 * time.Millisecond

func kindOf(e apply.Entry) schema.GroupKind {
	return schema.GroupKind{Group: e.Group, Kind: e.Kind}
}

// reasonLetGo is the reason of the event on an object that stays because of the annotation keep.
const reasonLetGo = "LetGo"

// parted is the decision about an object, with the object.
type parted struct {
	apply.Departure
	at   place
	live *unstructured.Unstructured
	// open is why there is no decision yet, or why it could not be carried out; empty if it was.
	open string
	// gone is whether the object does not exist any more after it was deleted, refused why the API server does not let the
	// agent delete it. The garbage collector may, once the ledger is deleted.
	gone    bool
	refused string
}

// reason is why the object stays.
func (p parted) reason() string {
	if len(p.Holds) == 0 {
		return p.Why
	}
	return p.Why + ": " + brief.List(p.Holds, report.MostKept)
}

// part decides about one object and carries out the decision, except for the deletion of an object that goes with its
// Work, which comes later. If the object changes meanwhile, it decides anew.
func (a *Applier) part(ctx context.Context, at place, in apply.Parting) (parted, error) {
	for race := 0; ; race++ {
		what, err := a.partOnce(ctx, at, in)
		if !apierrors.IsConflict(err) || race == mostRaces {
			return what, err
		}
	}
}

func (a *Applier) partOnce(ctx context.Context, at place, in apply.Parting) (parted, error) {
	live, err := a.live(ctx, at)
	if err != nil {
		return parted{}, readError{err}
	}
	in.Live = live
	what, err := a.fate(ctx, at, in)
	switch {
	case err != nil:
		return parted{}, err
	case what.Body != nil:
		_, err = a.patch(ctx, at, what.Type, what.Body, false)
	case what.Fate == apply.Delete && !in.Ends:
		err = a.delete(ctx, at, live)
	}
	if client.IgnoreNotFound(err) != nil {
		return parted{}, err
	}
	switch what.Fate {
	case apply.LetGo, apply.Disown, apply.Delete:
		ctrl.LoggerFrom(ctx).Info("Released or removed object", "work", in.Owner.Name, "object", apply.KeyOf(in.Entry.WorkResourceIdentifier).String(),
			"reason", string(what.Fate))
	}
	out := parted{Departure: what, at: at, live: live}
	if what.Fate == apply.LetGo && what.Why != "" {
		a.Recorder.Event(live, corev1.EventTypeNormal, reasonLetGo, "The fleet no longer places this object, and released it instead of deleting it: "+
			out.reason())
	}
	return out, nil
}

// lingers reports whether an object, or one that Kubernetes made for it, may still exist after the API server has
// accepted its deletion.
func lingers(live *unstructured.Unstructured) bool {
	return !isLeaf(live.GroupVersionKind().GroupKind()) || len(live.GetFinalizers()) > 0
}

// fate calls apply.Part, and reads from the API server what the decision needs.
func (a *Applier) fate(ctx context.Context, at place, in apply.Parting) (apply.Departure, error) {
	for {
		what, err := apply.Part(in)
		if err != nil {
			return what, err
		}
		switch what.Fate {
		case apply.Look:
			if in.Inside, err = a.inside(ctx, in.Live); err != nil {
				return what, err
			}
		case apply.Fill:
			filled, err := a.at(at).Create(ctx, what.Object, metav1.CreateOptions{FieldManager: contract.ManagerMember, DryRun: []string{metav1.DryRunAll}})
			if err != nil && passing(err) {
				return what, err
			}
			if err != nil { // the API server refuses it, and retrying cannot help
				filled = nil
			}
			in.Filled = &apply.Filled{Object: filled}
		default:
			return what, nil
		}
	}
}

// eachWave calls do with the items of each wave, the last wave first.
func eachWave[T any](items []T, wave func(T) int, do func([]T) error) error {
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(x, y T) int { return wave(y) - wave(x) })
	for len(items) > 0 {
		n := 1
		for n < len(items) && wave(items[n]) == wave(items[0]) {
			n++
		}
		if err := do(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func waveOf(e apply.Entry) int {
	return apply.Wave(schema.GroupResource{Group: e.Group, Resource: e.Resource})
}

// errLater is the error of a removal that continues when no other Work waits.
var errLater = errors.New("other Works come first")

// depart decides about every object of ledger when work is deleted, and releases those that stay on the cluster without
// it. If all objects are leaves, it deletes those that go. Otherwise that is left to the caller: what is in a namespace
// is understood only while the owners of it exist, and a workload must not lose its configuration before it ends.
// elsewhere are the objects that other Works list. If patient, an object that the agent may not read is waited for;
// otherwise it stays. Namespaces and definitions come after what they contain, which may stay. It returns an error only
// if it was cut short; that is errLater if it has deleted objects, other Works wait, and the namespaces and definitions
// are left: looking into a namespace takes longer than to delete what the fleet placed in it.
func (a *Applier) depart(
	ctx context.Context, work *v1beta1.Work, ledger *ledger, elsewhere sets.Set[apply.Key], patient bool,
) (map[apply.Key]parted, error) {
	manifests := map[apply.Key]*unstructured.Unstructured{}
	for _, m := range apply.Decode(work.Spec.Workload.Manifests) {
		if m.Problem.Reason != "" {
			continue
		}
		if obj, err := m.Object(); err == nil {
			manifests[m.Key()] = obj
		}
	}
	entries := ledger.list()
	var contained, holding []apply.Entry
	for _, e := range entries {
		if holds(e) {
			holding = append(holding, e)
		} else {
			contained = append(contained, e)
		}
	}
	out := make(map[apply.Key]parted, len(entries))
	in := contents{map[apply.Key][]string{}, map[apply.Key][]string{}}
	var mu sync.Mutex
	decide := func(entries []apply.Entry) error {
		return loop.Each(ctx, a.Parallel, entries, func(ctx context.Context, e apply.Entry) error {
			key := apply.KeyOf(e.WorkResourceIdentifier)
			what := parted{open: "waiting for " + brief.List(in.open[key], report.MostKept)}
			if len(in.open[key]) == 0 {
				what = a.departOne(ctx, patient, apply.Parting{
					Entry: e, Owner: ledger.owner(), Strategy: work.Spec.DeleteStrategy, Ends: true, Manifest: manifests[key],
					Elsewhere: elsewhere.Has(key), Staying: in.stay[key],
				})
			}
			mu.Lock()
			defer mu.Unlock()
			out[key] = what
			return ctx.Err()
		})
	}
	if err := decide(contained); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(contained, grows) {
		if err := a.deleteAll(ctx, contained, out); err != nil {
			return nil, err
		}
		if len(holding) > 0 && a.othersWait() && slices.ContainsFunc(contained, func(e apply.Entry) bool {
			return out[apply.KeyOf(e.WorkResourceIdentifier)].gone
		}) {
			return nil, errLater
		}
	}
	in.add(contained, out)
	if err := decide(holding); err != nil {
		return nil, err
	}
	return out, nil
}

// holds reports whether an entry is a namespace or a definition.
func holds(e apply.Entry) bool {
	kind := kindOf(e)
	return kind == apply.NamespaceKind || kind == apply.DefinitionKind
}

// leafKinds are kinds for whose objects Kubernetes makes no others, by group.
var leafKinds = map[string][]string{
	"":                          {"ConfigMap", "LimitRange", "ResourceQuota", "Secret"},
	"networking.k8s.io":         {"NetworkPolicy"},
	"policy":                    {"PodDisruptionBudget"},
	"rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"scheduling.k8s.io":         {"PriorityClass"},
}

func isLeaf(kind schema.GroupKind) bool { return slices.Contains(leafKinds[kind.Group], kind.Kind) }

// grows reports whether an object is no leaf.
func grows(e apply.Entry) bool { return !isLeaf(kindOf(e)) }

// deleteAll deletes those of the entries that go with a deleted Work, the last wave first and in parallel within a wave,
// and records in fates how it went. Namespaces and definitions wait for what could not be deleted in them. Objects that
// were deleted before stay as they are recorded.
func (a *Applier) deleteAll(ctx context.Context, entries []apply.Entry, fates map[apply.Key]parted) error {
	var mu sync.Mutex
	in := contents{map[apply.Key][]string{}, map[apply.Key][]string{}}
	return eachWave(entries, waveOf, func(wave []apply.Entry) error {
		err := loop.Each(ctx, a.Parallel, wave, func(ctx context.Context, e apply.Entry) error {
			key := apply.KeyOf(e.WorkResourceIdentifier)
			mu.Lock()
			what := fates[key]
			mu.Unlock()
			if what.Fate != apply.Delete || what.open != "" || what.gone || what.refused != "" {
				return nil
			}
			if open := in.open[key]; len(open) > 0 {
				what.open = "waiting for " + brief.List(open, report.MostKept)
			} else {
				what = a.deleteOne(ctx, what)
			}
			mu.Lock()
			defer mu.Unlock()
			fates[key] = what
			return ctx.Err()
		})
		in.add(wave, fates)
		return err
	})
}

// deleteOne deletes one object. One that has changed since it was read has no decision any more.
func (a *Applier) deleteOne(ctx context.Context, what parted) parted {
	switch err := a.delete(ctx, what.at, what.live); {
	case err == nil:
		what.gone = !lingers(what.live)
	case apierrors.IsConflict(err):
		what.open = "it has changed meanwhile"
	case loop.Refused(err):
		what.refused = explain(err, what.live.GroupVersionKind().GroupKind())
	default:
		what.open = explain(err, what.live.GroupVersionKind().GroupKind())
	}
	return what
}

// departOne decides about one object, and releases it if it stays without its Work.
func (a *Applier) departOne(ctx context.Context, patient bool, in apply.Parting) parted {
	at, err := a.placeOf(in.Entry)
	if meta.IsNoMatchError(err) {
		if in.Entry.Held || in.Strategy.Abandons() || in.Manifest != nil && apply.Keeps(in.Manifest.GetAnnotations()) {
			return parted{Departure: apply.Departure{Fate: apply.Stay, Why: "the member cluster does not serve its kind"}}
		}
		return parted{Departure: apply.Departure{Fate: apply.Forget}}
	}
	var what parted
	if err == nil {
		what, err = a.part(ctx, at, in)
	}
	if err == nil {
		return what
	}
	var read readError
	why := explain(err, kindOf(in.Entry))
	unreadable := errors.As(err, &read) && apierrors.IsForbidden(err)
	switch {
	case unreadable && in.Entry.UID == "": // according to the ledger it was never applied
		return parted{Departure: apply.Departure{Fate: apply.Forget}}
	case unreadable && !patient:
		return parted{Departure: apply.Departure{Fate: apply.Stay, Why: why}}
	}
	return parted{open: why}
}

// contents are the objects that would be deleted with a namespace or a definition, and must not be: those that stay,
// and those without a decision.
type contents struct{ stay, open map[apply.Key][]string }

// holders are the keys of the objects with which an object is deleted: its namespace, and the definition of its kind.
func holders(e apply.Entry) []apply.Key {
	return []apply.Key{
		{Kind: apply.NamespaceKind.Kind, Name: e.Namespace},
		{Group: apply.DefinitionKind.Group, Kind: apply.DefinitionKind.Kind, Name: e.Resource + "." + e.Group},
	}
}

// add adds the entries of a wave with what was decided about them.
func (c contents) add(wave []apply.Entry, fates map[apply.Key]parted) {
	for _, e := range wave {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		for _, holder := range holders(e) {
			switch what := fates[key]; {
			case what.open != "":
				c.open[holder] = append(c.open[holder], key.String())
			case what.Fate == apply.Stay:
				c.stay[holder] = append(c.stay[holder], key.String())
			}
		}
	}
}

// remains reports whether any object stays in the ledger of a deleted Work, or has no decision yet.
func remains(fates map[apply.Key]parted) bool {
	for _, f := range fates {
		if f.Fate == apply.Stay || f.open != "" {
			return true
		}
	}
	return false
}

// isOver reports whether no object is left that belongs to the ledger of a deleted Work.
func isOver(fates map[apply.Key]parted) bool {
	for _, f := range fates {
		if f.open != "" || f.Fate == apply.Stay || f.Fate == apply.Going || f.Fate == apply.Delete && !f.gone {
			return false
		}
	}
	return true
}

// awaitRest waits until the objects that do not stay in the ledger of a deleted Work are gone. Then the ledger records
// those that stay, and the finalizer is removed.
func (a *Applier) awaitRest(ctx context.Context, work *v1beta1.Work, l *ledger, fates map[apply.Key]parted) (reconcile.Result, error) {
	var stay []apply.Entry
	var waiting, lines []string
	rest := l.list()
	slices.SortStableFunc(rest, func(x, y apply.Entry) int { return waveOf(y) - waveOf(x) })
	for _, e := range rest {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		what := fates[key]
		switch {
		case what.open != "":
			ctrl.LoggerFrom(ctx).Info("Waiting to remove object", "work", work.Name, "object", key.String(), "reason", what.open)
			waiting = append(waiting, fmt.Sprintf("%s (%s)", key, what.open))
		case what.refused != "":
			waiting = append(waiting, fmt.Sprintf("%s (%s)", key, what.refused))
		case what.Fate == apply.Going, what.Fate == apply.Delete && !what.gone:
			waiting = append(waiting, key.String())
		case what.Fate == apply.Stay:
			stay = append(stay, e)
			lines = append(lines, fmt.Sprintf("%s (%s)", key, what.reason()))
		}
	}
	now := metav1.NewTime(a.Now().Truncate(time.Second))
	if len(waiting) > 0 {
		age := a.Now().Sub(work.DeletionTimestamp.Time)
		if age > a.reportAfter {
			next := work.DeepCopy()
			next.Status = report.Unremoved(work.Status, work.Generation, *work.DeletionTimestamp, waiting, now)
			if !equality.Semantic.DeepEqual(next.Status, work.Status) {
				if err := a.writeStatus(ctx, next); err != nil {
					return reconcile.Result{}, err
				}
			}
		}
		priority := priorityRecheck
		return reconcile.Result{RequeueAfter: max(restWait, min(retryMost, age/10)), Priority: &priority}, nil
	}
	slices.SortFunc(stay, func(x, y apply.Entry) int { return x.Ordinal - y.Ordinal })
	next := l.work.DeepCopy()
	next.Status = report.Kept(l.work.Status, stay, lines, now)
	if _, err := loop.WriteStatus(ctx, a.MemberClient, l.work, next); err != nil {
		return reconcile.Result{}, err
	}
	if _, annotated := next.Annotations[contract.AnnotationIntended]; annotated {
		before := next.DeepCopy()
		delete(next.Annotations, contract.AnnotationIntended)
		if err := a.writeLedger(ctx, before, open(next)); err != nil {
			return reconcile.Result{}, err
		}
	}
	ctrl.LoggerFrom(ctx).Info("Kept objects of deleted Work", "work", work.Name, "objects", strings.Join(lines, "; "))
	a.forget(work.Name)
	a.Brake.Done(work.UID)
	return reconcile.Result{}, a.setFinalizer(ctx, work, false)
}
