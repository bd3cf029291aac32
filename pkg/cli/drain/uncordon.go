package drain

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// UncordonOptions are those of "kubectl fleet uncordon".
type UncordonOptions struct{ target }

// NewUncordonCommand returns "kubectl fleet uncordon".
func NewUncordonCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &UncordonOptions{newTarget(streams)}
	cmd := &cobra.Command{
		Use:     "uncordon CLUSTER",
		Aliases: []string{"uncordoncluster"},
		Short:   "Allow placements on a drained or cordoned cluster again",
		Long: `Remove the taint by which "kubectl fleet drain" and "kubectl fleet cordon" keep placements off a cluster. Placements of type
PickAll return to it; those of type PickN may pick it when they next need a cluster.

Also take back that the cluster is away: if it is still not heard, placements with a failover policy leave it soon.`,
		Example: `  # After maintenance on spoke-1
  kubectl fleet uncordon spoke-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb.Run(o),
	}
	o.addTo(cmd.Flags())
	return cmd
}

// Run removes the taint, and takes back that the cluster is away.
func (o *UncordonOptions) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	hub, err := o.connect()
	if err != nil {
		return err
	}
	changed, err := setCordon(ctx, hub, o.cluster, uncordon)
	if err != nil {
		return err
	}
	text := "uncordoned"
	if !changed {
		text = "is not cordoned"
	}
	_, err = fmt.Fprintf(o.Out, "cluster %s: %s\n", o.cluster, text)
	return err
}
