package drain

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// cordonTaint keeps placements off a cluster that is cordoned. Users' scripts and tolerations depend on its key and
// value.
var cordonTaint = clusterv1beta1.Taint{Key: "cordon-key", Value: "cordon-value", Effect: corev1.TaintEffectNoSchedule}

// cordonChange changes a cluster, and reports whether it had to.
type cordonChange func(*clusterv1beta1.MemberCluster) (changed bool)

// setCordon changes whether a cluster accepts placements.
func setCordon(ctx context.Context, c client.Client, cluster string, change cordonChange) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var member clusterv1beta1.MemberCluster
		if err := c.Get(ctx, client.ObjectKey{Name: cluster}, &member); err != nil {
			return err
		}
		before := member.DeepCopy()
		if changed = change(&member); !changed {
			return nil
		}
		return c.Patch(ctx, &member, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	switch {
	case apierrors.IsNotFound(err):
		return false, fmt.Errorf("there is no member cluster %q; \"kubectl get memberclusters\" lists them", cluster)
	case err != nil:
		return false, fmt.Errorf("cordon or uncordon member cluster %s: %w", cluster, err)
	}
	return changed, nil
}

// cordon adds the taint.
func cordon(member *clusterv1beta1.MemberCluster) (changed bool) {
	if slices.Contains(member.Spec.Taints, cordonTaint) {
		return false
	}
	member.Spec.Taints = append(member.Spec.Taints, cordonTaint)
	return true
}

// cordonAway adds the taint and announces that the cluster is not heard for a while.
func cordonAway(member *clusterv1beta1.MemberCluster) (changed bool) {
	changed = cordon(member)
	if failover.Away(member) {
		return changed
	}
	if member.Annotations == nil {
		member.Annotations = map[string]string{}
	}
	member.Annotations[contract.AnnotationAway] = "true"
	return true
}

// uncordon takes back both.
func uncordon(member *clusterv1beta1.MemberCluster) (changed bool) {
	_, announced := member.Annotations[contract.AnnotationAway]
	delete(member.Annotations, contract.AnnotationAway)
	taints := len(member.Spec.Taints)
	member.Spec.Taints = slices.DeleteFunc(member.Spec.Taints, func(t clusterv1beta1.Taint) bool { return t == cordonTaint })
	return announced || len(member.Spec.Taints) != taints
}

// CordonOptions are those of "kubectl fleet cordon".
type CordonOptions struct {
	target
	// away announces that the cluster is not heard for a while.
	away bool
}

// NewCordonCommand returns "kubectl fleet cordon".
func NewCordonCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &CordonOptions{target: newTarget(streams)}
	cmd := &cobra.Command{
		Use:   "cordon CLUSTER",
		Short: "Keep new placements off a cluster, and announce that it is away",
		Long: `Taint a cluster so that nothing new is placed on it. What is on it stays; "kubectl fleet drain" takes it off.

With --away, also announce that the hub will not hear the cluster for a while, as when it is stopped on purpose: placements with
a failover policy do not leave it, and its silence does not count when the hub agent judges that of other clusters.

"kubectl fleet uncordon" takes back both; run it when the cluster runs again.`,
		Example: `  # Nothing new on spoke-1
  kubectl fleet cordon spoke-1

  # Before spoke-1 is stopped for the weekend
  kubectl fleet cordon spoke-1 --away`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb.Run(o),
	}
	o.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&o.away, "away", false, "announce that the cluster is not heard for a while")
	return cmd
}

// Run taints the cluster, and announces that it is away.
func (o *CordonOptions) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	hub, err := o.connect()
	if err != nil {
		return err
	}
	return o.cordon(ctx, hub)
}

func (o *CordonOptions) cordon(ctx context.Context, hub client.Client) error {
	change, done, already := cordonChange(cordon), "cordoned: nothing new will be placed on it", "is already cordoned"
	if o.away {
		change, done, already = cordonAway, "cordoned and away: nothing new will be placed on it, and no placement leaves it while it is not heard",
			"is already cordoned and away"
	}
	changed, err := setCordon(ctx, hub, o.cluster, change)
	if err != nil {
		return err
	}
	if !changed {
		done = already
	}
	_, err = fmt.Fprintf(o.Out, "cluster %s: %s\n", o.cluster, done)
	return err
}
