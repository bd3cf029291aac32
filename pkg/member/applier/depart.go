package applier

import (
	"context"
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
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// restWait is how soon the objects are looked at again that go while others of the same ledger stay.
const restWait = 500 * time.Millisecond

var namespaceKind = schema.GroupKind{Kind: "Namespace"}

func kindOf(e apply.Entry) schema.GroupKind {
	return schema.GroupKind{Group: e.Group, Kind: e.Kind}
}

// reasonLetGo is the reason of the event on an object that stays because of the annotation keep.
const reasonLetGo = "LetGo"

// parted is what was decided about an object, and the object that it was decided about.
type parted struct {
	apply.Departure
	at   place
	live *unstructured.Unstructured
}

// reason is why the object stays.
func (p parted) reason() string {
	if len(p.Holds) == 0 {
		return p.Why
	}
	return p.Why + ": " + report.Few(p.Holds)
}

// part decides about one object and carries the decision out; only to delete what goes with its Work is left to the caller. An object that
// changes meanwhile is decided about anew.
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
		return parted{}, err
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
		ctrl.LoggerFrom(ctx).Info("Parted from an object", "work", in.Owner.Name, "object", apply.KeyOf(in.Entry.WorkResourceIdentifier).String(),
			"reason", string(what.Fate))
	}
	out := parted{what, at, live}
	if what.Fate == apply.LetGo && what.Why != "" {
		a.Recorder.Event(live, corev1.EventTypeNormal, reasonLetGo, "The fleet no longer places this object, and left it to the cluster instead of deleting it: "+
			out.reason())
	}
	return out, nil
}

// fate asks for a decision, and the API server for what that needs to know.
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
			if err != nil {
				filled = nil
			}
			in.Filled = &apply.Filled{Object: filled}
		default:
			return what, nil
		}
	}
}

// depart decides about every object of ledger when work goes, and lets go of those that stay on the cluster without it. Those that go are
// left to the caller. elsewhere is what other Works want. Namespaces come last, because what was let go may be in them.
func (a *Applier) depart(
	ctx context.Context, work *v1beta1.Work, ledger *ledger, elsewhere sets.Set[apply.Key],
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
		if kindOf(e) == namespaceKind {
			last = append(last, e)
			continue
		}
		first = append(first, e)
	}
	var mu sync.Mutex
	out := make(map[apply.Key]parted, len(entries))
	for _, entries := range [][]apply.Entry{first, last} {
		err := loop.Each(ctx, a.Parallel, entries, func(ctx context.Context, e apply.Entry) error {
			key := apply.KeyOf(e.WorkResourceIdentifier)
			at, err := a.placeOf(e)
			if meta.IsNoMatchError(err) {
				return nil
			}
			var what parted
			if err == nil {
				what, err = a.part(ctx, at, apply.Parting{
					Entry: e, Owner: ledger.owner(), Strategy: work.Spec.DeleteStrategy, Ends: true, Manifest: manifests[key], Elsewhere: elsewhere.Has(key),
				})
			}
			if err != nil {
				return fmt.Errorf("%s: %s", key, explain(err, kindOf(e)))
			}
			mu.Lock()
			defer mu.Unlock()
			out[key] = what
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// remains says whether any object stays in the ledger of a Work that goes.
func remains(fates map[apply.Key]parted) bool {
	for _, f := range fates {
		if f.Fate == apply.Stay {
			return true
		}
	}
	return false
}

// removeRest removes, object by object, what does not stay in the ledger of a Work that goes. When it is gone, the ledger records what
// stays, and the Work may go.
func (a *Applier) removeRest(ctx context.Context, work *v1beta1.Work, l *ledger, fates map[apply.Key]parted) (reconcile.Result, error) {
	var stay []apply.Entry
	var waiting, lines []string
	rest := l.list()
	slices.SortStableFunc(rest, func(x, y apply.Entry) int {
		return apply.Wave(schema.GroupResource{Group: y.Group, Resource: y.Resource}) - apply.Wave(schema.GroupResource{Group: x.Group, Resource: x.Resource})
	})
	for _, e := range rest {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		switch what := fates[key]; what.Fate {
		case apply.Stay:
			stay = append(stay, e)
			lines = append(lines, fmt.Sprintf("%s (%s)", key, what.reason()))
		case apply.Going:
			waiting = append(waiting, key.String())
		case apply.Delete:
			waiting = append(waiting, key.String())
			if err := a.delete(ctx, what.at, what.live); err != nil && !apierrors.IsConflict(err) {
				return reconcile.Result{}, fmt.Errorf("remove %s: %s", key, explain(err, kindOf(e)))
			}
		}
	}
	now := metav1.NewTime(a.Now().Truncate(time.Second))
	if len(waiting) > 0 {
		if a.Now().Sub(work.DeletionTimestamp.Time) > a.sayAfter {
			next := work.DeepCopy()
			next.Status = report.Unremoved(work.Status, work.Generation, *work.DeletionTimestamp, waiting, now)
			if !equality.Semantic.DeepEqual(next.Status, work.Status) {
				if err := a.writeStatus(ctx, next); err != nil {
					return reconcile.Result{}, err
				}
			}
		}
		return reconcile.Result{RequeueAfter: restWait}, nil
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
	ctrl.LoggerFrom(ctx).Info("Kept objects of a deleted Work", "work", work.Name, "object", strings.Join(lines, "; "))
	a.forget(work.Name)
	return reconcile.Result{}, a.setFinalizer(ctx, work, false)
}
