package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// waterfall is what the agents did about one change, for the member that showed its effect last. Times are in
// milliseconds.
type waterfall struct {
	Placement string `json:"placement"`
	Member    string `json:"member"`
	// Traces are the ids of its traces.
	Traces []string `json:"traces"`
	// Effect and End are when the last member, and the hub, showed the result, from when the user's request was sent.
	Effect float64 `json:"effectMs"`
	End    float64 `json:"endMs"`
	Hops   []hop   `json:"hops"`
	// Idle is how often agents looked at the change without a write, and IdleMs how long that took together.
	Idle   int     `json:"idle"`
	IdleMs float64 `json:"idleMs"`
}

// hop is the work of an agent that wrote something.
type hop struct {
	Agent   string `json:"agent"`
	Cluster string `json:"cluster,omitempty"`
	// Failed is whether the work ended with an error, such as a conflict, and was done again.
	Failed bool `json:"failed,omitempty"`
	// At is when it began. Watch is the time from the last write of another hop until the agent knew of it, Queue until
	// it began. Took is the time of the work, and API the part of it in which requests ran.
	At       float64   `json:"atMs"`
	Watch    float64   `json:"watchMs"`
	Queue    float64   `json:"queueMs"`
	Took     float64   `json:"tookMs"`
	API      float64   `json:"apiMs"`
	Requests []string  `json:"requests"`
	Steps    []hopStep `json:"steps,omitempty"`
}

// hopStep is a part of the work of a hop.
type hopStep struct {
	Name string  `json:"name"`
	At   float64 `json:"atMs"`
	Took float64 `json:"tookMs"`
	API  float64 `json:"apiMs"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// waterfallOf arranges the spans of a change.
func waterfallOf(c change, spans []span) waterfall {
	since := func(t time.Time) float64 { return milliseconds(t.Sub(c.sent)) }
	out := waterfall{Placement: c.placement, Member: c.last, Effect: since(c.effect), End: since(c.end)}
	children := map[string][]span{}
	for _, s := range spans {
		children[s.parent] = append(children[s.parent], s)
	}
	var work []span
	for _, s := range spans {
		if s.placement == c.placement && (s.cluster == "" || s.cluster == c.last) && s.end.After(c.sent) && s.begin.Before(c.over) {
			work = append(work, s)
		}
	}
	slices.SortFunc(work, func(a, b span) int { return a.begin.Compare(b.begin) })
	for _, s := range work {
		if !slices.Contains(out.Traces, s.trace) {
			out.Traces = append(out.Traces, s.trace)
		}
		requests := requestsOf(s, children)
		if !slices.ContainsFunc(requests, isWrite) {
			out.Idle, out.IdleMs = out.Idle+1, out.IdleMs+milliseconds(s.end.Sub(s.begin))
			continue
		}
		due := s.begin.Add(-s.queue)
		h := hop{
			Agent: s.name, Cluster: s.cluster, Failed: s.failed, At: since(s.begin), Queue: milliseconds(s.queue), Took: milliseconds(s.end.Sub(s.begin)),
			Watch: milliseconds(due.Sub(lastWrite(c, s, work, children, due))), API: milliseconds(covered(requests)), Requests: summary(requests),
		}
		for _, part := range children[s.id] {
			if part.method == "" && part.placement == "" {
				h.Steps = append(h.Steps, hopStep{
					Name: part.name, At: since(part.begin), Took: milliseconds(part.end.Sub(part.begin)), API: milliseconds(covered(requestsOf(part, children))),
				})
			}
		}
		slices.SortFunc(h.Steps, func(a, b hopStep) int { return int(1000 * (a.At - b.At)) })
		out.Hops = append(out.Hops, h)
	}
	return out
}

func isWrite(s span) bool { return s.method != http.MethodGet }

// requestsOf returns the requests below a span, in their order, without those of the agents that come after it.
func requestsOf(s span, children map[string][]span) []span {
	var out []span
	for _, child := range children[s.id] {
		if child.placement != "" {
			continue
		}
		if child.method != "" {
			out = append(out, child)
		}
		out = append(out, requestsOf(child, children)...)
	}
	slices.SortFunc(out, func(a, b span) int { return a.begin.Compare(b.begin) })
	return out
}

// lastWrite is when the last write ended before due that s did not make itself: the user's, or that of another hop. An
// agent may know of the object that carries its trace before the response to the write of that object: then it is due.
func lastWrite(c change, s span, work []span, children map[string][]span, due time.Time) time.Time {
	for _, request := range requestsOf(span{id: s.parent}, children) {
		if isWrite(request) && request.begin.Before(due) && request.end.After(due) {
			return due
		}
	}
	last := c.sent
	if !c.written.After(due) {
		last = c.written
	}
	for _, other := range work {
		if other.id == s.id {
			continue
		}
		for _, request := range requestsOf(other, children) {
			if isWrite(request) && !request.end.After(due) && request.end.After(last) {
				last = request.end
			}
		}
	}
	return last
}

// covered is for how long at least one of the requests ran. They are in the order in which they began.
func covered(requests []span) (total time.Duration) {
	var until time.Time
	for _, r := range requests {
		begin := r.begin
		if begin.Before(until) {
			begin = until
		}
		if r.end.After(begin) {
			total += r.end.Sub(begin)
			until = r.end
		}
	}
	return total
}

// manyReads is from how many reads on they are not named one by one.
const manyReads = 4

// summary names requests, each with its number if there are several.
func summary(requests []span) []string {
	var order []string
	reads := len(requests) - len(slices.DeleteFunc(slices.Clone(requests), func(r span) bool { return !isWrite(r) }))
	count := map[string]int{}
	for _, r := range requests {
		name := r.name
		if !isWrite(r) && reads >= manyReads {
			name = "reads"
		}
		if count[name]++; count[name] == 1 {
			order = append(order, name)
		}
	}
	for i, name := range order {
		if n := count[name]; n > 1 {
			order[i] = fmt.Sprintf("%s ×%d", name, n)
		}
	}
	return order
}

func (f *traceFigures) print(w io.Writer) error {
	fmt.Fprintln(w)
	for _, one := range []struct {
		name string
		waterfall
	}{{"edit", f.Edit}, {"deletion", f.Deletion}} {
		if err := one.print(w, one.name); err != nil {
			return err
		}
	}
	return nil
}

func (f waterfall) print(w io.Writer, name string) error {
	fmt.Fprintf(w, "median %s, traced: %.1f ms until the last member, %s, shows it; %.1f ms until the hub does; trace %s\n",
		name, f.Effect, f.Member, f.End, strings.Join(f.Traces, ", "))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "at ms\twatch\tqueue\tAPI\tother\thop\trequests")
	shown := false
	for _, h := range f.Hops {
		if !shown && h.At > f.Effect {
			fmt.Fprintf(table, "%.1f\t\t\t\t\teffect on %s\t\n", f.Effect, f.Member)
			shown = true
		}
		name := h.Agent
		if h.Failed {
			name += " (failed)"
		}
		fmt.Fprintf(table, "%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t%s\n", h.At, h.Watch, h.Queue, h.API, h.Took-h.API, name, strings.Join(h.Requests, ", "))
		for _, s := range h.Steps {
			fmt.Fprintf(table, "%.1f\t\t\t%.1f\t%.1f\t  %s\t\n", s.At, s.API, s.Took-s.API, s.Name)
		}
	}
	if !shown {
		fmt.Fprintf(table, "%.1f\t\t\t\t\teffect on %s\t\n", f.Effect, f.Member)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "and %d looks without a write, %.1f ms together\n\n", f.Idle, f.IdleMs)
	return err
}
