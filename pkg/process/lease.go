package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Identity is a name for this process among those that may lead: the host's, and something no other process has.
func Identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("make a name for the lease's holder: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}

// Lease makes the lock by which one of several processes leads. It has no recorder: that would write an event at each start, and a
// restart must write nothing but the lease itself.
func Lease(cfg *rest.Config, namespace, name, identity string, renewDeadline time.Duration) (resourcelock.Interface, error) {
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("set up lease %s/%s: %w", namespace, name, err)
	}
	return lock, nil
}

// AnotherLeads returns true as soon as another process is seen to lead: its name on the lease is not enough, it must renew it. It
// returns false when the process of lock leads, or when ctx ends.
func AnotherLeads(ctx context.Context, lock resourcelock.Interface, every time.Duration) bool {
	var seen *resourcelock.LeaderElectionRecord
	for {
		record, _, err := lock.Get(ctx)
		switch {
		case err != nil: // no lease yet, or no answer
		case record.HolderIdentity == lock.Identity():
			return false
		case seen != nil && record.HolderIdentity == seen.HolderIdentity && !record.RenewTime.Equal(&seen.RenewTime):
			return true
		default:
			seen = record
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return false
		}
	}
}
