// Package explain is "kubectl fleet explain": why a placement is on its clusters and not on others.
package explain

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// NewCommand returns "kubectl fleet explain".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Explain decisions of the hub agent",
		Args:  cobra.NoArgs,
		RunE:  verb.Help,
	}
	cmd.AddCommand(newPlacementCommand(streams))
	return cmd
}
