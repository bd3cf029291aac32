// Package rebalance is "kubectl fleet rebalance": it has the clusters of a placement share its replicas anew.
package rebalance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// Options are those of "kubectl fleet rebalance".
type Options struct {
	hub    hubclient.Flags
	key    types.NamespacedName
	dryRun bool
	genericiooptions.IOStreams
}

// NewCommand returns "kubectl fleet rebalance".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "rebalance PLACEMENT",
		Short: "Divide the replicas of a placement anew over its clusters",
		Long: `Divide the replicas of a placement (policy.replicas) over its clusters as if it had no shares yet. Shares otherwise stay as they
are when a cluster joins, or when a lost one is heard again, and only the growth that follows evens them out.

Replicas are first added on one cluster, and taken from another when they are available: with at most maxSurge more at a time, and
never fewer available than before. The hub agent carries it out, also after a restart; nothing moves while failovers are braked.

The name is that of a ClusterResourcePlacement; with --namespace, that of a ResourcePlacement. It may have the kind before it.`,
		Example: `  # What would move?
  kubectl fleet rebalance web --dry-run

  # Move it, and follow
  kubectl fleet rebalance web
  kubectl get crp web -o jsonpath='{.status.conditions[?(@.reason=="ReplicasMoving")].message}'`,
		Args: cobra.ExactArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "", "namespace of a ResourcePlacement; leave it out for a ClusterResourcePlacement")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would move, and change nothing")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete takes the placement from the argument.
func (o *Options) Complete(args []string) (err error) {
	o.key, err = naming.PlacementOf(args[0], o.key.Namespace)
	return err
}

// Validate has nothing to check.
func (o *Options) Validate() error { return nil }

// Run shows what moves, and unless it is a dry run, requests it.
func (o *Options) Run(ctx context.Context) error {
	hub, err := o.hub.Connect(scope.Placements.New(o.key))
	if err != nil {
		return err
	}
	return o.rebalance(ctx, hub)
}

func (o *Options) rebalance(ctx context.Context, hub client.Client) error {
	placement, shifts, err := o.preview(ctx, hub)
	if err != nil {
		return err
	}
	name := naming.Placement(o.key)
	if len(shifts) == 0 {
		_, err := fmt.Fprintf(o.Out, "%s is balanced: no replica would move\n", name)
		return err
	}
	if err := tableOf(shifts).Print(o.Out); err != nil {
		return err
	}
	if o.dryRun {
		_, err := fmt.Fprintf(o.Out, "\nDry run: nothing has been changed.\n")
		return err
	}
	if err := o.request(ctx, hub, placement); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "\nRequested. The condition ReplicasDivided of %s shows the progress.\n", name)
	return err
}

// request has the hub agent compute all shares anew.
func (o *Options) request(ctx context.Context, hub client.Client, placement v1beta1.PlacementObject) error {
	token := time.Now().UTC().Format(time.RFC3339)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hub.Get(ctx, o.key, placement); err != nil {
			return err
		}
		before := placement.DeepCopyObject().(client.Object)
		annotations := placement.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[contract.AnnotationRebalance] = token
		placement.SetAnnotations(annotations)
		return hub.Patch(ctx, placement, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if err != nil {
		return fmt.Errorf("annotate %s: %w", naming.Placement(o.key), err)
	}
	return nil
}

// preview computes what would move, as the hub agent does.
func (o *Options) preview(ctx context.Context, hub client.Client) (v1beta1.PlacementObject, []replicas.Shift, error) {
	placement, err := scope.Placements.Get(ctx, hub, o.key)
	if apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("there is no %s", naming.Placement(o.key))
	}
	if err != nil {
		return nil, nil, err
	}
	if replicas.PolicyOf(placement) == nil {
		return nil, nil, fmt.Errorf("%s does not divide replicas: it has no spec.policy.replicas, so there is nothing to rebalance", naming.Placement(o.key))
	}
	observed, err := o.observe(ctx, hub, placement)
	if err != nil {
		return nil, nil, err
	}
	request, _, ok, err := observed.Request()
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, fmt.Errorf("%s has no resource snapshot yet: try again in a moment", naming.Placement(o.key))
	}
	if request.Frozen {
		return nil, nil, errors.New("failovers are braked because many clusters are silent, and nothing moves until that ends; see \"kubectl fleet failover status\"")
	}
	shifts, err := replicas.Rebalance(request)
	return placement, shifts, err
}

// observe reads what the hub agent decides from.
func (o *Options) observe(ctx context.Context, hub client.Client, placement v1beta1.PlacementObject) (replicas.Observed, error) {
	ours := client.MatchingLabels{contract.LabelPlacement: o.key.Name}
	out := replicas.Observed{Placement: placement, Objects: work.ObjectsOf, Domain: failover.DefaultDomain, Now: time.Now()}
	out.Override = func(key types.NamespacedName) (v1beta1.OverrideSnapshotObject, error) {
		s, err := scope.OverrideSnapshots.Get(ctx, hub, key)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return s, err
	}
	bindings, errBindings := scope.Bindings.List(ctx, hub, o.key.Namespace, ours)
	out.Bindings = slices.DeleteFunc(bindings, func(b v1beta1.BindingObject) bool {
		return !scope.Of(b, placement) || !b.GetDeletionTimestamp().IsZero()
	})
	var clusters clusterv1beta1.MemberClusterList
	errClusters := hub.List(ctx, &clusters)
	out.Clusters = clusters.Items
	var errSnapshots, errPolicies error
	out.Snapshots, errSnapshots = scope.ResourceSnapshots.List(ctx, hub, o.key.Namespace, ours)
	out.Policies, errPolicies = scope.PolicySnapshots.List(ctx, hub, o.key.Namespace, ours)
	return out, errors.Join(errBindings, errClusters, errSnapshots, errPolicies)
}

func tableOf(shifts []replicas.Shift) terminal.Table {
	out := terminal.Table{Columns: []string{"Workload", "Cluster", "Now", "Then"}}
	for _, s := range shifts {
		out.Rows = append(out.Rows, []any{s.Number.String(), s.Cluster, s.Now, s.Then})
	}
	return out
}
