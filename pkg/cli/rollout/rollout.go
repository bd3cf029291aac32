// Package rollout is "kubectl fleet rollout": it shows and controls how a placement's changes reach the clusters.
package rollout

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// NewCommand returns "kubectl fleet rollout".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Show and control how a placement's changes reach the clusters",
		Long: `Show and control how a placement's changes reach the clusters. It depends on spec.strategy.type of the placement:

  RollingUpdate  The hub agent updates clusters as soon as the resources change, as many at once as maxUnavailable and maxSurge
                 allow. "status" shows which clusters wait and why, "history" what changed, "undo" how to revert it. "resume"
                 retries a revision that has spent the budget of its failurePolicy.
  External       An update run releases one revision stage by stage, with the approvals and wait times of an update strategy.
                 "pause" and "resume" control the newest run, and "undo" creates one that returns to an older revision.

A PLACEMENT is the name of a ClusterResourcePlacement; with --namespace, of a ResourcePlacement. It may have the kind before it,
as in crp/NAME and rp/NAME.`,
		Example: `  kubectl fleet rollout status web --watch
  kubectl fleet rollout history web
  kubectl fleet rollout undo web --to 3`,
		Args: cobra.NoArgs,
		RunE: verb.Help,
	}
	cmd.AddCommand(newStatusCommand(streams), newHistoryCommand(streams), newUndoCommand(streams),
		newStateCommand(streams, pausing), newStateCommand(streams, resuming))
	return cmd
}
