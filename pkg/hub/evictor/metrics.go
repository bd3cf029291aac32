package evictor

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/evict"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

var complete = metrics.Gauge(metrics.Definition{
	Name: "fleet_workload_eviction_complete",
	Help: "Time at which an eviction got its current state, in seconds since 1970. The series ends when the eviction is deleted.",
	Labels: []metrics.Label{
		{Name: "name", Values: "name of the eviction, `namespace/name` for a namespaced one"},
		{Name: "isCompleted", Values: "`true` if the eviction has an outcome; `false` while an error prevents it"},
		{Name: "isValid", Values: "`true` if the eviction is valid, `false` if it is not, `unknown` while it has no outcome"},
	},
	Agents: []metrics.Agent{metrics.Hub},
})

// observe records the state of an eviction. Without an outcome something has kept it from one.
func observe(eviction v1beta1.EvictionObject, outcome *evict.Outcome) {
	name := scope.Name(client.ObjectKeyFromObject(eviction))
	complete.DeletePartialMatch(prometheus.Labels{"name": name})
	if outcome == nil {
		complete.WithLabelValues(name, "false", "unknown").SetToCurrentTime()
		return
	}
	complete.WithLabelValues(name, "true", strconv.FormatBool(outcome.Valid)).SetToCurrentTime()
}
