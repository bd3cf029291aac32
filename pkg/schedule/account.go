package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Account is a verdict beside what is recorded of its cluster.
type Account struct {
	Verdict
	// Binding is the one that counts: a living one, else any that is left; nil if there is none.
	Binding *Binding
	// Notes say where what is recorded differs from what would be decided now.
	Notes []string
}

// Accounts compares a decision with what it was made from: the bindings, and what the policy snapshot's status lists. There is one for
// every verdict and for every binding to a cluster that is not there any more, by name.
func (d Decision) Accounts(r Request) []Account {
	bindings, listed := map[string]*Binding{}, map[string]v1beta1.ClusterDecision{}
	for i := range r.Bindings {
		b := &r.Bindings[i]
		if best := bindings[b.Cluster]; best == nil || b.precedes(best) {
			bindings[b.Cluster] = b
		}
	}
	for _, l := range r.Listed {
		listed[l.ClusterName] = l
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
		told, ok := listed[out[i].Cluster]
		out[i].compare(r.Snapshot, told, ok)
	}
	return out
}

func (b *Binding) living() bool { return !b.Deleting && b.State != v1beta1.BindingStateUnscheduled }

// precedes says whether b says more about its cluster than other.
func (b *Binding) precedes(other *Binding) bool {
	if b.living() != other.living() {
		return b.living()
	}
	return cmp.Or(cmp.Compare(rank(*b), rank(*other)), cmp.Compare(b.Name, other.Name)) < 0
}

// compare notes the differences. told is what the status lists for the cluster, if it does.
func (a *Account) compare(snapshot string, told v1beta1.ClusterDecision, listed bool) {
	note := func(format string, args ...any) { a.Notes = append(a.Notes, fmt.Sprintf(format, args...)) }
	bound := a.Binding != nil && a.Binding.living()
	switch {
	case a.Outcome == Kept && a.Objection != nil:
		note("kept although it would not be chosen now (%s): what is chosen stays until the policy changes", a.Objection)
	case a.Outcome == Picked && !bound:
		note("it would be chosen now and has no binding yet")
	case a.Outcome == Picked && a.Binding.Snapshot != snapshot:
		note("binding %s is for policy %s and would be taken over now", a.Binding.Name, a.Binding.Snapshot)
	case !a.Outcome.Selected() && bound:
		note("binding %s would be given up now", a.Binding.Name)
	case !a.Outcome.Selected() && a.Binding != nil:
		note("binding %s, from when it was chosen, is on its way out", a.Binding.Name)
	}
	switch {
	case !listed:
	case told.Selected != a.Outcome.Selected():
		note("recorded is the opposite: %s", told.Reason)
	case told.ClusterScore != nil && (a.Outcome == Outranked || a.Objection != nil && a.Objection.Filter == FilterSpread):
		// It was ranked then and would be now. Where it stands among others changes with every pick.
	case !told.Selected && told.Reason != a.unselected().Reason:
		note("recorded is another reason: %s", strings.TrimPrefix(told.Reason, fmt.Sprintf("cluster %q ", a.Cluster)))
	}
}
