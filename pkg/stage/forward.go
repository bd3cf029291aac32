package stage

import (
	"fmt"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// forward decides the next step of a run that is not rolling back.
type forward struct {
	*decision
	// failing are the clusters in progress whose binding has a failure, or has progressed for too long, with the reason; relapsed those
	// that were done and are not healthy any more.
	failing, relapsed []string
	// adopted are clusters that have the release already, and whose rollout this step starts.
	adopted map[string]bool
}

// run moves the current stage on, and goes to the next as long as stages end.
func (f *forward) run() {
	f.adoptStarted()
	if f.p.Phase != Waiting && f.p.Phase != Stuck {
		f.set(Active, "Updating clusters")
	}
	for ended := true; ended; {
		at := f.p.current()
		var err error
		switch {
		case at == nil:
			f.finish()
			ended = false
		case at == &f.p.Deletion:
			ended, err = f.delete(at)
		default:
			ended, err = f.update(at, f.config(at.Name))
		}
		if err != nil {
			f.fail(at, err)
			break
		}
	}
	f.reportBudget()
}

// stop judges the clusters in progress and starts none.
func (f *forward) stop() {
	f.adoptStarted()
	at := f.p.current()
	if at == nil {
		f.finish()
		return
	}
	if f.p.Phase == Stopped && at.Phase == Stopped {
		return
	}
	at.set(Stopping, "Stopping: waiting for the clusters in progress", f.Now)
	var err error
	if at == &f.p.Deletion {
		err = f.deleting(at)
	} else {
		_, err = f.judge(at)
	}
	if err != nil {
		f.fail(at, err)
		return
	}
	f.reportBudget()
	left := inPhase(at.Clusters, Active)
	switch {
	case len(left) == 0:
		at.set(Stopped, "Stopped", f.Now)
		f.set(Stopped, "Stopped at stage %s; set spec.state to Run to continue", at.Name)
	case !f.stuck(at):
		f.set(Stopping, "Stopping: waiting for %s in stage %s", brief.List(left, 3), at.Name)
	}
}

func (f *forward) adoptStarted() {
	f.adopted = map[string]bool{}
	f.adopt(func(s *Stage, c *Cluster, b v1beta1.BindingObject) {
		if f.open(s); !started(b) {
			f.step.Start = append(f.step.Start, Start{Binding: b, To: f.release.to(c.Name)})
			f.adopted[c.Name] = true
		}
	})
}

func (f *forward) finish() {
	f.set(Succeeded, "All stages are done")
	f.p.Cause = f.p.Message
}

// update moves a stage with content on. ended is whether it has ended.
func (f *forward) update(s *Stage, config v1beta1.StageConfig) (ended bool, err error) {
	if len(s.Clusters) == 0 {
		s.Start = f.Now
		s.Cause = "No cluster of the placement belongs to the stage"
		s.set(Skipped, s.Cause, f.Now)
		return true, nil
	}
	for i := range s.Before {
		passed, err := f.approval(s, &s.Before[i], contract.TaskBeforeStage)
		if err != nil {
			return false, err
		}
		if !passed {
			s.set(Waiting, fmt.Sprintf("Waiting for approval request %s before the stage starts", s.Before[i].Request), f.Now)
			f.set(Waiting, "Stage %s is waiting for approval request %s before it starts", s.Name, s.Before[i].Request)
			return false, nil
		}
	}
	most, err := concurrency(config.MaxConcurrency, len(s.Clusters))
	if err != nil {
		return false, err
	}
	finished, err := f.clusters(s, most)
	if err != nil {
		return false, err
	}
	if finished < len(s.Clusters) {
		if !f.stuck(s) {
			f.reportClusters(s, finished)
		}
		return false, nil
	}
	return f.end(s, config)
}

// reportClusters sets the message of a run whose stage has unfinished clusters.
func (f *forward) reportClusters(s *Stage, finished int) {
	failed := inPhase(s.Clusters, Failed)
	text := fmt.Sprintf("Stage %s: %d of %d clusters are done", s.Name, finished-len(failed), len(s.Clusters))
	if len(failed) > 0 {
		text += "; failed within the budget: " + brief.List(failed, 3)
	}
	f.set(Active, "%s%s", text, f.failures())
}

// open begins a stage that has not begun.
func (f *forward) open(s *Stage) {
	if s.Start.IsZero() {
		s.Start = f.Now
	}
	if s.Phase != Active {
		s.set(Active, "Clusters are being updated", f.Now)
	}
}

// inPhase names the clusters in a phase.
func inPhase(clusters []Cluster, phase Phase) []string {
	var out []string
	for _, c := range clusters {
		if c.Phase == phase {
			out = append(out, c.Name)
		}
	}
	return out
}
