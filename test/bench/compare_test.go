package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSlower(t *testing.T) {
	last := &results{
		Rows: []row{
			{Figure: "steady", P50: 1, P90: 1.05, TimesFloor: 4, WholeTimes: 4},
			{Figure: "noisy", P50: 1, P90: 2, TimesFloor: 4},
			{Figure: "gone", P50: 1, P90: 1, TimesFloor: 4},
		},
		Counts: []count{{Phase: "create", Pairs: 100, Hub: writes{"POST": 600}, Member: writes{"POST": 300}}},
	}
	now := &results{
		Rows: []row{
			{Figure: "steady", P50: 1, P90: 1.05, TimesFloor: 5, WholeTimes: 4.5},
			{Figure: "noisy", P50: 1, P90: 1.1, TimesFloor: 7},
			{Figure: "new", P50: 1, P90: 1, TimesFloor: 99},
		},
		Counts: []count{{Phase: "create", Pairs: 10, Hub: writes{"POST": 70}, Member: writes{"POST": 30}}},
	}
	want := []string{"steady, × floor: 5.0, was 4.0", "create, hub writes per pair: 7.0, was 6.0"}
	if got := now.slower(last); !slices.Equal(got, want) {
		t.Errorf("slower: %q; want %q", got, want)
	}
	if got := last.slower(last); len(got) > 0 {
		t.Errorf("slower than itself: %q", got)
	}
}

func TestCompareReadsWhatWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last.json")
	var out strings.Builder
	r := &results{Rows: []row{{Figure: "placed", P50: 1, P90: 1, TimesFloor: 8}}}
	if err := r.compare(&out, path); err != nil || out.Len() > 0 {
		t.Errorf("without a file: %q, %v", out.String(), err)
	}
	if err := (&results{Rows: []row{{Figure: "placed", P50: 1, P90: 1, TimesFloor: 4}}}).save(path); err != nil {
		t.Fatal(err)
	}
	if err := r.compare(&out, path); err != nil || !strings.Contains(out.String(), "placed, × floor: 8.0, was 4.0") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
