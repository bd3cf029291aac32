package main

import (
	"strings"
	"testing"
	"time"
)

func TestReachedVulnerabilitiesFailUnlessExcused(t *testing.T) {
	const answer = `
{"config": {"protocol_version": "v1.0.0"}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.2.3", "trace": [{"module": "m", "package": "m/p", "function": "F"}, {"package": "ours", "receiver": "*T", "function": "Do"}]}}
{"finding": {"osv": "GO-2", "trace": [{"module": "m", "package": "m/p"}]}}
{"finding": {"osv": "GO-3", "trace": [{"module": "m"}]}}`
	reached, err := reachedIn(strings.NewReader(answer))
	if err != nil || len(reached) != 1 {
		t.Fatalf("reached %v, error %v; want GO-1 alone: the others are not called", reached, err)
	}
	if err := judge(reached, nil); err == nil || !strings.Contains(err.Error(), "GO-1") || !strings.Contains(err.Error(), "ours.*T.Do\n\tm/p.F") {
		t.Errorf("error %v; want one that names GO-1 and the way to it", err)
	}
	if err := judge(reached, map[string]bool{"GO-1": true}); err != nil {
		t.Errorf("excused: %v", err)
	}
	if err := judge(nil, map[string]bool{"GO-1": true}); err == nil {
		t.Error("an excuse that is not needed is accepted")
	}
	if _, err := reachedIn(strings.NewReader(`{"finding": `)); err == nil {
		t.Error("incomplete output is accepted")
	}
}

func TestExcusesExpire(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, ok := range map[string]bool{
		"# why\n\nGO-1 2026-05-06 it is never called with users' input": true,
		"GO-1 2026-05-05 ended":    false,
		"GO-1 2026-05-07":          false,
		"GO-1 someday not reached": false,
	} {
		if _, err := parseExcuses(text, now); (err == nil) != ok {
			t.Errorf("%q: error %v", text, err)
		}
	}
}
