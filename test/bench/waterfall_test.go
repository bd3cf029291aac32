package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWaterfall(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	agent := func(id, name, cluster string, begin, end, queue int) span {
		return span{id: id, trace: "t", name: name, placement: "web", cluster: cluster, begin: at(begin), end: at(end), queue: time.Duration(queue) * time.Millisecond}
	}
	below := func(parent, id, name, method string, begin, end int) span {
		return span{id: id, parent: parent, trace: "t", name: name, method: method, begin: at(begin), end: at(end)}
	}
	after := func(parent string, s span) span {
		s.parent = parent
		return s
	}
	spans := []span{
		after("p1", agent("d1", "dispatcher", "east", 30, 50, 1)), below("d1", "d2", "write works", "", 32, 49), below("d2", "d3", "PATCH works", "PATCH", 33, 43),
		below("d2", "d4", "PATCH works", "PATCH", 38, 48),
		agent("d5", "dispatcher", "west", 30, 60, 1), below("d5", "d6", "PATCH works", "PATCH", 31, 59),
		agent("p1", "placer", "", 10, 20, 2), below("p1", "p2", "GET configmaps", "GET", 11, 12), below("p1", "p3", "POST snapshots", "POST", 13, 19),
		agent("r1", "roller", "", 22, 24, 0), agent("later", "placer", "", 101, 102, 0), below("later", "l2", "POST snapshots", "POST", 101, 102),
		agent("old", "placer", "", -20, -10, 0), below("old", "old1", "POST snapshots", "POST", -19, -11),
		{id: "x", placement: "other", begin: at(1), end: at(2)},
		after("d2", agent("a1", "applier", "east", 46, 60, 0)), below("a1", "a2", "PATCH configmaps", "PATCH", 47, 60),
	}
	got := waterfallOf(change{placement: "web", sent: start, written: at(5), effect: at(60), end: at(90), over: at(100), last: "east"}, spans)
	want := waterfall{Placement: "web", Member: "east", Traces: []string{"t"}, Effect: 60, End: 90, Idle: 1, IdleMs: 2, Hops: []hop{
		{Agent: "placer", At: 10, Watch: 3, Queue: 2, Took: 10, API: 7, Requests: []string{"GET configmaps", "POST snapshots"}},
		{
			Agent: "dispatcher", Cluster: "east", At: 30, Watch: 10, Queue: 1, Took: 20, API: 15, Requests: []string{"PATCH works ×2"},
			Steps: []hopStep{{Name: "write works", At: 32, Took: 17, API: 15}},
		},
		{Agent: "applier", Cluster: "east", At: 46, Took: 14, API: 13, Requests: []string{"PATCH configmaps"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want, got:\n%s", diff)
	}
}

func TestMedian(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var all []change
	for _, name := range []string{"5", "1", "3", "2", "4"} {
		all = append(all, change{placement: name, sent: start, effect: start.Add(time.Duration(name[0]) * time.Second)})
	}
	if got := median(all).placement; got != "3" {
		t.Errorf("the median is %s; want 3", got)
	}
}
