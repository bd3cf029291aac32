package division

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// four are the clusters of the worked example, with the shares that they have.
func four(prior ...int64) []Cluster {
	clusters := []Cluster{
		{Name: "east-1", Weight: 3, Min: 1, Max: 8},
		{Name: "east-2", Weight: 3, Min: 1, Max: 8},
		{Name: "west-1", Weight: 2, Min: 1, Max: 8},
		{Name: "west-2", Weight: 1, Min: 1, Max: 8},
	}
	for i, p := range prior {
		clusters[i].Prior = p
	}
	return clusters
}

// changed returns the clusters with changes, which are functions of one cluster each.
func changed(clusters []Cluster, changes map[int]func(*Cluster)) []Cluster {
	for i, change := range changes {
		change(&clusters[i])
	}
	return clusters
}

// lost: nothing can be placed on the cluster.
func lost(c *Cluster) { c.Min, c.Max = 0, 0 }

func upTo(n int64) func(*Cluster) { return func(c *Cluster) { c.Max = n } }

func pinned(n int64) func(*Cluster) { return func(c *Cluster) { c.Min, c.Max = n, n } }

func weighing(n int64) func(*Cluster) { return func(c *Cluster) { c.Weight = n } }

// weights are clusters without bounds, named a, b, c, and so on.
func weights(weights ...int64) (clusters []Cluster) {
	for i, w := range weights {
		clusters = append(clusters, Cluster{Name: string(rune('a' + i)), Weight: w, Max: math.MaxInt64})
	}
	return clusters
}

// having returns the clusters with the shares that they have.
func having(clusters []Cluster, prior ...int64) []Cluster {
	for i, p := range prior {
		clusters[i].Prior = p
	}
	return clusters
}

func TestDivide(t *testing.T) {
	type changes = map[int]func(*Cluster)
	for _, test := range []struct {
		name     string
		total    int64
		clusters []Cluster
		fresh    bool
		want     Result
	}{
		{"first division", 20, four(), true, Result{Shares: []int64{7, 7, 4, 2}}},
		{"scaled up", 24, four(7, 7, 4, 2), false, Result{Shares: []int64{8, 8, 5, 3}}},
		{"scaled up, fresh", 24, four(7, 7, 4, 2), true, Result{Shares: []int64{8, 8, 5, 3}}},
		{"scaled down", 12, four(7, 7, 4, 2), false, Result{Shares: []int64{4, 4, 3, 1}}},
		{"scaled down, fresh", 12, four(7, 7, 4, 2), true, Result{Shares: []int64{4, 4, 3, 1}}},
		{"a cluster is lost", 20, changed(four(7, 7, 4, 2), changes{0: lost}), false, Result{Shares: []int64{0, 8, 8, 4}}},
		{"it is back and gets its minimum", 20, four(0, 8, 8, 4), false, Result{Shares: []int64{1, 8, 7, 4}}},
		{"then it gets what is added", 26, four(1, 8, 7, 4), false, Result{Shares: []int64{7, 8, 7, 4}}},
		{"it is back and replicas return", 20, four(0, 8, 8, 4), true, Result{Shares: []int64{7, 7, 4, 2}}},
		{"bounds leave no room after two losses", 20, changed(four(7, 7, 4, 2), changes{0: lost, 1: lost}), false,
			Result{Shares: []int64{0, 0, 8, 8}, Unplaced: 4}},
		{"what was unplaced is placed", 20, changed(four(0, 0, 8, 8), changes{0: lost}), false, Result{Shares: []int64{0, 4, 8, 8}}},
		{"a cluster has less room", 20, changed(four(7, 7, 4, 2), changes{1: upTo(4)}), false, Result{Shares: []int64{8, 4, 5, 3}}},
		{"a cluster is pinned, a tie goes to the one with fewer replicas", 20, changed(four(7, 7, 4, 2), changes{0: pinned(5)}), false,
			Result{Shares: []int64{5, 7, 5, 3}}},
		{"a fifth cluster joins, fresh", 20, append(four(7, 7, 4, 2), Cluster{Name: "north", Weight: 3, Min: 1, Max: 8}), true,
			Result{Shares: []int64{5, 5, 3, 2, 5}}},
		{"weights become equal", 20, changed(four(7, 7, 4, 2), changes{0: weighing(1), 1: weighing(1), 2: weighing(1)}), true,
			Result{Shares: []int64{5, 5, 5, 5}}},

		{"2:1 of 2", 2, weights(2, 1), true, Result{Shares: []int64{1, 1}}},
		{"1:3:3 of 3", 3, weights(1, 3, 3), true, Result{Shares: []int64{1, 1, 1}}},
		{"170:110:60 of 5", 5, weights(170, 110, 60), true, Result{Shares: []int64{2, 2, 1}}},
		{"170:110:60 of 8", 8, having(weights(170, 110, 60), 2, 2, 1), false, Result{Shares: []int64{4, 3, 1}}},
		{"a share may be more than its quota rounded up", 100, weights(905, 25, 24, 23, 23), true, Result{Shares: []int64{91, 3, 2, 2, 2}}},
		{"1 of three equal: the cluster that has it", 1, having(weights(1, 1, 1), 0, 0, 1), false, Result{Shares: []int64{0, 0, 1}}},
		{"a tie, fresh: the cluster that has more", 1, having(weights(1, 1, 1), 0, 1, 0), true, Result{Shares: []int64{0, 1, 0}}},
		{"nothing to divide", 0, four(1, 1, 1, 1), false,
			Result{Shares: []int64{0, 0, 0, 0}, Unmet: []string{"east-1", "east-2", "west-1", "west-2"}}},
		{"no clusters", 3, nil, true, Result{Shares: []int64{}, Unplaced: 3}},

		{"weight 0: only the minimum", 10, []Cluster{{Name: "a", Min: 2, Max: 9}, {Name: "b", Weight: 1, Max: 9}}, true, Result{Shares: []int64{2, 8}}},
		{"weight 0 everywhere", 10, []Cluster{{Name: "a", Min: 2, Max: 9}, {Name: "b", Max: 9}}, true, Result{Shares: []int64{2, 0}, Unplaced: 8}},
		{"maximum below minimum", 10, []Cluster{{Name: "a", Weight: 1, Min: 5, Max: 2}}, true, Result{Shares: []int64{2}, Unplaced: 8}},
		{"too few for every minimum", 3, four(), true, Result{Shares: []int64{1, 1, 1, 0}, Unmet: []string{"west-2"}}},
		{"too few for every minimum: they are ignored", 4,
			[]Cluster{{Name: "b", Weight: 9, Min: 1, Max: 9}, {Name: "c", Weight: 1, Min: 3, Max: 9}, {Name: "a", Weight: 1, Min: 3, Max: 9}}, true,
			Result{Shares: []int64{4, 0, 0}, Unmet: []string{"a", "c"}}},
		{"too few for every minimum: weight 0 comes last", 3, []Cluster{{Name: "a", Min: 2, Max: 9}, {Name: "b", Weight: 1, Min: 2, Max: 2}}, true,
			Result{Shares: []int64{1, 2}, Unmet: []string{"a"}}},
		{"enough for every minimum", 4, four(7, 7, 4, 2), false, Result{Shares: []int64{1, 1, 1, 1}}},
		{"a minimum is not met by bounds that have no room", 1, []Cluster{{Name: "a", Weight: 1, Min: 1, Max: 0}}, true, Result{Shares: []int64{0}, Unplaced: 1}},

		{"negative numbers count as 0", -5, []Cluster{{Name: "a", Weight: -1, Min: -2, Max: -3, Prior: -4}}, false, Result{Shares: []int64{0}}},
		{"numbers are limited", math.MaxInt64, []Cluster{{Name: "a", Weight: math.MaxInt64, Max: math.MaxInt64, Prior: math.MaxInt64}}, false,
			Result{Shares: []int64{Most}, Unplaced: math.MaxInt64 - Most}},
		{"the largest total", Most, weights(1), true, Result{Shares: []int64{Most}}},
		{"a tie of the largest numbers goes to the one with fewer replicas", Most, weights(Most, Most-1, 1), true, Result{Shares: []int64{Most / 2, Most / 2, 1}}},
		{"sums do not overflow", Most, []Cluster{{Name: "a", Weight: 1, Min: math.MaxInt64, Max: math.MaxInt64}, {Name: "b", Weight: 2, Min: math.MaxInt64, Max: math.MaxInt64}}, true,
			Result{Shares: []int64{(Most + 1) / 3, Most - (Most+1)/3}, Unmet: []string{"a", "b"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Divide(test.total, test.clusters, "seed", test.fresh)
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// The cluster that joins gets its minimum from one of the two that are as much above their quota.
func TestAClusterThatJoinsTakesItsMinimum(t *testing.T) {
	got := Divide(20, append(four(7, 7, 4, 2), Cluster{Name: "north", Weight: 3, Min: 1, Max: 8}), "seed", false).Shares
	if !slices.Equal(got[2:], []int64{4, 2, 1}) || got[0]+got[1] != 13 || max(got[0], got[1]) != 7 {
		t.Errorf("got %v, want one replica less on one of the first two", got)
	}
}

// Workloads with one replica are spread evenly over equal clusters, whatever the names of both.
func TestTiesAreSpreadOverClusters(t *testing.T) {
	const workloads, members = 2000, 10
	for _, test := range []struct{ cluster, seed string }{
		{"c%d", "%d"}, {"cluster-%04d", "5f1c3b0e-%d/apps/Deployment/web"}, {"%d.eu-west-1.prod", "placement/web-%d"}, {"member%02d", "%064d"},
	} {
		var clusters []Cluster
		for i := range members {
			clusters = append(clusters, Cluster{Name: fmt.Sprintf(test.cluster, i), Weight: 1, Max: 8})
		}
		sums := make([]int64, members)
		for i := range workloads {
			for j, share := range Divide(1, clusters, fmt.Sprintf(test.seed, i), true).Shares {
				sums[j] += share
			}
		}
		if slices.Max(sums) > workloads/members*3/2 || slices.Min(sums) < workloads/members/2 {
			t.Errorf("clusters named %q, seeds %q: %v", test.cluster, test.seed, sums)
		}
	}
}

// fleet are clusters of many different weights, with and without bounds.
func fleet(n int) (clusters []Cluster) {
	for i := range int64(n) {
		c := Cluster{Name: fmt.Sprintf("cluster-%04d", i), Weight: 1 + i*7919%1_000_000, Min: i % 3, Max: math.MaxInt64}
		if i%4 == 0 {
			c.Max = 100 + i
		}
		clusters = append(clusters, c)
	}
	return clusters
}

func BenchmarkDivide(b *testing.B) {
	for _, clusters := range []int{4, 1000} {
		for _, total := range []int64{20, 1_000_000} {
			in := fleet(clusters)
			b.Run(fmt.Sprintf("%d over %d clusters", total, clusters), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Divide(total, in, "seed", true)
				}
			})
		}
	}
}
