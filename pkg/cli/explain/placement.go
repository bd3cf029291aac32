package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// PlacementOptions are those of "kubectl fleet explain placement".
type PlacementOptions struct {
	hub hubclient.Flags
	key types.NamespacedName
	// cluster limits the explanation to one cluster.
	cluster, output string
	genericiooptions.IOStreams
}

func newPlacementCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &PlacementOptions{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "placement NAME",
		Short: "Explain why a placement is on its clusters, and what would change that",
		Long: `Print, for every cluster, whether the placement picks it and why: the first filter that excludes it, or its scores. Next to
it is the nearest change that would reverse the decision. Every such change is tested: the command makes the decision of the hub
agent again with the change, and keeps only changes that reverse it.

The explanation is computed from the current state. A note shows where the recorded decision differs: a cluster that was picked
before is kept although it may not match any more.

The name is that of a ClusterResourcePlacement; with --namespace, that of a ResourcePlacement. It may have the kind before it, as
in crp/NAME and rp/NAME. Nothing is written: read access to placements, policy snapshots, bindings and MemberClusters on the hub
is enough.`,
		Example: `  # Why is the placement "web" on its clusters?
  kubectl fleet explain placement web

  # Why is it not on cluster "paris", and what can be done?
  kubectl fleet explain placement web --cluster paris

  # A ResourcePlacement in namespace "shop", for a script
  kubectl fleet explain placement web -n shop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "",
		"namespace of a ResourcePlacement; leave it out for a ClusterResourcePlacement")
	cmd.Flags().StringVar(&o.cluster, "cluster", "", "explain only this cluster, in detail")
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "output format: "+strings.Join(formats, ", "))
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete takes the placement from the argument.
func (o *PlacementOptions) Complete(args []string) (err error) {
	o.key, err = naming.PlacementOf(args[0], o.key.Namespace)
	return err
}

// Validate checks the output format.
func (o *PlacementOptions) Validate() error {
	if !slices.Contains(formats, o.output) {
		return fmt.Errorf("--output %s is not supported: use one of %s", o.output, strings.Join(formats, ", "))
	}
	return nil
}

// Run reads the placement's state on the hub and explains it.
func (o *PlacementOptions) Run(ctx context.Context) error {
	hub, err := o.hub.Connect(scope.Placements.New(o.key))
	if err != nil {
		return err
	}
	state, err := read(ctx, hub, o.key)
	if err != nil {
		return err
	}
	state.now = time.Now()
	explained, err := state.explain(ctx, o.cluster)
	if err != nil {
		return err
	}
	return explained.print(o.Out, o.output, o.cluster != "")
}

// state is what the hub stores about a placement.
type state struct {
	placement placementv1beta1.PlacementObject
	// policy is the latest snapshot, nil if there is none.
	policy   placementv1beta1.PolicySnapshotObject
	bindings []placementv1beta1.BindingObject
	clusters []clusterv1beta1.MemberCluster
	// others are the placements to which the policy refers.
	others []schedule.Placement
	// run is an active update run; empty if there is none, or if the strategy is not External.
	run string
	now time.Time
}

// read reads the state. One error names everything that the user must not read.
func read(ctx context.Context, hub client.Client, key types.NamespacedName) (*state, error) {
	var out state
	ours := client.MatchingLabels{contract.LabelPlacement: key.Name}
	placement, errPlacement := scope.Placements.Get(ctx, hub, key)
	out.placement = placement
	policies, errPolicies := scope.PolicySnapshots.List(ctx, hub, key.Namespace, ours)
	out.policy = snapshot.LatestPolicy(policies)
	bindings, errBindings := scope.Bindings.List(ctx, hub, key.Namespace, ours)
	out.bindings = bindings
	var clusters clusterv1beta1.MemberClusterList
	errClusters := hub.List(ctx, &clusters)
	out.clusters = clusters.Items
	var errRuns error
	if errPlacement == nil {
		out.run, errRuns = hubclient.ActiveRun(ctx, hub, placement)
	}
	if err := forbidden(errPlacement, errPolicies, errBindings, errClusters, errRuns); err != nil {
		return nil, err
	}
	switch {
	case apierrors.IsNotFound(errPlacement) && key.Namespace == "":
		return nil, fmt.Errorf("there is no %s %q; a ResourcePlacement needs --namespace", scope.Placements.Kind(key), key.Name)
	case apierrors.IsNotFound(errPlacement):
		return nil, fmt.Errorf("there is no %s %q in namespace %q; a ClusterResourcePlacement needs no --namespace",
			scope.Placements.Kind(key), key.Name, key.Namespace)
	}
	if err := errors.Join(errPlacement, errPolicies, errBindings, errClusters, errRuns); err != nil {
		return nil, err
	}
	others, err := hubclient.Others(ctx, hub, key, out.decided())
	if out.others = others; err != nil {
		if denied := forbidden(err); denied != nil {
			return nil, denied
		}
		return nil, err
	}
	return &out, nil
}

// decided is the policy that is decided: that of the snapshot, before there is one that of the placement.
func (s *state) decided() *placementv1beta1.PlacementPolicy {
	if s.policy != nil {
		return s.policy.GetSpec().Policy
	}
	return s.placement.GetSpec().Policy
}

// flat replaces joined errors by their parts.
func flat(errs []error) (out []error) {
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only what errors.Join returns
			out = append(out, joined.Unwrap()...)
		} else {
			out = append(out, err)
		}
	}
	return out
}

// forbidden names the resources that the user must not read, and how to check that; nil if there are none.
func forbidden(errs ...error) error {
	var resources []string
	for _, err := range flat(errs) {
		var status apierrors.APIStatus
		if !apierrors.IsForbidden(err) || !errors.As(err, &status) {
			continue
		}
		if d := status.Status().Details; d != nil {
			resources = append(resources, d.Kind+"."+d.Group)
		}
	}
	if len(resources) == 0 {
		return nil
	}
	return fmt.Errorf("you are not allowed to read %s on the hub; an explanation needs get and list on them; "+
		"to check, run: kubectl auth can-i list %s",
		strings.Join(resources, ", "), resources[0])
}
