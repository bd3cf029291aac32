package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// Account is a verdict with the recorded state of its cluster.
type Account struct {
	Verdict
	// Binding is the relevant binding: one that is not being deleted, otherwise any other; nil if there is none.
	Binding *Binding
	// Notes describe how the recorded state differs from a decision made now.
	Notes []string
}

// Accounts compares a decision with its input: the bindings, and the decisions in the policy snapshot's status. It
// returns an Account for every verdict and for every binding to a cluster that no longer exists, by name.
func (d Decision) Accounts(r Request) []Account {
	bindings, listed, reported := map[string]*Binding{}, map[string]v1beta1.ClusterDecision{}, map[string]v1beta1.ClusterDecision{}
	for i := range r.Bindings {
		b := &r.Bindings[i]
		if best := bindings[b.Cluster]; best == nil || b.precedes(best) {
			bindings[b.Cluster] = b
		}
	}
	for _, l := range r.Listed {
		listed[l.ClusterName] = l
	}
	for _, c := range d.Clusters {
		reported[c.ClusterName] = c
	}
	late := map[string]bool{}
	for _, c := range r.Clusters {
		late[c.Name] = unheard(c, r.Now)
	}
	var out []Account
	for _, v := range d.Verdicts {
		out = append(out, Account{Verdict: v, Binding: bindings[v.Cluster]})
		delete(bindings, v.Cluster)
	}
	for cluster, b := range bindings {
		gone := Verdict{Cluster: cluster, Outcome: Refused, Objection: &Objection{FilterEligibility, unknown}}
		out = append(out, Account{Verdict: gone, Binding: b})
	}
	slices.SortFunc(out, func(a, b Account) int { return cmp.Compare(a.Cluster, b.Cluster) })
	if d.Hold {
		return out
	}
	for i := range out {
		if now, ok := reported[out[i].Cluster]; ok && !now.Selected && out[i].Outcome == Kept {
			out[i].Notes = append(out[i].Notes, now.Reason) // it is lost, and has no replacement
			continue
		}
		for _, h := range d.Held {
			if h.Cluster == out[i].Cluster {
				out[i].Notes = append(out[i].Notes, h.Reason)
			}
		}
		recorded, ok := listed[out[i].Cluster]
		out[i].compare(r.Snapshot, recorded, ok, late[out[i].Cluster])
	}
	return out
}

func (b *Binding) living() bool { return !b.Deleting && b.State != v1beta1.BindingStateUnscheduled }

// precedes reports whether b is more relevant for its cluster than other.
func (b *Binding) precedes(other *Binding) bool {
	if b.living() != other.living() {
		return b.living()
	}
	return cmp.Or(cmp.Compare(rank(*b), rank(*other)), cmp.Compare(b.Name, other.Name)) < 0
}

// compare adds the differences to Notes. recorded is the decision for the cluster in the status, if listed.
func (a *Account) compare(snapshot string, recorded v1beta1.ClusterDecision, listed, unheard bool) {
	note := func(format string, args ...any) { a.Notes = append(a.Notes, fmt.Sprintf(format, args...)) }
	bound := a.Binding != nil && a.Binding.living()
	switch {
	case a.Outcome == Kept && a.Binding != nil && a.Binding.CarriedOver:
		note("an earlier policy picked it; the hub decides on the current policy when it hears from the member agent again")
	case a.Outcome == Kept && !a.Until.IsZero():
		note("kept until %s, when another cluster replaces it (%s)", a.Until.UTC().Format(time.RFC3339), a.Objection)
	case a.Outcome == Kept && a.Objection != nil:
		note("kept although it would not be picked now (%s): picked clusters stay until the policy changes", a.Objection)
	case a.Outcome == Picked && !bound:
		note("it would be picked now, but has no binding yet")
	case a.Outcome == Picked && a.Binding.Snapshot != snapshot:
		note("binding %s is for policy %s and would be adopted now", a.Binding.Name, a.Binding.Snapshot)
	case !a.Outcome.Selected() && bound && a.Binding.Stays:
		note("it stays nevertheless: the clusters that the policy would leave are more than strategy.removal allows; see condition RemovalHeld of the placement")
	case !a.Outcome.Selected() && bound:
		note("binding %s would be removed now", a.Binding.Name)
	case !a.Outcome.Selected() && a.Binding != nil && a.Binding.ReplacedBy != nil && !a.Binding.Deleting:
		e := a.Binding.ReplacedBy
		until := "the hub hears from the member agent and the other cluster is available"
		if !unheard && e.Reason == failover.Tainted {
			until = "the other cluster is available"
		}
		note("cluster %q replaces it (%s since %s); what binding %s placed stays until %s", e.With, e.Reason,
			e.Since.UTC().Format(time.RFC3339), a.Binding.Name, until)
	case !a.Outcome.Selected() && a.Binding != nil && a.Binding.Placed && !a.Binding.Deleting && unheard:
		note("binding %s is from an earlier pick; what it placed stays until the hub hears from the member agent again", a.Binding.Name)
	case !a.Outcome.Selected() && a.Binding != nil:
		note("binding %s, from an earlier pick, is being deleted", a.Binding.Name)
	}
	switch {
	case !listed || bound && a.Binding.Stays:
	case recorded.Selected != a.Outcome.Selected():
		note("the recorded decision is the opposite: %s", recorded.Reason)
	case recorded.ClusterScore != nil && (a.Outcome == Outranked || a.Objection != nil && a.Objection.Filter == FilterSpread):
		// The cluster was ranked then and would be ranked now. Its position changes with every pick.
	case !recorded.Selected && recorded.Reason != a.unselected().Reason:
		note("the recorded decision has another reason: %s", strings.TrimPrefix(recorded.Reason, fmt.Sprintf("cluster %q ", a.Cluster)))
	}
}
