package rollout

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/contract"
	decision "github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// hasFailurePolicy reports whether a placement has a rolling update with a failure policy.
func hasFailurePolicy(p v1beta1.PlacementObject) bool {
	config := p.GetSpec().Strategy.RollingUpdate
	return !byRuns(p) && config != nil && config.FailurePolicy != nil
}

// retry dismisses the spent failure budget of the latest revision of a placement with a rolling update. The hub agent
// then rolls it out again.
func (o *StateOptions) retry(ctx context.Context, c client.Client) error {
	index := ""
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		all, err := scope.ResourceSnapshots.List(ctx, c, o.key.Namespace, client.MatchingLabels{contract.LabelPlacement: o.key.Name})
		if err != nil {
			return err
		}
		latest, ok := snapshot.Latest(snapshot.Groups(all))
		if !ok || latest.Master == nil || decision.CourseOf(latest.Master).Spent == nil {
			return fmt.Errorf("the rollout of %s has not spent its failure budget: there is nothing to retry", o.subject())
		}
		course := decision.CourseOf(latest.Master)
		course.Spent.Dismissed = true
		patch, err := course.Patch(latest.Master)
		if err != nil {
			return err
		}
		index = latest.IndexLabel()
		if err := c.Patch(ctx, latest.Master, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return fmt.Errorf("retry revision %s of %s: %w", index, o.subject(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "retrying revision %s of %s; see \"%s --watch\"\n",
		index, o.subject(), naming.Command(o.key.Namespace, "fleet rollout status", o.key.Name))
	return err
}
