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
		Short:   "Let placements go to a cluster again that was drained",
		Long: `Take away the taint by which "kubectl fleet drain" keeps placements off a cluster. Placements that pick all clusters come back to it by
themselves; others when they next need a cluster.`,
		Example: `  # Spoke-1 is repaired
  kubectl fleet uncordon spoke-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb.Run(o),
	}
	o.addTo(cmd.Flags())
	return cmd
}

// Run takes the taint away.
func (o *UncordonOptions) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	hub, err := o.connect()
	if err != nil {
		return err
	}
	changed, err := setCordon(ctx, hub, o.cluster, false)
	if err != nil {
		return err
	}
	text := "uncordoned"
	if !changed {
		text = "was not cordoned"
	}
	_, err = fmt.Fprintf(o.Out, "cluster %s: %s\n", o.cluster, text)
	return err
}
