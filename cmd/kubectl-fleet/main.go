// Command kubectl-fleet is the plugin behind "kubectl fleet": it starts and stops fleets of embedded clusters on the user's machine, and
// shows and steers what a fleet does.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/cli/approve"
	"github.com/flagship-fleet/flagship/pkg/cli/drain"
	"github.com/flagship-fleet/flagship/pkg/cli/explain"
	"github.com/flagship-fleet/flagship/pkg/cli/rollout"
	"github.com/flagship-fleet/flagship/pkg/cli/which"
	"github.com/flagship-fleet/flagship/pkg/version"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := run(streams); err != nil {
		fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(streams genericiooptions.IOStreams) error {
	ctrl.SetLogger(logr.Discard()) // or else the library prints a stack trace after half a minute
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return newCommand(streams).ExecuteContext(ctx)
}

func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-fleet",
		Short: "Work with fleets of Kubernetes clusters",
		Long: `kubectl fleet works with a Flagship fleet: one hub cluster that carries objects to many member clusters.

A fleet to learn and test with runs on this machine alone: "kubectl fleet up" starts it in seconds.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl fleet"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newUp(streams), newDown(streams), which.NewCommand(streams), explain.NewCommand(streams), approve.NewCommand(streams),
		drain.NewCommand(streams), drain.NewUncordonCommand(streams), rollout.NewCommand(streams), newVersion(streams))
	return root
}

func newVersion(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(streams.Out, version.Version)
			return err
		},
	}
}

// typed is how the user types this plugin: as part of kubectl if kubectl finds it, else by its path.
func typed() string {
	if _, err := exec.LookPath("kubectl-fleet"); err == nil {
		return "kubectl fleet"
	}
	return os.Args[0]
}

// kubectl is how the user types kubectl: by its path if there is one beside this plugin and none on PATH.
func kubectl() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return "kubectl"
	}
	beside := filepath.Join(filepath.Dir(os.Args[0]), "kubectl")
	if _, err := exec.LookPath(beside); err == nil {
		return beside
	}
	return "kubectl"
}
