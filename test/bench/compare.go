package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Figures differ from run to run. A difference below these shares of the earlier value is none.
const (
	// leastNoise is for the median of several measurements, beside their own spread.
	leastNoise = 0.15
	// wholeNoise is for the time of a whole set, which is measured once.
	wholeNoise = 0.25
	// writeNoise is for writes per pair: reports that are delayed may come in one write or in two.
	writeNoise = 0.05
)

// load reads results that an earlier run saved; nil if there are none.
func load(path string) (*results, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out results
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &out, nil
}

// slower returns what became slower, or costs more writes, since last, by more than noise. Times are compared as
// multiples of the floor of their own run, so that the two machines need not be equally fast.
func (r *results) slower(last *results) []string {
	var out []string
	worse := func(what string, was, is, noise float64) {
		if was > 0 && is > was*(1+noise) {
			out = append(out, fmt.Sprintf("%s: %.1f, was %.1f", what, is, was))
		}
	}
	rows := map[string]row{}
	for _, was := range last.Rows {
		rows[was.Figure] = was
	}
	for _, is := range r.Rows {
		was, ok := rows[is.Figure]
		if !ok {
			continue
		}
		worse(is.Figure+", × floor", was.TimesFloor, is.TimesFloor, max(leastNoise, was.spread(), is.spread()))
		worse(is.Figure+", whole, × floor", was.WholeTimes, is.WholeTimes, wholeNoise)
	}
	counts := map[string]count{}
	for _, was := range last.Counts {
		counts[was.Phase] = was
	}
	for _, is := range r.Counts {
		if was, ok := counts[is.Phase]; ok && is.Pairs > 0 && was.Pairs > 0 {
			worse(is.Phase+", hub writes per pair", was.hub()/float64(was.Pairs), is.hub()/float64(is.Pairs), writeNoise)
			worse(is.Phase+", member writes per pair", was.member()/float64(was.Pairs), is.member()/float64(is.Pairs), writeNoise)
		}
	}
	return out
}

// spread is the noise of a median: by how much of it the slowest tenth is slower.
func (r row) spread() float64 {
	if r.P50 <= 0 {
		return 0
	}
	return (r.P90 - r.P50) / r.P50
}

// compare prints what became slower since the results in the file last; nothing if there is no such file.
func (r *results) compare(w io.Writer, path string) error {
	last, err := load(path)
	if err != nil || last == nil {
		return err
	}
	slower := r.slower(last)
	if len(slower) == 0 {
		_, err := fmt.Fprintf(w, "\nnothing is slower than in %s, of %s\n", path, last.When.Format("2006-01-02"))
		return err
	}
	fmt.Fprintf(w, "\nslower than in %s, of %s:\n", path, last.When.Format("2006-01-02"))
	for _, line := range slower {
		fmt.Fprintf(w, "  %s\n", line)
	}
	return nil
}
