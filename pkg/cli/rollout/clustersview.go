package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// viewOfClusters shows the revision of each cluster of a placement.
func viewOfClusters(p v1beta1.PlacementObject, bindings []v1beta1.BindingObject) terminal.View {
	at, back := revisions(p.GetName(), bindings), map[string]*metav1.Condition{}
	for _, b := range bindings {
		if b.GetDeletionTimestamp().IsZero() {
			back[b.GetSpec().TargetCluster] = delivery.StatusOf(b).Current(v1beta1.ConditionRolledBack)
		}
	}
	status := p.GetStatus()
	head := terminal.Line{Kind: "rollout", Name: p.GetName(), Total: len(status.PerClusterPlacementStatuses)}
	var clusters []terminal.Line
	for _, c := range status.PerClusterPlacementStatuses {
		progress := report.ProgressOn(p, &c)
		text, finished := progress.Text(), progress.Done()
		if c := back[c.ClusterName]; c != nil {
			text, finished = wayBack(*c), false
		}
		index := at[c.ClusterName]
		l := terminal.Line{Kind: "cluster", Name: cmp.Or(c.ClusterName, "not found yet"), Still: finished && index == status.ObservedResourceIndex}
		l.Text = fmt.Sprintf("revision %s, %s", cmp.Or(index, "none"), text)
		if l.Still {
			head.Done++
		}
		clusters = append(clusters, l)
	}
	progress := report.ProgressOf(p, status)
	head.Text = progress.Text()
	if status.ObservedResourceIndex != "" {
		head.Text = "revision " + status.ObservedResourceIndex + ", " + head.Text
	}
	// A binding with another revision than the placement's status is more recent.
	out := terminal.View{Done: progress.Done() && head.Done == head.Total}
	if progress.Failed() {
		out.Done, out.Failed = true, progress.Scheduled.Message
	}
	current := !slices.ContainsFunc(*p.GetConditions(), func(c metav1.Condition) bool { return c.ObservedGeneration != p.GetGeneration() })
	if spent := meta.FindStatusCondition(status.Conditions, p.ConditionType(v1beta1.ConditionWithinFailureBudget)); spent != nil {
		text := spent.Message
		out.Done = current
		if c := meta.FindStatusCondition(status.Conditions, p.ConditionType(v1beta1.ConditionRolledBack)); c != nil {
			text = wayBack(*c) + ". " + text
			out.Done = current && c.Status != metav1.ConditionUnknown
		}
		head.Text = "revision " + status.ObservedResourceIndex + ", " + phases[stage.Failed] + ": " + text
		if out.Done {
			out.Failed = text
		}
	}
	out.Lines = append([]terminal.Line{head}, clusters...)
	return out
}

// wayBack describes a condition RolledBack. Most messages name the rollback themselves.
func wayBack(c metav1.Condition) string {
	if text := strings.ToLower(c.Message); strings.Contains(text, "rolled back") || strings.Contains(text, "rolling back") {
		return uncapitalized(c.Message)
	}
	words := map[metav1.ConditionStatus]string{metav1.ConditionTrue: "rolled back", metav1.ConditionFalse: "not rolled back", metav1.ConditionUnknown: phases[stage.RollingBack]}
	return words[c.Status] + ": " + c.Message
}
