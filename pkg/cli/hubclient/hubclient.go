// Package hubclient is how the commands of kubectl fleet reach the hub: the flags that name it, and the one
// connection.
package hubclient

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
)

// Flags name the hub: those of kubectl, but for the namespace, which the commands give a meaning of their own, and
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

// Connect opens the hub as the user. kind is one that the command works with: a cluster that does not serve it is no
// hub.
func (f Flags) Connect(kind client.Object) (client.WithWatch, error) {
	config, err := f.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w; name its kubeconfig context with --context", err)
	}
	// The server shares itself out fairly; a limit of our own would make a drain of many placements slow.
	config.QPS = -1
	hub, err := client.NewWithWatch(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	gvk, err := hub.GroupVersionKindFor(kind)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	// The client looks the kind up for its first request anyway, and keeps the answer. Any other error than this is
	// left to that request, whose error names the object that it was about.
	if _, err := hub.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("this cluster is no hub: it does not know the kind %s; choose the hub with --context", gvk.Kind)
	}
	return hub, nil
}
