// Command memberagent runs in each member cluster: it joins the fleet, applies the cluster's Works from the hub, and
// reports the outcome.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/member"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/version"
)

// garbage is how much of it, in percent of the heap in use, may accumulate before a collection. The agent is a guest:
// its heap is small and mostly idle, so that collecting twice as often as Go's default costs almost nothing, and a
// restart, which lists everything at once, has a lower peak.
const garbage = 50

func main() {
	var options member.Options
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
		fmt.Fprintf(os.Stderr, "memberagent: %v\n", err)
		os.Exit(1)
	}
	if capped {
		klog.InfoS("Lowered the verbosity to 7: above it, the log shows the contents of Secrets")
	}
	if _, chosen := os.LookupEnv("GOGC"); !chosen {
		debug.SetGCPercent(garbage)
	}

	if err := errors.Join(options.Validate(), options.ReadEnvironment(os.LookupEnv)); err != nil {
		fmt.Fprintf(os.Stderr, "memberagent: %v\n", err)
		os.Exit(1)
	}
	if err := member.Run(ctrl.SetupSignalHandler(), options); err != nil {
		klog.ErrorS(err, "Member agent failed")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `memberagent makes a cluster a member of the fleet of a hub.

It connects to its own cluster with --kubeconfig, $KUBECONFIG, or its own ServiceAccount inside the cluster, in this order. The
connection to the hub is configured in the environment:

  HUB_SERVER_URL             URL of the hub's API server
  MEMBER_CLUSTER_NAME        name of this cluster's MemberCluster on the hub
  HUB_TOKEN_SECRET           <namespace>/<name> of a Secret in this cluster whose key "token" holds a token for the hub, or
  CONFIG_PATH                a file that holds it; or, with --use-ca-auth,
  IDENTITY_CERT, IDENTITY_KEY  PEM files with a client certificate and its key
  HUB_CERTIFICATE_AUTHORITY  certificate authority of the hub: PEM, encoded as base64, or
  CA_BUNDLE                  a PEM file; with neither, the system's certificates
  HUB_KUBE_HEADER            further headers of every request to the hub, lines like "Name: value"
  GOGC, GOMEMLIMIT           Go's own memory settings; the agent's default for GOGC is 50

It can be started before the hub, its access there, or its own CRD exist, and waits for them. /readyz at a probe address lists what it
waits for.

Flags:
`)
	flag.PrintDefaults()
}
