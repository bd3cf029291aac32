package snapshot

import "time"

const (
	// leastPause is the minimum pause after which a stream of changes counts as finished.
	leastPause = 150 * time.Millisecond
	// streamEnds is the pause that ends every stream: the next change is the first of another one.
	streamEnds = time.Second
	// patience is how long the changes of a stream without a pause are collected.
	patience = 3 * time.Second
)

// Windows are the operator's upper limits for collecting changes.
type Windows struct {
	// Interval is the time between two revisions, Collection the time from the first change to the revision.
	Interval, Collection time.Duration
}

// Changes are the changes that no revision contains yet, as the last ones of a stream: changes that follow one another
// in less than a second, whether a revision contains them or not.
type Changes struct {
	// First and Last are the times of the first change that no revision contains, and of the last change. First is zero
	// if revisions contain all of them.
	First, Last time.Time
	// Apart is the longest time between two consecutive changes of the stream. It is zero if Last is the only one.
	Apart time.Duration
}

// With returns the changes and another one.
func (c Changes) With(at time.Time) Changes {
	switch apart := at.Sub(c.Last); {
	case apart >= streamEnds:
		c.Apart = 0
	default:
		c.Apart = max(c.Apart, apart, 1)
	}
	if c.Last = at; c.First.IsZero() {
		c.First = at
	}
	return c
}

// Taken returns what remains when a revision contains the changes: the stream, which may go on.
func (c Changes) Taken() Changes {
	c.First = time.Time{}
	return c
}

// Wait returns how long to collect changes before the next revision is created; zero or less for no wait. made is when
// the latest revision was created; zero if there is none.
//
// A change that begins a stream becomes a revision immediately. The others of the stream are collected until it pauses,
// because one kubectl apply of many objects should not create a revision for each, and a script that applies them one
// after the other should not either: a pause is longer than the time between the changes so far, at least leastPause
// and at most streamEnds. A stream that does not pause becomes a revision every three seconds. The operator's windows
// are upper limits.
//
// How long clusters take to get a revision has no influence. A slow fleet is not slower for being told later: agents
// carry out the latest revision, and skip those that came while they were busy.
func Wait(w Windows, c Changes, made, now time.Time) time.Duration {
	if made.IsZero() || c.First.IsZero() || c.Apart == 0 {
		return 0
	}
	pause := min(max(leastPause, 2*c.Apart), streamEnds)
	left := func(from time.Time, d time.Duration) time.Duration { return from.Add(d).Sub(now) }
	return min(left(c.Last, pause), left(c.First, patience), max(left(c.First, w.Collection), left(made, w.Interval)))
}
