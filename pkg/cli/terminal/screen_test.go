package terminal

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScreen(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var pipe, terminal strings.Builder
	toPipe := Screen{Out: &pipe}
	toTerminal := Screen{Out: &terminal, Size: func() (int, int) { return 40, 3 }, Now: func() time.Time { return now }}
	first := []Line{
		{Kind: "run", Name: "r", Total: 2, Text: strings.Repeat("x", 50)},
		{Kind: "cluster", Name: "s/a", Still: true}, {Kind: "cluster", Name: "s/b"},
	}
	second := slices.Clone(first)
	second[2].Text = "failed"
	for _, lines := range [][]Line{first, first, second} {
		toPipe.Show(lines, true)
		toTerminal.Show(lines, true)
	}
	if lines := strings.Split(strings.TrimSpace(pipe.String()), "\n"); len(lines) != 4 || lines[3] != "cluster s/b: failed" {
		t.Errorf("the pipe has %q", lines)
	}
	rows := strings.Split(terminal.String(), "\n")
	if len(rows) != 5 || !strings.HasPrefix(rows[2], "\033[2A\033[J") || !strings.HasSuffix(rows[3], "failed") || len([]rune(rows[0])) >= 40 {
		t.Errorf("the terminal has %q", rows)
	}
}
