package stage

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// World is what a step is decided from, beside the run's progress.
type World struct {
	// Run is the run's name, UID tells it from other runs that had the name.
	Run string
	UID types.UID
	// Config is the strategy that the run was planned with.
	Config v1beta1.UpdateStrategySpec
	// Snapshot is the name of the resource snapshot to release, Apply how to apply it, Overrides the lists of each
	// cluster. Clusters that do not have the release yet also have the fingerprint of their overrides with their
	// current labels.
	Snapshot  string
	Apply     v1beta1.ApplyStrategy
	Overrides map[string]delivery.Overrides
	// Bindings are all bindings of the placement.
	Bindings []v1beta1.BindingObject
	// Requests are the existing approval requests, by name.
	Requests map[string]Request
	// Refused are the clusters whose binding the API server refused to change in this step, and its answer. They do
	// not count as started.
	Refused map[string]string
	// Unheard are the clusters whose next heartbeat is late: nothing is removed from them.
	Unheard map[string]bool
	// Lost are the clusters whose revision to return to lacks a snapshot, with the message about it.
	Lost map[string]string
	// Awake is when the agent started; no health window begins earlier.
	Awake, Now time.Time
}

// Request is the state of an approval request.
type Request struct {
	Run, Stage string
	// Approved is whether it is approved as it is now, or was when the run accepted the approval.
	Approved bool
}

// Step is what to do now.
type Step struct {
	Start []Start
	// Drop are the names of the bindings to delete.
	Drop []string
	// Ask are the approval requests to create; Accept the names of those whose approval the run has accepted.
	Ask    []Ask
	Accept []string
	// Again is when to call again without an event; zero means that there is no need.
	Again time.Duration
}

// Start is a binding to give a revision to: the release, or in a rollback the last healthy revision of its cluster.
type Start struct {
	Binding v1beta1.BindingObject
	To      v1beta1.Revision
	// Content is whether the binding lacks any of it; if not, only the condition RolloutStarted is missing.
	Content bool
	// Fingerprint belongs to the overrides in To; see delivery.Overrides.
	Fingerprint string
	// Mark is written in the same update; nil if there is none to write.
	Mark *delivery.Mark
	// Back is whether To is the last healthy revision of the cluster.
	Back bool
}

// Ask is an approval request to create.
type Ask struct{ Name, Stage, Task string }

// Next moves on a run whose spec.state is Run. The caller carries out the step, and stores the progress only
// afterwards.
func Next(p Progress, w World) (Progress, Step) {
	d := newDecision(p, w)
	if d.p.RollingBack() {
		rollback{d}.run()
	} else {
		(&forward{decision: d}).run()
	}
	return d.p, d.step
}

// Stop moves on a run whose spec.state is Stop: it waits for the clusters in progress and starts none.
func Stop(p Progress, w World) (Progress, Step) {
	d := newDecision(p, w)
	if d.p.RollingBack() {
		rollback{d}.stop()
	} else {
		(&forward{decision: d}).stop()
	}
	return d.p, d.step
}

// decision is what the ways forward and back share: the facts, and the step in the making.
type decision struct {
	World
	release release
	// policy is the run's failure policy; nil if it has none.
	policy *delivery.FailurePolicy
	// picked are the bindings of the clusters that the placement picks, dropped those that the scheduler gave up, but for
	// exchanges of clusters; by cluster.
	picked, dropped map[string]v1beta1.BindingObject

	p    Progress
	step Step
}

func newDecision(p Progress, w World) *decision {
	d := &decision{
		World: w, p: p.clone(), picked: map[string]v1beta1.BindingObject{}, dropped: map[string]v1beta1.BindingObject{},
		release: release{run: w.UID, snapshot: w.Snapshot, apply: w.Apply, overrides: w.Overrides},
		policy:  delivery.FailurePolicyOf(w.Config.FailurePolicy, &w.Apply),
	}
	if d.policy != nil {
		d.policy.From = w.Awake
	}
	for _, b := range w.Bindings {
		switch {
		case failover.Exchanged(b, w.Bindings):
		case b.GetSpec().State == v1beta1.BindingStateUnscheduled:
			d.dropped[b.GetSpec().TargetCluster] = b
		case b.GetDeletionTimestamp().IsZero():
			d.picked[b.GetSpec().TargetCluster] = b
		}
	}
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

// config returns the configuration of a stage.
func (d *decision) config(stage string) v1beta1.StageConfig {
	for _, c := range d.Config.Stages {
		if c.Name == stage {
			return c
		}
	}
	return v1beta1.StageConfig{Name: stage} // not reached: Check has compared the stages
}

// set sets the phase and the message of the run.
func (d *decision) set(phase Phase, format string, args ...any) {
	d.p.Phase, d.p.Message = phase, fmt.Sprintf(format, args...)
}

// again asks to be called after a time, at the earliest in a millisecond.
func (d *decision) again(after time.Duration) {
	if after = max(after, time.Millisecond); d.step.Again == 0 || after < d.step.Again {
		d.step.Again = after
	}
}

// failed returns whether a changed cluster has been unhealthy for its whole window; if its window runs, it asks to be
// called at its end.
func (d *decision) failed(c delivery.Change) bool {
	failed, left := d.policy.Failed(c, d.Now)
	if left > 0 {
		d.again(left)
	}
	return failed
}

// rollsBack returns whether the run rolls clusters back if its budget is spent, and so records their last healthy
// revisions.
func (d *decision) rollsBack() bool { return d.policy != nil && d.policy.Rollback }

// adopt takes up clusters that the run has changed without storing it in its status.
func (d *decision) adopt(take func(*Stage, *Cluster, v1beta1.BindingObject)) {
	if !d.rollsBack() {
		return
	}
	for i := range d.p.Stages {
		s := &d.p.Stages[i]
		for j := range s.Clusters {
			c := &s.Clusters[j]
			b := d.picked[c.Name]
			if c.Phase != Pending || b == nil || !d.release.on(b) {
				continue
			}
			// On the way forward a refused change changed nothing. On the way back it is the return that was refused.
			if d.Refused[c.Name] != "" && !d.p.RollingBack() {
				continue
			}
			if mark := d.release.mark(b); mark != nil {
				c.Phase, c.Since, c.LastHealthy = Active, d.Now, mark.Before
				take(s, c, b)
			}
		}
	}
}

// Decisive returns whether a step leads to something that is not undone, so that it must be decided from up-to-date
// facts: the run ends or begins a rollback, or a cluster is not rolled back.
func Decisive(before, after Progress) bool {
	if after.Phase == Failed || after.RollingBack() && !before.RollingBack() {
		return true
	}
	for i, s := range after.Stages {
		for j, c := range s.Clusters {
			if notBack(c) && !notBack(before.Stages[i].Clusters[j]) {
				return true
			}
		}
	}
	return false
}

func notBack(c Cluster) bool {
	return c.Back.State == delivery.Astray || c.Back.State == delivery.NeverHealthy
}
