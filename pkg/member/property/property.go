// Package property finds out what a member cluster consists of: its properties, how much its nodes hold and have left, and which
// namespaces it has. A Provider does it, by watching Nodes, Pods and the metadata of Namespaces, of which little is kept. The joiner
// reports what comes out to the hub.
package property

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// Provider finds out about one cluster.
type Provider interface {
	// Start begins to collect and goes on until ctx ends. It fails only if it can never succeed.
	Start(ctx context.Context) error
	// Collect returns what is known, waiting for what is not known yet until ctx ends. An error beside an inventory says what is
	// missing in it.
	Collect(ctx context.Context) (*report.Inventory, error)
	// Changes sends when what decides over scheduling is not what it was: nodes, capacity, allocatable, namespaces. Several changes
	// may be announced as one.
	Changes() <-chan struct{}
}

// ProviderAzure is the name of the provider that reports node sizes, costs, the Kubernetes version and the certificate authority too.
const ProviderAzure = "azure"

// Options choose a provider and what it reports.
type Options struct {
	// Provider is ProviderAzure; any other name is the built-in report: the number of nodes, cpu and memory.
	Provider string
	// Namespaces adds the cluster's namespaces to either report.
	Namespaces bool

	// Available is whether the azure provider watches pods, to tell what is left on the nodes.
	Available bool
	// Costs is whether it works out what a core and a GB cost. Prices come from PriceFile, or the example that is built in; Region is
	// where the nodes are, found out from a node's label if it is empty.
	Costs             bool
	PriceFile, Region string
}

// New makes the provider that options ask for, for the cluster of cfg.
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
