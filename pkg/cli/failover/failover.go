// Package failover is "kubectl fleet failover": it shows which clusters the hub does not hear, and which placements
// left them, and lets an administrator declare clusters lost while the hub agent stops failovers.
package failover

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// NewCommand returns "kubectl fleet failover".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Show silent clusters and the placements that left them, and release failovers",
		Long: `Show which clusters the hub does not hear, and which placements left them for others. Placements with a failover policy
leave a cluster that counts as lost. While so many clusters are silent that the hub's own network may be the cause, the hub agent
stops all failovers: then "release" declares clusters lost that are.`,
		Example: `  kubectl fleet failover status
  kubectl fleet failover release spoke-1`,
		Args: cobra.NoArgs,
		RunE: verb.Help,
	}
	cmd.AddCommand(newStatusCommand(streams), newReleaseCommand(streams))
	return cmd
}
