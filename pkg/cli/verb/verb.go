// Package verb is the shape of the commands of kubectl fleet: each is an options type that is completed, validated and
// run.
package verb

import (
	"context"

	"github.com/spf13/cobra"
)

// Options are what the user asks of a command; its flags are bound to them.
type Options interface {
	// Complete takes the arguments and fills in what follows from them and the flags. No cluster is asked yet.
	Complete(args []string) error
	// Validate checks what was typed, so that a mistake is found before any cluster is asked.
	Validate() error
	// Run does what the command is for.
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

// Help is the RunE of a command that only holds others.
func Help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
