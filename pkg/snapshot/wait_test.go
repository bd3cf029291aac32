package snapshot

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var defaultWindows = Windows{Interval: 30 * time.Second, Collection: 15 * time.Second}

// stream is a series of changes by the time between each and the one before.
type stream []time.Duration

// length is the time from the first change to the last.
func (s stream) length() (out time.Duration) {
	for _, gap := range s[1:] {
		out += gap
	}
	return out
}

// played is what came of a stream: the time of each revision after the first change, the time from each change to the
// revision that contains it, and when the fleet had all of it.
type played struct {
	revisions  []time.Duration
	collected  []time.Duration
	everywhere time.Duration
}

// play plays changes on a fleet that takes arrives to carry out a revision. It carries out one at a time, always the
// latest, like a member with its Work.
func play(w Windows, changes stream, arrives time.Duration) played {
	const tick = 5 * time.Millisecond
	var out played
	var c Changes
	var waiting []time.Time // changes that no revision contains
	made, next, due := epoch.Add(-time.Hour), 0, epoch
	var busyUntil time.Time
	carries, latest := 0, 0 // revisions: the one that the fleet carries out or has, and the latest
	for now := epoch; ; now = now.Add(tick) {
		for next < len(changes) && !due.After(now) {
			c, waiting = c.With(now), append(waiting, now)
			if next++; next < len(changes) {
				due = due.Add(changes[next])
			}
		}
		if !c.First.IsZero() && Wait(w, c, made, now) <= 0 {
			for _, at := range waiting {
				out.collected = append(out.collected, now.Sub(at))
			}
			waiting, c, made, latest = nil, c.Taken(), now, latest+1
			out.revisions = append(out.revisions, now.Sub(epoch))
		}
		if carries < latest && !busyUntil.After(now) {
			carries, busyUntil = latest, now.Add(arrives)
		}
		if next == len(changes) && len(waiting) == 0 && carries == latest && !busyUntil.After(now) {
			out.everywhere = now.Sub(epoch)
			return out
		}
	}
}

// arrivals are from a fleet nearby to one that is far away and slow.
var arrivals = []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second, 8 * time.Second, time.Minute}

// A stream is on all clusters within seconds of its last change, beside the time that the fleet takes, and makes few
// revisions, however long revisions take to arrive.
func TestStreamsArriveSoonInFewRevisions(t *testing.T) {
	const slack = 10 * time.Millisecond // two ticks
	rapid.Check(t, func(t *rapid.T) {
		var changes stream
		for range rapid.IntRange(1, 6).Draw(t, "parts") {
			gap := rapid.SampledFrom([]int{5, 20, 100, 400, 900, 2000, 20_000}).Draw(t, "gap")
			for range rapid.IntRange(1, 60).Draw(t, "changes") {
				changes = append(changes, time.Duration(gap)*time.Millisecond)
			}
		}
		arrives := rapid.SampledFrom(arrivals).Draw(t, "arrives")
		got := play(defaultWindows, changes, arrives)
		if got.collected[0] != 0 {
			t.Fatalf("the first change waits for %s", got.collected[0])
		}
		for i, waited := range got.collected {
			if waited > patience+slack {
				t.Fatalf("change %d waits for %s", i, waited)
			}
		}
		last := changes.length()
		if late := got.everywhere - last; late > streamEnds+2*arrives+slack {
			t.Fatalf("everywhere %s after the last change, on a fleet that takes %s", late, arrives)
		}
		// Pauses begin new streams, which have a first revision each; within a stream there are revisions every three
		// seconds, and whenever it has paused for longer than before, which is possible a few times only.
		streams := 1
		for _, gap := range changes[1:] {
			if gap >= streamEnds {
				streams++
			}
		}
		const pauses = 4 // from leastPause to streamEnds, doubling
		if most := streams*(1+pauses) + int(last/patience) + 1; len(got.revisions) > most {
			t.Fatalf("%d revisions of %d changes in %s and %d streams; want at most %d", len(got.revisions), len(changes), last, streams, most)
		}
	})
}

func TestRevisionsOfStreams(t *testing.T) {
	every := func(gap time.Duration, n int) (out stream) {
		for range n {
			out = append(out, gap)
		}
		return out
	}
	for name, tc := range map[string]struct {
		changes stream
		want    int
		// late is the longest time from the last change to its revision.
		late time.Duration
	}{
		"one change":                               {every(0, 1), 1, 0},
		"a kubectl apply of 2 objects":             {every(15*time.Millisecond, 2), 2, leastPause},
		"a kubectl apply of 100 objects":           {every(15*time.Millisecond, 100), 2, leastPause},
		"300 edits one after the other":            {every(7*time.Millisecond, 300), 2, leastPause},
		"a script of 60 kubectl applies":           {every(400*time.Millisecond, 60), 9, 800 * time.Millisecond},
		"10 edits by hand":                         {every(5*time.Second, 10), 10, 0},
		"a controller that writes 10 times/s, 60s": {every(100*time.Millisecond, 600), 21, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for _, arrives := range arrivals {
				got := play(defaultWindows, tc.changes, arrives)
				if len(got.revisions) != tc.want {
					t.Errorf("%d revisions, at %v; want %d", len(got.revisions), got.revisions, tc.want)
				}
				if late := got.revisions[len(got.revisions)-1] - tc.changes.length(); late > tc.late+10*time.Millisecond {
					t.Errorf("the last revision is %s late; want %s", late, tc.late)
				}
			}
		})
	}
}

func TestWait(t *testing.T) {
	at := func(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }
	for name, tc := range map[string]struct {
		windows     Windows
		first, last float64
		apart       time.Duration
		none, never bool    // no change, no revision yet
		made, now   float64 // the last revision
		want        time.Duration
	}{
		"the first revision goes at once":           {windows: defaultWindows, never: true, first: 1, last: 1.1, apart: time.Second / 10, now: 1.1},
		"nothing has changed":                       {windows: defaultWindows, none: true, made: 1, now: 1},
		"a change alone goes at once":               {windows: defaultWindows, made: 1, first: 1, last: 1, now: 1},
		"changes that follow each other wait":       {windows: defaultWindows, made: 1, first: 1.1, last: 1.15, apart: 50 * time.Millisecond, now: 1.15, want: leastPause},
		"also one alone that follows a revision":    {windows: defaultWindows, made: 1, first: 1.1, last: 1.1, apart: 50 * time.Millisecond, now: 1.1, want: leastPause},
		"what is left is waited for":                {windows: defaultWindows, made: 1, first: 1.05, last: 1.1, apart: 50 * time.Millisecond, now: 1.2, want: 50 * time.Millisecond},
		"when it is over it goes":                   {windows: defaultWindows, made: 1, first: 1.05, last: 1.1, apart: 50 * time.Millisecond, now: 1.25},
		"a slow stream pauses for longer":           {windows: defaultWindows, made: 1, first: 1.4, last: 1.8, apart: 400 * time.Millisecond, now: 1.8, want: 800 * time.Millisecond},
		"but never for longer than a second":        {windows: defaultWindows, made: 1, first: 1.1, last: 2, apart: 900 * time.Millisecond, now: 2, want: time.Second},
		"a stream that does not pause goes as well": {windows: defaultWindows, made: 1, first: 1.1, last: 4.05, apart: 50 * time.Millisecond, now: 4.05, want: 50 * time.Millisecond},
		"never longer than the collection asks for": {windows: Windows{Collection: 20 * time.Millisecond}, made: 1, first: 1.09, last: 1.1, apart: 10 * time.Millisecond, now: 1.1, want: 10 * time.Millisecond},
		"nor than the interval does":                {windows: Windows{Interval: 150 * time.Millisecond}, made: 1, first: 1.09, last: 1.1, apart: 10 * time.Millisecond, now: 1.1, want: 50 * time.Millisecond},
		"with no windows nothing waits":             {made: 1, first: 1.1, last: 1.1, apart: 10 * time.Millisecond, now: 1.1},
	} {
		t.Run(name, func(t *testing.T) {
			changes, made := Changes{First: at(tc.first), Last: at(tc.last), Apart: tc.apart}, at(tc.made)
			if tc.none {
				changes = Changes{}
			}
			if tc.never {
				made = time.Time{}
			}
			if got := max(0, Wait(tc.windows, changes, made, at(tc.now))); got != tc.want {
				t.Errorf("waits %s; want %s", got, tc.want)
			}
		})
	}
}
