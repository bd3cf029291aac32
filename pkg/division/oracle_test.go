package division

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// TestDivideIsTheBestAssignment compares divisions with all assignments within the bounds: the best has the least sum
// of |share - prior|, then the least sum of share²/weight.
func TestDivideIsTheBestAssignment(t *testing.T) {
	seed := testworld.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		clusters := make([]Cluster, 1+rng.IntN(4))
		for i := range clusters {
			clusters[i] = Cluster{Name: fmt.Sprint("c", i), Weight: rng.Int64N(10), Min: max(0, rng.Int64N(6)-2), Max: rng.Int64N(12), Prior: rng.Int64N(9)}
		}
		total, fresh := rng.Int64N(16), rng.IntN(2) == 0
		got := Divide(total, clusters, "seed", fresh)
		if want := best(total, clusters, fresh); slices.Compare(costs(clusters, got.Shares, fresh), costs(clusters, want, fresh)) != 0 {
			t.Fatalf("seed %d: %d over %+v, fresh %v: got %v, want %v", seed, total, clusters, fresh, got.Shares, want)
		}
	}
}

// best finds the best assignment by trying all.
func best(total int64, clusters []Cluster, fresh bool) (found []int64) {
	var minima, room int64
	least, most := make([]int64, len(clusters)), make([]int64, len(clusters))
	for i, c := range clusters {
		least[i], most[i] = min(c.Min, c.Max), c.Max
		if c.Weight == 0 {
			most[i] = least[i]
		}
		minima += least[i]
		room += most[i]
	}
	if minima > total {
		clear(least)
	}
	total = min(total, room)
	shares := make([]int64, len(clusters))
	var try func(i int, left int64)
	try = func(i int, left int64) {
		if i == len(clusters) {
			if left == 0 && (found == nil || slices.Compare(costs(clusters, shares, fresh), costs(clusters, found, fresh)) < 0) {
				found = slices.Clone(shares)
			}
			return
		}
		for s := least[i]; s <= min(most[i], left); s++ {
			shares[i] = s
			try(i+1, left-s)
		}
	}
	try(0, total)
	return found
}

// costs are what the best assignment has the least of, the most important first. Weight 0 costs more than any other
// weight, so what such clusters have is a cost of its own.
func costs(clusters []Cluster, shares []int64, fresh bool) []int64 {
	var moved, weightless, weighted int64
	for i, c := range clusters {
		if !fresh {
			moved += max(shares[i]-c.Prior, c.Prior-shares[i])
		}
		if c.Weight == 0 {
			weightless += shares[i] * shares[i]
		} else {
			weighted += shares[i] * shares[i] * (2520 / c.Weight) // 2520 is divisible by all weights
		}
	}
	return []int64{moved, weightless, weighted}
}

// oneAtATime divides as the design describes it: it adds or takes away one replica after the other.
func oneAtATime(total int64, clusters []Cluster, seed string, fresh bool) Result {
	n := len(clusters)
	least, most, shares := make([]int64, n), make([]int64, n), make([]int64, n)
	sum := new(big.Int)
	for i, c := range clusters {
		least[i], most[i] = min(c.Min, c.Max), c.Max
		if c.Weight == 0 {
			most[i] = least[i]
		}
		sum.Add(sum, big.NewInt(least[i]))
	}
	wishes := sum.Cmp(big.NewInt(total)) > 0
	if wishes {
		clear(least)
	}
	left := total
	for i, c := range clusters {
		shares[i] = least[i]
		if !fresh {
			shares[i] = max(min(c.Prior, most[i]), least[i])
		}
		left -= shares[i]
	}
	// sooner compares two replicas: the one after k of cluster i, and the one after l of cluster j.
	sooner := func(i int, k int64, j int, l int64) int {
		product := func(w, k int64) *big.Int { return new(big.Int).Mul(big.NewInt(w), big.NewInt(2*k+1)) }
		a, b := clusters[i], clusters[j]
		return cmp.Or(
			product(b.Weight, k).Cmp(product(a.Weight, l)),
			cmp.Compare(k, l),
			cmp.Compare(b.Prior, a.Prior),
			cmp.Compare(hash(seed, a.Name), hash(seed, b.Name)),
			cmp.Compare(a.Name, b.Name),
		)
	}
	for ; left > 0; left-- {
		at := -1
		for i := range clusters {
			if shares[i] < most[i] && (at < 0 || sooner(i, shares[i], at, shares[at]) < 0) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		shares[at]++
	}
	for ; left < 0; left++ {
		at := -1
		for i := range clusters {
			if shares[i] > least[i] && (at < 0 || sooner(i, shares[i]-1, at, shares[at]-1) > 0) {
				at = i
			}
		}
		shares[at]--
	}
	r := Result{Shares: shares, Unplaced: left}
	for i, c := range clusters {
		if wishes && shares[i] < min(c.Min, c.Max) {
			r.Unmet = append(r.Unmet, c.Name)
		}
	}
	slices.Sort(r.Unmet)
	return r
}

func TestDivideIsOneAtATime(t *testing.T) {
	seed := testworld.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		clusters := make([]Cluster, 1+rng.IntN(12))
		limit := 1 + rng.Int64N(1<<rng.IntN(10))
		for i := range clusters {
			c := &clusters[i]
			c.Name = fmt.Sprint("c", i)
			switch rng.IntN(6) {
			case 0: // no weight
			case 1:
				c.Weight = Most - rng.Int64N(3)
			case 2:
				c.Weight = 1 + rng.Int64N(3)
			default:
				c.Weight = 1 + rng.Int64N(1_000_000)
			}
			c.Max = math.MaxInt64
			if rng.IntN(2) == 0 {
				c.Max = rng.Int64N(limit)
			}
			c.Min = rng.Int64N(limit) / int64(1+rng.IntN(20))
			c.Prior = rng.Int64N(limit)
		}
		total, fresh := rng.Int64N(2*limit), rng.IntN(2) == 0
		got, want := Divide(total, clusters, "seed", fresh), oneAtATime(total, clusters, "seed", fresh)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %d over %+v, fresh %v:\n got %+v\nwant %+v", seed, total, clusters, fresh, got, want)
		}
	}
}

// One comparison at the size for which one replica at a time is too slow for agents.
func TestDivideManyIsOneAtATime(t *testing.T) {
	clusters := fleet(50)
	if got, want := Divide(20_000, clusters, "seed", true), oneAtATime(20_000, clusters, "seed", true); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
