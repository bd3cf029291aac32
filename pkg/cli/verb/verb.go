// Package verb runs the commands of kubectl fleet: each is an options type that is completed, validated and run.
package verb

import (
	"context"

	"github.com/spf13/cobra"
)

// Options are the arguments and flags of a command.
type Options interface {
	// Complete takes the arguments and fills in what follows from them and the flags, without requests to clusters.
	Complete(args []string) error
	// Validate checks arguments and flags, without requests to clusters.
	Validate() error
	// Run runs the command.
	Run(ctx context.Context) error
}

// Run is the RunE of a command with options.
func Run(o Options) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := o.Complete(args); err != nil {
			return err
		}
		if err := o.Validate(); err != nil {
			return err
		}
		return o.Run(cmd.Context())
	}
}

// Help is the RunE of a command that only has subcommands.
func Help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
