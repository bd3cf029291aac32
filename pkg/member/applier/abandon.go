package applier

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// quit removes our finalizer from a Work when this cluster leaves the fleet. The Work's objects stay with its ledger,
// for a later Join; with propagationPolicy Abandon they are released.
func (a *Applier) quit(ctx context.Context, work *v1beta1.Work) error {
	if work.Spec.DeleteStrategy.Abandons() {
		if err := a.abandon(ctx, work); err != nil {
			return err
		}
		key := client.ObjectKeyFromObject(work)
		if err := a.HubClient.Get(ctx, key, work); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	return a.setFinalizer(ctx, work, false)
}

// abandon releases all objects of a Work, and deletes its ledger.
func (a *Applier) abandon(ctx context.Context, work *v1beta1.Work) error {
	ledger, err := a.ledgerOf(ctx, work.Name)
	if err != nil || ledger == nil || !ledger.work.DeletionTimestamp.IsZero() {
		return err
	}
	if a.identity(work.UID).StandingTo(ledger.work) != apply.Own {
		return nil
	}
	// The agent is leaving, so no other Work takes over an object; objects that others list are released too.
	fates, err := a.depart(ctx, work, ledger, nil, false)
	if err != nil {
		return fmt.Errorf("release the objects of work %s: %w", work.Name, err)
	}
	for key, what := range fates {
		if what.open != "" {
			return fmt.Errorf("release the objects of work %s: %s: %s", work.Name, key, what.open)
		}
	}
	if err := a.reportAbandoned(ctx, work); err != nil || remains(fates) { // objects that stay keep their owner
		return err
	}
	uid := ledger.work.UID
	err = a.MemberClient.Delete(ctx, ledger.work, client.PropagationPolicy(metav1.DeletePropagationOrphan), client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete AppliedWork %s: %w", work.Name, err)
	}
	return nil
}

// reportAbandoned sets the Work's condition.
func (a *Applier) reportAbandoned(ctx context.Context, work *v1beta1.Work) error {
	next := work.DeepCopy()
	next.Status = report.WorkAbandoned(work.Status, work.Generation, metav1.NewTime(a.Now().Truncate(time.Second)))
	if equality.Semantic.DeepEqual(next.Status, work.Status) {
		return nil
	}
	return a.writeStatus(ctx, next)
}
