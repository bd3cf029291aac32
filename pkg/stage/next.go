package stage

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// World is what a step is decided from, beside the run's progress.
type World struct {
	// Run is the run's name, UID what tells it from others that had the name.
	Run string
	UID types.UID
	// Config is the strategy that the run was planned with.
	Config v1beta1.UpdateStrategySpec
	// Snapshot is the name of the resource snapshot to release, Apply how to apply it, Overrides the lists of each cluster; what these come to
	// by its labels now counts for those that are yet to get the release.
	Snapshot  string
	Apply     v1beta1.ApplyStrategy
	Overrides map[string]delivery.Overrides
	// Bindings are all of the placement's.
	Bindings []v1beta1.BindingObject
	// Requests are the approval requests there are, by name.
	Requests map[string]Request
	// Refused are the clusters whose binding could not be written for this step, and why. They are not taken for started.
	Refused map[string]string
	// Awake is since when the agent has been there to hear of clusters; zero: ever.
	Awake, Now time.Time
}

// Request is what is known of an approval request.
type Request struct {
	Run, Stage string
	// Approved is whether it is approved as it is now, or was when the run took the approval.
	Approved bool
}

// Step is what to do now.
type Step struct {
	Start []Start
	// Drop are the names of the bindings to delete.
	Drop []string
	// Ask are the approval requests to make; Accept the names of those whose approval has been taken.
	Ask    []Ask
	Accept []string
	// Again is when to look again although nothing has happened; zero means that there is no need.
	Again time.Duration
}

// Start is a binding to give something to: the release, or, on the way back, what its cluster last ran healthily.
type Start struct {
	Binding v1beta1.BindingObject
	To      v1beta1.Revision
	// Content is whether it lacks any of it; if not, only the word that its rollout has started is missing.
	Content bool
	// Fingerprint goes with the overrides in To; see delivery.Overrides.
	Fingerprint string
	// Mark is written in the same update; nil if there is nothing to remember.
	Mark *delivery.Mark
	Back bool
}

// Ask is an approval request to make.
type Ask struct{ Name, Stage, Task string }

// Next moves a run on that was told to run. The caller carries the step out and only then stores the progress.
func Next(p Progress, w World) (Progress, Step) {
	d := begin(p, w)
	if d.p.Retreating() {
		d.retreat(true)
		return d.p, d.step
	}
	if d.p.Phase != Waiting && d.p.Phase != Stuck {
		d.run(Active, "The run is at work")
	}
	for d.more = true; d.more; {
		d.more = false
		at := d.p.current()
		var err error
		switch {
		case at == nil:
			d.finish()
		case at == &d.p.Deletion:
			err = d.delete(at)
		default:
			err = d.update(at, d.config(at.Name))
		}
		if err != nil {
			d.fail(at, err)
		}
	}
	d.count()
	return d.p, d.step
}

// Stop moves a run on that was told to stop: clusters in progress are waited for, and none is started.
func Stop(p Progress, w World) (Progress, Step) {
	d := begin(p, w)
	if d.p.Retreating() {
		d.retreat(false)
		return d.p, d.step
	}
	at := d.p.current()
	if at == nil {
		d.finish()
		return d.p, d.step
	}
	if d.p.Phase == Stopped && at.Phase == Stopped {
		return d.p, d.step
	}
	at.at(Stopping, "The run was told to stop; clusters in progress are waited for", w.Now)
	var err error
	if at == &d.p.Deletion {
		err = d.deleting(at)
	} else {
		_, err = d.judge(at)
	}
	if err != nil {
		d.fail(at, err)
		return d.p, d.step
	}
	d.count()
	var left []string
	for _, c := range at.Clusters {
		if c.Phase == Active {
			left = append(left, c.Name)
		}
	}
	if len(left) == 0 {
		at.at(Stopped, "The run was told to stop", w.Now)
		d.run(Stopped, fmt.Sprintf("Stopped at stage %s; set spec.state to Run to go on", at.Name))
		return d.p, d.step
	}
	message := fmt.Sprintf("Told to stop; waits for %s of stage %s", brief.List(left, 3), at.Name)
	if d.stuck(at) {
		return d.p, d.step
	}
	d.run(Stopping, message)
	return d.p, d.step
}

// decision is a step in the making.
type decision struct {
	World
	p        Progress
	step     Step
	bindings map[string]v1beta1.BindingObject
	// doomed are the bindings that the scheduler has given up, by cluster.
	doomed map[string]v1beta1.BindingObject
	// ill are the clusters in progress whose binding has a failure, or has progressed for too long, and the reason; relapsed those
	// that were done and are not healthy any more.
	ill, relapsed []string
	// adopted are clusters whose rollout is started by this step, although they have the content.
	adopted map[string]bool
	more    bool
}

func begin(p Progress, w World) *decision {
	d := &decision{World: w, p: p.clone(), bindings: map[string]v1beta1.BindingObject{}, doomed: map[string]v1beta1.BindingObject{}, adopted: map[string]bool{}}
	for _, b := range w.Bindings {
		if b.GetSpec().State == v1beta1.BindingStateUnscheduled {
			d.doomed[b.GetSpec().TargetCluster] = b
		} else if b.GetDeletionTimestamp().IsZero() {
			d.bindings[b.GetSpec().TargetCluster] = b
		}
	}
	d.adopt()
	return d
}

func (p Progress) clone() Progress {
	p.Stages = slices.Clone(p.Stages)
	for i := range p.Stages {
		p.Stages[i] = p.Stages[i].clone()
	}
	p.Deletion = p.Deletion.clone()
	return p
}

func (s Stage) clone() Stage {
	s.Clusters, s.Before, s.After = slices.Clone(s.Clusters), slices.Clone(s.Before), slices.Clone(s.After)
	return s
}

func (d *decision) config(stage string) v1beta1.StageConfig {
	for _, c := range d.Config.Stages {
		if c.Name == stage {
			return c
		}
	}
	return v1beta1.StageConfig{Name: stage} // Check has compared them
}

func (d *decision) run(phase Phase, message string) { d.p.Phase, d.p.Message = phase, message }

func (d *decision) finish() {
	d.run(Succeeded, "All stages are done")
	d.p.Cause = "All stages are done"
}

// fail ends the run, or turns it round.
func (d *decision) fail(at *Stage, err error) {
	if over := new(spent); errors.As(err, &over) {
		d.overspent(at, over)
		return
	}
	d.abort(at, err)
}

func (d *decision) abort(at *Stage, err error) {
	at.Cause = err.Error()
	at.at(Failed, "The stage cannot go on; see the condition Succeeded", d.Now)
	d.p.Fail(err.Error())
	d.more = false
}

// again asks to be called after a time.
func (d *decision) again(after time.Duration) {
	if after = max(after, time.Millisecond); d.step.Again == 0 || after < d.step.Again {
		d.step.Again = after
	}
}

// update moves a stage with content on.
func (d *decision) update(s *Stage, config v1beta1.StageConfig) error {
	if len(s.Clusters) == 0 {
		s.Start = d.Now
		s.Cause = "No cluster of the placement belongs to the stage"
		s.at(Skipped, s.Cause, d.Now)
		d.more = true
		return nil
	}
	for i := range s.Before {
		passed, err := d.approval(s, &s.Before[i], contract.TaskBeforeStage)
		if err != nil {
			return err
		}
		if !passed {
			s.at(Waiting, fmt.Sprintf("Waits for approval request %s before it begins", s.Before[i].Request), d.Now)
			d.run(Waiting, fmt.Sprintf("Stage %s waits for approval request %s before it begins", s.Name, s.Before[i].Request))
			return nil
		}
	}
	most, err := concurrency(config.MaxConcurrency, len(s.Clusters))
	if err != nil {
		return err
	}
	finished, err := d.clusters(s, most)
	if err != nil {
		return err
	}
	if finished < len(s.Clusters) {
		if !d.stuck(s) {
			failed := failedOf(s.Clusters)
			text := fmt.Sprintf("Stage %s: %d of %d clusters are done", s.Name, finished-len(failed), len(s.Clusters))
			if len(failed) > 0 {
				text += "; within the failure budget have failed: " + brief.List(failed, 3)
			}
			d.run(Active, text+d.illness())
		}
		return nil
	}
	return d.end(s, config)
}
