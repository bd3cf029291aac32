package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

func newDown(streams genericiooptions.IOStreams) *cobra.Command {
	var dir string
	var keep bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the fleet on this machine",
		Long: `Stop the fleet that "kubectl fleet up" started on this machine: its agents, then its clusters. Its state is deleted with it,
unless it is to be kept for the next "up".`,
		Example: `  # Stop the fleet and forget it
  kubectl fleet down

  # Stop the fleet and go on later
  kubectl fleet down --keep
  kubectl fleet up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shown := terminal.NewProgress(streams.ErrOut)
			defer shown.Close()
			err := localfleet.Down(cmd.Context(), dir, keep, func(e localfleet.Event) { shown.Say(e.Cluster, e.Text, e.Done) })
			shown.Close()
			said := "The fleet is stopped and its state deleted."
			switch {
			case errors.Is(err, localfleet.ErrNoFleet):
				said = fmt.Sprintf("There is no fleet in %s.", dir)
			case err != nil:
				return err
			case keep:
				said = fmt.Sprintf("The fleet is stopped. Its state is kept in %s.", dir)
			}
			_, err = fmt.Fprintln(streams.Out, said)
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".fleet", "folder of the fleet's state")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the state, so that the next up goes on with it")
	return cmd
}
