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
			start.Mark = d.record(c, b)
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
	return delivery.StatusOf(b).Is(v1beta1.ConditionRolloutStarted, metav1.ConditionTrue)
}

// look judges a cluster in progress by what is reported on its binding as it is now.
func (d *decision) look(c *Cluster, b v1beta1.BindingObject) {
	if healthy(b) {
		c.Phase, c.End = Succeeded, d.Now
		return
	}
	if w := wrong(b); w != nil && d.failing(c, b, *w) {
		d.ill = append(d.ill, fmt.Sprintf("%s (%s)", c.Name, w.Reason))
	}
	if d.policy() != nil {
		d.expire(c, b)
	}
}

// failing says whether what is wrong on a cluster in progress does not seem to end by waiting: what only progresses has a time in which
// to do so.
func (d *decision) failing(c *Cluster, b v1beta1.BindingObject, wrong metav1.Condition) bool {
	switch delivery.MeaningOf(wrong, len(b.GetStatus().FailedPlacements)) {
	case delivery.Failed:
		return true
	case delivery.Progressing:
		left := StuckAfter - d.Now.Sub(c.Since)
		if left > 0 {
			d.again(left)
		}
		return left <= 0
	}
	return false
}

// illness says which clusters do not seem to get well by waiting.
func (d *decision) illness() string {
	if len(d.ill) == 0 {
		return ""
	}
	return "; not well: " + brief.List(d.ill, 3) + "; see their bindings, or the placement's status"
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
