// Package release is "kubectl fleet release": it lets a removal through that the removal policy of a placement holds.
package release

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// NewCommand returns "kubectl fleet release".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Let held removals through",
		Args:  cobra.NoArgs,
		RunE:  verb.Help,
	}
	cmd.AddCommand(newPlacementCommand(streams))
	return cmd
}
