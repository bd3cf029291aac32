package stage

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// turnsBack says whether the run would take clusters back, and so has to know what they had.
func (d *decision) turnsBack() bool {
	return d.policy() != nil && d.policy().OnFailure == v1beta1.FailureActionRollback
}

// record notes what a cluster last ran healthily before the run changes it, and returns the mark for its binding, nil if the run would not
// take it back. A binding that has this run's mark already was changed by it before; that mark counts.
func (d *decision) record(c *Cluster, b v1beta1.BindingObject) *delivery.Mark {
	if !d.turnsBack() {
		return nil
	}
	m := d.mark(b)
	if m == nil {
		m = &delivery.Mark{Run: d.UID, Before: b.GetStatus().LastHealthy}
	}
	c.LastHealthy = m.Before
	return m
}

// mark is what this run has noted on a binding, nil if it has not changed it.
func (d *decision) mark(b v1beta1.BindingObject) *delivery.Mark { return delivery.RunMark(b, d.UID) }

// adopt takes up clusters that the run has changed and then could not say so.
func (d *decision) adopt() {
	if !d.turnsBack() {
		return
	}
	for i := range d.p.Stages {
		s := &d.p.Stages[i]
		for j := range s.Clusters {
			c := &s.Clusters[j]
			b := d.bindings[c.Name]
			if c.Phase != Pending || b == nil || d.mark(b) == nil || !d.given(b, c.Name) || d.Refused[c.Name] != "" {
				continue
			}
			c.Phase, c.Since, c.LastHealthy = Active, d.Now, d.mark(b).Before
			if d.p.Retreating() {
				continue
			}
			if d.open(s); !started(b) {
				d.step.Start = append(d.step.Start, Start{Binding: b, To: d.release(c.Name)})
				d.adopted[c.Name] = true
			}
		}
	}
}

// Retreating says whether the run is on the way back, stopped there or not.
func (p *Progress) Retreating() bool { return p.Back.Phase == Active }

// turn begins the way back. Nothing is changed before that is stored: a cluster that is back where it was must never look as if
// somebody else had taken it there.
func (d *decision) turn(at *Stage, s *spent) {
	at.Cause = s.text
	at.at(Failed, "The stage cannot go on; see the condition Succeeded", d.Now)
	d.p.Back = Verdict{Phase: Active, Message: "Clusters are being taken back to what they last ran healthily"}
	d.run(Retreating, s.text+"; what the run has changed is taken back")
	d.step = Step{}
	d.again(0)
	d.more = false
}

// retreat takes the clusters that the run has changed back, the last changed first: stage by stage, and of a stage no more at once than
// went forward. Without move it only looks after those that are on their way.
func (d *decision) retreat(move bool) {
	for i := len(d.p.Stages) - 1; i >= 0; i-- {
		s := &d.p.Stages[i]
		busy := d.returning(s)
		if move {
			d.sendBack(s, busy)
		}
		if slices.ContainsFunc(s.Clusters, func(c Cluster) bool { return c.Back.Phase == Active || d.changed(&c) }) {
			d.onTheWay(s, move)
			return
		}
	}
	d.home()
}

// returning judges the clusters of a stage that are on their way, forward or back, and counts those that still are.
func (d *decision) returning(s *Stage) (busy int) {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if c.Back.Phase == Active {
			d.lookBack(c)
		}
		if c.Back.Phase == Active || d.underWay(c) {
			busy++
		}
	}
	return busy
}

// underWay says whether a cluster that was given the release may still be busy with it: it was not sent back, or is left as it is.
func (d *decision) underWay(c *Cluster) bool {
	b := d.bindings[c.Name]
	if c.Phase != Active || c.Back.Phase == Active || b == nil || !d.given(b, c.Name) || healthy(b) {
		return false
	}
	_, expired := d.expired(c.Since, b)
	return !expired
}

// lookBack judges a cluster that was sent back.
func (d *decision) lookBack(c *Cluster) {
	b := d.bindings[c.Name]
	switch {
	case b == nil:
		c.Back = d.failure(noBinding)
	case !delivery.Has(b, *c.LastHealthy):
		c.Back = d.failure(notOurs)
	case healthy(b):
		c.Back = Verdict{Phase: Succeeded, Since: d.Now, Message: "The cluster is back at " + c.LastHealthy.ResourceSnapshotName + ", and healthy"}
	default:
		if cause, expired := d.expired(c.Back.Since, b); expired {
			c.Back = d.failure("Back at " + c.LastHealthy.ResourceSnapshotName + ": " + cause)
		} else if !started(b) { // a new policy makes another generation of a binding
			d.step.Start = append(d.step.Start, Start{Binding: b, To: *c.LastHealthy, Back: true})
		}
	}
}

// Why a cluster is left as it is.
const (
	noBinding = "The cluster is no longer picked, so it is left as it is"
	notOurs   = "What the cluster is to get was changed by somebody else, so it is left as it is; another update run may be at work on the placement"
)

func (d *decision) failure(why string) Verdict {
	return Verdict{Phase: Failed, Message: why, Since: d.Now}
}

// sendBack sends clusters of a stage back while there is room beside busy others.
func (d *decision) sendBack(s *Stage, busy int) {
	most, err := concurrency(d.config(s.Name).MaxConcurrency, len(s.Clusters))
	if err != nil { // the way forward would have found it
		most = 1
	}
	for i := len(s.Clusters) - 1; i >= 0; i-- {
		c := &s.Clusters[i]
		if !d.changed(c) {
			continue
		}
		if why, left := d.leave(c); left {
			c.Back = why
			continue
		}
		own := d.underWay(c) // it gives its own place up
		if !own && busy >= most {
			return
		}
		if !own {
			busy++
		}
		d.send(c)
	}
}

// changed says whether the run has given a cluster something that it lacked, and has not decided about the way back.
func (d *decision) changed(c *Cluster) bool {
	if c.Phase == Pending || c.Back.Phase != Pending {
		return false
	}
	b := d.bindings[c.Name]
	return c.LastHealthy != nil || b != nil && d.mark(b) != nil
}

// leave says whether a changed cluster must be left as it is, and why.
func (d *decision) leave(c *Cluster) (Verdict, bool) {
	b := d.bindings[c.Name]
	switch {
	case b == nil:
		return d.failure(noBinding), true
	case d.mark(b) == nil || !d.given(b, c.Name) && (c.LastHealthy == nil || !delivery.Has(b, *c.LastHealthy)):
		return d.failure(notOurs), true
	case c.LastHealthy == nil:
		v := d.failure("Before this run the cluster has never been healthy with the placement, so there is nothing to take it back to")
		v.NeverHealthy = true
		return v, true
	}
	return Verdict{}, false
}

// send gives a cluster what it last ran healthily.
func (d *decision) send(c *Cluster) {
	b := d.bindings[c.Name]
	if why, refused := d.Refused[c.Name]; refused {
		// Its place stays taken until the next pass: what this one has done for the others must not depend on the refusal.
		c.Back = d.failure("The cluster's binding could not be changed: " + why)
		d.again(0)
		return
	}
	c.Back = Verdict{Phase: Active, Since: d.Now, Message: "The cluster is on the way back to " + c.LastHealthy.ResourceSnapshotName}
	d.again(d.window())
	if content := !delivery.Has(b, *c.LastHealthy); content || !started(b) {
		d.step.Start = append(d.step.Start, Start{Binding: b, Content: content, To: *c.LastHealthy, Back: true})
		return
	}
	// It was sent before, and nobody could say so. What has happened since is no event any more.
	if d.lookBack(c); c.Back.Phase != Active {
		d.again(0)
	}
}

// onTheWay says on the run how far the way back has come.
func (d *decision) onTheWay(s *Stage, move bool) {
	back, all := 0, 0
	var names []string
	for _, c := range s.Clusters {
		if c.Back.Phase != Pending || d.changed(&c) {
			all++
		}
		switch c.Back.Phase {
		case Active:
			names = append(names, c.Name)
		case Succeeded, Failed:
			back++
		}
	}
	switch {
	case move:
		text := fmt.Sprintf("Taking clusters back: %d of %d of stage %s are done", back, all, s.Name)
		if len(names) > 0 {
			text += "; waits for " + brief.List(names, 3)
		}
		d.run(Retreating, text)
	case len(names) > 0:
		d.run(Stopping, fmt.Sprintf("Told to stop while taking clusters back; waits for %s of stage %s", brief.List(names, 3), s.Name))
	default:
		d.run(Stopped, fmt.Sprintf("Stopped while taking clusters of stage %s back; set spec.state to Run to go on", s.Name))
	}
}

// home ends a run that has taken back whatever could be.
func (d *decision) home() {
	done, rest := 0, []string(nil)
	for _, s := range d.p.Stages {
		for _, c := range s.Clusters {
			switch c.Back.Phase {
			case Succeeded:
				done++
			case Failed:
				rest = append(rest, fmt.Sprintf("%s (stage %s)", c.Name, s.Name))
			}
		}
	}
	d.p.Back = Verdict{Phase: Succeeded, Since: d.Now, Message: fmt.Sprintf("Clusters back at what they last ran healthily: %d", done)}
	if done+len(rest) == 0 {
		d.p.Back.Message = "The run has changed nothing on any cluster, so there was nothing to take back"
	}
	if len(rest) > 0 {
		d.p.Back.Phase = Failed
		d.p.Back.Message += fmt.Sprintf("; not back: %s; see their condition RolledBack", brief.List(rest, 10))
	}
	d.p.Fail(mistake("%s. %s. Put the release right and make another run", d.p.Budget.Message, d.p.Back.Message).Error())
}

// release is what the run releases to a cluster.
func (d *decision) release(cluster string) v1beta1.Revision {
	return delivery.NewRevision(d.Snapshot, d.Overrides[cluster], &d.Apply)
}

// given says whether a binding has what the run releases to its cluster.
func (d *decision) given(b v1beta1.BindingObject, cluster string) bool {
	return delivery.Has(b, d.release(cluster))
}

// relabelled says whether the overrides of the release come to something else on a cluster than when its binding was given them.
func (d *decision) relabelled(b v1beta1.BindingObject, cluster string) bool {
	now := d.Overrides[cluster].Fingerprint
	return now != "" && now != delivery.Unresolved && now != b.GetSpec().OverrideFingerprint
}

// holds says whether a binding has that, and its rollout has been started as it is now.
func (d *decision) holds(b v1beta1.BindingObject, cluster string) bool {
	return d.given(b, cluster) && started(b)
}

// Decisive says whether a step leads to something that is not taken back, so that what it was decided from had better be true: the run
// ends, turns round, or leaves a cluster as it is.
func Decisive(before, after Progress) bool {
	if after.Phase == Failed || after.Retreating() && !before.Retreating() {
		return true
	}
	for i, s := range after.Stages {
		for j, c := range s.Clusters {
			if c.Back.Phase == Failed && before.Stages[i].Clusters[j].Back.Phase != Failed {
				return true
			}
		}
	}
	return false
}
