// Command hubagent runs beside the hub's API server: it turns placements into snapshots, bindings and Works, and what members report
// back into one status.
package main

import (
	"flag"
	"fmt"
	"os"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/hub"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/version"
)

func main() {
	var options hub.Options
	options.AddFlags(flag.CommandLine)
	klog.InitFlags(flag.CommandLine)
	showVersion := flag.Bool("version", false, "print the version and exit")
	flag.Usage = usage
	flag.Parse()
	if *showVersion {
		fmt.Println(version.Version)
		return
	}
	ctrl.SetLogger(klog.NewKlogr())
	capped, err := process.CapVerbosity(flag.CommandLine)
	if err != nil {
		fmt.Fprintf(os.Stderr, "hubagent: %v\n", err)
		os.Exit(1)
	}
	if capped {
		klog.InfoS("Lowered the verbosity to 7: above it, the log shows the contents of Secrets")
	}

	if err := options.Validate(); err != nil {
		fmt.Fprintf(os.Stderr, "hubagent: %v\n", err)
		os.Exit(1)
	}
	if err := hub.Run(ctrl.SetupSignalHandler(), options); err != nil {
		klog.ErrorS(err, "the hub agent ends")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `hubagent turns the placements of a hub cluster into Works for its members.

It reaches the hub through --kubeconfig, $KUBECONFIG, or its own ServiceAccount inside the hub, in this order, and waits for the
Flagship CRDs if they are not installed yet. curl the probe address under /readyz to see what it waits for.

Flags:
`)
	flag.PrintDefaults()
}
