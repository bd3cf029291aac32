package division

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// task is a random division.
type task struct {
	total    int64
	clusters []Cluster
	seed     string
	fresh    bool
}

func (k task) divide() Result { return Divide(k.total, k.clusters, k.seed, k.fresh) }

// with returns the task with a change of its clusters.
func (k task) with(change func([]Cluster)) task {
	k.clusters = slices.Clone(k.clusters)
	change(k.clusters)
	return k
}

// steadily is the task of dividing another total, starting with shares.
func (k task) steadily(total int64, shares []int64) task {
	k.total, k.fresh = total, false
	return k.with(func(clusters []Cluster) {
		for i := range clusters {
			clusters[i].Prior = shares[i]
		}
	})
}

// minima is the sum of all minima.
func (k task) minima() (sum int64) {
	for _, c := range k.clusters {
		sum += min(c.Min, c.Max)
	}
	return sum
}

func anyTask(t *rapid.T) task {
	k := task{seed: rapid.StringN(0, 3, -1).Draw(t, "seed"), fresh: rapid.Bool().Draw(t, "fresh")}
	most := rapid.SampledFrom([]int64{3, 20, 1000, 1_000_000}).Draw(t, "most")
	number := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, name) }
	k.total = number("total", most)
	for i := range rapid.IntRange(0, 6).Draw(t, "clusters") {
		c := Cluster{Name: fmt.Sprint("c", i), Weight: anyWeight(t), Max: math.MaxInt64, Prior: number("prior", most)}
		if rapid.Bool().Draw(t, "least") {
			c.Min = number("min", most/4)
		}
		if rapid.Bool().Draw(t, "most") {
			c.Max = number("max", most)
		}
		k.clusters = append(k.clusters, c)
	}
	return k
}

func anyWeight(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(0, 4), rapid.Int64Range(0, 1_000_000)).Draw(t, "weight")
}

func check(t *testing.T, property func(*rapid.T, task)) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) { property(rt, anyTask(rt)) })
}

func TestSharesAreExactAndWithinBounds(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		got := k.divide()
		wishes := k.minima() > k.total
		sum := got.Unplaced
		for i, c := range k.clusters {
			sum += got.Shares[i]
			least, most := min(c.Min, c.Max), c.Max
			if c.Weight == 0 {
				most = least
			}
			if got.Shares[i] > most || !wishes && got.Shares[i] < least || got.Shares[i] < 0 {
				t.Fatalf("%s gets %d, which is not from %d to %d", c.Name, got.Shares[i], least, most)
			}
			if got.Unplaced > 0 && got.Shares[i] < most {
				t.Fatalf("%d are unplaced, and %s has room for more than %d", got.Unplaced, c.Name, got.Shares[i])
			}
			if unmet := slices.Contains(got.Unmet, c.Name); unmet != (got.Shares[i] < least) {
				t.Fatalf("%s gets %d and wants at least %d: unmet is %v", c.Name, got.Shares[i], least, unmet)
			}
		}
		if sum != k.total {
			t.Fatalf("the sum of %v and %d is not %d", got.Shares, got.Unplaced, k.total)
		}
	})
}

// Below the sum of all minima they are ignored, so a total that crosses the sum may move replicas.
func TestSharesGrowWithTheTotal(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		more := k
		if wishes := k.minima() > k.total; wishes {
			more.total = rapid.Int64Range(k.total, k.minima()-1).Draw(t, "more")
		} else {
			more.total = rapid.Int64Range(k.total, 2*k.total+5).Draw(t, "more")
		}
		less := k.divide().Shares
		for name, greater := range map[string][]int64{"by the same division": more.divide().Shares, "steadily": k.steadily(more.total, less).divide().Shares} {
			for i := range less {
				if greater[i] < less[i] {
					t.Fatalf("%d give %v, %d %s only %v", k.total, less, more.total, name, greater)
				}
			}
		}
		greater := more.divide().Shares
		for i, share := range more.steadily(k.total, greater).divide().Shares {
			if share > greater[i] {
				t.Fatalf("%d give %v; then %d give more", more.total, greater, k.total)
			}
		}
	})
}

func TestALargerWeightTakesFromOthersOnly(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		if len(k.clusters) == 0 {
			return
		}
		at := rapid.IntRange(0, len(k.clusters)-1).Draw(t, "at")
		before := k.divide().Shares
		after := k.with(func(clusters []Cluster) { clusters[at].Weight += 1 + anyWeight(t) }).divide().Shares
		for i := range before {
			if i == at && after[i] < before[i] || i != at && after[i] > before[i] {
				t.Fatalf("a larger weight of %s changes %v to %v", k.clusters[at].Name, before, after)
			}
		}
	})
}

func TestASteadyDivisionOfTheSameChangesNothing(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		before := k.divide()
		if after := k.steadily(k.total, before.Shares).divide(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Fatalf("%+v, then %+v", before, after)
		}
	})
}

// Steady divisions that start with fresh shares arrive at the fresh shares of another total. Among clusters of equal
// weight they may keep a replica where it is, so the weights differ here.
func TestASteadyDivisionFollowsTheFreshOne(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		k = k.with(func(clusters []Cluster) {
			for i := range clusters {
				clusters[i].Prior = 0
				clusters[i].Weight = 8*clusters[i].Weight + int64(i)
			}
		})
		k.fresh = true
		other := k
		other.total = rapid.Int64Range(0, 2*k.total+5).Draw(t, "other")
		if (k.minima() > k.total) != (other.minima() > other.total) {
			return
		}
		if got, want := k.steadily(other.total, k.divide().Shares).divide(), other.divide(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%d over %v: %v, then %d: %v, which fresh is %v", k.total, k.clusters, k.divide(), other.total, got, want)
		}
	})
}

func TestTheOrderOfClustersDoesNotMatter(t *testing.T) {
	check(t, func(t *rapid.T, k task) {
		shuffled := k
		shuffled.clusters = rapid.Permutation(k.clusters).Draw(t, "shuffled")
		got, want := map[string]int64{}, map[string]int64{}
		a, b := shuffled.divide(), k.divide()
		for i := range k.clusters {
			got[shuffled.clusters[i].Name], want[k.clusters[i].Name] = a.Shares[i], b.Shares[i]
		}
		if fmt.Sprint(got, a.Unplaced, a.Unmet) != fmt.Sprint(want, b.Unplaced, b.Unmet) {
			t.Fatalf("%+v and %+v", got, want)
		}
	})
}
