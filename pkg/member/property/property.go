// Package property finds out what a member cluster consists of: its properties, and how much its nodes hold and have left. A Provider
// does it; the built-in one watches Nodes and Pods. The joiner reports what comes out to the hub.
package property

import (
	"context"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// Provider finds out about one cluster.
type Provider interface {
	// Start begins to collect and goes on until ctx ends. It fails only if it can never succeed.
	Start(ctx context.Context) error
	// Collect returns what is known, waiting for what is not known yet until ctx ends. An error beside an inventory says what is
	// missing in it.
	Collect(ctx context.Context) (*report.Inventory, error)
	// Changes sends when what decides over scheduling is not what it was: nodes, capacity, allocatable. Several changes may be
	// announced as one.
	Changes() <-chan struct{}
}
