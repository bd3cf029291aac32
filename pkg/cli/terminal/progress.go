package terminal

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress shows the progress of subjects while the user waits: on a terminal one line that is overwritten, elsewhere
// one line for each update.
type Progress struct {
	out   io.Writer
	began time.Time
	// width of the terminal, 0 if out is none.
	width func() int

	mu sync.Mutex
	// order has the subjects in the order of their first updates.
	order  []string
	latest map[string]string
	// settled are the subjects that are done.
	settled map[string]bool
	stopped chan struct{}
	closed  sync.Once
}

// NewProgress starts to count the seconds.
func NewProgress(out io.Writer) *Progress {
	p := &Progress{out: out, began: time.Now(), latest: map[string]string{}, settled: map[string]bool{}, stopped: make(chan struct{}), width: func() int { return 0 }}
	size := sizeOf(out)
	if size == nil {
		return p
	}
	p.width = func() int {
		width, _ := size()
		return width
	}
	go p.tick()
	return p
}

// tick redraws the elapsed seconds.
func (p *Progress) tick() {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.stopped:
			return
		case <-ticker.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// Update shows a text for a subject, usually a cluster; done reports that the subject is done. A text of several lines
// stays on the screen.
func (p *Progress) Update(subject, text string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled[subject] = done
	if p.latest[subject] == text {
		return
	}
	if _, known := p.latest[subject]; !known {
		p.order = append(p.order, subject)
	}
	p.latest[subject] = text
	if p.width() > 0 && !strings.Contains(text, "\n") {
		p.draw()
		return
	}
	p.clear()
	fmt.Fprintf(p.out, "%6.1fs  %-12s %s\n", time.Since(p.began).Seconds(), subject, strings.ReplaceAll(text, "\n", "\n  "))
	if strings.Contains(text, "\n") {
		p.latest[subject], _, _ = strings.Cut(text, "\n")
	}
}

// draw overwrites the line on a terminal.
func (p *Progress) draw() {
	width := p.width()
	select {
	case <-p.stopped:
		return
	default:
	}
	if width == 0 || len(p.order) == 0 {
		return
	}
	line := []rune(fmt.Sprintf("%3.0fs  %s", time.Since(p.began).Seconds(), p.line()))
	if len(line) >= width {
		line = append(line[:max(0, width-2)], '…')
	}
	fmt.Fprintf(p.out, "\r\033[K%s", string(line))
}

// line has unfinished subjects first, because the end may be cut off.
func (p *Progress) line() string {
	var going, settled []string
	for _, subject := range p.order {
		if p.settled[subject] {
			settled = append(settled, subject)
		} else {
			going = append(going, subject+": "+p.latest[subject])
		}
	}
	if len(settled) > 0 {
		going = append(going, strings.Join(settled, ", ")+" done")
	}
	return strings.Join(going, " | ")
}

func (p *Progress) clear() {
	if p.width() > 0 {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

// Close removes the line from a terminal. It may be called more than once.
func (p *Progress) Close() {
	p.closed.Do(func() {
		close(p.stopped)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.clear()
	})
}
