package stage

import (
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Resumable returns an Abort if a run with this plan cannot continue from the run that its spec.resumeFrom names. earlier is nil if there is
// no run of that name.
func Resumable(run, earlier v1beta1.UpdateRunObject, plan Plan) error {
	spec := run.GetSpec()
	refuse := func(why string) error { return mistake("spec.resumeFrom %q: %s", spec.ResumeFrom, why) }
	if wrong := validate.ResumeFrom(run); len(wrong) > 0 {
		return refuse(wrong[0].Detail)
	}
	switch {
	case earlier == nil:
		return refuse("there is no such update run of the same kind and namespace; name one that exists, or create a run without resumeFrom")
	case earlier.GetSpec().PlacementName != spec.PlacementName:
		return mistake("spec.resumeFrom %q: that run is of placement %s, and this one of %s; name a run of the same placement",
			spec.ResumeFrom, earlier.GetSpec().PlacementName, spec.PlacementName)
	}
	status := earlier.GetStatus()
	phase := Read(*status).Phase
	switch {
	case meta.IsStatusConditionFalse(status.Conditions, v1beta1.ConditionInitialized):
		return refuse("that run was never initialized, so there is nothing to continue from; create a run without resumeFrom")
	case phase == Succeeded:
		return refuse("that run has succeeded, so there is nothing left to do; create a run without resumeFrom")
	case !phase.Done():
		return refuse("that run has not ended; continue it by setting its spec.state to Run, or recreate this run when it has ended")
	}
	if Replaced(plan, *status) {
		return refuse("that run was for an earlier placement of the name, which was deleted; create a run without resumeFrom")
	}
	if index := spec.ResourceSnapshotIndex; index != "" && !sameNumber(index, status.ResourceSnapshotIndexUsed) {
		return mistake("spec.resourceSnapshotIndex is %q, but update run %s, from which this one continues, releases %s; "+
			"leave spec.resourceSnapshotIndex empty, or create a run without resumeFrom", index, spec.ResumeFrom, status.ResourceSnapshotIndexUsed)
	}
	return nil
}

func sameNumber(a, b string) bool {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	return errX == nil && errY == nil && x == y
}

// Resume is the progress of a run that has just been planned and continues from an ended one: the tasks that this has passed count as done.
// Stages are matched by name. A run that rolled its clusters back has passed nothing: what was approved is not there any more.
func (p Progress) Resume(name string, earlier v1beta1.UpdateRunStatus) Progress {
	p = p.clone()
	old := Read(earlier)
	if old.Back.State != delivery.Waiting {
		return p
	}
	was := map[string]Stage{}
	for _, s := range old.Stages {
		was[s.Name] = s
	}
	for i := range p.Stages {
		s, before := &p.Stages[i], was[p.Stages[i].Name]
		inherit(name, s.Before, before.Before, true)
		// An approval after a stage is for its clusters as they were at its end. If it had not ended, they may be others.
		inherit(name, s.After, before.After, before.Phase == Succeeded)
	}
	return p
}

// inherit takes over the tasks that the earlier run has inherited itself and, if own, those that it has done. name is its name.
func inherit(name string, tasks, earlier []Task, own bool) {
	for i := range tasks {
		j := slices.IndexFunc(earlier, func(t Task) bool { return t.Type == tasks[i].Type && t.Done && (t.Inherited || own) })
		if j < 0 {
			continue
		}
		was := earlier[j]
		if !was.Inherited {
			was.Message = "Passed in update run " + name
		}
		tasks[i] = Task{Type: was.Type, Request: was.Request, Done: true, Inherited: true, Message: was.Message}
	}
}

// readTask reads a task from its conditions.
func readTask(t v1beta1.StageTaskStatus) Task {
	out := Task{
		Type: t.Type, Request: t.ApprovalRequestName, Asked: meta.IsStatusConditionTrue(t.Conditions, v1beta1.ConditionApprovalRequestCreated),
	}
	for _, kind := range []string{v1beta1.ConditionApprovalRequestApproved, v1beta1.ConditionWaitTimeElapsed} {
		if c := meta.FindStatusCondition(t.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			out.Done, out.Inherited, out.Message = true, c.Reason == v1beta1.ReasonStageTaskPassedEarlier, c.Message
		}
	}
	return out
}
