package walls

import (
	"context"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld/suite"
)

// local is the fleet under attack. One is started for the whole suite.
var local *localfleet.Fleet

func TestMain(m *testing.M) {
	suite.Main(m, "walls", config(), func(ctx context.Context, fleet *localfleet.Fleet) error {
		local = fleet
		return connect(ctx)
	})
}

// config describes a hub and two members as the charts make them: no value of the charts is changed that grants or
// refuses anything.
func config() localfleet.Config {
	return localfleet.Config{
		Hub: localfleet.Hub{Cluster: localfleet.Cluster{Name: "hub", Agent: localfleet.Agent{Flags: map[string]string{
			"resource-snapshot-creation-minimum-interval": "0s",
			"resource-changes-collection-duration":        "0s",
			"force-delete-wait-time":                      "30s",
		}}}},
		Members: []localfleet.Member{
			{Cluster: localfleet.Cluster{Name: "rg-m1"}},
			{Cluster: localfleet.Cluster{Name: "rg-m2"}},
		},
	}
}

// connect makes the clients of all who act on the fleet, and the tenant.
func connect(ctx context.Context) error {
	var err error
	if theHub, err = administrator(local.Hub()); err != nil {
		return err
	}
	if hubAgent, err = agentOf(local.Hub()); err != nil {
		return err
	}
	var group errgroup.Group
	for i, name := range local.Members() {
		group.Go(func() (err error) {
			members[i], err = newMember(ctx, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m1, m2 = members[0], members[1]
	theTenant, err = newTenant(ctx, "rg-tenant")
	return err
}
