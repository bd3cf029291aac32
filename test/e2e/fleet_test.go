// Package e2e holds the acceptance scenarios: what a user of a fleet can see, on real API servers with real agents. It
// knows its clusters only as contexts of a kubeconfig, so that it runs on an embedded fleet (the default, started
// here) and on any other:
//
//	FLEET_KUBECONFIG=~/.kube/config FLEET_HUB=kind-hub FLEET_MEMBERS=kind-c1,kind-c2,kind-c3 go test ./test/e2e/...
//
// The three members must be registered under their context names with the labels that config gives them here, in
// this order, have as many nodes, and report their namespaces; the hub's agent must run with enable-workload and
// without delays for snapshots.
package e2e

import (
	"fmt"
	"os"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
)

// cluster is one cluster of the fleet, as its administrator.
type cluster struct {
	name   string
	config *rest.Config
	client.WithWatch
}

// The fleet under test. Members are in the order of their names: c1 < c2 < c3.
var (
	theHub     cluster
	c1, c2, c3 cluster
	// kubeconfigFile describes it.
	kubeconfigFile string
)

func members() []cluster { return []cluster{c1, c2, c3} }

// connect opens the fleet that a kubeconfig describes.
func connect(kubeconfig, hubName string, memberNames []string) error {
	if len(memberNames) != 3 {
		return fmt.Errorf("the scenarios need three members, not %v", memberNames)
	}
	kubeconfigFile = kubeconfig
	for _, at := range []struct {
		cluster *cluster
		name    string
	}{{&theHub, hubName}, {&c1, memberNames[0]}, {&c2, memberNames[1]}, {&c3, memberNames[2]}} {
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig},
			&clientcmd.ConfigOverrides{CurrentContext: at.name}).ClientConfig()
		if err != nil {
			return fmt.Errorf("context %s of %s: %w", at.name, kubeconfig, err)
		}
		cfg.QPS = -1
		cfg.WarningHandler = rest.NoWarnings{}
		scheme := apis.Scheme()
		if err := apiextensionsv1.AddToScheme(scheme); err != nil {
			return err
		}
		c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("connect to %s: %w", at.name, err)
		}
		*at.cluster = cluster{name: at.name, config: cfg, WithWatch: c}
	}
	return nil
}

// fromEnvironment says which fleet the environment names; ok is false if it names none.
func fromEnvironment() (kubeconfig, hubName string, memberNames []string, ok bool) {
	kubeconfig, ok = os.LookupEnv("FLEET_KUBECONFIG")
	hubName = os.Getenv("FLEET_HUB")
	if hubName == "" {
		hubName = "hub"
	}
	memberNames = []string{"c1", "c2", "c3"}
	if names := os.Getenv("FLEET_MEMBERS"); names != "" {
		memberNames = strings.Split(names, ",")
	}
	return kubeconfig, hubName, memberNames, ok
}
