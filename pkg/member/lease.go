package member

import (
	"context"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/flagship-fleet/flagship/pkg/process"
)

// leaseName is the lock of the member agent's leader; it is the same in every release that may run side by side during an upgrade.
const leaseName = "136224848560.member.fleet.azure.com"

// candidate is this process among those that may lead.
type candidate struct {
	cfg      *rest.Config
	options  *Options
	identity string
	// lead is nil if there is no election.
	lead *process.Lead
}

func newCandidate(cfg *rest.Config, o *Options) (*candidate, error) {
	identity, err := process.Identity()
	if err != nil {
		return nil, err
	}
	return &candidate{cfg: cfg, options: o, identity: identity}, nil
}

// lock makes a view on the lease.
func (c *candidate) lock() (resourcelock.Interface, error) {
	return process.Lease(c.cfg, c.options.LeaderNamespace, leaseName, c.identity, c.options.RenewDeadline)
}

// guarded is cfg for what only a leader does: with it, who does not lead writes nothing.
func (c *candidate) guarded(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	if c.lead != nil {
		cfg.Wrap(c.lead.Guard)
	}
	return cfg
}

// awaitLeader returns true in the moment another process is seen to lead, and false when this one leads, or when ctx ends.
func (c *candidate) awaitLeader(ctx context.Context) (bool, error) {
	lock, err := c.lock() // locks are not for two goroutines
	if err != nil {
		return false, err
	}
	return process.AnotherLeads(ctx, lock, c.options.RetryWait), nil
}
