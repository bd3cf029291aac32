package stage

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// policy is the run's failure policy; nil if it has none, and then nothing in this file and in retreat.go happens.
func (d *decision) policy() *v1beta1.FailurePolicy { return d.Config.FailurePolicy }

func (d *decision) window() time.Duration { return rollout.WindowOf(d.policy()) }

// healthy says whether everything is well on the cluster of a binding as it is now.
func healthy(b v1beta1.BindingObject) bool { return delivery.StatusOf(b).Well() }

// wrong is the first thing that a binding as it is now says is not so; nil if it says nothing of the kind.
func wrong(b v1beta1.BindingObject) *metav1.Condition { return delivery.StatusOf(b).Wrong() }

// complaint puts what is wrong in words.
func complaint(b v1beta1.BindingObject) string {
	if c := wrong(b); c != nil {
		return fmt.Sprintf("binding %s says that %s is False (%s): %s", b.GetName(), c.Type, c.Reason, c.Message)
	}
	return fmt.Sprintf("binding %s says nothing about it; is the agent of the member running?", b.GetName())
}

// expired says whether a cluster that has been without health since a time has been so for the whole window, and how the status puts that.
// If not, the run is looked at again when it will have been. What passed before the agent was there to hear of it is held against nobody.
func (d *decision) expired(since time.Time, b v1beta1.BindingObject) (cause string, expired bool) {
	if d.Awake.After(since) {
		since = d.Awake
	}
	if left := d.window() - d.Now.Sub(since); left > 0 {
		d.again(left)
		return "", false
	}
	return fmt.Sprintf("The cluster was without health for %s: %s", d.window(), complaint(b)), true
}

// expire ends a cluster in progress whose window has passed.
func (d *decision) expire(c *Cluster, b v1beta1.BindingObject) {
	if cause, expired := d.expired(c.Since, b); expired {
		c.Phase, c.Cause, c.End = Failed, cause, d.Now
	}
}

// watch looks at a cluster that was done, or has failed, while its stage lasts: health comes and goes.
func (d *decision) watch(c *Cluster) {
	b := d.bindings[c.Name]
	if b == nil || !d.holds(b, c.Name) {
		return // what is there is somebody else's by now, and says nothing about the release
	}
	if healthy(b) {
		if c.Phase == Failed {
			c.Phase, c.Cause, c.End = Succeeded, "", d.Now
		}
		return
	}
	if c.Phase == Failed {
		return
	}
	cause, expired := d.expired(unwellSince(b, c.End), b)
	if expired {
		c.Phase, c.Cause, c.End = Failed, cause, d.Now
		return
	}
	d.relapsed = append(d.relapsed, c.Name)
}

// unwellSince says since when, at the earliest, a cluster has been without health that was well at a time. If the binding says of nothing that
// it is not so, it was written since, which makes an end of all that was said before: then that is when it was spoken of again.
func unwellSince(b v1beta1.BindingObject, well time.Time) time.Time {
	told := *b.GetConditions()
	if w := wrong(b); w != nil {
		told = []metav1.Condition{*w}
	}
	since := well
	for _, c := range told {
		// Bindings' times are cut off, not rounded up.
		if latest := c.LastTransitionTime.Add(time.Second); c.ObservedGeneration == b.GetGeneration() && latest.After(since) {
			since = latest
		}
	}
	return since
}

// spent is the error of a stage of which more clusters have failed than its budget allows.
type spent struct{ text string }

func (s *spent) Error() string { return s.text }

// withinBudget says whether a stage has no more failed clusters than it may; the error is a *spent if it has.
func (d *decision) withinBudget(s *Stage) error {
	if d.policy() == nil {
		return nil
	}
	budget, err := d.budget(d.config(s.Name), len(s.Clusters))
	if err != nil {
		return err
	}
	failed := failedOf(s.Clusters)
	if len(failed) <= budget {
		return nil
	}
	return &spent{text: fmt.Sprintf("Stage %s has spent its failure budget of %d: %d of %d clusters failed: %s",
		s.Name, budget, len(failed), len(s.Clusters), brief.List(failed, 10))}
}

// budget is how many of the clusters of a stage may fail.
func (d *decision) budget(config v1beta1.StageConfig, clusters int) (int, error) {
	value := ptr.Deref(cmp.Or(config.FailureBudget, d.policy().FailureBudget), intstr.FromInt32(0))
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, clusters, false)
	if err != nil {
		return 0, mistake("failureBudget %s of stage %s: %v; it must be a number from 0 or a percentage", value.String(), config.Name, err)
	}
	return n, nil
}

func failedOf(clusters []Cluster) []string {
	var out []string
	for _, c := range clusters {
		if c.Phase == Failed {
			out = append(out, c.Name)
		}
	}
	return out
}

// count says on a run with a failure policy what has become of its budgets. One that is spent stays so.
func (d *decision) count() {
	if d.policy() == nil || d.p.Budget.Phase == Failed {
		return
	}
	d.p.Budget = Verdict{Phase: Succeeded, Message: "No cluster has failed"}
	var failed []string
	for _, s := range d.p.Stages {
		for _, name := range failedOf(s.Clusters) {
			failed = append(failed, fmt.Sprintf("%s (stage %s)", name, s.Name))
		}
	}
	if len(failed) > 0 {
		d.p.Budget.Message = "No more clusters have failed than the budgets allow: " + brief.List(failed, 10)
	}
}

// overspent ends a run whose budget is spent, or turns it round.
func (d *decision) overspent(at *Stage, s *spent) {
	d.p.Budget = Verdict{Phase: Failed, Message: s.text}
	if d.policy().OnFailure == v1beta1.FailureActionRollback {
		d.turn(at, s)
		return
	}
	d.abort(at, mistake("%s. Every cluster is left as it is. To go on with the release, make a run with spec.resumeFrom: %s; "+
		"to go back, use \"kubectl fleet rollout undo\"", s.text, d.Run))
}
