// Package explain is "kubectl fleet explain": why a placement is on the clusters that it is on.
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
		Short: "Tell why things are as they are",
		Args:  cobra.NoArgs,
		RunE:  verb.Help,
	}
	cmd.AddCommand(newPlacementCommand(streams))
	return cmd
}
