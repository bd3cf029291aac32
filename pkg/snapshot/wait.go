package snapshot

import "time"

const (
	// leastQuiet is how long a stream of changes must pause, at least, to be taken for over.
	leastQuiet = 150 * time.Millisecond
	// leastPatience is how long, at least, a stream that does not pause is gathered, and a revision on its way holds the next back.
	leastPatience = 2 * time.Second
	// calm is how long after a revision that came of changes, at least, the next change is taken for one more of them.
	calm = time.Second
)

// Windows are the operator's upper bounds on gathering changes.
type Windows struct {
	// Interval is between two revisions, Collection from the first change to the revision.
	Interval, Collection time.Duration
}

// Changes are those that no revision holds yet.
type Changes struct {
	// First and Last are when the first and the last of them were seen. First is zero if there are none.
	First, Last time.Time
}

// Last is the revision in force.
type Last struct {
	// Made is when it was made; zero if there is none.
	Made time.Time
	// Arrived is whether every cluster that is to have it has said what became of it.
	Arrived bool
	// Took is how long a revision took to arrive, as far as it is known.
	Took time.Duration
	// OfChange is whether it was made because objects have changed, and not because of an edit of the placement.
	OfChange bool
}

// quietFrom is when changes after the revision begin to be others than those it came of.
func (l Last) quietFrom() time.Time {
	if l.OfChange {
		return l.Made.Add(max(calm, 2*l.Took))
	}
	return l.Made.Add(2 * l.Took)
}

// Wait is how long to gather changes before the next revision is made; zero or less for none.
//
// A change that finds the last revision arrived quickly, or long ago, and none beside it, goes at once, unless that revision came of
// changes, too, a moment ago: one kubectl apply of many objects is not to be a revision for each, however fast the clusters are. Changes
// that come while a revision is still on its way to the clusters are one stream: they are gathered until it pauses and the revision has
// arrived, but not for ever, and never for longer than the operator's windows ask for. What counts as a pause, and how long is for
// ever, grows with the time that revisions take: a fleet, or a hub, that is slow to follow gets fewer of them, not a queue.
func Wait(w Windows, c Changes, last Last, now time.Time) time.Duration {
	if last.Made.IsZero() || c.First.IsZero() {
		return 0
	}
	quiet, patience := max(leastQuiet, last.Took/2), max(leastPatience, 2*last.Took)
	ready := c.Last.Add(quiet)
	switch {
	case !last.Arrived:
		ready = latestOf(ready, last.Made.Add(patience))
	case c.First.Equal(c.Last) && !c.First.Before(last.quietFrom()):
		return 0
	}
	until := earliest(ready, c.First.Add(patience), latestOf(c.First.Add(w.Collection), last.Made.Add(w.Interval)))
	return until.Sub(now)
}

func earliest(times ...time.Time) time.Time {
	out := times[0]
	for _, t := range times[1:] {
		if t.Before(out) {
			out = t
		}
	}
	return out
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
