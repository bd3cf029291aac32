package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// view is what is shown of a rollout.
type view struct {
	lines []line
	// done is whether nothing more is to come; failed says why it ended badly.
	done   bool
	failed string
}

// line is one subject of a view: the rollout, a stage, or a cluster.
type line struct {
	// kind and name are the subject; a cluster's name begins with that of its stage.
	kind, name string
	// done of total clusters, for a bar; total is 0 without one.
	done, total int
	text        string
	// due is when time is up for what dueFor names; zero without such a time.
	due    time.Time
	dueFor string
	// todo is the command that makes it go on; empty if it goes on by itself.
	todo string
	// still is whether a live view can do without the line: nothing happens there.
	still bool
}

// screen shows views one after the other: on a terminal in one place, elsewhere by what is new.
type screen struct {
	out io.Writer
	// size of the terminal; nil if out is none.
	size func() (width, height int)
	now  func() time.Time
	// drawn is what is on the terminal of the view before, and above how many lines that is.
	drawn string
	above int
	// said is what was last said of each subject.
	said map[string]string
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, size: terminalSize(out), now: time.Now, said: map[string]string{}}
}

func (s *screen) show(lines []line, live bool) {
	if s.size == nil {
		for _, l := range lines {
			if text := l.plain(); s.said[l.kind+l.name] != text {
				s.said[l.kind+l.name] = text
				fmt.Fprintln(s.out, text)
			}
		}
		return
	}
	width, height := s.size()
	now := s.now()
	var rows []string
	column := 0
	for _, l := range lines {
		if l.kind != "cluster" {
			column = max(column, len(l.name))
		}
	}
	for _, l := range lines {
		if !live || !l.still {
			rows = append(rows, l.drawn(now, column)...)
		}
	}
	if live {
		rows = rows[:min(len(rows), height-1)]
	}
	for i, row := range rows {
		if r := []rune(row); live && len(r) >= width { // a line that is broken in two could not be taken back
			rows[i] = string(r[:max(0, width-2)]) + "…"
		}
	}
	drawn := strings.Join(rows, "\n") + "\n"
	if drawn == s.drawn {
		return
	}
	back := ""
	if s.above > 0 {
		back = fmt.Sprintf("\033[%dA\033[J", s.above)
	}
	fmt.Fprint(s.out, back, drawn)
	s.drawn, s.above = drawn, len(rows)
}

// leave takes away what the terminal shows of the key that ended the view.
func (s *screen) leave() {
	if s.size != nil {
		fmt.Fprint(s.out, "\r\033[K")
	}
}

// plain is the line in a pipe. It changes only when there is news.
func (l line) plain() string {
	out := l.kind + " " + l.name + ": "
	if l.total > 0 {
		out += fmt.Sprintf("%d/%d ", l.done, l.total)
	}
	out += l.text
	if !l.due.IsZero() {
		out += fmt.Sprintf(", %s ends %s", l.dueFor, l.due.UTC().Format(time.RFC3339))
	}
	if l.todo != "" {
		out += "; go on with: " + l.todo
	}
	return out
}

// drawn are the rows of the line on a terminal at a time; column is how wide the names are that have a bar.
func (l line) drawn(now time.Time, column int) []string {
	text := l.text
	if left := l.due.Sub(now); left > 0 {
		text += fmt.Sprintf(", %s of %s left", duration.HumanDuration(left), l.dueFor)
	}
	if l.kind == "cluster" {
		return []string{fmt.Sprintf("        %-*s  %s", column, l.name[strings.LastIndex(l.name, "/")+1:], text)}
	}
	out := []string{fmt.Sprintf("%-7s %-*s  %s  %s", l.kind, column, l.name, l.bar(), text)}
	if l.todo != "" {
		out = append(out, "    go on with: "+l.todo)
	}
	return out
}

func (l line) bar() string {
	const width = 20
	if l.total == 0 {
		return strings.Repeat(" ", width+len(" 123/123"))
	}
	full := width * l.done / l.total
	return fmt.Sprintf("%s%s %3d/%-3d", strings.Repeat("█", full), strings.Repeat("░", width-full), l.done, l.total)
}

// live keeps a view on a screen while it changes.
type live struct {
	mu sync.Mutex
	*screen
	view view
	// trouble is why there may be news that are not in the view.
	trouble error
}

// update changes what is shown.
func (l *live) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	lines := l.view.lines
	if len(lines) == 0 {
		return
	}
	hub := line{kind: "hub", name: "connection", text: "there"}
	if l.trouble != nil {
		hub.text = "lost, is tried again: " + cause(l.trouble)
	}
	if l.trouble != nil || l.size == nil && l.said[hub.kind+hub.name] != "" { // a pipe is told that it is back
		lines = append(lines[:len(lines):len(lines)], hub)
	}
	l.show(lines, !l.view.done)
}

// cause is what went wrong with a request, without its address, which is another one each time.
func cause(err error) string {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// tick lets the times that are left run, until stop is closed.
func (l *live) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			l.update(func() {})
		}
	}
}
