// Package drain is "kubectl fleet drain", "kubectl fleet cordon" and "kubectl fleet uncordon": before maintenance, all
// placements are removed from a member, or only new ones kept away; afterwards, the member accepts placements again.
package drain

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// Options are those of "kubectl fleet drain".
type Options struct {
	target
	// strict makes the command fail if a placement stays.
	strict bool
}

// NewCommand returns "kubectl fleet drain".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{target: newTarget(streams)}
	cmd := &cobra.Command{
		Use:     "drain CLUSTER",
		Aliases: []string{"draincluster"},
		Short:   "Take all placements off a cluster, and keep others away",
		Long: `Taint a cluster so that nothing new is placed on it, and evict every ClusterResourcePlacement and ResourcePlacement
from it. Disruption budgets are respected: a placement whose budget does not allow the eviction stays, and is listed.

You can run an interrupted drain again: it continues where it stopped. "kubectl fleet uncordon" removes the taint.

The exit code is 0 if every eviction was decided, even where a budget blocked it; with --strict it is 1 unless all
placements have left.`,
		Example: `  # Before maintenance on spoke-1
  kubectl fleet drain spoke-1

  # In a script that must not go on while something is left on it
  kubectl fleet drain spoke-1 --strict --timeout 15m`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb.Run(o),
	}
	o.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&o.strict, "strict", false, "fail if a placement stays on the cluster")
	return cmd
}

// Run taints the cluster and evicts every placement from it.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	hub, err := o.connect()
	if err != nil {
		return err
	}
	changed, err := setCordon(ctx, hub, o.cluster, cordon)
	if err != nil {
		return err
	}
	text := "cordoned: nothing new will be placed on it"
	if !changed {
		text = "is already cordoned"
	}
	fmt.Fprintf(o.Out, "cluster %s: %s\n", o.cluster, text)
	d := &drainer{hub: hub, cluster: o.cluster, out: o.Out, left: map[placementKey]bool{}}
	if err := d.all(ctx); err != nil {
		return o.unfinished(ctx, err)
	}
	d.sum()
	if n := d.stayed(); o.strict && n > 0 {
		return fmt.Errorf("placements that stay on cluster %s: %d", o.cluster, n)
	}
	return nil
}

// unfinished adds to the error of an incomplete drain what the user can do.
func (o *Options) unfinished(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) { // by the user: one error is enough, not one for each placement
		err = ctx.Err()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("--timeout %s exceeded: %w", o.timeout, err)
	}
	return fmt.Errorf("the drain is incomplete and the cluster stays cordoned; drain it again to continue, or uncordon it: %w", err)
}
