package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// exchanges are the replacements of clusters that the placement left: the scheduler gave up the binding of the one
// cluster when it created that of the other. Until the replacement is ready, the replaced binding keeps what it has,
// and the budget counts the replacement in its place. Without a replacement, it waits for whatever is picked instead.
type exchanges struct {
	// by is the replacement of each replaced binding, by the name of that one.
	by map[string]Binding
	// with are the names of the replacements.
	with map[string]bool
	// orphans are the names of the replaced bindings whose replacement does not live any more.
	orphans map[string]bool
}

// exchangesOf pairs the replaced bindings with their replacements. One without content, on a cluster that is gone, or
// to which the placement has another binding is like any other that was given up.
func exchangesOf(bindings []Binding) exchanges {
	living, next := map[string]Binding{}, map[string]string{}
	for _, b := range bindings {
		if b.living() {
			living[b.Cluster] = b
		} else if b.ReplacedBy != "" && !b.Deleting { // one that is may have a successor on its cluster
			next[b.Cluster] = b.ReplacedBy
		}
	}
	out := exchanges{by: map[string]Binding{}, with: map[string]bool{}, orphans: map[string]bool{}}
	for _, b := range bindings {
		if b.State != v1beta1.BindingStateUnscheduled || b.ReplacedBy == "" || b.Gone || !b.mayHaveContent() {
			continue
		}
		at := b.ReplacedBy
		for range bindings { // the scheduler may not yet have written that the replacement was replaced too
			if _, ok := living[at]; !ok {
				at = next[at]
			}
		}
		if by, ok := living[at]; ok && at != b.Cluster {
			out.by[b.Name], out.with[by.Name] = by, true
		} else if _, again := living[b.Cluster]; !again {
			out.orphans[b.Name] = true
		}
	}
	return out
}

// Purge decides which bindings that were given up in an exchange of clusters are deleted now, for a placement whose
// clusters update runs change: runs do not delete these, because they must not wait for a lost cluster. No removal
// makes fewer clusters than wanted available. The order of bindings does not matter.
func Purge(budget Budget, bindings []Binding, now time.Time) Step {
	bindings = slices.SortedFunc(slices.Values(bindings), func(a, b Binding) int { return cmp.Compare(a.Name, b.Name) })
	p := plan{budget: budget, now: now, failed: map[string]bool{}, exchanges: exchangesOf(bindings)}
	p.enough = p.isEnough(bindings)
	p.count(bindings)
	for _, b := range bindings {
		if b.State != v1beta1.BindingStateUnscheduled || !b.Exchanged || b.Deleting || b.parked() {
			continue
		}
		if health, _ := p.health(b); p.removable(candidate{Binding: b, health: health}) {
			p.step.Remove = append(p.step.Remove, b.Name)
		} else {
			p.step.Again = sooner(p.untracked, p.silence)
		}
	}
	return p.step
}

// isReplaced returns whether another cluster replaces that of the binding.
func (x exchanges) isReplaced(b Binding) bool { _, ok := x.by[b.Name]; return ok }

// isPlanned returns whether the binding is a replacement that was given no content yet. It needs no room of its own:
// it has that of the replaced one, which nothing else may take.
func (x exchanges) isPlanned(b Binding) bool {
	return x.with[b.Name] && b.State == v1beta1.BindingStateScheduled && !b.Gone
}

// Fallbacks returns what the replacements without content are given, by the name of their binding, if the latest
// revision is rejected: what the replaced cluster has, or if that is the rejected one, what it had before. The
// overrides are those of the replaced cluster.
func Fallbacks(bindings []Binding, want Content) map[string]v1beta1.Revision {
	out, chosen := map[string]v1beta1.Revision{}, map[string]string{}
	x := exchangesOf(bindings)
	for _, b := range bindings {
		by, ok := x.by[b.Name]
		if !ok || !x.isPlanned(by) {
			continue
		}
		to := b.Revision()
		if before := b.Before(); to.ResourceSnapshotName == want.Snapshot && before != nil {
			to = *before
		}
		if to.ResourceSnapshotName == "" || to.ResourceSnapshotName == want.Snapshot {
			continue
		}
		if other, ok := chosen[by.Name]; !ok || b.Name < other { // it may replace several
			out[by.Name], chosen[by.Name] = to, b.Name
		}
	}
	return out
}

// fallsBack returns whether the binding gets an older revision while a rejection stands.
func (p *plan) fallsBack(b Binding) bool { return b.Fallback != nil && p.exchanges.isPlanned(b) }

// purgedNow returns whether a replaced binding is deleted as soon as its cluster is heard, without a budget. That is
// not for a placement that returns to a cluster: both clusters are well, and one of them must serve.
func (p *plan) purgedNow(b Binding) bool {
	return p.budget.Purge == v1beta1.FailoverPurgeImmediate && !b.Failback && p.exchanges.isReplaced(b)
}

// isOrphan returns whether a replaced binding has lost its replacement, and is needed until the placement is ready
// elsewhere. With Immediate it is like any other that was given up.
func (p *plan) isOrphan(b Binding) bool {
	return p.exchanges.orphans[b.Name] && (p.budget.Purge != v1beta1.FailoverPurgeImmediate || b.Failback)
}

// isReplaced returns whether a binding takes no part in the budget, because others take its place.
func (p *plan) isReplaced(b Binding) bool { return p.exchanges.isReplaced(b) || p.isOrphan(b) }

// waits returns whether a replaced binding must stay, as far as its replacement is concerned, or, without one, all the
// others that the placement has. Whether the cluster of the replaced one is heard is up to parked.
func (p *plan) waits(b Binding) bool {
	if by, ok := p.exchanges.by[b.Name]; ok {
		return !p.purgedNow(b) && !p.isServing(by)
	}
	return p.isOrphan(b) && !p.enough
}

// isEnough returns whether the content is ready on as many clusters as the placement wants, or on all that the
// scheduler finds. None is not enough: what is on a replaced cluster may be the last copy.
func (p *plan) isEnough(bindings []Binding) bool {
	serving, all := 0, true
	for _, b := range bindings {
		switch {
		case !b.living() || b.Gone:
		case p.isServing(b):
			serving++
		default:
			all = false
		}
	}
	return serving >= p.budget.Target || p.budget.Short && all && serving > 0
}

// isServing returns whether the content of a binding is ready, as far as can be known: the last report of a cluster
// that is not heard may be out of date.
func (p *plan) isServing(b Binding) bool {
	health, _ := p.health(b)
	return health == ready && !b.Gone && !b.Silent && !b.Unheard
}
