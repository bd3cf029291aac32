// Package stage decides how a staged update run goes on: which clusters belong to which stage, whether the plan still holds, and what
// to do next. Values go in and come out; hub/stager reads them, carries the step out and stores the progress.
//
// Everything a run remembers is in its status. Read turns that into a Progress, Next moves it on, and report.UpdateRun writes it back;
// a step that was carried out and not stored is recognised, so a run may be interrupted at any instruction.
package stage

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// StuckAfter is how long a cluster may take before the run reports it as stuck, or as not well if it only progresses. Nothing else comes of it.
const StuckAfter = 5 * time.Minute

// Phase is where a run, a stage or a cluster is. Each is one reason of the condition Progressing; the last three also say how it ended.
type Phase int

// The phases, in no order: a stopped run goes on, a waiting one may stop.
const (
	// Pending has not begun.
	Pending Phase = iota
	// Active is at work.
	Active
	// Waiting waits for a task of a stage.
	Waiting
	// Stuck has a cluster that has taken longer than StuckAfter. Only runs are.
	Stuck
	// Stopping was told to stop, and clusters are in progress.
	Stopping
	// Stopped was told to stop, and nothing is in progress.
	Stopped
	// Retreating takes clusters back. Only runs do.
	Retreating
	// Skipped had nothing to do. Only stages are.
	Skipped
	// Succeeded and Failed are final.
	Succeeded
	Failed
)

// Done says whether the phase is final.
func (p Phase) Done() bool { return p == Skipped || p == Succeeded || p == Failed }

// status is that of the condition Progressing in a phase.
func (p Phase) status() metav1.ConditionStatus {
	switch p {
	case Active, Retreating:
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
	// Message says what the run is at or waits for; Cause how it ended.
	Message, Cause string
	// Budget is whether the failure budgets have lasted: Pending without a failure policy, Succeeded if so, and Failed. Back is the way
	// back: Pending if there is none.
	Budget, Back Verdict
	Stages       []Stage
	// Deletion is the last stage. It takes the placement off clusters that are no longer picked.
	Deletion Stage
}

// Stage is how far one stage has come.
type Stage struct {
	Name           string
	Phase          Phase
	Message, Cause string
	// Since is when the phase's status of Progressing was taken, rounded up to a second if it comes from a status; zero while pending.
	Since time.Time
	// Start and End are when its first cluster was started, and when it ended; zero before.
	Start, End    time.Time
	Clusters      []Cluster
	Before, After []Task
}

// Cluster is how far one cluster of a stage has come. Its Phase is Pending, Active, Succeeded or Failed; with a failure policy the last two
// may follow each other until its stage ends.
type Cluster struct {
	Name  string
	Phase Phase
	// Since is when it was started, End when it was done or failed; zero before.
	Since, End time.Time
	Cause      string
	// LastHealthy is what it ran healthily before the run changed it, for runs that may take it back; Back is the way there.
	LastHealthy *v1beta1.Revision
	Back        Verdict
}

// Verdict is what became of the failure budgets, or of the way back of a run or a cluster: Pending, Active, Succeeded or Failed.
type Verdict struct {
	Phase   Phase
	Message string
	// Since is when the phase was taken; NeverHealthy whether a cluster failed to go back because it had nothing to go back to.
	Since        time.Time
	NeverHealthy bool
}

// Task is how far a task of a stage has come.
type Task struct {
	Type v1beta1.StageTaskType
	// Request is the name of the approval request; empty for other tasks.
	Request string
	// Asked is whether the request was made, Done whether the task is.
	Asked, Done bool
	// Inherited is whether it was done by an earlier run, from which this one goes on: nobody was asked for it again. Said is how the
	// status puts it that the task is done; empty for the words that it always has.
	Inherited bool
	Said      string
}

// at moves a stage to a phase. The clock of a phase starts again only when its status of Progressing is another one.
func (s *Stage) at(phase Phase, message string, now time.Time) {
	if s.Phase == Pending || s.Phase.status() != phase.status() {
		s.Since = now
	}
	s.Phase, s.Message = phase, message
	if phase.Done() && s.End.IsZero() {
		s.End = now
	}
}

// Stored is how a status holds a time that something is counted from: in full seconds, and never earlier than it was. Counted from one
// that was cut off, a wait would end too early.
func Stored(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// Clocks are the times from which the stages count, exact as no status can hold them. Whoever keeps those of what it stores ends waits on
// time, and not up to a second late.
func (p *Progress) Clocks() []time.Time {
	out := make([]time.Time, len(p.Stages))
	for i, s := range p.Stages {
		out[i] = s.Since
	}
	return out
}

// SetBy gives stages their exact times back: those which were stored as the run's status has them.
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
		v1beta1.ReasonUpdateRunStopping: Stopping, v1beta1.ReasonUpdateRunStopped: Stopped, v1beta1.ReasonUpdateRunRollingBack: Retreating,
		v1beta1.ReasonUpdateRunFailed: Failed, v1beta1.ReasonUpdateRunSucceeded: Succeeded,
	}
	phasesOfStages = map[string]Phase{
		v1beta1.ReasonStageUpdatingStarted: Active, v1beta1.ReasonStageUpdatingWaiting: Waiting, v1beta1.ReasonStageUpdatingStopping: Stopping,
		v1beta1.ReasonStageUpdatingStopped: Stopped, v1beta1.ReasonStageUpdatingSkippedNoClusters: Skipped,
		v1beta1.ReasonStageUpdatingFailed: Failed, v1beta1.ReasonStageUpdatingSucceeded: Succeeded,
	}
)

// Read is the progress that a run's status tells of. Its conditions count whatever generation they speak of: only the state can change
// in a run's spec, and that changes nothing in what has been done.
func Read(status v1beta1.UpdateRunStatus) Progress {
	p := Progress{}
	p.Phase, p.Message, p.Cause, _ = read(status.Conditions, phasesOfRuns)
	p.Budget = readVerdict(status.Conditions, v1beta1.ConditionWithinFailureBudget)
	p.Back = readVerdict(status.Conditions, v1beta1.ConditionRolledBack)
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
		if phase = phases[c.Reason]; phase == Pending { // a reason of somebody else's
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
	out := Cluster{Name: c.ClusterName, LastHealthy: c.LastHealthy, Back: readVerdict(c.Conditions, v1beta1.ConditionRolledBack)}
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

func readVerdict(conditions []metav1.Condition, kind string) Verdict {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return Verdict{}
	}
	phases := map[metav1.ConditionStatus]Phase{
		metav1.ConditionUnknown: Active, metav1.ConditionTrue: Succeeded, metav1.ConditionFalse: Failed,
	}
	return Verdict{
		Phase: phases[c.Status], Message: c.Message, Since: c.LastTransitionTime.Time, NeverHealthy: c.Reason == v1beta1.ReasonNeverHealthy,
	}
}

func readTasks(tasks []v1beta1.StageTaskStatus) []Task {
	var out []Task
	for _, t := range tasks {
		out = append(out, readTask(t))
	}
	return out
}

// Fail ends the run. What it was at stays as it is.
func (p *Progress) Fail(cause string) {
	p.Phase, p.Message, p.Cause = Failed, "The run cannot go on; see the condition Succeeded", cause
}

// current is the stage the run is at: the first that is not done, or the deletion stage; nil if every stage is done.
func (p *Progress) current() *Stage {
	if i := slices.IndexFunc(p.Stages, func(s Stage) bool { return !s.Phase.Done() }); i >= 0 {
		return &p.Stages[i]
	}
	if !p.Deletion.Phase.Done() {
		return &p.Deletion
	}
	return nil
}
