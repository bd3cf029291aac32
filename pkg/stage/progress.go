// Package stage decides the next step of a staged update run: which clusters belong to which stage, whether the plan
// is still valid, and what to do now. Values go in and come out; hub/stager reads them, carries out the step and
// stores the progress.
//
// The whole state of a run is in its status. Read turns that into a Progress, Next moves it on, and report.UpdateRun
// writes it back. Next recognizes a step that was carried out and not stored, so a run may be interrupted at any
// instruction.
package stage

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// StuckAfter is how long a cluster may take before the run reports it as stuck, or as failing if it only progresses.
// The run still waits for it.
const StuckAfter = 5 * time.Minute

// Phase is where a run, a stage or a cluster is. Each is one reason of the condition Progressing; the last three are
// final.
type Phase int

// The phases. They have no order: a stopped run may continue, a waiting one may stop.
const (
	// Pending: not begun.
	Pending Phase = iota
	// Active: clusters are being updated.
	Active
	// Waiting: for a task of a stage.
	Waiting
	// Stuck: a cluster takes longer than StuckAfter. Runs only.
	Stuck
	// Stopping: spec.state is Stop, and clusters are in progress.
	Stopping
	// Stopped: spec.state is Stop, and nothing is in progress.
	Stopped
	// RollingBack: changed clusters are given their last healthy revision. Runs only.
	RollingBack
	// Skipped: there was nothing to do. Stages only.
	Skipped
	// Succeeded and Failed: ended.
	Succeeded
	Failed
)

// Done returns whether the phase is final.
func (p Phase) Done() bool { return p == Skipped || p == Succeeded || p == Failed }

// status is the status of the condition Progressing in a phase.
func (p Phase) status() metav1.ConditionStatus {
	switch p {
	case Active, RollingBack:
		return metav1.ConditionTrue
	case Stopping:
		return metav1.ConditionUnknown
	default:
		return metav1.ConditionFalse
	}
}

// Progress is how far a run has come.
type Progress struct {
	Phase Phase
	// Message is what the run does or waits for; Cause how it ended.
	Message, Cause string
	// Budget is the state of the failure budgets.
	Budget Budget
	// Back is the rollback of the run; zero without one.
	Back   delivery.Fate
	Stages []Stage
	// Deletion is the last stage. It removes the placement from clusters that it no longer picks.
	Deletion Stage
}

// Budget is the state of a run's failure budgets. Its phase is Pending without a failure policy, Succeeded while they
// last, or Failed.
type Budget struct {
	Phase   Phase
	Message string
}

// Stage is how far one stage has come.
type Stage struct {
	Name           string
	Phase          Phase
	Message, Cause string
	// Since is when the condition Progressing got its status, rounded up to a second if it was read; zero while
	// pending.
	Since time.Time
	// Start is when its first cluster was started, End when it ended; zero before.
	Start, End    time.Time
	Clusters      []Cluster
	Before, After []Task
}

// Cluster is how far one cluster of a stage has come. Its Phase is Pending, Active, Succeeded or Failed; with a
// failure policy the last two may follow each other until its stage ends.
type Cluster struct {
	Name  string
	Phase Phase
	// Since is when it was started, End when it was done or failed; zero before.
	Since, End time.Time
	Cause      string
	// LastHealthy is what it was last healthy with before the run changed it; nil if it never was, or the run would
	// not roll it back.
	LastHealthy *v1beta1.Revision
	Back        Back
}

// Back is the rollback of a cluster; its state is Waiting if it was not decided.
type Back struct {
	delivery.Fate
	// Since is when the cluster was sent back, or when that ended.
	Since time.Time
}

// Task is how far a task of a stage has come.
type Task struct {
	Type v1beta1.StageTaskType
	// Request is the name of the approval request; empty for other tasks.
	Request string
	// Asked is whether the request exists, Done whether the task is done.
	Asked, Done bool
	// Inherited is whether an earlier run, from which this one continues, has done it. Message is that of the
	// condition that it is done; empty for the usual one.
	Inherited bool
	Message   string
}

// set moves a stage to a phase. The time of a phase starts again only when the status of its condition Progressing
// changes.
func (s *Stage) set(phase Phase, message string, now time.Time) {
	if s.Phase == Pending || s.Phase.status() != phase.status() {
		s.Since = now
	}
	s.Phase, s.Message = phase, message
	if phase.Done() && s.End.IsZero() {
		s.End = now
	}
}

// fail ends a stage.
func (s *Stage) fail(cause string, now time.Time) {
	s.Cause = cause
	s.set(Failed, "The stage failed; see the condition Succeeded", now)
}

// Stored rounds a time from which a wait counts up to a full second, as a status holds it. The API would cut it off,
// and the wait would end too early.
func Stored(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// Clocks are the times from which the stages count their waits, with the fractions of seconds that a status does not
// hold. With them the caller ends waits on time, and not up to a second late.
func (p *Progress) Clocks() []time.Time {
	out := make([]time.Time, len(p.Stages))
	for i, s := range p.Stages {
		out[i] = s.Since
	}
	return out
}

// SetBy restores the exact times of stages whose status holds the rounded ones.
func (p *Progress) SetBy(clocks []time.Time) {
	for i := range p.Stages[:min(len(p.Stages), len(clocks))] {
		if s := &p.Stages[i]; s.Since.Equal(Stored(clocks[i])) {
			s.Since = clocks[i]
		}
	}
}

// phasesOfRuns and phasesOfStages are what the reasons of Progressing mean.
var (
	phasesOfRuns = map[string]Phase{
		v1beta1.ReasonUpdateRunProgressing: Active, v1beta1.ReasonUpdateRunWaiting: Waiting, v1beta1.ReasonUpdateRunStuck: Stuck,
		v1beta1.ReasonUpdateRunStopping: Stopping, v1beta1.ReasonUpdateRunStopped: Stopped, v1beta1.ReasonUpdateRunRollingBack: RollingBack,
		v1beta1.ReasonUpdateRunFailed: Failed, v1beta1.ReasonUpdateRunSucceeded: Succeeded,
	}
	phasesOfStages = map[string]Phase{
		v1beta1.ReasonStageUpdatingStarted: Active, v1beta1.ReasonStageUpdatingWaiting: Waiting, v1beta1.ReasonStageUpdatingStopping: Stopping,
		v1beta1.ReasonStageUpdatingStopped: Stopped, v1beta1.ReasonStageUpdatingSkippedNoClusters: Skipped,
		v1beta1.ReasonStageUpdatingFailed: Failed, v1beta1.ReasonStageUpdatingSucceeded: Succeeded,
	}
)

// Read reads the progress from a run's status. Its conditions count whatever their generation: only spec.state can
// change in a run, which does not undo anything.
func Read(status v1beta1.UpdateRunStatus) Progress {
	p := Progress{}
	p.Phase, p.Message, p.Cause, _ = read(status.Conditions, phasesOfRuns)
	p.Budget = readBudget(status.Conditions)
	p.Back, _ = delivery.FateOf(status.Conditions)
	for _, s := range status.StagesStatus {
		p.Stages = append(p.Stages, readStage(s))
	}
	if status.DeletionStageStatus != nil {
		p.Deletion = readStage(*status.DeletionStageStatus)
	}
	return p
}

func read(conditions []metav1.Condition, phases map[string]Phase) (phase Phase, message, cause string, since time.Time) {
	if c := meta.FindStatusCondition(conditions, v1beta1.ConditionProgressing); c != nil {
		phase, message, since = phases[c.Reason], c.Message, c.LastTransitionTime.Time
	}
	if c := meta.FindStatusCondition(conditions, v1beta1.ConditionSucceeded); c != nil {
		cause = c.Message
		if phase = phases[c.Reason]; phase == Pending { // another client wrote it
			phase = map[bool]Phase{true: Succeeded, false: Failed}[c.Status == metav1.ConditionTrue]
		}
	}
	return phase, message, cause, since
}

func readStage(s v1beta1.StageUpdatingStatus) Stage {
	out := Stage{Name: s.StageName, Before: readTasks(s.BeforeStageTaskStatus), After: readTasks(s.AfterStageTaskStatus)}
	out.Phase, out.Message, out.Cause, out.Since = read(s.Conditions, phasesOfStages)
	if s.StartTime != nil {
		out.Start = s.StartTime.Time
	}
	if s.EndTime != nil {
		out.End = s.EndTime.Time
	}
	for _, c := range s.Clusters {
		out.Clusters = append(out.Clusters, readCluster(c))
	}
	return out
}

func readCluster(c v1beta1.ClusterUpdatingStatus) Cluster {
	out := Cluster{Name: c.ClusterName, LastHealthy: c.LastHealthy}
	out.Back.Fate, out.Back.Since = delivery.FateOf(c.Conditions)
	if started := meta.FindStatusCondition(c.Conditions, v1beta1.ConditionStarted); started != nil && started.Status == metav1.ConditionTrue {
		out.Phase, out.Since = Active, started.LastTransitionTime.Time
	}
	if ended := meta.FindStatusCondition(c.Conditions, v1beta1.ConditionSucceeded); ended != nil {
		out.Phase, out.Cause, out.End = Failed, ended.Message, ended.LastTransitionTime.Time
		if ended.Status == metav1.ConditionTrue {
			out.Phase = Succeeded
		}
	}
	return out
}

func readBudget(conditions []metav1.Condition) Budget {
	c := meta.FindStatusCondition(conditions, v1beta1.ConditionWithinFailureBudget)
	switch {
	case c == nil:
		return Budget{}
	case c.Status == metav1.ConditionFalse:
		return Budget{Phase: Failed, Message: c.Message}
	}
	return Budget{Phase: Succeeded, Message: c.Message}
}

func readTasks(tasks []v1beta1.StageTaskStatus) []Task {
	var out []Task
	for _, t := range tasks {
		out = append(out, readTask(t))
	}
	return out
}

// RollingBack returns whether the run is rolling back, stopped in it or not.
func (p *Progress) RollingBack() bool { return p.Back.State == delivery.Returning }

// Fail ends the run. Its stages stay as they are.
func (p *Progress) Fail(cause string) {
	p.Phase, p.Message, p.Cause = Failed, "The run failed; see the condition Succeeded", cause
}

// current is the first stage that is not done, the deletion stage being the last; nil if every stage is done.
func (p *Progress) current() *Stage {
	if i := slices.IndexFunc(p.Stages, func(s Stage) bool { return !s.Phase.Done() }); i >= 0 {
		return &p.Stages[i]
	}
	if !p.Deletion.Phase.Done() {
		return &p.Deletion
	}
	return nil
}
