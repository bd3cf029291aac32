package terminal

import (
	"bytes"
	"strings"
	"testing"
)

func TestProgressInAPipeIsLines(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out)
	p.Update("hub", "starting", false)
	p.Update("hub", "starting", false)
	p.Update("hub", "failed:\nlast words", false)
	p.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "hub          starting") || !strings.Contains(lines[2], "last words") {
		t.Errorf("%q", lines)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out)
	p.width = func() int { return 40 }
	p.Update("hub", "starting the cluster", false)
	p.Update("spoke-1", "starting the cluster", false)
	p.Close()
	drawn := strings.Split(out.String(), "\r\033[K")
	if strings.Contains(out.String(), "\n") || drawn[len(drawn)-1] != "" {
		t.Errorf("drew %q", drawn)
	}
	for _, line := range drawn {
		if n := len([]rune(line)); n >= 40 {
			t.Errorf("line of %d characters: %q", n, line)
		}
	}
}
