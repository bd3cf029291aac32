package applier

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// reasonRemovalHeld is the reason of the event on an AppliedWork whose Work wants more removed than the limit.
const reasonRemovalHeld = "RemovalHeld"

// Brake limits what is removed from the member.
type Brake interface {
	// On reports whether anything is limited.
	On() bool
	// Ask returns what of a removal is held, nil for nothing, and counts what is not. An error means that it is not known
	// what may be removed: nothing.
	Ask(ctx context.Context, r removal.Request) (*v1beta1.HeldRemoval, error)
	// Granted reports whether a removal of a Work was let through and may not be complete, and Done ends that.
	Granted(work types.UID) bool
	Done(work types.UID)
	// Recent reports whether a removal that is held since a time counts among those that are wanted at the same time.
	Recent(since time.Time) bool
}

// unlimited lets everything through.
type unlimited struct{}

func (unlimited) On() bool { return false }
func (unlimited) Ask(context.Context, removal.Request) (*v1beta1.HeldRemoval, error) {
	return nil, nil
}
func (unlimited) Granted(types.UID) bool { return false }
func (unlimited) Done(types.UID)         {}
func (unlimited) Recent(time.Time) bool  { return false }

// brake asks the brake about the removal of objects that leave a Work, and records in its ledger what is held. It
// returns nil if they may be removed. Objects that another Work lists, or that are held for another reason, stay anyway.
func (a *Applier) brake(
	ctx context.Context, work *v1beta1.Work, l *ledger, leaving []apply.Entry, elsewhere sets.Set[apply.Key],
) (*v1beta1.HeldRemoval, error) {
	if !a.Brake.On() {
		return nil, a.record(ctx, l, nil)
	}
	a.braking.Lock()
	defer a.braking.Unlock()
	request := removal.Request{
		Work: work.UID, Total: len(l.list()), Was: l.work.Status.HeldRemoval, Released: l.work.Annotations[contract.AnnotationReleaseRemoval],
	}
	for _, e := range leaving {
		key := apply.KeyOf(e.WorkResourceIdentifier)
		if !e.Held && !elsewhere.Has(key) {
			request.Leaving = append(request.Leaving, removal.Object{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name})
		}
	}
	if len(request.Leaving) > 0 {
		var err error
		if request.Others, request.Placed, err = a.wishedRemovals(ctx, work.Name); err != nil {
			return nil, err
		}
	}
	held, err := a.Brake.Ask(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := a.record(ctx, l, held); err != nil {
		return nil, err
	}
	if held != nil && (request.Was == nil || request.Was.Digest != held.Digest) {
		ctrl.LoggerFrom(ctx).Info("Held removal of objects", "work", work.Name, "objects", held.Removed)
		a.Recorder.Event(l.work, corev1.EventTypeWarning, reasonRemovalHeld, heldText(work.Name, held))
	}
	return held, nil
}

// wishedRemovals counts the objects of all ledgers, and those that other Works would remove now: deleted ones whose
// removal has not begun, and those that are held since the hub wanted it not long ago.
func (a *Applier) wishedRemovals(ctx context.Context, but string) (others, placed int, err error) {
	var ledgers v1beta1.AppliedWorkList
	if err := a.MemberClient.List(ctx, &ledgers, client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, fmt.Errorf("list AppliedWorks: %w", err)
	}
	var works v1beta1.WorkList
	if err := a.HubClient.List(lenient.StandIns(ctx), &works, client.InNamespace(a.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, fmt.Errorf("list works: %w", err)
	}
	deleted := map[string]types.UID{}
	for i := range works.Items {
		if w := &works.Items[i]; !w.DeletionTimestamp.IsZero() && controllerutil.ContainsFinalizer(w, contract.FinalizerWork) {
			deleted[w.Name] = w.UID
		}
	}
	for i := range ledgers.Items {
		l := &ledgers.Items[i]
		if !l.DeletionTimestamp.IsZero() {
			continue
		}
		uid, ends := deleted[l.Name]
		if ends && l.Name != but && a.Brake.Granted(uid) {
			continue // counted as removed
		}
		placed += len(l.Status.AppliedResources)
		switch held := l.Status.HeldRemoval; {
		case l.Name == but:
		case held != nil && a.Brake.Recent(held.Since.Time):
			others += int(held.Removed)
		case held == nil && ends:
			others += len(l.Status.AppliedResources)
		}
	}
	return others, placed, nil
}

// record writes into a ledger what is held of its Work, if that differs.
func (a *Applier) record(ctx context.Context, l *ledger, held *v1beta1.HeldRemoval) error {
	if equality.Semantic.DeepEqual(l.work.Status.HeldRemoval, held) {
		return nil
	}
	before := l.work.DeepCopy()
	l.work.Status.HeldRemoval = held
	_, err := loop.WriteStatus(ctx, a.MemberClient, before, l.work)
	return err
}

// awaitRelease reports that the removal of a deleted Work is held.
func (a *Applier) awaitRelease(ctx context.Context, work *v1beta1.Work, held *v1beta1.HeldRemoval) (reconcile.Result, error) {
	next := work.DeepCopy()
	why := heldText(work.Name, held) + fmt.Sprintf(". To keep the objects for a new Work of this name, run: kubectl delete appliedwork %s --cascade=orphan", work.Name)
	next.Status = report.Braked(work.Status, work.Generation, why, metav1.NewTime(a.Now().Truncate(time.Second)))
	if !equality.Semantic.DeepEqual(next.Status, work.Status) {
		if err := a.writeStatus(ctx, next); err != nil {
			return reconcile.Result{}, err
		}
	}
	priority := priorityRecheck
	return reconcile.Result{RequeueAfter: retryMost, Priority: &priority}, nil // its release is an event; that others list the objects is none
}

// heldText describes a removal that is held, and how to release it.
func heldText(work string, h *v1beta1.HeldRemoval) string {
	return fmt.Sprintf("Since %s the member cluster holds the removal of %d of %d objects of this Work, because the hub wants more removed than "+
		"--removal-max and --removal-protect of the member agent allow: %s. To let it through, run on the member cluster: "+
		"kubectl annotate --overwrite appliedwork %s %s=%s",
		h.Since.UTC().Format(time.RFC3339), h.Removed, h.Total, brief.List(h.First, report.MostKept), work, contract.AnnotationReleaseRemoval, h.Digest)
}
