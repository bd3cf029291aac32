// Package cli is kubectl fleet, the plugin with which users work with a fleet. Each verb, or each group of verbs that
// share what they do, is a package of its own below; this one makes them one command.
package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/approve"
	"github.com/flagship-fleet/flagship/pkg/cli/drain"
	"github.com/flagship-fleet/flagship/pkg/cli/explain"
	"github.com/flagship-fleet/flagship/pkg/cli/failover"
	"github.com/flagship-fleet/flagship/pkg/cli/local"
	"github.com/flagship-fleet/flagship/pkg/cli/rebalance"
	"github.com/flagship-fleet/flagship/pkg/cli/release"
	"github.com/flagship-fleet/flagship/pkg/cli/rollout"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/cli/version"
	"github.com/flagship-fleet/flagship/pkg/cli/which"
)

// NewCommand returns "kubectl fleet" with all its commands.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-fleet",
		Short: "Work with fleets of Kubernetes clusters",
		Long: `kubectl fleet works with a Flagship fleet: one hub cluster that places objects on many member clusters.

To learn and test, run "kubectl fleet up": it starts a fleet on this machine in seconds.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl fleet"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          verb.Help,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(local.NewUpCommand(streams), local.NewDownCommand(streams), which.NewCommand(streams), explain.NewCommand(streams), approve.NewCommand(streams),
		drain.NewCommand(streams), drain.NewCordonCommand(streams), drain.NewUncordonCommand(streams), failover.NewCommand(streams),
		rebalance.NewCommand(streams), release.NewCommand(streams), rollout.NewCommand(streams), version.NewCommand(streams))
	return root
}
