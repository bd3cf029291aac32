// Package rebalance is "kubectl fleet rebalance": it has a placement move to better clusters, and its clusters share
// its replicas anew.
package rebalance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
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
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// Options are those of "kubectl fleet rebalance".
type Options struct {
	hub    hubclient.Flags
	key    types.NamespacedName
	dryRun bool
	cancel bool
	genericiooptions.IOStreams
}

// NewCommand returns "kubectl fleet rebalance".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "rebalance PLACEMENT",
		Short: "Move a placement to better clusters, and divide its replicas anew",
		Long: `Move a placement of type PickN to the clusters that would be picked now, and divide the replicas of a placement (policy.replicas) over
its clusters as if it had no shares yet. Otherwise picked clusters and shares stay as they are when a cluster joins, changes or is
heard again.

A cluster is exchanged only for one that would be picked in its place: the new one is picked first, and what is on the old one is
removed when the placement is available on the new one. Then the next moves; each cluster moves at most once. Replicas are first
added on one cluster, and taken from another when they are available: with at most maxSurge more at a time, and never fewer available
than before. The hub agent carries it out, also after a restart; it waits while clusters are silent or failovers are braked.

The name is that of a ClusterResourcePlacement; with --namespace, that of a ResourcePlacement. It may have the kind before it.`,
		Example: `  # What would move?
  kubectl fleet rebalance web --dry-run

  # Move it, and follow
  kubectl fleet rebalance web
  kubectl get events --field-selector reason=PlacementRebalanced

  # Stop after the cluster that is moving
  kubectl fleet rebalance web --cancel`,
		Args: cobra.ExactArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "", "namespace of a ResourcePlacement; leave it out for a ClusterResourcePlacement")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would move, and change nothing")
	cmd.Flags().BoolVar(&o.cancel, "cancel", false, "withdraw the request: no further cluster moves, and replicas stay divided as they are then")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "cancel")
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
	name := naming.Placement(o.key)
	placement, err := scope.Placements.Get(ctx, hub, o.key)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no %s", name)
	}
	if err != nil {
		return err
	}
	if o.cancel {
		return o.withdraw(ctx, hub, placement)
	}
	p, err := o.preview(ctx, hub, placement)
	if err != nil {
		return err
	}
	if len(p.moves) == 0 && len(p.shifts) == 0 {
		if p.stuck != "" {
			return errors.New(p.stuck)
		}
		_, err := fmt.Fprintf(o.Out, "%s is balanced: nothing would move\n", name)
		return err
	}
	if err := p.print(o.Out); err != nil {
		return err
	}
	if o.dryRun {
		_, err := fmt.Fprintf(o.Out, "\nDry run: nothing has been changed.\n")
		return err
	}
	if err := o.annotate(ctx, hub, placement, p.at.UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "\nRequested. %s\n", p.whereToLook(name))
	return err
}

// withdraw ends a request.
func (o *Options) withdraw(ctx context.Context, hub client.Client, placement v1beta1.PlacementObject) error {
	name := naming.Placement(o.key)
	if placement.GetAnnotations()[contract.AnnotationRebalance] == "" {
		_, err := fmt.Fprintf(o.Out, "%s has no request to rebalance\n", name)
		return err
	}
	if err := o.annotate(ctx, hub, placement, ""); err != nil {
		return err
	}
	_, err := fmt.Fprintf(o.Out, "Withdrawn: no further cluster of %s moves\n", name)
	return err
}

// annotate sets the request on the placement; an empty one removes it.
func (o *Options) annotate(ctx context.Context, hub client.Client, placement v1beta1.PlacementObject, request string) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hub.Get(ctx, o.key, placement); err != nil {
			return err
		}
		before := placement.DeepCopyObject().(client.Object)
		annotations := placement.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[contract.AnnotationRebalance] = request
		if request == "" {
			delete(annotations, contract.AnnotationRebalance)
		}
		placement.SetAnnotations(annotations)
		return hub.Patch(ctx, placement, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if err != nil {
		return fmt.Errorf("annotate %s: %w", naming.Placement(o.key), err)
	}
	return nil
}

// preview is what would move.
type preview struct {
	// at is the time of the request.
	at     time.Time
	moves  []schedule.Move
	shifts []replicas.Shift
	// stuck is why no cluster can be exchanged at present; empty if clusters can.
	stuck string
}

// preview computes what would move, as the hub agent does.
func (o *Options) preview(ctx context.Context, hub client.Client, placement v1beta1.PlacementObject) (out preview, err error) {
	divides, exchanges := replicas.PolicyOf(placement) != nil, failover.Leaves(placement)
	if !divides && !exchanges {
		return out, fmt.Errorf("%s has nothing to rebalance: clusters are exchanged for better ones with placementType PickN, "+
			"and replicas are divided with spec.policy.replicas", naming.Placement(o.key))
	}
	observed, err := o.observe(ctx, hub, placement)
	if err != nil {
		return out, err
	}
	out.at = observed.Now
	if exchanges {
		if err := o.exchange(ctx, hub, observed, &out); err != nil {
			return out, err
		}
		if out.stuck != "" && !divides {
			return out, errors.New(out.stuck)
		}
	}
	if !divides {
		return out, nil
	}
	request, _, ok, err := observed.Request()
	if err != nil {
		return out, err
	}
	if !ok {
		return out, fmt.Errorf("%s has no resource snapshot, or no bindings, yet: try again in a moment", naming.Placement(o.key))
	}
	if request.Frozen {
		return out, errors.New("failovers are braked because many clusters are silent, and nothing moves until that ends; see \"kubectl fleet failover status\"")
	}
	out.shifts, err = replicas.Rebalance(request)
	return out, err
}

// exchange computes which clusters would be exchanged, or why none can be now.
func (o *Options) exchange(ctx context.Context, hub client.Client, observed replicas.Observed, p *preview) error {
	policy := snapshot.LatestPolicy(observed.Policies)
	if policy == nil {
		return errors.New("the placement has no policy snapshot yet: try again in a moment")
	}
	if made := policy.GetCreationTimestamp().Time; p.at.Before(made) {
		p.at = made // this machine's clock is behind
	}
	run, errRun := hubclient.ActiveRun(ctx, hub, observed.Placement)
	others, errOthers := hubclient.Others(ctx, hub, o.key, policy.GetSpec().Policy)
	request, errRequest := schedule.RequestOf(observed.Placement, policy, observed.Bindings, observed.Clusters, observed.Now)
	if err := errors.Join(errRun, errOthers, errRequest); err != nil {
		return err
	}
	if run != "" {
		p.stuck = fmt.Sprintf("no cluster can be exchanged while update run %s is active, because another set of clusters aborts it", run)
		return nil
	}
	request.Domain, request.Placements = observed.Domain, others
	moves, ok := schedule.Rebalance(request)
	if !ok {
		p.stuck = "no cluster can be exchanged now, because clusters are silent, or because the placement is not available on all its clusters " +
			"or leaves one; see \"kubectl fleet failover status\" and \"kubectl fleet explain placement\""
		return nil
	}
	p.moves = moves
	return nil
}

func (p *preview) print(out io.Writer) error {
	if p.stuck != "" {
		if _, err := fmt.Fprintf(out, "Replicas only for now: %s. Clusters are exchanged, without another question, as soon as that ends; "+
			"--cancel prevents it.\n\n", p.stuck); err != nil {
			return err
		}
	}
	if len(p.moves) > 0 {
		if err := tableOfMoves(p.moves).Print(out); err != nil {
			return err
		}
	}
	if len(p.shifts) == 0 {
		return nil
	}
	if len(p.moves) > 0 {
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	return tableOf(p.shifts).Print(out)
}

func (p *preview) whereToLook(name string) string {
	if len(p.moves) == 0 {
		return "The condition ReplicasDivided of " + name + " shows the progress."
	}
	return "The condition FailoverComplete and the events of " + name + " show the progress."
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

func tableOfMoves(moves []schedule.Move) terminal.Table {
	out := terminal.Table{Columns: []string{"Leaves", "Score", "For", "Score"}}
	for _, m := range moves {
		out.Rows = append(out.Rows, []any{m.From, scoreOf(m.Score), m.To, scoreOf(m.Better)})
	}
	return out
}

// scoreOf shows a score: the affinity, and the spread if the policy has spread constraints.
func scoreOf(s *v1beta1.ClusterScore) string {
	switch {
	case s == nil:
		return "would not be picked"
	case ptr.Deref(s.TopologySpreadScore, 0) == 0:
		return fmt.Sprintf("affinity %d", ptr.Deref(s.AffinityScore, 0))
	default:
		return fmt.Sprintf("affinity %d, spread %d", ptr.Deref(s.AffinityScore, 0), *s.TopologySpreadScore)
	}
}
