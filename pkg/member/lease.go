package member

import (
	"context"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/flagship-fleet/flagship/pkg/loop"
)

// leaseName is the lock of the member agent's leader; it is the same in every release that may run side by side during an upgrade.
const leaseName = "136224848560.member.fleet.azure.com"

// candidate is this process among those that may lead.
type candidate struct {
	cfg      *rest.Config
	options  *Options
	identity string
}

func newCandidate(cfg *rest.Config, o *Options) (*candidate, error) {
	identity, err := loop.Identity()
	if err != nil {
		return nil, err
	}
	return &candidate{cfg: cfg, options: o, identity: identity}, nil
}

// lock makes a view on the lease.
func (c *candidate) lock() (resourcelock.Interface, error) {
	return loop.Lease(c.cfg, c.options.LeaderNamespace, leaseName, c.identity, c.options.RenewDeadline)
}

// awaitLeader returns true in the moment another process is seen to lead: its name on the lease is not enough, it must renew it. It
// returns false when this process leads, or when ctx ends.
func (c *candidate) awaitLeader(ctx context.Context) (bool, error) {
	lock, err := c.lock() // locks are not for two goroutines
	if err != nil {
		return false, err
	}
	var seen *resourcelock.LeaderElectionRecord
	for {
		record, _, err := lock.Get(ctx)
		switch {
		case err != nil: // no lease yet, or no answer
		case record.HolderIdentity == c.identity:
			return false, nil
		case seen != nil && record.HolderIdentity == seen.HolderIdentity && !record.RenewTime.Equal(&seen.RenewTime):
			return true, nil
		default:
			seen = record
		}
		select {
		case <-time.After(c.options.RetryWait):
		case <-ctx.Done():
			return false, nil
		}
	}
}
