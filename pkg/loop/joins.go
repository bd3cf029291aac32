package loop

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// resultSuccess is the one value of the counters' label: what is not a success yet is tried again and counted when it is one.
const resultSuccess = "success"

var (
	joins  = counter("join_result_counter", "Clusters that have joined the fleet, by result.")
	leaves = counter("leave_result_counter", "Clusters that have left the fleet, by result.")
)

func counter(name, help string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
	metrics.Registry.MustRegister(c)
	return c
}

// CountJoin counts that a cluster has joined, as seen by this process: the hub's agent or the member's.
func CountJoin() { joins.WithLabelValues(resultSuccess).Inc() }

// CountLeave counts that a cluster has left.
func CountLeave() { leaves.WithLabelValues(resultSuccess).Inc() }
