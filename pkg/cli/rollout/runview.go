package rollout

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// phases has the texts for the phases of runs and stages.
var phases = map[stage.Phase]string{
	stage.Pending: "pending", stage.Active: "updating", stage.Waiting: "waiting", stage.Stuck: "stuck", stage.Stopping: "stopping",
	stage.Stopped: "stopped", stage.RollingBack: "rolling back", stage.Skipped: "skipped, no clusters", stage.Succeeded: "succeeded",
	stage.Failed: "failed",
}

// runView renders an update run.
type runView struct {
	run v1beta1.UpdateRunObject
	stage.Progress
	// window is how long a cluster may be unhealthy; 0 without a failure policy.
	window time.Duration
}

// viewOfRun shows an update run.
func viewOfRun(run v1beta1.UpdateRunObject) terminal.View {
	status := run.GetStatus()
	r := runView{run: run, Progress: stage.Read(*status)}
	if strategy := status.UpdateStrategySnapshot; strategy != nil && strategy.FailurePolicy != nil {
		r.window = delivery.FailurePolicyOf(strategy.FailurePolicy, status.ApplyStrategy).Window
	}
	out := terminal.View{Done: over(run)}
	if r.Phase == stage.Failed {
		r.Cause = plainly(r.Cause)
		out.Failed = r.Cause
	}
	if c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionInitialized); c != nil && c.Status == metav1.ConditionFalse {
		out.Failed = plainly(c.Message)
	}
	head := r.head()
	var stages []terminal.Line
	for i, s := range r.Stages {
		stages = append(stages, r.stage(s, waitOf(status, i))...)
	}
	if len(r.Deletion.Clusters) > 0 {
		r.Deletion.Name = "removal"
		stages = append(stages, r.stage(r.Deletion, 0)...)
	}
	for i, l := range stages {
		if l.Kind == "stage" {
			head.Done, head.Total = head.Done+l.Done, head.Total+l.Total
		}
		if out.Done { // a run that has ended waits for nothing
			stages[i].Todo, stages[i].Due = "", time.Time{}
		}
	}
	out.Lines = append([]terminal.Line{head}, stages...)
	return out
}

// head is the line of the run itself; its bar sums up those of the stages.
func (r runView) head() terminal.Line {
	status, spec := r.run.GetStatus(), r.run.GetSpec()
	out := terminal.Line{Kind: "run", Name: r.run.GetName(), Text: describe(r.Phase, r.Message, r.Cause)}
	resume := naming.Command(r.run.GetNamespace(), "fleet rollout resume", spec.PlacementName)
	c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionInitialized)
	switch {
	case c != nil && c.Status == metav1.ConditionFalse:
		out.Text = "cannot be planned: " + plainly(c.Message)
	case r.Phase == stage.Pending && c != nil && spec.State == v1beta1.UpdateRunInitialize:
		out.Text, out.Todo = "planned", resume
	case r.Phase == stage.Stopped, r.Phase == stage.Failed && r.Back.State == delivery.Waiting:
		out.Todo = resume
	}
	if status.ResourceSnapshotIndexUsed != "" {
		out.Text = "revision " + status.ResourceSnapshotIndexUsed + ", " + out.Text
	}
	if failed := r.failed(); r.Budget.Phase == stage.Succeeded && len(failed) > 0 {
		out.Text += "; failed within the budget: " + strings.Join(failed, ", ")
	}
	return out
}

func (r runView) failed() []string {
	var out []string
	for _, s := range r.Stages {
		for _, c := range s.Clusters {
			if c.Phase == stage.Failed {
				out = append(out, c.Name)
			}
		}
	}
	return out
}

// plainly is the part of the message of a failed run after the prefix that marks an error of the user.
func plainly(message string) string {
	if _, mistake, ok := strings.Cut(message, stage.UserError); ok {
		return mistake
	}
	return message
}

// describe is the text for a phase, with its message or cause.
func describe(phase stage.Phase, message, cause string) string {
	switch {
	case phase == stage.Failed && cause != "":
		return phases[phase] + ": " + cause
	case slices.Contains([]stage.Phase{stage.Waiting, stage.Stuck, stage.Stopping, stage.Stopped, stage.RollingBack}, phase) && message != "":
		if strings.HasPrefix(strings.ToLower(message), phases[phase]) {
			return uncapitalized(message)
		}
		return phases[phase] + ": " + message
	}
	return phases[phase]
}

// uncapitalized is a message within a line.
func uncapitalized(message string) string {
	first, size := utf8.DecodeRuneInString(message)
	return string(unicode.ToLower(first)) + message[size:]
}

// stage returns the lines of a stage and its clusters. wait is its wait time once its clusters are done.
func (r runView) stage(s stage.Stage, wait time.Duration) []terminal.Line {
	out := []terminal.Line{{Kind: "stage", Name: s.Name, Total: len(s.Clusters), Text: describe(s.Phase, s.Message, s.Cause)}}
	head := &out[0]
	var back, changed int
	for _, c := range s.Clusters {
		if c.Phase == stage.Succeeded {
			head.Done++
		}
		if c.Back.State == delivery.Returned {
			back++
		}
		if c.Back.State != delivery.Waiting || c.LastHealthy != nil {
			changed++
		}
	}
	if r.Back.State != delivery.Waiting { // the bars count clusters that are rolled back
		head.Done, head.Total = back, changed
	}
	if s.Phase == stage.Waiting && wait > 0 && slices.ContainsFunc(s.After, func(t stage.Task) bool { return t.Type == v1beta1.StageTaskTimedWait && !t.Done }) &&
		!slices.ContainsFunc(s.Clusters, func(c stage.Cluster) bool { return c.Phase == stage.Pending }) {
		head.Due, head.DueFor = s.Since.Add(wait), "wait time"
	}
	if request := waitsFor(s); request != "" {
		kind := "careq"
		if r.run.GetNamespace() != "" {
			kind = "areq"
		}
		head.Todo = naming.Command(r.run.GetNamespace(), "fleet approve", kind, "--name", request)
	}
	for _, c := range s.Clusters {
		out = append(out, r.cluster(s, c))
	}
	return out
}

// waitOf is the wait time of the i-th stage of a run once its clusters are done.
func waitOf(status *v1beta1.UpdateRunStatus, i int) time.Duration {
	if status.UpdateStrategySnapshot == nil || i >= len(status.UpdateStrategySnapshot.Stages) {
		return 0
	}
	for _, t := range status.UpdateStrategySnapshot.Stages[i].AfterStageTasks {
		if t.Type == v1beta1.StageTaskTimedWait {
			return ptr.Deref(t.WaitTime, metav1.Duration{}).Duration
		}
	}
	return 0
}

// cluster is the line of a cluster of a stage.
func (r runView) cluster(s stage.Stage, c stage.Cluster) terminal.Line {
	out := terminal.Line{
		Kind: "cluster", Name: s.Name + "/" + c.Name, Text: describe(c.Phase, "", c.Cause), Still: s.Phase == stage.Pending || s.Phase.Done(),
	}
	within := func(since time.Time) {
		if r.window > 0 {
			out.Due, out.DueFor = since.Add(r.window), "health window"
		}
	}
	if r.Back.State == delivery.Waiting {
		if c.Phase == stage.Active {
			within(c.Since)
		}
		return out
	}
	target := "its previous content"
	if c.LastHealthy != nil {
		target = "revision " + indexIn(c.LastHealthy.ResourceSnapshotName, r.run.GetSpec().PlacementName)
	}
	out.Still = c.Back.State == delivery.Waiting && c.LastHealthy == nil
	switch {
	case c.Back.State == delivery.Returning:
		out.Text = "rolling back to " + target
		within(c.Back.Since)
	case c.Back.State == delivery.Returned:
		out.Text = "back at " + target
	case c.Back.State == delivery.NeverHealthy:
		out.Text = "not rolled back: never healthy"
	case c.Back.State == delivery.Astray:
		out.Text = "not rolled back to " + target + ": " + strings.TrimPrefix(c.Back.Message, delivery.NotRolledBack("").Message)
	case c.LastHealthy != nil && !r.Phase.Done():
		out.Text = "will be rolled back to " + target
	}
	return out
}

// indexIn returns the index in the name of a resource snapshot of a placement.
func indexIn(snapshot, placement string) string {
	return strings.TrimSuffix(strings.TrimPrefix(snapshot, placement+"-"), "-snapshot")
}

// waitsFor is the approval request that a stage waits for; empty if it waits for none.
func waitsFor(s stage.Stage) string {
	for _, t := range slices.Concat(s.Before, s.After) {
		if !s.Phase.Done() && t.Request != "" && t.Asked && !t.Done {
			return t.Request
		}
	}
	return ""
}

// since adds which clusters of a run that has succeeded have another revision by now: that of another run, which may
// have been deleted since, or of an older run that was resumed.
func since(v terminal.View, run v1beta1.UpdateRunObject, bindings []v1beta1.BindingObject) terminal.View {
	at := revisions(run.GetSpec().PlacementName, bindings)
	var changed []string
	for i, l := range v.Lines {
		_, cluster, _ := strings.Cut(l.Name, "/")
		if now := at[cluster]; l.Kind == "cluster" && now != "" && now != run.GetStatus().ResourceSnapshotIndexUsed {
			v.Lines[i].Text += ", now at revision " + now
			changed = append(changed, cluster)
		}
	}
	if len(changed) > 0 {
		v.Lines[0].Text += "; changed since by another run: " + strings.Join(changed, ", ")
	}
	return v
}

// revisions maps each cluster of a placement to the revision in its binding.
func revisions(placement string, bindings []v1beta1.BindingObject) map[string]string {
	at := map[string]string{}
	for _, b := range bindings {
		if snapshot := b.GetSpec().ResourceSnapshotName; snapshot != "" && b.GetDeletionTimestamp().IsZero() {
			at[b.GetSpec().TargetCluster] = indexIn(snapshot, placement)
		}
	}
	return at
}
