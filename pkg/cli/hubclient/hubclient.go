// Package hubclient connects the commands of kubectl fleet to the hub, by flags that name it.
package hubclient

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
)

// Flags name the hub: kubectl's flags without --namespace, which the commands define themselves, and
// --hub-cluster-context, which scripts for this plugin use.
type Flags struct {
	config *genericclioptions.ConfigFlags
}

// NewFlags returns flags that name the current context of the user's kubeconfig.
func NewFlags() Flags {
	config := genericclioptions.NewConfigFlags(false)
	config.Namespace, config.ClusterName, config.CacheDir, config.Timeout = nil, nil, nil, nil
	return Flags{config}
}

// AddTo adds the flags to those of a command.
func (f Flags) AddTo(flags *pflag.FlagSet) {
	flags.StringVar(f.config.Context, "hub-cluster-context", "", "the same as --context: the kubeconfig context of the hub")
	f.config.AddFlags(flags)
}

// Connect returns a client for the hub with the user's identity. kind is a kind that the command works with: a cluster
// that does not serve it is not a hub. It returns an error if the hub does not answer.
func (f Flags) Connect(kind client.Object) (client.WithWatch, error) {
	config, err := f.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w; name its kubeconfig context with --context", err)
	}
	// The API server has priority and fairness; a client-side limit would slow the drain of many placements.
	config.QPS = -1
	hub, err := client.NewWithWatch(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	gvk, err := hub.GroupVersionKindFor(kind)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	// The client discovers the kind for its first request anyway, and caches it.
	_, err = hub.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	switch {
	case meta.IsNoMatchError(err):
		return nil, fmt.Errorf("this cluster is not a hub: it does not serve the kind %s; choose the hub with --context", gvk.Kind)
	case err != nil:
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	return hub, nil
}
