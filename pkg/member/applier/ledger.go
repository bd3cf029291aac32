package applier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// ledger is the AppliedWork of a Work with its entries.
type ledger struct {
	work    *v1beta1.AppliedWork
	entries map[apply.Key]apply.Entry
	// order is the order of the list.
	order []apply.Key
}

func (l *ledger) owner() apply.Owner { return apply.Owner{Name: l.work.Name, UID: l.work.UID} }

func (l *ledger) knows(key apply.Key) bool {
	_, ok := l.entries[key]
	return ok
}

func (l *ledger) list() []apply.Entry {
	out := make([]apply.Entry, len(l.order))
	for i, key := range l.order {
		out[i] = l.entries[key]
	}
	return out
}

func (l *ledger) keys() []apply.Key { return slices.Clone(l.order) }

func (l *ledger) add(e apply.Entry) {
	key := apply.KeyOf(e.WorkResourceIdentifier)
	if _, known := l.entries[key]; !known {
		l.order = append(l.order, key)
	}
	l.entries[key] = e
}

func open(work *v1beta1.AppliedWork) *ledger {
	entries := apply.Ledger(work)
	l := &ledger{work: work, entries: make(map[apply.Key]apply.Entry, len(entries))}
	for _, e := range entries {
		l.add(e)
	}
	return l
}

// ledgerOf reads the ledger of a Work; nil if there is none.
func (a *Applier) ledgerOf(ctx context.Context, name string) (*ledger, error) {
	work := &v1beta1.AppliedWork{}
	if err := a.MemberClient.Get(ctx, types.NamespacedName{Name: name}, work); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("get AppliedWork %s: %w", name, err)
	}
	return open(work), nil
}

// intend records objects before any of them is applied, so that no applied object can be forgotten. A new ledger is
// created with the record, which saves a write.
func (a *Applier) intend(ctx context.Context, l *ledger, work *v1beta1.Work, ids []v1beta1.WorkResourceIdentifier) (*ledger, error) {
	if l == nil {
		created := &v1beta1.AppliedWork{Spec: v1beta1.AppliedWorkSpec{WorkName: work.Name}}
		a.identity(work.UID).Record(created)
		created.Name = work.Name
		text, fits := apply.Intended(ids)
		if fits {
			created.Annotations = map[string]string{contract.AnnotationIntended: text}
		}
		if err := a.MemberClient.Create(ctx, created, client.FieldOwner(contract.ManagerMember)); err != nil {
			return nil, fmt.Errorf("create AppliedWork %s: %w", work.Name, err)
		}
		if l = open(created); fits {
			return l, nil
		}
	}
	before := l.work.DeepCopy()
	for _, id := range ids {
		if !l.knows(apply.KeyOf(id)) {
			l.add(apply.Entry{WorkResourceIdentifier: id})
			l.work.Status.AppliedResources = append(l.work.Status.AppliedResources, apply.Entry{WorkResourceIdentifier: id})
		}
	}
	_, err := loop.WriteStatus(ctx, a.MemberClient, before, l.work)
	return l, err
}

// settle writes the new entries of the ledger. It drops the annotation with the intents once some of them have left
// the Work; until then the annotation repeats the status and does no harm. A ledger of an agent that recorded no
// identities gets them with the first write.
func (a *Applier) settle(ctx context.Context, l *ledger, who apply.Identity, entries []apply.Entry, removed []apply.Key) error {
	wrote, err := a.enter(ctx, l, entries)
	if err != nil {
		return err
	}
	_, annotated := l.work.Annotations[contract.AnnotationIntended]
	trim, record := annotated && len(removed) > 0, wrote && !who.Recorded(l.work)
	if !trim && !record {
		return nil
	}
	before := l.work.DeepCopy()
	if trim {
		delete(l.work.Annotations, contract.AnnotationIntended)
	}
	if record {
		who.Record(l.work)
	}
	return a.writeLedger(ctx, before, l)
}

// enter writes the entries of a ledger if they differ.
func (a *Applier) enter(ctx context.Context, l *ledger, entries []apply.Entry) (bool, error) {
	if equality.Semantic.DeepEqual(l.work.Status.AppliedResources, entries) {
		return false, nil
	}
	l.work.Status.AppliedResources = entries
	if err := a.MemberClient.Status().Update(ctx, l.work, client.FieldOwner(contract.ManagerMember)); err != nil {
		return false, fmt.Errorf("write status of AppliedWork %s: %w", l.work.Name, err)
	}
	return true, nil
}

// writeLedger writes all of a ledger except its status, if it has not changed since the read.
func (a *Applier) writeLedger(ctx context.Context, before *v1beta1.AppliedWork, l *ledger) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := a.MemberClient.Patch(ctx, l.work, patch, client.FieldOwner(contract.ManagerMember)); err != nil {
		return fmt.Errorf("write AppliedWork %s: %w", l.work.Name, err)
	}
	return nil
}

// inherit adopts the ledger of an earlier Work of the name. Before it belongs to the present Work, all of its entries
// are marked as held: an object that the present Work lists loses the mark when it is applied.
func (a *Applier) inherit(ctx context.Context, l *ledger, who apply.Identity) error {
	if err := a.record(ctx, l, nil); err != nil { // what the earlier Work would remove is not held any more
		return err
	}
	entries := l.list()
	for i := range entries {
		entries[i].Held = true
		l.add(entries[i])
	}
	if _, err := a.enter(ctx, l, entries); err != nil {
		return err
	}
	before := l.work.DeepCopy()
	who.Record(l.work)
	ctrl.LoggerFrom(ctx).Info("Adopted the ledger of an earlier Work", "work", l.work.Name, "was", string(before.Spec.WorkUID),
		"from", apply.IdentityOf(before).String())
	return a.writeLedger(ctx, before, l)
}

// contested sets the condition of a ledger that belongs to another hub or another member.
func (a *Applier) contested(ctx context.Context, l *ledger, message string) error {
	next := l.work.DeepCopy()
	next.Status = report.Contested(l.work.Status, message, metav1.NewTime(a.Now().Truncate(time.Second)))
	_, err := loop.WriteStatus(ctx, a.MemberClient, l.work, next)
	return err
}

// contest describes the owner of a ledger that the present Work must not use, and how to change the owner.
func contest(l *ledger, who apply.Identity) string {
	return fmt.Sprintf("AppliedWork %s on the member cluster belongs to %s, and this Work is in %s. The objects it lists are not changed. To hand them over "+
		"to this Work, annotate the AppliedWork with %s=%s on the member cluster", l.work.Name, apply.IdentityOf(l.work), who,
		contract.AnnotationHeld, contract.HeldRelease)
}

// vanished sets the condition of a ledger whose Work is no longer on the hub: its objects stay.
func (a *Applier) vanished(ctx context.Context, name string) error {
	l, err := a.ledgerOf(ctx, name)
	if err != nil || l == nil || !l.work.DeletionTimestamp.IsZero() {
		return err
	}
	if report.IsKept(l.work.Status) {
		return nil // its Work was deleted, and the reason why it stays is recorded
	}
	a.Brake.Done(l.work.Spec.WorkUID)
	next := l.work.DeepCopy()
	next.Status = report.Vanished(l.work.Status, l.work.Spec, a.Namespace, metav1.NewTime(a.Now().Truncate(time.Second)))
	_, err = loop.WriteStatus(ctx, a.MemberClient, l.work, next)
	return err
}

// found removes the conditions that vanished and contested set.
func (a *Applier) found(ctx context.Context, l *ledger) error {
	if l == nil || len(l.work.Status.Conditions) == 0 {
		return nil
	}
	before := l.work.DeepCopy()
	l.work.Status = report.Found(l.work.Status)
	_, err := loop.WriteStatus(ctx, a.MemberClient, before, l.work)
	return err
}

// entries are the ledger's after the pass: objects that are ours, objects that may be, and objects that have left the
// Work but not yet the member.
func (p *pass) entries() []apply.Entry {
	var out []apply.Entry
	done := map[apply.Key]bool{}
	for _, key := range p.left.gone {
		done[key] = true
	}
	for _, it := range p.items {
		key := it.Key()
		if it.Problem.Reason != "" || done[key] {
			continue
		}
		done[key] = true
		entry, known := p.ledger.entries[key]
		switch {
		case it.object != nil && it.object.owned:
			// Once taken over is always taken over, also if the annotation is removed from the object.
			entry.TakenOver = it.object.taken || entry.TakenOver && entry.UID == it.object.uid
			entry.UID, entry.Held = it.object.uid, false
			entry.Finished = it.object.end.record()
		case it.object != nil && it.object.end != nil: // finished and gone
			entry.UID, entry.Held, entry.Finished = it.object.end.uid, false, it.object.end.record()
		case it.object != nil || !known:
			continue // seen, and not ours
		}
		entry.WorkResourceIdentifier = it.Identifier
		out = append(out, entry)
	}
	heldNow := sets.New[apply.Key]()
	for _, key := range p.left.held {
		heldNow.Insert(key)
	}
	for _, key := range p.ledger.order {
		if !done[key] {
			entry := p.ledger.entries[key]
			entry.Held = entry.Held || heldNow.Has(key)
			out = append(out, entry)
		}
	}
	return out
}
