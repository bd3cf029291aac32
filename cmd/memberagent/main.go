// Command memberagent runs in each member cluster: it joins the fleet, applies the Works that the hub has for the cluster, and reports
// back what became of them.
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

// garbage is how much of it, in percent of what is in use, may gather before it is collected. The agent is a guest: its heap is small and
// mostly at rest, so that collecting twice as often as Go does by default costs next to nothing, and a restart, which lists everything at
// once, peaks lower.
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
		klog.ErrorS(err, "the member agent ends")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `memberagent makes a cluster a member of the fleet of a hub.

It reaches its own cluster through --kubeconfig, $KUBECONFIG, or its own ServiceAccount inside the cluster, in this order. How it
reaches the hub is said in the environment:

  HUB_SERVER_URL             URL of the hub's API server
  MEMBER_CLUSTER_NAME        name of this cluster's MemberCluster on the hub
  HUB_TOKEN_SECRET           <namespace>/<name> of a Secret in this cluster whose key "token" holds a token for the hub, or
  CONFIG_PATH                a file that holds it; or, with --use-ca-auth,
  IDENTITY_CERT, IDENTITY_KEY  PEM files with a client certificate and its key
  HUB_CERTIFICATE_AUTHORITY  what the hub's certificate is checked against: PEM, encoded as base64, or
  CA_BUNDLE                  a PEM file; with neither, the system's certificates
  HUB_KUBE_HEADER            further headers of every request to the hub, lines like "Name: value"
  GOGC, GOMEMLIMIT           Go's own settings of memory; GOGC is 50 by default here

It may be started before the hub, its access there, or its own CRD exist, and waits for them. curl a probe address under /readyz to see
what it waits for.

Flags:
`)
	flag.PrintDefaults()
}
