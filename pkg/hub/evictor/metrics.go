package evictor

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/evict"
	"github.com/flagship-fleet/flagship/pkg/metrics"
)

var complete = metrics.Gauge(metrics.Definition{
	Name: "fleet_workload_eviction_complete",
	Help: "When an eviction got its present state, in seconds since 1970. The series ends with the eviction.",
	Labels: []metrics.Label{
		{Name: "name", Values: "of the eviction, `namespace/name` for a namespaced one"},
		{Name: "isCompleted", Values: "`true` when it has its outcome; `false` while an error keeps it from one"},
		{Name: "isValid", Values: "whether it could be judged: `true`, `false`, or `unknown` while it has no outcome"},
	},
	Agents: []metrics.Agent{metrics.Hub},
})

// observe records the state of an eviction. Without a outcome something has kept it from one.
func observe(eviction v1beta1.EvictionObject, outcome *evict.Outcome) {
	name := nameOf(eviction)
	complete.DeletePartialMatch(prometheus.Labels{"name": name})
	if outcome == nil {
		complete.WithLabelValues(name, "false", "unknown").SetToCurrentTime()
		return
	}
	complete.WithLabelValues(name, "true", strconv.FormatBool(outcome.Valid)).SetToCurrentTime()
}
