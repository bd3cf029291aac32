package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
)

// hubFlags are the flags by which a command finds the hub: those of kubectl, but for the namespace, which the commands give a meaning of
// their own, and --hub-cluster-context, which scripts for this plugin use.
type hubFlags struct{ *genericclioptions.ConfigFlags }

func newHubFlags() hubFlags {
	config := genericclioptions.NewConfigFlags(false)
	config.Namespace, config.ClusterName, config.CacheDir, config.Timeout = nil, nil, nil, nil
	return hubFlags{config}
}

func (h hubFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(h.Context, "hub-cluster-context", "", "the same as --context: the kubeconfig context of the hub")
	h.AddFlags(flags)
}

// connect opens the hub as the user.
func (h hubFlags) connect() (client.WithWatch, error) {
	config, err := h.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w; name its kubeconfig context with --context", err)
	}
	// The server shares itself out fairly; a limit of our own would make a drain of many placements slow.
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	return c, nil
}
