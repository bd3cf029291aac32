package schedule

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// Held is a cluster that a placement of strategy External has to leave and cannot, and why. It counts as found: an
// update run ends, or cannot begin, if the placement lacks clusters.
type Held struct {
	Cluster, Reason string
	// Run is whether it is held only until an update run ends.
	Run bool
}

// awaitsRun reports whether a cluster is not left before an update run ends. One that an administrator declared lost
// is left at once, and the run aborts, as it does when other clusters are picked.
func (r *run) awaitsRun(l failover.Leave) bool { return r.request.Run != "" && !l.Released }

// hold records a cluster for which there is no replacement.
func (r *run) hold(l leaver) {
	if r.request.External {
		r.held = append(r.held, l)
	} else {
		r.stuck = append(r.stuck, l)
	}
}

func (r *run) heldClusters() (out []Held) {
	for _, l := range r.held {
		h := Held{Cluster: l.Cluster, Run: r.awaitsRun(l.Leave)}
		if !h.Run {
			h.Reason = r.whyStuck(l)
		} else {
			h.Reason = fmt.Sprintf("cluster %q must be replaced (%s), which waits until update run %s ends, because another set of clusters aborts it",
				l.Cluster, state(l.Leave), r.request.Run)
			if l.Reason == failover.Lost {
				h.Reason += fmt.Sprintf("; to replace the cluster now and abort the run, run: kubectl fleet failover release %s", l.Cluster)
			}
		}
		out = append(out, h)
	}
	return out
}

// fill gives replacements that have no content that of the clusters that they replace: the strategy may have become
// External after the exchange, and no rolling update reaches them any more. A run that is active does that itself.
func (r *run) fill() {
	if !r.request.External || r.request.Run != "" {
		return
	}
	for _, b := range sorted(r.kept) {
		if b.Replaces == nil || b.Placed || b.State != v1beta1.BindingStateScheduled || b.CarriedOver || !r.hasContent(b.Replaces.With) ||
			slices.ContainsFunc(r.writes, func(c Change) bool { return c.Binding == b.Name }) ||
			slices.ContainsFunc(r.carried, func(c Binding) bool { return c.Name == b.Name }) {
			continue
		}
		r.writes = append(r.writes, Change{
			Binding: b.Name, State: b.State, Snapshot: b.Snapshot, Decision: b.Decision, Replaces: b.Replaces, Inherits: true,
		})
	}
}

// hasContent reports whether the placement has a binding to the cluster that was given content.
func (r *run) hasContent(cluster string) bool {
	return slices.ContainsFunc(r.request.Bindings, func(b Binding) bool {
		return b.Cluster == cluster && !b.Deleting && b.Placed && (b.State == v1beta1.BindingStateBound || b.State == v1beta1.BindingStateUnscheduled)
	})
}
