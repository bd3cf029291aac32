package stage

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// concurrency is how many clusters may be in progress at once.
func concurrency(most *intstr.IntOrString, clusters int) (int, error) {
	n, err := intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(most, intstr.FromInt32(1))), clusters, false)
	if err != nil {
		return 0, mistake("maxConcurrency %s: %v", most, err)
	}
	return max(1, n), nil
}

// clusters judges the clusters in progress and starts others while there is room, in their order. finished counts
// those that are done or have failed within the budget.
func (f *forward) clusters(s *Stage, most int) (finished int, err error) {
	// Those in progress come first, so that this step uses the places that they free.
	busy, err := f.judge(s)
	if err != nil {
		return 0, err
	}
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if c.Phase == Pending && busy < most {
			if err := f.start(s, c); err != nil {
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

// judge judges the clusters in progress, and with a failure policy those that were. busy is how many still are in
// progress.
func (f *forward) judge(s *Stage) (busy int, err error) {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		switch {
		case c.Phase == Failed && f.policy == nil:
			return 0, mistake("cluster %s of stage %s has failed: %s", c.Name, s.Name, c.Cause)
		case f.adopted[c.Name]:
			busy++
		case c.Phase == Active:
			b := f.picked[c.Name]
			if b == nil {
				return 0, noBinding(c, s)
			}
			if f.release.on(b) && !started(b) && divided(b) {
				f.step.Start = append(f.step.Start, Start{Binding: b, To: f.release.to(c.Name)})
				busy++
				continue
			}
			if !f.release.on(b) || !started(b) {
				c.Phase = Failed
				c.Cause = "The binding was modified by another client during this run; another update run may be active for this placement"
				return 0, mistake("cluster %s of stage %s: binding %s was modified by another client during this run, for example by another "+
					"update run for this placement"+goOn, c.Name, s.Name, b.GetName())
			}
			if f.look(c, b); c.Phase == Active {
				busy++
			}
		case c.Phase != Pending && f.policy != nil:
			f.watch(c)
		}
	}
	return busy, f.withinBudget(s)
}

func noBinding(c *Cluster, s *Stage) error {
	return defect("there is no binding for cluster %s of stage %s", c.Name, s.Name)
}

// start gives the release to a cluster.
func (f *forward) start(s *Stage, c *Cluster) error {
	b := f.picked[c.Name]
	if b == nil {
		return noBinding(c, s)
	}
	f.open(s)
	content := !f.release.on(b) || f.release.relabelled(b)
	if why, refused := f.Refused[c.Name]; refused {
		f.failing = append(f.failing, fmt.Sprintf("%s (%s)", c.Name, why))
		return nil // it is tried again, and keeps its place
	}
	c.Phase, c.Since = Active, f.Now
	if !content && started(b) {
		f.look(c, b)
		return nil
	}
	start := Start{Binding: b, Content: content, To: f.release.to(c.Name), Fingerprint: f.Overrides[c.Name].Fingerprint}
	if content && f.rollsBack() {
		start.Mark = f.release.newMark(b)
		c.LastHealthy = start.Mark.Before
	}
	f.step.Start = append(f.step.Start, start)
	if f.policy != nil {
		f.again(f.policy.Window)
	}
	return nil
}

// look judges a cluster in progress by the report on its binding as it is now.
func (f *forward) look(c *Cluster, b v1beta1.BindingObject) {
	if healthy(b) {
		c.Phase, c.End = Succeeded, f.Now
		return
	}
	status := delivery.StatusOf(b)
	if w := status.Wrong(); w != nil && f.isFailing(c, status, *w) {
		f.failing = append(f.failing, fmt.Sprintf("%s (%s)", c.Name, w.Reason))
	}
	if f.policy != nil && f.failed(delivery.Change{Status: status, Given: c.Since}) {
		f.markFailed(c, b)
	}
}

// isFailing returns whether time alone does not seem to make a cluster in progress healthy. One that only progresses
// has StuckAfter.
func (f *forward) isFailing(c *Cluster, status delivery.Status, wrong metav1.Condition) bool {
	switch delivery.MeaningOf(wrong, status.FailedObjects) {
	case delivery.Failed:
		return true
	case delivery.Progressing:
		left := StuckAfter - f.Now.Sub(c.Since)
		if left > 0 {
			f.again(left)
		}
		return left <= 0
	}
	return false
}

// watch judges a cluster that was done, or has failed, as long as its stage lasts.
func (f *forward) watch(c *Cluster) {
	b := f.picked[c.Name]
	if b == nil || !f.release.on(b) || !started(b) {
		return // another client changed the binding, so its report is not about the release
	}
	switch {
	case healthy(b) && c.Phase == Failed:
		c.Phase, c.Cause, c.End = Succeeded, "", f.Now
	case healthy(b) || c.Phase == Failed:
	case f.failed(delivery.Change{Status: delivery.StatusOf(b), Given: c.End, WasHealthy: true}):
		f.markFailed(c, b)
	default:
		f.relapsed = append(f.relapsed, c.Name)
	}
}

// markFailed marks a cluster as failed.
func (f *forward) markFailed(c *Cluster, b v1beta1.BindingObject) {
	status := delivery.StatusOf(b)
	c.Phase, c.End = Failed, f.Now
	c.Cause = fmt.Sprintf("Not healthy for %s: %s", f.policy.Window, status.Complaint())
	if w := status.Wrong(); w != nil {
		c.Cause += ": " + w.Message
	}
	c.Cause += "; see binding " + b.GetName()
}

// failures is the part of the run's message about clusters that do not seem to become healthy.
func (f *forward) failures() string {
	if len(f.failing) == 0 {
		return ""
	}
	return "; failing: " + brief.List(f.failing, 3) + "; see their bindings, or the placement's status"
}

// stuck sets the run's phase if clusters have taken too long, and returns whether any has. With a failure policy the
// health window decides; a cluster without a report has none, and the run's message names it.
func (f *forward) stuck(s *Stage) bool {
	if f.policy != nil {
		return false
	}
	var names []string
	for _, c := range s.Clusters {
		if c.Phase != Active {
			continue
		}
		if left := StuckAfter - f.Now.Sub(c.Since); left > 0 {
			f.again(left)
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
	f.set(Stuck, "Stage %s: %s took longer than %s%s", s.Name, text, StuckAfter, f.failures())
	return true
}
