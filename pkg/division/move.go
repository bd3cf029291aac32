package division

import (
	"cmp"
	"slices"
	"strings"
)

// Place is a cluster's part in a move of replicas.
type Place struct {
	Name string
	// Have is the share that the cluster has, Want the one that it should have.
	Have, Want int64
	// Settled: what the cluster has is available there. Otherwise any number from 0 to Have - Free may be.
	Settled bool
	// Lost: the replicas of the cluster are missing already.
	Lost bool
	// Free is how many replicas of Have are known not to run, for example because they are unschedulable, and are the
	// first that the cluster removes. It does not count if the cluster is settled.
	Free int64
}

// Step is the next part of a move.
type Step struct {
	// Shares are in the order of the places.
	Shares []int64
	// Blocked is the reason why the step changes nothing although a share is not as wanted, otherwise empty.
	Blocked string
}

// Reasons why a move does not go on.
const (
	// WaitsForReady: a cluster loses replicas only after as many are available on others.
	WaitsForReady = "WaitsForReady"
	// NoRoom: surge is 0, so no cluster may get a replica before another one loses it.
	NoRoom = "NoRoom"
)

// Next is the next step from the shares that clusters have to those that they should have. Its changes may be carried
// out one by one: first those that lower lost places, then the others in any order.
//
//   - A lost place that should have less has it at once.
//   - Places are raised at once as long as the sum of all shares is at most total + surge; lost ones as long as it is
//     at most total, because they are of no use for lowering others.
//   - Places are lowered only as long as the settled ones keep all replicas that should run outside of lost places.
//     So no move of replicas lowers the number of available ones below that. Free replicas are lowered at once.
//   - If the places that are not lost have more than total + surge, no step has brought them there: the total or surge
//     was reduced. They are lowered to that without waiting, starting with those that are not settled.
//
// If all places are settled and the sum of all Want is at most total, repeated steps arrive at every Want, unless
// surge is 0.
func Next(total, surge int64, places []Place) Step {
	shares, goesOn := advance(total, surge, places)
	if goesOn || !slices.ContainsFunc(places, func(p Place) bool { return p.Have != p.Want }) {
		return Step{Shares: shares}
	}
	settled := slices.Clone(places)
	for i := range settled {
		settled[i].Settled, settled[i].Lost = true, false
	}
	if _, wouldGoOn := advance(total, surge, settled); !wouldGoOn {
		return Step{Shares: shares, Blocked: NoRoom}
	}
	return Step{Shares: shares, Blocked: WaitsForReady}
}

// moving is a place whose share changes.
type moving struct {
	Place
	share int64
}

// advance returns the shares after the next step, and whether it changes any.
func advance(total, surge int64, places []Place) (shares []int64, changed bool) {
	all := make([]moving, len(places))
	var rising, falling []*moving
	for i, p := range places {
		m := &all[i]
		*m = moving{p, p.Have}
		switch {
		case p.Have < p.Want:
			rising = append(rising, m)
		case p.Lost:
			m.share = p.Want
		case p.Have > p.Want:
			falling = append(falling, m)
		}
	}
	lower(total, total+surge, all, falling)
	raise(total, total+surge, all, rising)
	for i, m := range all {
		shares = append(shares, m.share)
		changed = changed || m.share != places[i].Have
	}
	return shares, changed
}

// raise raises rising places. What falling places lose in the same step makes no room yet: they may be lowered last.
func raise(total, limit int64, all []moving, rising []*moving) {
	var sum int64
	for _, m := range all {
		if m.Lost {
			sum += m.share
		} else {
			sum += m.Have
		}
	}
	// Settled places first: the others may never settle, and keep the room.
	slices.SortFunc(rising, func(a, b *moving) int {
		return cmp.Or(falseFirst(a.Lost, b.Lost), falseFirst(b.Settled, a.Settled), byGap(a, b))
	})
	for _, m := range rising {
		most := limit
		if m.Lost {
			most = total
		}
		k := min(m.Want-m.Have, max(most-sum, 0))
		m.share += k
		sum += k
	}
}

// lower lowers falling places.
func lower(total, limit int64, all []moving, falling []*moving) {
	var wanted, lost, ready, sum int64
	for _, m := range all {
		wanted += m.Want
		switch {
		case m.Lost:
			lost += m.share
			continue
		case m.Settled:
			ready += m.Have
		}
		sum += m.Have
	}
	slices.SortFunc(falling, func(a, b *moving) int { return cmp.Or(falseFirst(a.Settled, b.Settled), byGap(a, b)) })
	down := func(m *moving, k int64) {
		k = max(min(k, m.share-m.Want), 0)
		m.share -= k
		sum -= k
		if m.Settled {
			ready -= k
		}
	}
	// Bounds may leave no room for a part of the total, and lost places have a part that nothing replaces.
	needed := min(total, wanted) - lost
	for _, m := range falling {
		switch {
		case m.Settled:
			down(m, ready-needed)
		case ready >= needed:
			down(m, m.Have)
		default:
			down(m, m.Free)
		}
	}
	for _, m := range falling {
		down(m, sum-limit)
	}
}

// byGap sorts the place that is the farthest from its Want first.
func byGap(a, b *moving) int {
	gap := func(m *moving) int64 { return max(m.Want-m.Have, m.Have-m.Want) }
	return cmp.Or(cmp.Compare(gap(b), gap(a)), strings.Compare(a.Name, b.Name))
}

// falseFirst sorts false before true.
func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
