package stage

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// rollback decides the next step of a run that rolls back the clusters that it changed, the last changed first: stage by stage, and of a
// stage no more at once than went forward.
type rollback struct{ *decision }

// run judges the clusters that were sent back, and sends others while there is room.
func (r rollback) run() {
	r.decide(func(s *Stage, busy int) { r.send(s, busy) }, r.reportRunning)
}

// stop judges the clusters that were sent back, and sends none.
func (r rollback) stop() {
	r.decide(func(*Stage, int) {}, r.reportStopped)
}

func (r rollback) decide(send func(s *Stage, busy int), report func(*Stage)) {
	r.adopt(func(*Stage, *Cluster, v1beta1.BindingObject) {})
	for i := len(r.p.Stages) - 1; i >= 0; i-- {
		s := &r.p.Stages[i]
		send(s, r.judge(s))
		if slices.ContainsFunc(s.Clusters, func(c Cluster) bool { return c.Back.State == delivery.Returning || r.undecided(c) }) {
			report(s)
			return
		}
	}
	r.finish()
}

// judge judges the clusters of a stage that were sent back. busy is how many of the stage are in progress, forward or back.
func (r rollback) judge(s *Stage) (busy int) {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		switch c.Back.State {
		case delivery.Returning:
			r.judgeSent(c)
		case delivery.Astray:
			r.judgeLate(c)
		}
		if c.Back.State == delivery.Returning || r.goesForward(*c) {
			busy++
		}
	}
	return busy
}

// judgeSent judges a cluster that was sent back and is not back yet.
func (r rollback) judgeSent(c *Cluster) {
	fate, left := r.policy.Fate(r.change(*c, true), r.Now)
	if left > 0 {
		r.again(left)
	}
	if fate.State != delivery.Returning {
		c.Back = Back{Fate: fate, Since: r.Now}
		return
	}
	if b := r.picked[c.Name]; !started(b) { // a new policy makes another generation of a binding
		r.step.Start = append(r.step.Start, Start{Binding: b, To: *c.LastHealthy, Back: true})
	}
}

// judgeLate judges a cluster that is not back: one that was sent and becomes healthy later, while the run is still rolling back, is.
func (r rollback) judgeLate(c *Cluster) {
	if c.LastHealthy == nil {
		return
	}
	if fate, _ := r.policy.Fate(r.change(*c, true), r.Now); fate.State == delivery.Returned {
		c.Back = Back{Fate: fate, Since: r.Now}
	}
}

// goesForward returns whether a cluster may still be busy with the release: it was not sent back, and its window runs.
func (r rollback) goesForward(c Cluster) bool {
	b := r.picked[c.Name]
	if c.Phase != Active || c.Back.State == delivery.Returning || b == nil || !r.release.on(b) || healthy(b) {
		return false
	}
	return !r.failed(delivery.Change{Status: delivery.StatusOf(b), Given: c.Since})
}

// Why a cluster keeps what it has.
const (
	notPicked = "the placement no longer picks the cluster"
	modified  = "the binding was modified by another client; another update run may be active for this placement"
	refused   = "the API server refused to change the binding: "
)

// change is what the run changed on a cluster. sent is whether the cluster was sent back.
func (r rollback) change(c Cluster, sent bool) delivery.Change {
	out := delivery.Change{Before: c.LastHealthy, Sent: sent, Given: c.Back.Since}
	b := r.picked[c.Name]
	if b == nil {
		out.Obstacle = notPicked
		return out
	}
	out.Status = delivery.StatusOf(b)
	has := c.LastHealthy != nil && delivery.Has(b, *c.LastHealthy)
	if !has && (sent || !r.release.on(b)) || !sent && r.release.mark(b) == nil {
		out.Obstacle = modified
	}
	return out
}

// undecided returns whether the run gave a cluster something new, and has not decided about its rollback.
func (r rollback) undecided(c Cluster) bool {
	if c.Phase == Pending || c.Back.State != delivery.Waiting {
		return false
	}
	b := r.picked[c.Name]
	return c.LastHealthy != nil || b != nil && r.release.mark(b) != nil
}

// send sends clusters of a stage back while there is room beside busy others.
func (r rollback) send(s *Stage, busy int) {
	most, err := concurrency(r.config(s.Name).MaxConcurrency, len(s.Clusters))
	if err != nil { // not reached: the way forward has read it
		most = 1
	}
	for i := len(s.Clusters) - 1; i >= 0; i-- {
		c := &s.Clusters[i]
		if !r.undecided(*c) {
			continue
		}
		fate, _ := r.policy.Fate(r.change(*c, false), r.Now)
		if fate.State != delivery.Waiting {
			c.Back = Back{Fate: fate, Since: r.Now}
			continue
		}
		if !r.goesForward(*c) { // else it has a place
			if busy >= most {
				return
			}
			busy++
		}
		r.sendOne(c)
	}
}

// sendOne gives a cluster its last healthy revision.
func (r rollback) sendOne(c *Cluster) {
	b, to := r.picked[c.Name], *c.LastHealthy
	obstacle := r.Lost[c.Name]
	if answer := r.Refused[c.Name]; answer != "" {
		obstacle = refused + answer
	}
	if obstacle != "" {
		// Its place stays taken until the next pass: the step for the others was carried out, or checked, with it.
		c.Back = Back{Fate: delivery.NotRolledBack(obstacle), Since: r.Now}
		r.again(0)
		return
	}
	c.Back = Back{Fate: delivery.Sent(to), Since: r.Now}
	r.again(r.policy.Window)
	if content := !delivery.Has(b, to); content || !started(b) {
		r.step.Start = append(r.step.Start, Start{Binding: b, Content: content, To: to, Back: true})
		return
	}
	// An earlier pass sent it without storing that, and the event of its health may be past.
	if r.judgeSent(c); c.Back.State != delivery.Returning {
		r.again(0)
	}
}

// reportRunning sets the message of a run that sends clusters back.
func (r rollback) reportRunning(s *Stage) {
	done, all := 0, 0
	for _, c := range s.Clusters {
		if c.Back.State != delivery.Waiting || r.undecided(c) {
			all++
		}
		if c.Back.State != delivery.Waiting && c.Back.State != delivery.Returning {
			done++
		}
	}
	text := fmt.Sprintf("Rolling back: %d of %d clusters of stage %s are done", done, all, s.Name)
	if names := returning(s); len(names) > 0 {
		text += "; waiting for " + brief.List(names, 3)
	}
	r.set(RollingBack, "%s", text)
}

// reportStopped sets the phase of a run that sends no clusters back.
func (r rollback) reportStopped(s *Stage) {
	if names := returning(s); len(names) > 0 {
		r.set(Stopping, "Stopping the rollback: waiting for %s in stage %s", brief.List(names, 3), s.Name)
		return
	}
	r.set(Stopped, "Rollback stopped at stage %s; set spec.state to Run to continue", s.Name)
}

// returning names the clusters of a stage that were sent back and are not back yet.
func returning(s *Stage) []string {
	var out []string
	for _, c := range s.Clusters {
		if c.Back.State == delivery.Returning {
			out = append(out, c.Name)
		}
	}
	return out
}

// finish ends a run that has rolled back everything it can.
func (r rollback) finish() {
	back, rest := 0, []string(nil)
	for _, s := range r.p.Stages {
		for _, c := range s.Clusters {
			if c.Back.State == delivery.Returned {
				back++
			}
			if notBack(c) {
				rest = append(rest, fmt.Sprintf("%s (stage %s)", c.Name, s.Name))
			}
		}
	}
	r.p.Back = delivery.Fate{State: delivery.Returned, Message: fmt.Sprintf("Clusters rolled back to their last healthy revision: %d", back)}
	if back+len(rest) == 0 {
		r.p.Back.Message = "The run changed no cluster, so there is nothing to roll back"
	}
	if len(rest) > 0 {
		r.p.Back.State = delivery.Astray
		r.p.Back.Message += fmt.Sprintf("; not rolled back: %s; see their condition RolledBack", brief.List(rest, 10))
	}
	r.p.Fail(mistake("%s. %s. Correct the release and create another run", r.p.Budget.Message, r.p.Back.Message).Error())
}
