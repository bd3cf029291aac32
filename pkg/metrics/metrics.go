// Package metrics registers the metrics of the agents and lists them. Each metric is defined by the package that
// measures it, with the documentation for docs/metrics.md.
package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Agent is a process that serves metrics.
type Agent string

// The agents, with their names in the docs.
const (
	Hub    Agent = "hub agent"
	Member Agent = "member agent"
)

// Definition is one metric.
type Definition struct {
	// Name is the name in Prometheus. Names that KubeFleet dashboards use are kept; new names start with fleet_ and
	// end with their unit, and those of counters with _total.
	Name string
	// Help describes what is counted or measured, and in which unit, in one sentence.
	Help string
	// Labels are in the order in which values are given.
	Labels []Label
	// Buckets are the upper bounds of a histogram; empty for other metrics.
	Buckets []float64
	// Agents are the agents that serve the metric.
	Agents []Agent

	kind string
}

// Label is a dimension of a metric.
type Label struct {
	Name string
	// Values describes the possible values, in Markdown.
	Values string
}

// Kind is gauge, counter or histogram.
func (d Definition) Kind() string { return d.kind }

var all []Definition

// Gauge registers a gauge. It panics if the name is already registered, as do Counter and Histogram: packages call
// them when a process starts.
func Gauge(d Definition) *prometheus.GaugeVec {
	return register(d, "gauge", prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.names()))
}

// Counter registers a counter.
func Counter(d Definition) *prometheus.CounterVec {
	return register(d, "counter", prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.names()))
}

// Histogram registers a histogram.
func Histogram(d Definition) *prometheus.HistogramVec {
	opts := prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets}
	return register(d, "histogram", prometheus.NewHistogramVec(opts, d.names()))
}

// All returns the metrics that the packages of this process define, sorted by name.
func All() []Definition {
	return slices.SortedFunc(slices.Values(all), func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
}

func register[C prometheus.Collector](d Definition, kind string, c C) C {
	metrics.Registry.MustRegister(c)
	d.kind = kind
	all = append(all, d)
	return c
}

func (d Definition) names() []string {
	out := make([]string, len(d.Labels))
	for i, l := range d.Labels {
		out[i] = l.Name
	}
	return out
}
