// Package rollout is "kubectl fleet rollout": how a placement's changes reach the clusters is shown and steered.
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
		Short: "See and steer how a placement's changes reach the clusters",
		Long: `See and steer how a placement's changes reach the clusters. spec.strategy.type of the placement says who brings them:

  RollingUpdate  The hub does, as soon as the resources change, to as many clusters at once as maxUnavailable and maxSurge allow.
                 "status" shows which clusters wait and why, "history" what changed, "undo" how to take it back. One that
                 has spent the budget of its failurePolicy is tried again by "resume".
  External       An update run does: it releases one revision stage by stage, with the approvals and waits of an update strategy.
                 "pause" and "resume" steer the newest run, and "undo" makes one that goes back.

A PLACEMENT is a ClusterResourcePlacement; with --namespace, a ResourcePlacement.`,
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
