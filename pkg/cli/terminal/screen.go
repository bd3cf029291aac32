package terminal

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

// View shows the progress of an operation.
type View struct {
	Lines []Line
	// Done is whether the operation has ended; Failed is why it failed, empty otherwise.
	Done   bool
	Failed string
}

// Line is one subject of a view: a rollout, a stage, or a cluster.
type Line struct {
	// Kind and Name are the subject; a cluster's name begins with that of its stage.
	Kind, Name string
	// Done of Total clusters, for a bar; Total is 0 without one.
	Done, Total int
	Text        string
	// Due is when the time that DueFor names ends; zero if there is none.
	Due    time.Time
	DueFor string
	// Todo is the command that lets the operation continue; empty if it continues by itself.
	Todo string
	// Still is whether a live view may omit the line because nothing happens there.
	Still bool
}

// Screen shows views one after the other: on a terminal in one place, elsewhere by the lines that changed.
type Screen struct {
	Out io.Writer
	// Size returns the size of the terminal; nil if Out is not a terminal.
	Size func() (width, height int)
	Now  func() time.Time
	// drawn is the text of the previous view on the terminal, and above its number of lines.
	drawn string
	above int
	// latest is the last line printed for each subject.
	latest map[string]string
}

// NewScreen returns a Screen that writes to out, which may be a terminal.
func NewScreen(out io.Writer) *Screen {
	return &Screen{Out: out, Size: sizeOf(out), Now: time.Now}
}

// Show shows the lines; a live view is one that more views follow.
func (s *Screen) Show(lines []Line, live bool) {
	if s.Size == nil {
		if s.latest == nil {
			s.latest = map[string]string{}
		}
		for _, l := range lines {
			if text := l.Plain(); s.latest[l.Kind+l.Name] != text {
				s.latest[l.Kind+l.Name] = text
				fmt.Fprintln(s.Out, text)
			}
		}
		return
	}
	width, height := s.Size()
	now := s.Now()
	var rows []string
	column := 0
	for _, l := range lines {
		if l.Kind != "cluster" {
			column = max(column, len(l.Name))
		}
	}
	for _, l := range lines {
		if !live || !l.Still {
			rows = append(rows, l.Rows(now, column)...)
		}
	}
	if live {
		rows = rows[:min(len(rows), height-1)]
	}
	for i, row := range rows {
		if r := []rune(row); live && len(r) >= width { // a line that the terminal wraps could not be cleared
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
	fmt.Fprint(s.Out, back, drawn)
	s.drawn, s.above = drawn, len(rows)
}

// Leave clears the "^C" that the terminal shows when the user interrupts the view.
func (s *Screen) Leave() {
	if s.Size != nil {
		fmt.Fprint(s.Out, "\r\033[K")
	}
}

// Plain is the line in a pipe. It does not depend on the current time.
func (l Line) Plain() string {
	out := l.Kind + " " + l.Name + ": "
	if l.Total > 0 {
		out += fmt.Sprintf("%d/%d ", l.Done, l.Total)
	}
	out += l.Text
	if !l.Due.IsZero() {
		out += fmt.Sprintf(", %s ends %s", l.DueFor, l.Due.UTC().Format(time.RFC3339))
	}
	if l.Todo != "" {
		out += "; continue with: " + l.Todo
	}
	return out
}

// Rows returns the line as rows of a terminal at a time; column is the width of the names that have a bar.
func (l Line) Rows(now time.Time, column int) []string {
	text := l.Text
	if left := l.Due.Sub(now); left > 0 {
		text += fmt.Sprintf(", %s of %s left", duration.HumanDuration(left), l.DueFor)
	}
	if l.Kind == "cluster" {
		return []string{fmt.Sprintf("        %-*s  %s", column, l.Name[strings.LastIndex(l.Name, "/")+1:], text)}
	}
	out := []string{fmt.Sprintf("%-7s %-*s  %s  %s", l.Kind, column, l.Name, l.bar(), text)}
	if l.Todo != "" {
		out = append(out, "    continue with: "+l.Todo)
	}
	return out
}

func (l Line) bar() string {
	const width = 20
	if l.Total == 0 {
		return strings.Repeat(" ", width+len(" 123/123"))
	}
	full := width * l.Done / l.Total
	return fmt.Sprintf("%s%s %3d/%-3d", strings.Repeat("█", full), strings.Repeat("░", width-full), l.Done, l.Total)
}

// Live keeps a changing view on a screen. It may be used concurrently.
type Live struct {
	screen *Screen
	closed chan struct{}

	mu   sync.Mutex
	view View
	// lost is why the hub cannot be reached, so that the view may be out of date; nil otherwise.
	lost error
}

// NewLive returns a Live with an empty view.
func NewLive(s *Screen) *Live {
	l := &Live{screen: s, closed: make(chan struct{})}
	if s.Size != nil {
		go l.tick()
	}
	return l
}

// Show replaces the view.
func (l *Live) Show(v View) { l.update(func() { l.view = v }) }

// Requested takes the outcome of a request to the hub. An error is shown until a request succeeds.
func (l *Live) Requested(err error) { l.update(func() { l.lost = err }) }

// Leave stops drawing the view and releases the screen for other output.
func (l *Live) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view.Lines = nil
	l.screen.Leave()
}

// Close ends the view; what is on the screen stays.
func (l *Live) Close() { close(l.closed) }

func (l *Live) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	lines := l.view.Lines
	if len(lines) == 0 {
		return
	}
	hub := Line{Kind: "hub", Name: "connection", Text: "restored"}
	if l.lost != nil {
		hub.Text = "lost, retrying: " + cause(l.lost)
	}
	if l.lost != nil || l.screen.Size == nil && l.screen.latest[hub.Kind+hub.Name] != "" { // a pipe shows that it is restored
		lines = append(lines[:len(lines):len(lines)], hub)
	}
	l.screen.Show(lines, !l.view.Done)
}

// cause is why a request failed, without its URL, which differs each time.
func cause(err error) string {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// tick redraws the remaining times.
func (l *Live) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-ticker.C:
			l.update(func() {})
		}
	}
}
