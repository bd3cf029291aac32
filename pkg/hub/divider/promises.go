package divider

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/capacity"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// promises are the requests of replicas that clusters got, and whose pods their reports may not contain yet. Otherwise
// several placements would get the same free resources. A start forgets them, and the next reports contain them.
type promises struct {
	mu        sync.Mutex
	byCluster map[string][]promise
}

type promise struct {
	at       time.Time
	requests corev1.ResourceList
}

func (p *promises) add(cluster string, requests corev1.ResourceList, now time.Time) {
	if len(requests) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byCluster == nil {
		p.byCluster = map[string][]promise{}
	}
	p.byCluster[cluster] = append(p.byCluster[cluster], promise{now, requests})
}

// on returns what is promised on a cluster. A report that arrives a period later contains the pods.
func (p *promises) on(cluster *clusterv1beta1.MemberCluster) corev1.ResourceList {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := liveness.LastHeard(cluster).Add(-liveness.Period(cluster))
	left := slices.DeleteFunc(p.byCluster[cluster.Name], func(p promise) bool { return p.at.Before(seen) })
	if len(left) == 0 {
		delete(p.byCluster, cluster.Name)
		return nil
	}
	p.byCluster[cluster.Name] = left
	out := corev1.ResourceList{}
	for _, p := range left {
		capacity.Add(out, p.requests)
	}
	return out
}
