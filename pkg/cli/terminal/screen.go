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

// View is what is shown of something that goes on.
type View struct {
	Lines []Line
	// Done is whether nothing more is to come; Failed says why it ended badly.
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
	// Due is when time is up for what DueFor names; zero without such a time.
	Due    time.Time
	DueFor string
	// Todo is the command that makes it go on; empty if it goes on by itself.
	Todo string
	// Still is whether a live view can do without the line: nothing happens there.
	Still bool
}

// Screen shows views one after the other: on a terminal in one place, elsewhere by what is new.
type Screen struct {
	Out io.Writer
	// Size is that of the terminal; nil if Out is none.
	Size func() (width, height int)
	Now  func() time.Time
	// drawn is what is on the terminal of the view before, and above how many lines that is.
	drawn string
	above int
	// said is what was last said of each subject.
	said map[string]string
}

// NewScreen finds out whether out is a terminal.
func NewScreen(out io.Writer) *Screen {
	return &Screen{Out: out, Size: sizeOf(out), Now: time.Now}
}

// Show shows the lines; a live view is one that more views follow.
func (s *Screen) Show(lines []Line, live bool) {
	if s.Size == nil {
		if s.said == nil {
			s.said = map[string]string{}
		}
		for _, l := range lines {
			if text := l.Plain(); s.said[l.Kind+l.Name] != text {
				s.said[l.Kind+l.Name] = text
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
	fmt.Fprint(s.Out, back, drawn)
	s.drawn, s.above = drawn, len(rows)
}

// Leave takes away what the terminal shows of the key that ended the view.
func (s *Screen) Leave() {
	if s.Size != nil {
		fmt.Fprint(s.Out, "\r\033[K")
	}
}

// Plain is the line in a pipe. It changes only when there is news.
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
		out += "; go on with: " + l.Todo
	}
	return out
}

// Rows are those of the line on a terminal at a time; column is how wide the names are that have a bar.
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
		out = append(out, "    go on with: "+l.Todo)
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

// Live keeps a view on a screen while it changes. Several goroutines may change it.
type Live struct {
	screen *Screen
	closed chan struct{}

	mu   sync.Mutex
	view View
	// trouble is why there may be changes that are not in the view.
	trouble error
}

// NewLive begins a view that is still empty.
func NewLive(s *Screen) *Live {
	l := &Live{screen: s, closed: make(chan struct{})}
	if s.Size != nil {
		go l.tick()
	}
	return l
}

// Show replaces the view.
func (l *Live) Show(v View) { l.update(func() { l.view = v }) }

// Heard notes how a request to the hub went: an error is shown until there is none.
func (l *Live) Heard(err error) { l.update(func() { l.trouble = err }) }

// Leave gives the screen up for what comes after the view, which is drawn no more.
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
	hub := Line{Kind: "hub", Name: "connection", Text: "there"}
	if l.trouble != nil {
		hub.Text = "lost, retrying: " + cause(l.trouble)
	}
	if l.trouble != nil || l.screen.Size == nil && l.screen.said[hub.Kind+hub.Name] != "" { // a pipe shows that it is back
		lines = append(lines[:len(lines):len(lines)], hub)
	}
	l.screen.Show(lines, !l.view.Done)
}

// cause is what went wrong with a request, without its address, which is another one each time.
func cause(err error) string {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// tick lets the times that are left run.
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
