// Package property collects the facts about a member cluster: its properties, the capacity and the available resources
// of its nodes, and its namespaces. A Provider does so by watching Nodes, Pods and the metadata of Namespaces, of
// which it keeps little. The joiner reports the result to the hub.
package property

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// Provider collects the facts about one cluster.
type Provider interface {
	// Start collects until ctx ends. It fails only if retrying cannot help.
	Start(ctx context.Context) error
	// Collect returns the facts, and waits until ctx ends for those that are not known yet. An error beside an
	// inventory names what is missing in it.
	Collect(ctx context.Context) (*report.Inventory, error)
	// Changes sends when the facts that scheduling depends on change: nodes, capacity, allocatable, namespaces. One
	// value may stand for several changes.
	Changes() <-chan struct{}
}

// ProviderAzure is the name of the provider that also reports node sizes, costs, the Kubernetes version and the
// certificate authority.
const ProviderAzure = "azure"

// Options select a provider and its report.
type Options struct {
	// Provider is ProviderAzure; any other name is the built-in report: the number of nodes, cpu and memory.
	Provider string
	// Namespaces adds the cluster's namespaces to either report.
	Namespaces bool

	// Available is whether the azure provider watches pods, to report the available resources of the nodes.
	Available bool
	// Costs is whether it reports the cost of a core and of a GB. Prices come from PriceFile, or from the built-in
	// example; Region is the region of the nodes, read from a node's label if it is empty.
	Costs             bool
	PriceFile, Region string
}

// New returns the provider that options select, for the cluster of cfg.
func New(cfg *rest.Config, options Options) (Provider, error) {
	if options.Provider != ProviderAzure {
		options.Available = true
		return watch(cfg, options)
	}
	w, err := watch(cfg, options)
	if err != nil {
		return nil, err
	}
	var prices priceSource
	if options.Costs {
		if prices, err = pricesOf(options.PriceFile); err != nil {
			return nil, fmt.Errorf("read prices: %w", err)
		}
	}
	a, err := newAzure(cfg, w, prices, options.Region)
	if err != nil {
		return nil, err
	}
	return bound(a), nil
}
