package applier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// report writes the Work's status if it differs. The write of one that only reports progress is delayed; report
// returns the remaining delay.
func (p *pass) report(ctx context.Context, facts report.Pass) (time.Duration, error) {
	ctx, end := trace.Step(ctx, "report")
	defer end()
	now := metav1.NewTime(p.agent.Now().Truncate(time.Second))
	next := p.work.DeepCopy()
	var settled bool
	next.Status, settled = report.Work(p.work.Status, p.work.Generation, facts, now)
	if err := report.Fit(next, p.work.Status, now); err != nil {
		return 0, err
	}
	count(next.Status)
	if equality.Semantic.DeepEqual(next.Status, p.work.Status) {
		p.memory.delayed.End()
		return 0, nil
	}
	if wait := p.memory.delayed.Wait(report.Hold(settled), p.agent.Now()); wait > 0 {
		return wait, nil
	}
	if err := p.agent.writeStatus(ctx, next); err != nil {
		return 0, err
	}
	p.memory.delayed.End()
	return 0, nil
}

// writeStatus patches the status alone: a Work's manifests can be large.
func (a *Applier) writeStatus(ctx context.Context, work *v1beta1.Work) error {
	body, err := patchBody(map[string]any{"status": map[string]any{ // null, where a list is empty, removes the old one
		"conditions": work.Status.Conditions, "manifestConditions": work.Status.ManifestConditions,
	}})
	if err != nil {
		return err
	}
	target := &v1beta1.Work{}
	target.Namespace, target.Name = work.Namespace, work.Name
	err = a.HubClient.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if err = client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("write status of work %s: %w", work.Name, err)
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Wrote Work status", "work", work.Name)
	return nil
}

// undecided reports on the Work that for some time the agent could not determine what its deletion may remove. It
// returns the cause.
func (a *Applier) undecided(ctx context.Context, work *v1beta1.Work, cause error) error {
	cause = fmt.Errorf("decide which objects of work %s stay: %w", work.Name, cause)
	if a.Now().Sub(work.DeletionTimestamp.Time) < a.reportAfter {
		return cause
	}
	next := work.DeepCopy()
	next.Status = report.Unremoved(work.Status, work.Generation, *work.DeletionTimestamp, []string{cause.Error()}, metav1.NewTime(a.Now().Truncate(time.Second)))
	if equality.Semantic.DeepEqual(next.Status, work.Status) {
		return cause
	}
	return errors.Join(cause, a.writeStatus(ctx, next))
}
