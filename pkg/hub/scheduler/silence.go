package scheduler

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/schedule"
)

// awaitSilence enqueues the placements for which it matters that the cluster falls silent, when it does. That may be
// long after ctx, the context of one event, has ended.
func (s *Scheduler) awaitSilence(ctx context.Context, cluster *clusterv1beta1.MemberCluster, q queue) {
	name, after := cluster.Name, liveness.UntilSilent(cluster, s.Now())
	if after == 0 || !cluster.DeletionTimestamp.IsZero() {
		s.silences.stop(name)
		return
	}
	ctx = context.WithoutCancel(ctx)
	s.silences.set(name, after, func() {
		var is clusterv1beta1.MemberCluster
		err := s.Client.Get(ctx, types.NamespacedName{Name: name}, &is, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to get a MemberCluster that may be silent", "cluster", name)
		}
		if err != nil {
			return
		}
		now := s.Now()
		if liveness.Of(&is, now) == liveness.Silent {
			s.enqueue(ctx, name, schedule.ClusterSilence(&is, now), q)
			return
		}
		s.awaitSilence(ctx, &is, q) // the clock was set back, or the event of a heartbeat is still to come
	})
}

// silences are timers by cluster. Each runs until its cluster falls silent, and starts again with every heartbeat.
type silences struct {
	mu     sync.Mutex
	ended  bool
	timers map[string]*time.Timer
}

func (s *silences) set(cluster string, after time.Duration, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if timer, ok := s.timers[cluster]; ok {
		timer.Stop()
	}
	if s.ended {
		return
	}
	if s.timers == nil {
		s.timers = map[string]*time.Timer{}
	}
	s.timers[cluster] = time.AfterFunc(after, do)
}

func (s *silences) stop(cluster string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if timer, ok := s.timers[cluster]; ok {
		timer.Stop()
		delete(s.timers, cluster)
	}
}

// Start ends the timers with the manager.
func (s *silences) Start(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, timer := range s.timers {
		timer.Stop()
	}
	return nil
}
