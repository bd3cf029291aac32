// Command embedded-cluster is a whole Kubernetes cluster in one process: etcd, API server, controller manager,
// scheduler and simulated nodes. It is for trying, testing and CI; nothing runs in its pods.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flagship-fleet/flagship/embedded/internal/config"
	"github.com/flagship-fleet/flagship/embedded/internal/controlplane"
	"github.com/flagship-fleet/flagship/embedded/internal/logs"
	"github.com/flagship-fleet/flagship/embedded/internal/run"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "embedded-cluster: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "embedded-cluster",
		Short:         "A whole Kubernetes cluster in one process, with simulated nodes",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the version of Kubernetes",
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), controlplane.KubernetesVersion) },
	})
	return root
}

func runCommand() *cobra.Command {
	var configFile string
	var options run.Options
	cmd := &cobra.Command{
		Use:   "run --config FILE --kubeconfig OUT [--data-dir DIR]",
		Short: "Run a cluster until it is told to stop",
		Long: `Runs a cluster in the foreground until Ctrl-C or SIGTERM, and leaves nothing behind.

The kubeconfig appears when the cluster can be used, so its existence is the signal that it is ready.
Without --data-dir everything is thrown away at the end; with it, the state is kept there and the next
start of the same folder goes on at the same address.`,
		Example: `  printf 'name: one\nnodes: [{count: 2}]\n' > one.yaml
  embedded-cluster run --config one.yaml --kubeconfig one.kubeconfig &
  kubectl --kubeconfig one.kubeconfig get nodes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if options.Config, err = config.Load(configFile); err != nil {
				return err
			}
			options.Log = logs.Open(cmd.ErrOrStderr(), options.Config.Verbosity)
			return run.Cluster(cmd.Context(), options)
		},
	}
	cmd.Flags().StringVar(&configFile, "config", "", "file that describes the cluster; see embedded/README.md (required)")
	cmd.Flags().StringVar(&options.Kubeconfig, "kubeconfig", "", "file to write when the cluster is ready: an administrator's kubeconfig (required)")
	cmd.Flags().StringVar(&options.DataDir, "data-dir", "", "folder to keep the cluster's state in; by default nothing is kept")
	for _, name := range []string{"config", "kubeconfig"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that is not declared above
		}
	}
	return cmd
}
