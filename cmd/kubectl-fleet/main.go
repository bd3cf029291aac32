// Command kubectl-fleet is the plugin for "kubectl fleet": it starts and stops fleets of embedded clusters on the
// user's machine, and shows and controls rollouts and members of a fleet.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/cli"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := run(streams); err != nil {
		fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(streams genericiooptions.IOStreams) error {
	ctrl.SetLogger(logr.Discard()) // without a logger the library prints a stack trace after half a minute
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.NewCommand(streams).ExecuteContext(ctx)
}
