package admission

import (
	"context"
	"maps"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld/suite"
)

// local is a hub without members. One is started for the whole suite.
var local *localfleet.Fleet

func TestMain(m *testing.M) {
	config := localfleet.Config{
		Hub:     localfleet.Hub{Cluster: localfleet.Cluster{Name: "hub", Agent: hubAgent(nil)}},
		Members: []localfleet.Member{},
	}
	suite.Main(m, "admission", config, func(ctx context.Context, fleet *localfleet.Fleet) error {
		local = fleet
		return connect(ctx)
	})
}

// hubAgent is the hub's agent, with the chart's values changed by values: all webhooks are on. The policy on what the
// agent writes is off, because it answers before the guard rail.
func hubAgent(values map[string]any) localfleet.Agent {
	all := map[string]any{
		"enableWebhook": true, "enableGuardRail": true, "denyWorkloads": true, "enablePDBs": false, "admissionPolicies": map[string]any{"internals": false},
	}
	maps.Copy(all, values)
	return localfleet.Agent{Values: all}
}
