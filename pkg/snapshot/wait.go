package snapshot

import "time"

const (
	// leastQuiet is the minimum pause after which a stream of changes counts as finished.
	leastQuiet = 150 * time.Millisecond
	// leastPatience is the minimum time for which a stream without a pause is collected, and for which a revision in
	// progress delays the next.
	leastPatience = 2 * time.Second
	// calm is the minimum time after a revision caused by changes in which the next change counts as part of the same
	// stream.
	calm = time.Second
)

// Windows are the operator's upper limits for collecting changes.
type Windows struct {
	// Interval is the time between two revisions, Collection the time from the first change to the revision.
	Interval, Collection time.Duration
}

// Changes are the changes that no revision contains yet.
type Changes struct {
	// First and Last are the times of the first and the last change. First is zero if there are none.
	First, Last time.Time
}

// Last is the latest revision.
type Last struct {
	// Made is its creation time; zero if there is none.
	Made time.Time
	// Arrived is true if every cluster that should have it has reported its result.
	Arrived bool
	// Took is how long a revision took to arrive, as far as it is known.
	Took time.Duration
	// OfChange is true if changed objects caused it, and not an edit of the placement.
	OfChange bool
}

// quietFrom returns the time from which changes after the revision no longer belong to the stream that caused it.
func (l Last) quietFrom() time.Time {
	if l.OfChange {
		return l.Made.Add(max(calm, 2*l.Took))
	}
	return l.Made.Add(2 * l.Took)
}

// Wait returns how long to collect changes before the next revision is created; zero or less for no wait.
//
// A single change becomes a revision immediately if the last revision arrived quickly, or long ago, unless changes
// caused that revision a moment ago: one kubectl apply of many objects should not create a revision for each, however
// fast the clusters are. Changes that arrive while a revision is still in progress form one stream: they are collected
// until it pauses and the revision has arrived, but only for a limited time, and never for longer than the operator's
// windows allow. The length of a pause, and the time limit, grow with the time that revisions take: a slow fleet, or a
// slow hub, gets fewer revisions instead of a queue of them.
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
