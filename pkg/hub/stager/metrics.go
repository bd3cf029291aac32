package stager

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

var (
	lastTimestamp = metrics.Gauge(metrics.Definition{
		Name: "fleet_workload_update_run_status_last_timestamp_seconds",
		Help: "When an update run was last seen in a state, in seconds since 1970. The series end with the run.",
		Labels: []metrics.Label{
			{Name: "namespace", Values: "of the run; empty for a ClusterStagedUpdateRun"}, {Name: "name", Values: "of the run"},
			{Name: "state", Values: "`spec.state` of the run: `Initialize`, `Run` or `Stop`"},
			{Name: "condition", Values: "the first of `Succeeded`, `Progressing` and `Initialized` that is there for the run's generation"},
			{Name: "status", Values: "of that condition"}, {Name: "reason", Values: "of that condition"},
			{Name: "failureType", Values: "`user_error`, `internal_error` (a run that is stuck, too) or `none`"},
		},
		Agents: []metrics.Agent{metrics.Hub},
	})
	approvalLatency = metrics.Histogram(metrics.Definition{
		Name: "fleet_workload_update_run_approval_request_latency_seconds",
		Help: "From the creation of an approval request until the run went on with it, in seconds.",
		Labels: []metrics.Label{
			{Name: "namespace", Values: "of the run"}, {Name: "name", Values: "of the run"}, {Name: "taskType", Values: "`beforeStage` or `afterStage`"},
		},
		Buckets: []float64{60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400},
		Agents:  []metrics.Agent{metrics.Hub},
	})
	stageDuration = metrics.Histogram(metrics.Definition{
		Name:    "fleet_workload_update_run_stage_cluster_updating_duration_seconds",
		Help:    "From the start of a stage until all its clusters were updated, in seconds, without its tasks before and after.",
		Labels:  []metrics.Label{{Name: "namespace", Values: "of the run"}, {Name: "name", Values: "of the run"}},
		Buckets: []float64{15, 30, 60, 120, 300, 600, 1800, 3600},
		Agents:  []metrics.Agent{metrics.Hub},
	})
)

// seenAs records the furthest condition that a run has at its current generation.
func seenAs(run v1beta1.UpdateRunObject, now time.Time) {
	for _, kind := range []string{v1beta1.ConditionSucceeded, v1beta1.ConditionProgressing, v1beta1.ConditionInitialized} {
		c := meta.FindStatusCondition(*run.GetConditions(), kind)
		if c == nil || c.ObservedGeneration != run.GetGeneration() {
			continue
		}
		lastTimestamp.WithLabelValues(run.GetNamespace(), run.GetName(), string(run.GetSpec().State), kind, string(c.Status), c.Reason, failureOf(c)).
			Set(float64(now.UnixMilli()) / 1000)
		return
	}
}

func failureOf(c *metav1.Condition) string {
	switch {
	case c.Reason == v1beta1.ReasonUpdateRunStuck:
		return "internal_error"
	case c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonUpdateRunFailed && c.Reason != v1beta1.ReasonUpdateRunInitializedFailed:
		return "none"
	case strings.Contains(c.Message, stage.UserError):
		return "user_error"
	default:
		return "internal_error"
	}
}

// moved records what has ended between two states of a run.
func moved(key types.NamespacedName, was v1beta1.UpdateRunStatus, before, after stage.Progress, now time.Time) {
	for i := range after.Stages {
		old, is := before.Stages[i], after.Stages[i]
		if updated(is) && !updated(old) && len(is.Clusters) > 0 && !is.Start.IsZero() {
			stageDuration.WithLabelValues(key.Namespace, key.Name).Observe(now.Sub(is.Start).Seconds())
		}
		approvals(key, contract.TaskBeforeStage, was.StagesStatus[i].BeforeStageTaskStatus, old.Before, is.Before, now)
		approvals(key, contract.TaskAfterStage, was.StagesStatus[i].AfterStageTaskStatus, old.After, is.After, now)
	}
}

// updated returns whether all clusters of a stage are done, or have failed within its budget.
func updated(s stage.Stage) bool {
	if s.Phase == stage.Failed {
		return false
	}
	for _, c := range s.Clusters {
		if c.Phase != stage.Succeeded && c.Phase != stage.Failed {
			return false
		}
	}
	return true
}

func approvals(key types.NamespacedName, kind string, was []v1beta1.StageTaskStatus, before, after []stage.Task, now time.Time) {
	for i := range after {
		asked := meta.FindStatusCondition(was[i].Conditions, v1beta1.ConditionApprovalRequestCreated)
		if after[i].Done && !before[i].Done && asked != nil {
			approvalLatency.WithLabelValues(key.Namespace, key.Name, kind).Observe(now.Sub(asked.LastTransitionTime.Time).Seconds())
		}
	}
}

// forget deletes all series of a run.
func forget(key types.NamespacedName) {
	of := prometheus.Labels{"namespace": key.Namespace, "name": key.Name}
	for _, vec := range []interface{ DeletePartialMatch(prometheus.Labels) int }{lastTimestamp, approvalLatency, stageDuration} {
		vec.DeletePartialMatch(of)
	}
}
