package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// DownOptions are those of "kubectl fleet down".
type DownOptions struct {
	dir  string
	keep bool
	genericiooptions.IOStreams
}

// NewDownCommand returns "kubectl fleet down".
func NewDownCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &DownOptions{IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the fleet on this machine",
		Long: `Stop the fleet that "kubectl fleet up" started on this machine: its agents, then its clusters. Its state is deleted,
unless --keep keeps it for the next "up".`,
		Example: `  # Stop the fleet and delete its state
  kubectl fleet down

  # Stop the fleet and continue later
  kubectl fleet down --keep
  kubectl fleet up`,
		Args: cobra.NoArgs,
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVar(&o.dir, "dir", ".fleet", "directory of the fleet's state")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep the state, so that the next up continues with it")
	return cmd
}

// Complete does nothing: there are no arguments.
func (o *DownOptions) Complete([]string) error { return nil }

// Validate accepts everything: a directory without a fleet counts as stopped.
func (o *DownOptions) Validate() error { return nil }

// Run stops the fleet.
func (o *DownOptions) Run(ctx context.Context) error {
	shown := terminal.NewProgress(o.ErrOut)
	defer shown.Close()
	err := localfleet.Down(ctx, o.dir, o.keep, func(e localfleet.Event) { shown.Update(e.Cluster, e.Text, e.Done) })
	shown.Close()
	text := "The fleet is stopped and its state deleted."
	switch {
	case errors.Is(err, localfleet.ErrNoFleet):
		text = fmt.Sprintf("There is no fleet in %s.", o.dir)
	case err != nil:
		return err
	case o.keep:
		text = fmt.Sprintf("The fleet is stopped. Its state is kept in %s.", o.dir)
	}
	_, err = fmt.Fprintln(o.Out, text)
	return err
}
