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
	// open is why there is no decision yet; empty if there is one.
	open string
}

// reason is why the object stays.
func (p parted) reason() string {
	if len(p.Holds) == 0 {
		return p.Why
	}
	return p.Why + ": " + brief.List(p.Holds, report.MostKept)
}

// part decides about one object and carries out the decision, except for the deletion of an object that goes with its
// Work, which is the caller's. If the object changes meanwhile, it decides anew.
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

// depart decides about every object of ledger when work is deleted, and releases those that stay on the cluster
// without it. Deletion is left to the caller. elsewhere are the objects that other Works list. If patient, an object
// that the agent may not read is waited for; otherwise it stays. Namespaces and definitions come last, because they
// may contain released objects. It returns an error only if it was cut short.
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
	var first, last []apply.Entry
	entries := ledger.list()
	for _, e := range entries {
		if kind := kindOf(e); kind == apply.NamespaceKind || kind == apply.DefinitionKind {
			last = append(last, e)
			continue
		}
		first = append(first, e)
	}
	var mu sync.Mutex
	out := make(map[apply.Key]parted, len(entries))
	var in contents
	for _, entries := range [][]apply.Entry{first, last} {
		err := loop.Each(ctx, a.Parallel, entries, func(ctx context.Context, e apply.Entry) error {
			key := apply.KeyOf(e.WorkResourceIdentifier)
			what := in.spare(key, func() parted {
				return a.departOne(ctx, patient, apply.Parting{
					Entry: e, Owner: ledger.owner(), Strategy: work.Spec.DeleteStrategy, Ends: true, Manifest: manifests[key], Elsewhere: elsewhere.Has(key),
				})
			})
			mu.Lock()
			defer mu.Unlock()
			out[key] = what
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
		in = contentsOf(entries, out)
	}
	return out, nil
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

func contentsOf(entries []apply.Entry, fates map[apply.Key]parted) contents {
	out := contents{map[apply.Key][]string{}, map[apply.Key][]string{}}
	for _, e := range entries {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		for _, holder := range holders(e) {
			switch what := fates[key]; {
			case what.open != "":
				out.open[holder] = append(out.open[holder], key.String())
			case what.Fate == apply.Stay:
				out.stay[holder] = append(out.stay[holder], key.String())
			}
		}
	}
	return out
}

// spare decides about the object of key, unless it has to wait for its contents.
func (c contents) spare(key apply.Key, decide func() parted) parted {
	if open := c.open[key]; len(open) > 0 {
		return parted{open: "waiting for " + brief.List(open, report.MostKept)}
	}
	what := decide()
	if stay := c.stay[key]; what.Fate == apply.Delete && len(stay) > 0 {
		what.Departure = apply.Departure{Fate: apply.Stay, Why: "it contains objects that stay", Holds: stay}
	}
	return what
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

// removeRest removes, one by one, the objects that do not stay in the ledger of a deleted Work. A failure does not
// delay the others. When all are gone, the ledger records the objects that stay, and the finalizer is removed.
func (a *Applier) removeRest(ctx context.Context, work *v1beta1.Work, l *ledger, fates map[apply.Key]parted) (reconcile.Result, error) {
	var stay []apply.Entry
	var waiting, lines []string
	rest := l.list()
	slices.SortStableFunc(rest, func(x, y apply.Entry) int {
		return apply.Wave(schema.GroupResource{Group: y.Group, Resource: y.Resource}) - apply.Wave(schema.GroupResource{Group: x.Group, Resource: x.Resource})
	})
	for _, e := range rest {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		what := fates[key]
		if what.Fate == apply.Delete {
			if err := a.delete(ctx, what.at, what.live); err != nil && !apierrors.IsConflict(err) {
				what.open = explain(err, kindOf(e))
			}
		}
		switch {
		case what.open != "":
			ctrl.LoggerFrom(ctx).Info("Waiting to remove object", "work", work.Name, "object", key.String(), "reason", what.open)
			waiting = append(waiting, fmt.Sprintf("%s (%s)", key, what.open))
		case what.Fate == apply.Going, what.Fate == apply.Delete:
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
	return reconcile.Result{}, a.setFinalizer(ctx, work, false)
}
