package failover

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// ReleaseOptions are those of "kubectl fleet failover release".
type ReleaseOptions struct {
	hub         hubclient.Flags
	clusters    []string
	all, dryRun bool
	genericiooptions.IOStreams
}

func newReleaseCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &ReleaseOptions{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "release [CLUSTER...]",
		Short: "Declare silent clusters lost, so that placements leave them",
		Long: `Declare silent clusters lost although the hub agent does not consider them lost: because it is braked, or because they are
silent only since a moment. Placements with a failover policy leave them when the time of their policy has passed. Make sure
that the clusters are really down: a cluster that only the hub does not hear goes on running its objects beside the new copies.

Placements with strategy External leave a lost cluster only when no update run of theirs is active. They leave a released one
at once, which aborts an active run. Name a cluster that is Lost already to release it for this purpose.

It counts for this silence only: a cluster that falls silent later, or again, is judged anew.`,
		Example: `  # Two clusters are known to be down
  kubectl fleet failover release spoke-1 spoke-2

  # All clusters that are Suspected or Braked now; show them first
  kubectl fleet failover release --all --dry-run
  kubectl fleet failover release --all`,
		RunE: verb.Run(o),
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "release all clusters that are Suspected or Braked now")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be released, and change nothing")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete takes the clusters from the arguments.
func (o *ReleaseOptions) Complete(args []string) error {
	o.clusters = args
	return nil
}

// Validate checks that clusters are named, or all are meant.
func (o *ReleaseOptions) Validate() error {
	switch {
	case len(o.clusters) == 0 && !o.all:
		return errors.New("name the clusters, or use --all for all that are Suspected or Braked; \"kubectl fleet failover status\" lists them")
	case len(o.clusters) > 0 && o.all:
		return errors.New("--all releases all silent clusters: name no clusters with it")
	}
	return nil
}

// Run releases the clusters.
func (o *ReleaseOptions) Run(ctx context.Context) error {
	hub, err := o.hub.Connect(&clusterv1beta1.MemberCluster{})
	if err != nil {
		return err
	}
	return o.release(ctx, hub)
}

// release releases the clusters. It continues after one that it cannot release.
func (o *ReleaseOptions) release(ctx context.Context, hub client.Client) error {
	names := o.clusters
	if o.all {
		clusters, err := clustersOf(ctx, hub)
		if err != nil {
			return err
		}
		for _, c := range clusters {
			if failover.Watched(c) && failover.Suspicious(c.Status.Silence) {
				names = append(names, c.Name)
			}
		}
		if len(names) == 0 {
			_, err := fmt.Fprintln(o.Out, "no cluster is Suspected or Braked")
			return err
		}
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, o.releaseOne(ctx, hub, name))
	}
	return errors.Join(errs...)
}

func (o *ReleaseOptions) releaseOne(ctx context.Context, hub client.Client, name string) error {
	outcome := "released: placements with a failover policy leave it"
	var options []client.PatchOption
	if o.dryRun {
		outcome = "would be released (dry run)"
		options = append(options, client.DryRunAll)
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var member clusterv1beta1.MemberCluster
		if err := hub.Get(ctx, client.ObjectKey{Name: name}, &member); err != nil {
			return err
		}
		if err := releasable(&member); err != nil {
			return err
		}
		value := failover.Release(member.Status.Silence)
		if member.Annotations[contract.AnnotationRelease] == value {
			outcome = "is already released"
			return nil
		}
		before := member.DeepCopy()
		if member.Annotations == nil {
			member.Annotations = map[string]string{}
		}
		member.Annotations[contract.AnnotationRelease] = value
		return hub.Patch(ctx, &member, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), options...)
	})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no member cluster %q; \"kubectl get memberclusters\" lists them", name)
	case err != nil:
		return fmt.Errorf("release cluster %s: %w", name, err)
	}
	_, err = fmt.Fprintf(o.Out, "cluster %s: %s\n", name, outcome)
	return err
}

// releasable returns why a cluster cannot be released; nil if it can.
func releasable(cluster *clusterv1beta1.MemberCluster) error {
	const only = "; only Suspected, Braked, and Lost clusters can be released"
	switch s := cluster.Status.Silence; {
	case failover.Away(cluster):
		return errors.New("it is away; first run \"kubectl fleet uncordon\"")
	case !cluster.DeletionTimestamp.IsZero():
		return errors.New("it is leaving the fleet")
	case s == nil:
		return errors.New("it is not silent" + only)
	case !failover.Suspicious(s) && s.State != clusterv1beta1.SilenceLost:
		return fmt.Errorf("it is %s%s", s.State, only)
	}
	return nil
}
