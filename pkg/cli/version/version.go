// Package version is "kubectl fleet version".
package version

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/version"
)

// Options are those of "kubectl fleet version".
type Options struct{ genericiooptions.IOStreams }

// NewCommand returns "kubectl fleet version".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  cobra.NoArgs,
		RunE:  verb.Run(&Options{streams}),
	}
}

// Complete does nothing: there are no arguments.
func (o *Options) Complete([]string) error { return nil }

// Validate does nothing: there are no flags.
func (o *Options) Validate() error { return nil }

// Run prints the version.
func (o *Options) Run(context.Context) error {
	_, err := fmt.Fprintln(o.Out, version.Version)
	return err
}
