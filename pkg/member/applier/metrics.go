package applier

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/metrics"
)

// Values of labels for an absent condition, and for the presence of the details of a comparison.
const (
	skipped  = "Skipped"
	found    = "Found"
	notFound = "NotFound"
)

// outcomes are the labels that both counters have.
func outcomes(of string) []metrics.Label {
	label := func(name, condition string) metrics.Label {
		return metrics.Label{Name: name, Values: "the reason of the " + of + "'s condition `" + condition + "`; `" + skipped + "` if it has none"}
	}
	return []metrics.Label{
		label("apply_status", v1beta1.ConditionApplied), label("availability_status", v1beta1.ConditionAvailable),
		label("diff_reporting_status", v1beta1.ConditionDiffReported),
	}
}

var (
	workPasses = metrics.Counter(metrics.Definition{
		Name: "fleet_work_processing_requests_total", Help: "Passes over Works that led to a status. An event on the hub or on the member causes one pass, a failure causes more.",
		Labels: outcomes("Work"), Agents: []metrics.Agent{metrics.Member},
	})
	manifestPasses = metrics.Counter(metrics.Definition{
		Name: "fleet_manifest_processing_requests_total", Help: "Manifests processed in passes over Works.",
		Labels: append(outcomes("manifest"),
			metrics.Label{Name: "drift_detection_status", Values: "`" + found + "` if the pass reports drift; otherwise `" + notFound + "`"},
			metrics.Label{Name: "diff_detection_status", Values: "`" + found + "` if the pass reports differences; otherwise `" + notFound + "`"}),
		Agents: []metrics.Agent{metrics.Member},
	})
)

// count counts a pass by the resulting status.
func count(status v1beta1.WorkStatus) {
	workPasses.WithLabelValues(reasons(status.Conditions)...).Inc()
	for _, m := range status.ManifestConditions {
		labels := append(reasons(m.Conditions), detection(m.DriftDetails != nil), detection(m.DiffDetails != nil))
		manifestPasses.WithLabelValues(labels...).Inc()
	}
}

func reasons(conditions []metav1.Condition) []string {
	out := make([]string, 0, 5)
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable, v1beta1.ConditionDiffReported} {
		reason := skipped
		if c := meta.FindStatusCondition(conditions, kind); c != nil {
			reason = c.Reason
		}
		out = append(out, reason)
	}
	return out
}

func detection(details bool) string {
	if details {
		return found
	}
	return notFound
}
