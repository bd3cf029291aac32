package division

import (
	"fmt"
	"slices"
	"testing"
)

func settled(have, want int64) Place { return Place{Have: have, Want: want, Settled: true} }

func unsettled(have, want int64) Place { return Place{Have: have, Want: want} }

func partly(have, want, free int64) Place { return Place{Have: have, Want: want, Free: free} }

func missing(have, want int64) Place { return Place{Have: have, Want: want, Lost: true} }

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name         string
		total, surge int64
		places       []Place
		want         Step
	}{
		{"nothing to move", 20, 5, []Place{settled(7, 7), unsettled(13, 13), missing(0, 0)}, Step{Shares: []int64{7, 13, 0}}},
		{"nothing to move, although more than total and surge", 5, 0, []Place{settled(7, 7), unsettled(13, 13)}, Step{Shares: []int64{7, 13}}},
		{"no places", 20, 5, nil, Step{}},

		{"scaled up: at once", 24, 0, []Place{settled(7, 8), unsettled(7, 8), settled(4, 5), settled(2, 3)}, Step{Shares: []int64{8, 8, 5, 3}}},
		{"scaled down: at once", 12, 0, []Place{settled(7, 4), settled(7, 4), settled(4, 3), settled(2, 1)}, Step{Shares: []int64{4, 4, 3, 1}}},
		{"scaled to nothing: at once", 0, 0, []Place{settled(7, 0), unsettled(7, 0)}, Step{Shares: []int64{0, 0}}},
		{"scaled down: one that does not run keeps no other", 12, 3, []Place{unsettled(7, 4), settled(7, 4), settled(4, 3), settled(2, 1)},
			Step{Shares: []int64{4, 5, 4, 2}}},
		{"scaled down: enough run without one that does not", 12, 5, []Place{unsettled(7, 0), settled(7, 6), settled(7, 6)}, Step{Shares: []int64{0, 6, 6}}},
		{"scaled down: the rest waits for what does not run", 12, 5, []Place{unsettled(4, 4), settled(6, 4), settled(6, 4)},
			Step{Shares: []int64{4, 6, 6}, Blocked: WaitsForReady}},
		{"scaled down by more than surge with nothing ready", 12, 3, []Place{unsettled(7, 4), unsettled(7, 4), unsettled(4, 3), unsettled(2, 1)},
			Step{Shares: []int64{4, 5, 4, 2}}},
		{"scaled down by more than surge: what is not settled goes first", 12, 2, []Place{settled(9, 6), unsettled(8, 6)},
			Step{Shares: []int64{8, 6}}},

		{"a cluster is lost: its replicas are placed at once", 20, 0, []Place{missing(7, 0), settled(7, 8), settled(4, 8), settled(2, 4)},
			Step{Shares: []int64{0, 8, 8, 4}}},
		{"two are lost and there is no room for all", 20, 0, []Place{missing(7, 0), missing(7, 0), settled(4, 8), settled(2, 8)},
			Step{Shares: []int64{0, 0, 8, 8}}},
		{"a lost cluster that keeps its share leaves no room", 20, 1, []Place{missing(10, 10), settled(6, 3), settled(4, 7)}, Step{Shares: []int64{10, 6, 5}}},
		{"others move beside a lost cluster that keeps its share", 20, 1, []Place{missing(10, 10), settled(6, 3), settled(5, 7)}, Step{Shares: []int64{10, 5, 5}}},
		{"nothing moves to a lost cluster", 20, 5, []Place{missing(10, 15), settled(10, 5)}, Step{Shares: []int64{10, 10}, Blocked: WaitsForReady}},
		{"a lost cluster gets its part of a larger total", 26, 5, []Place{missing(10, 13), settled(10, 13)}, Step{Shares: []int64{13, 13}}},
		{"a lost cluster is raised last", 12, 0, []Place{missing(4, 7), unsettled(4, 6)}, Step{Shares: []int64{6, 6}}},

		{"an exchange raises first", 20, 5, []Place{settled(1, 7), settled(8, 7), settled(7, 4), settled(4, 2)}, Step{Shares: []int64{6, 8, 7, 4}}},
		{"then waits", 20, 5, []Place{unsettled(6, 7), settled(8, 7), settled(7, 4), settled(4, 2)}, Step{Shares: []int64{6, 8, 7, 4}, Blocked: WaitsForReady}},
		{"then lowers as many as run elsewhere", 20, 5, []Place{settled(6, 7), settled(8, 7), settled(7, 4), settled(4, 2)}, Step{Shares: []int64{6, 8, 4, 2}}},
		{"then raises again", 20, 5, []Place{settled(6, 7), settled(8, 7), settled(4, 4), settled(2, 2)}, Step{Shares: []int64{7, 8, 4, 2}}},
		{"raises and lowers in one step", 20, 5, []Place{settled(3, 7), settled(8, 7), settled(7, 4), settled(4, 4)}, Step{Shares: []int64{6, 8, 5, 4}}},
		{"no surge: no exchange", 20, 0, []Place{settled(1, 7), settled(8, 7), settled(7, 4), settled(4, 2)}, Step{Shares: []int64{1, 8, 7, 4}, Blocked: NoRoom}},
		{"no surge: to wait would not help", 20, 0, []Place{unsettled(1, 7), settled(8, 7), settled(7, 4), settled(4, 2)},
			Step{Shares: []int64{1, 8, 7, 4}, Blocked: NoRoom}},
		{"no surge, but a total that fell leaves room", 18, 0, []Place{settled(1, 7), settled(8, 6), settled(7, 3), settled(4, 2)}, Step{Shares: []int64{1, 8, 5, 4}}},
		{"settled ones get the room first", 10, 2, []Place{unsettled(1, 6), settled(1, 4), settled(8, 0)}, Step{Shares: []int64{1, 3, 8}}},
		{"then those that are the farthest from what is wanted", 10, 3, []Place{settled(1, 3), settled(1, 7), settled(8, 0)}, Step{Shares: []int64{1, 4, 8}}},

		{"bounds that leave less room lower without others", 20, 5, []Place{settled(8, 4), settled(8, 8)}, Step{Shares: []int64{4, 8}}},
		{"replicas that cannot run are lowered at once", 20, 0, []Place{settled(7, 8), partly(7, 4, 3), settled(4, 5), settled(2, 3)}, Step{Shares: []int64{7, 4, 4, 2}}},
		{"and then missing", 20, 0, []Place{settled(7, 8), settled(4, 4), settled(4, 5), settled(2, 3)}, Step{Shares: []int64{8, 4, 5, 3}}},
		{"those that may run are not", 20, 0, []Place{settled(13, 16), partly(7, 4, 1)}, Step{Shares: []int64{13, 6}}},
		{"no more than wanted", 20, 5, []Place{settled(13, 18), partly(7, 2, 7)}, Step{Shares: []int64{18, 2}}},
		{"free means nothing for a settled cluster", 20, 0, []Place{settled(13, 16), {Have: 7, Want: 4, Settled: true, Free: 3}},
			Step{Shares: []int64{13, 7}, Blocked: NoRoom}},
		{"what may run is lowered when enough runs elsewhere", 10, 5, []Place{settled(10, 10), unsettled(5, 0)}, Step{Shares: []int64{10, 0}}},
		{"what may run is not lowered when one is missing elsewhere", 10, 5, []Place{settled(9, 9), unsettled(5, 1)}, Step{Shares: []int64{9, 5}, Blocked: WaitsForReady}},

		{"surge was lowered in an exchange", 20, 1, []Place{unsettled(6, 7), settled(8, 7), settled(7, 4), settled(4, 2)}, Step{Shares: []int64{6, 8, 4, 3}}},
		{"updates from 5 to 8 replicas lower none", 8, 0, []Place{settled(2, 4), unsettled(2, 3), unsettled(1, 1)}, Step{Shares: []int64{4, 3, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.places {
				test.places[i].Name = string(rune('a' + i))
			}
			before := slices.Clone(test.places)
			got := Next(test.total, test.surge, test.places)
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if !slices.Equal(before, test.places) {
				t.Errorf("places are changed to %+v", test.places)
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	var places []Place
	var total int64
	for i := range int64(1000) {
		p := Place{Name: fmt.Sprintf("cluster-%04d", i), Have: 100 + i%7, Want: 100 + (i+3)%7, Settled: i%10 > 0}
		total += p.Want
		places = append(places, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		Next(total, total/4, places)
	}
}
