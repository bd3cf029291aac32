package drain

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// cordonTaint keeps placements off a cluster that is drained. Users' scripts and tolerations depend on its key and
// value.
var cordonTaint = clusterv1beta1.Taint{Key: "cordon-key", Value: "cordon-value", Effect: corev1.TaintEffectNoSchedule}

// setCordon adds the taint to a cluster, or removes it. changed reports whether it had to.
func setCordon(ctx context.Context, c client.Client, cluster string, cordoned bool) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var member clusterv1beta1.MemberCluster
		if err := c.Get(ctx, client.ObjectKey{Name: cluster}, &member); err != nil {
			return err
		}
		before := member.DeepCopy()
		if changed = cordon(&member.Spec, cordoned); !changed {
			return nil
		}
		return c.Patch(ctx, &member, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	switch {
	case apierrors.IsNotFound(err):
		return false, fmt.Errorf("there is no member cluster %q; \"kubectl get memberclusters\" lists them", cluster)
	case err != nil:
		return false, fmt.Errorf("change the taints of member cluster %s: %w", cluster, err)
	}
	return changed, nil
}

func cordon(spec *clusterv1beta1.MemberClusterSpec, cordoned bool) (changed bool) {
	if slices.Contains(spec.Taints, cordonTaint) == cordoned {
		return false
	}
	if cordoned {
		spec.Taints = append(spec.Taints, cordonTaint)
	} else {
		spec.Taints = slices.DeleteFunc(spec.Taints, func(t clusterv1beta1.Taint) bool { return t == cordonTaint })
	}
	return true
}
