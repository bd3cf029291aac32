package applier

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// ledger is the AppliedWork of a Work and what it lists.
type ledger struct {
	work    *v1beta1.AppliedWork
	entries map[apply.Key]apply.Entry
	// order is that of the list.
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

// intend records what is about to be applied before any of it is, so that nothing that was applied can be forgotten. A new ledger
// carries the record from birth, which saves a write.
func (a *Applier) intend(ctx context.Context, l *ledger, work *v1beta1.Work, ids []v1beta1.WorkResourceIdentifier) (*ledger, error) {
	if l == nil {
		created := &v1beta1.AppliedWork{Spec: v1beta1.AppliedWorkSpec{WorkName: work.Name, WorkNamespace: work.Namespace}}
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
		if _, known := l.entries[apply.KeyOf(id)]; !known {
			l.add(apply.Entry{WorkResourceIdentifier: id})
			l.work.Status.AppliedResources = append(l.work.Status.AppliedResources, apply.Entry{WorkResourceIdentifier: id})
		}
	}
	_, err := loop.WriteStatus(ctx, a.MemberClient, before, l.work)
	return l, err
}

// settle writes the entries the ledger is to have. What it was created to hold is dropped from its annotation once some of that has
// left the Work; until then the annotation repeats the status and does no harm.
func (a *Applier) settle(ctx context.Context, l *ledger, entries []apply.Entry, removed []apply.Key) error {
	if !slices.Equal(l.work.Status.AppliedResources, entries) {
		l.work.Status.AppliedResources = entries
		if err := a.MemberClient.Status().Update(ctx, l.work, client.FieldOwner(contract.ManagerMember)); err != nil {
			return fmt.Errorf("write status of AppliedWork %s: %w", l.work.Name, err)
		}
	}
	if _, annotated := l.work.Annotations[contract.AnnotationIntended]; !annotated || len(removed) == 0 {
		return nil
	}
	body, err := patchBody(map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{contract.AnnotationIntended: nil}, "resourceVersion": l.work.ResourceVersion,
	}})
	if err != nil {
		return err
	}
	target := &v1beta1.AppliedWork{}
	target.Name = l.work.Name
	if err := a.MemberClient.Patch(ctx, target, client.RawPatch(types.MergePatchType, body), client.FieldOwner(contract.ManagerMember)); err != nil {
		return fmt.Errorf("trim AppliedWork %s: %w", l.work.Name, err)
	}
	return nil
}

// vanished says on the ledger of a Work that is no longer on the hub that everything stays as it is.
func (a *Applier) vanished(ctx context.Context, name string) error {
	l, err := a.ledgerOf(ctx, name)
	if err != nil || l == nil || !l.work.DeletionTimestamp.IsZero() {
		return err
	}
	next := l.work.DeepCopy()
	next.Status = report.Vanished(l.work.Status, l.work.Spec, a.Namespace, metav1.NewTime(a.Now().Truncate(time.Second)))
	_, err = loop.WriteStatus(ctx, a.MemberClient, l.work, next)
	return err
}

// found takes back what vanished said.
func (a *Applier) found(ctx context.Context, l *ledger) error {
	if l == nil || len(l.work.Status.Conditions) == 0 {
		return nil
	}
	before := l.work.DeepCopy()
	l.work.Status = report.Found(l.work.Status)
	_, err := loop.WriteStatus(ctx, a.MemberClient, before, l.work)
	return err
}
