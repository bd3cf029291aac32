package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
)

// cordonTaint keeps placements off a cluster that is drained. Scripts and people know it by these words.
var cordonTaint = clusterv1beta1.Taint{Key: "cordon-key", Value: "cordon-value", Effect: corev1.TaintEffectNoSchedule}

// onCluster is what the user says to a command about one member.
type onCluster struct {
	hub     hubclient.Flags
	cluster string
	timeout time.Duration
	streams genericiooptions.IOStreams
}

func (o *onCluster) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&o.cluster, "cluster-name", "", "the cluster, instead of the argument")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to try")
	o.hub.AddTo(flags)
}

// name takes the cluster from the argument or from --cluster-name.
func (o *onCluster) name(args []string) error {
	switch {
	case len(args) == 0 && o.cluster == "":
		return errors.New("name the cluster: as the argument, or with --cluster-name; \"kubectl get memberclusters\" lists them")
	case len(args) == 1 && o.cluster != "" && o.cluster != args[0]:
		return fmt.Errorf("the argument %s and --cluster-name %s are two clusters: name one", args[0], o.cluster)
	case len(args) == 1:
		o.cluster = args[0]
	}
	return nil
}

func newUncordon(streams genericiooptions.IOStreams) *cobra.Command {
	o := onCluster{hub: hubclient.NewFlags(), streams: streams}
	cmd := &cobra.Command{
		Use:     "uncordon CLUSTER",
		Aliases: []string{"uncordoncluster"},
		Short:   "Let placements go to a cluster again that was drained",
		Long: `Take away the taint by which "kubectl fleet drain" keeps placements off a cluster. Placements that pick all clusters come back to it by
themselves; others when they next need a cluster.`,
		Example: `  # Spoke-1 is repaired
  kubectl fleet uncordon spoke-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.name(args); err != nil {
				return err
			}
			return o.uncordon(cmd.Context())
		},
	}
	o.addTo(cmd.Flags())
	return cmd
}

func (o onCluster) uncordon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	c, err := o.hub.Connect(&clusterv1beta1.MemberCluster{})
	if err != nil {
		return err
	}
	changed, err := setCordon(ctx, c, o.cluster, false)
	if err != nil {
		return err
	}
	text := "uncordoned"
	if !changed {
		text = "was not cordoned"
	}
	_, err = fmt.Fprintf(o.streams.Out, "cluster %s: %s\n", o.cluster, text)
	return err
}

// setCordon puts the taint on a cluster, or takes it off, unless it is as it should be.
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
