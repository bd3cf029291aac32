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

// Identity returns a unique name for this process in leader election: the host name and a UUID.
func Identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("make a holder identity for the lease: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}

// Lease makes the lock for leader election. It has no event recorder: a restart must write only the lease itself.
func Lease(cfg *rest.Config, namespace, name, identity string, renewDeadline time.Duration) (resourcelock.Interface, error) {
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("set up lease %s/%s: %w", namespace, name, err)
	}
	return lock, nil
}

// AnotherLeads returns true as soon as another process is observed to be leader: it must hold the lease and renew it.
// It returns false when the process of lock is leader, or when ctx ends.
func AnotherLeads(ctx context.Context, lock resourcelock.Interface, every time.Duration) bool {
	var seen *resourcelock.LeaderElectionRecord
	for {
		record, _, err := lock.Get(ctx)
		switch {
		case err != nil: // no lease yet, or no response
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
