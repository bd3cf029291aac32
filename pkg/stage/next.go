package stage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/rollout"
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
	Overrides map[string]rollout.Lists
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
	// Fingerprint goes with the overrides in To; see rollout.Lists.
	Fingerprint string
	// Mark is to be written as contract.AnnotationUpdateRun in the same update; empty if there is nothing to remember.
	Mark string
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
	message := fmt.Sprintf("Told to stop; waits for %s of stage %s", few(left, 3), at.Name)
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
	// ill are the clusters in progress whose binding tells of a failure that nothing seems to mend, and which failure; relapsed those
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
				text += "; within the failure budget have failed: " + few(failed, 3)
			}
			d.run(Active, text+d.illness())
		}
		return nil
	}
	return d.end(s, config)
}

// concurrency is how many clusters may be in progress at once.
func concurrency(most *intstr.IntOrString, clusters int) (int, error) {
	n, err := intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(most, intstr.FromInt32(1))), clusters, false)
	if err != nil {
		return 0, mistake("maxConcurrency %s: %v", most, err)
	}
	return max(1, n), nil
}

// clusters judges those in progress and starts others while there is room, in their order. Those that have failed within the budget
// are finished.
func (d *decision) clusters(s *Stage, most int) (finished int, err error) {
	// Those in progress first, so that what they free is used at once and what they fill is never given twice.
	busy, err := d.judge(s)
	if err != nil {
		return 0, err
	}
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if c.Phase == Pending && busy < most {
			if err := d.start(s, c); err != nil {
				return 0, err
			}
			if c.Phase != Succeeded {
				busy++
			}
		}
		if c.Phase == Succeeded || c.Phase == Failed {
			finished++
		}
	}
	return finished, nil
}

// judge looks at the clusters in progress, and counts those that still are; with a failure policy it also looks at those that were.
func (d *decision) judge(s *Stage) (busy int, err error) {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		switch {
		case c.Phase == Failed && d.policy() == nil:
			return 0, mistake("cluster %s of stage %s has failed: %s", c.Name, s.Name, c.Cause)
		case d.adopted[c.Name]:
			busy++
		case c.Phase == Active:
			b := d.bindings[c.Name]
			if b == nil {
				return 0, d.missing(c, s)
			}
			if !d.holds(b, c.Name) {
				c.Phase = Failed
				c.Cause = "What the cluster is to get was changed by somebody else while the run was at it; another update run may be at work on the placement"
				return 0, mistake("cluster %s of stage %s: binding %s was changed by somebody else while the run was at it, "+
					"such as another update run at work on the placement"+goOn, c.Name, s.Name, b.GetName())
			}
			if d.look(c, b); c.Phase == Active {
				busy++
			}
		case c.Phase != Pending && d.policy() != nil:
			d.watch(c)
		}
	}
	return busy, d.withinBudget(s)
}

func (d *decision) missing(c *Cluster, s *Stage) error {
	return defect("there is no binding for cluster %s of stage %s", c.Name, s.Name)
}

// start gives the release to a cluster.
func (d *decision) start(s *Stage, c *Cluster) error {
	b := d.bindings[c.Name]
	if b == nil {
		return d.missing(c, s)
	}
	d.open(s)
	content := !d.given(b, c.Name) || d.relabelled(b, c.Name)
	if why, refused := d.Refused[c.Name]; refused {
		d.ill = append(d.ill, fmt.Sprintf("%s (%s)", c.Name, why))
		return nil // it takes its turn again, and nobody takes its place
	}
	c.Phase, c.Since = Active, d.Now
	if content || !started(b) {
		start := Start{Binding: b, Content: content, To: d.release(c.Name), Fingerprint: d.Overrides[c.Name].Fingerprint}
		if content {
			var err error
			if start.Mark, err = d.record(c, b); err != nil {
				return err
			}
		}
		d.step.Start = append(d.step.Start, start)
		if d.policy() != nil {
			d.again(d.window())
		}
		return nil
	}
	d.look(c, b)
	return nil
}

// open begins a stage, unless it has.
func (d *decision) open(s *Stage) {
	if s.Start.IsZero() {
		s.Start = d.Now
	}
	if s.Phase != Active {
		s.at(Active, "Clusters are being updated", d.Now)
	}
}

// started says whether it was said of the binding as it is now that its rollout has begun.
func started(b v1beta1.BindingObject) bool {
	return is(b, v1beta1.ConditionRolloutStarted, metav1.ConditionTrue)
}

func is(b v1beta1.BindingObject, kind string, status metav1.ConditionStatus) bool {
	c := meta.FindStatusCondition(*b.GetConditions(), kind)
	return c != nil && c.ObservedGeneration == b.GetGeneration() && c.Status == status
}

// passing are the reasons of a False condition that say no more than that it is not True yet.
var passing = []string{
	v1beta1.ReasonOverriddenPending, v1beta1.ReasonWorkNotSynchronizedYet, v1beta1.ReasonApplyPending, v1beta1.ReasonResourceNotAvailableYet,
	v1beta1.ReasonApplyInProgress, v1beta1.ReasonDiffReportInProgress,
}

// look judges a cluster in progress by what is reported on its binding as it is now.
func (d *decision) look(c *Cluster, b v1beta1.BindingObject) {
	if healthy(b) {
		c.Phase, c.End = Succeeded, d.Now
		return
	}
	if w := wrong(b); w != nil && !slices.Contains(passing, w.Reason) {
		d.ill = append(d.ill, fmt.Sprintf("%s (%s)", c.Name, w.Reason))
	}
	if d.policy() != nil {
		d.expire(c, b)
	}
}

// illness says which clusters do not seem to get well by waiting.
func (d *decision) illness() string {
	if len(d.ill) == 0 {
		return ""
	}
	return "; not well: " + few(d.ill, 3) + "; see their bindings, or the placement's status"
}

// stuck says on the run which clusters have taken too long, if any has, and when the next will have.
func (d *decision) stuck(s *Stage) bool {
	if d.policy() != nil {
		return false // the health window says when
	}
	var names []string
	for _, c := range s.Clusters {
		if c.Phase != Active {
			continue
		}
		if left := StuckAfter - d.Now.Sub(c.Since); left > 0 {
			d.again(left)
		} else {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return false
	}
	text := strings.Join(names[:min(3, len(names))], ", ")
	if len(names) > 3 {
		text += "..."
	}
	d.run(Stuck, fmt.Sprintf("Stage %s: %s took longer than %s%s", s.Name, text, StuckAfter, d.illness()))
	return true
}

// approval says whether an approval task is done, and sees to it that there is somebody to ask.
func (d *decision) approval(s *Stage, task *Task, kind string) (bool, error) {
	if task.Done {
		return true, nil
	}
	request, ok := d.Requests[task.Request]
	task.Asked = true
	switch {
	case !ok:
		d.step.Ask = append(d.step.Ask, Ask{Name: task.Request, Stage: s.Name, Task: kind})
		return false, nil
	case request.Run != d.Run || request.Stage != s.Name:
		return false, mistake("approval request %s belongs to stage %q of run %q; delete it and make a new run", task.Request, request.Stage, request.Run)
	case !request.Approved:
		return false, nil
	}
	d.step.Accept = append(d.step.Accept, task.Request)
	task.Done = true
	return true, nil
}

// end waits for the tasks after a stage, all of whose clusters are done.
func (d *decision) end(s *Stage, config v1beta1.StageConfig) error {
	var waits []string
	for i := range s.After {
		task := &s.After[i]
		if task.Type == v1beta1.StageTaskApproval {
			passed, err := d.approval(s, task, contract.TaskAfterStage)
			if err != nil {
				return err
			}
			if !passed {
				waits = append(waits, "approval request "+task.Request)
			}
			continue
		}
		if s.Phase != Waiting && s.Phase != Stopped {
			s.at(Waiting, "", d.Now) // the clock of the wait
		}
		if left := waitOf(config) - d.Now.Sub(s.Since); !task.Done && left > 0 {
			d.again(left)
			waits = append(waits, "its wait time to pass")
			continue
		}
		task.Done = true
	}
	if len(d.relapsed) > 0 {
		waits = append(waits, few(d.relapsed, 3)+" to be healthy again")
	}
	if len(waits) > 0 {
		text := strings.Join(waits, " and ")
		s.at(Waiting, "All clusters are done; waits for "+text, d.Now)
		d.run(Waiting, fmt.Sprintf("All clusters of stage %s are done; it waits for %s", s.Name, text))
		return nil
	}
	s.Cause = "All clusters and tasks are done"
	if failed := failedOf(s.Clusters); len(failed) > 0 {
		s.Cause += "; within the failure budget have failed: " + few(failed, 10)
	}
	s.at(Succeeded, s.Cause, d.Now)
	d.run(Active, fmt.Sprintf("Stage %s is done", s.Name))
	d.more = true
	return nil
}

func waitOf(config v1beta1.StageConfig) time.Duration {
	for _, t := range config.AfterStageTasks {
		if t.Type == v1beta1.StageTaskTimedWait && t.WaitTime != nil {
			return t.WaitTime.Duration
		}
	}
	return 0
}

// delete takes the placement off the clusters that are no longer picked, all at once.
func (d *decision) delete(s *Stage) error {
	if s.Start.IsZero() {
		s.Start = d.Now
	}
	if s.Phase != Active {
		s.at(Active, "Clusters that are no longer picked are being cleaned", d.Now)
	}
	if err := d.deleting(s); err != nil {
		return err
	}
	var left []string
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if b := d.doomed[c.Name]; b != nil {
			left = append(left, c.Name)
			if c.Phase == Pending {
				if d.Refused[c.Name] != "" {
					continue
				}
				c.Phase, c.Since = Active, d.Now
				if b.GetDeletionTimestamp().IsZero() {
					d.step.Drop = append(d.step.Drop, b.GetName())
				}
			}
		} else if c.Phase == Pending {
			c.Phase, c.Since = Succeeded, d.Now
		}
	}
	if len(left) > 0 {
		d.run(Active, fmt.Sprintf("All stages are done; waits for the placement to be gone from %s", few(left, 3)))
		return nil
	}
	s.Cause = "The placement is gone from all clusters that are no longer picked"
	s.at(Succeeded, s.Cause, d.Now)
	d.more = true
	return nil
}

// deleting judges the clusters whose binding is being deleted.
func (d *decision) deleting(s *Stage) error {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		b := d.doomed[c.Name]
		switch {
		case b == nil && c.Phase == Active:
			c.Phase = Succeeded
		case b != nil && c.Phase == Succeeded:
			return defect("cluster %s was cleaned and has a binding again that is to be given up: %s", c.Name, b.GetName())
		case b != nil && c.Phase == Active && b.GetDeletionTimestamp().IsZero():
			return defect("binding %s of cluster %s was deleted and is there again", b.GetName(), c.Name)
		}
	}
	return nil
}
