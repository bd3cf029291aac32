// Package division divides the replicas of a workload over clusters, and moves them from the shares that clusters have
// to those that they should have. The scheduler records the shares; the dispatcher writes them into the workloads.
//
// Divide uses Webster's method within bounds: the next replica goes to the cluster with the largest w/(2k+1), where w
// is its weight and k what it has so far. Unlike methods that round quotas by their remainders, it never takes a
// replica from a cluster because the total has grown.
package division

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Most is the largest total, weight and bound. Larger ones count as Most: Kubernetes stores replicas as int32, and
// products of two numbers up to Most and 2*Most+1 fit into an int64.
const Most = math.MaxInt32

// Cluster is a cluster's part in a division.
type Cluster struct {
	Name string
	// Weight is 0 or more. A cluster of weight 0 gets only its Min.
	Weight int64
	// Min and Max bound the share. If Max is less than Min, it is the Min, too.
	Min, Max int64
	// Prior is the share that the last division decided, 0 if there was none. A move to that share may still be under
	// way: what the cluster has at the moment is not the Prior.
	Prior int64
}

// Result is a division.
type Result struct {
	// Shares are in the order of the clusters.
	Shares []int64
	// Unplaced is the number of replicas for which the bounds leave no room.
	Unplaced int64
	// Unmet are the clusters that get less than their Min because the total is less than the sum of all Min, sorted by
	// name.
	Unmet []string
}

// contender is a cluster that competes for replicas.
type contender struct {
	Cluster
	hash uint64
	// share is what it has so far, between least and room.
	least, share, room int64
}

// Divide divides total over the clusters. It starts with their Prior shares and moves no more replicas than bounds and
// total require; if fresh, it starts with every Min. If the total is less than the sum of all Min, it ignores every
// Min.
//
// Ties go to the cluster with the fewest replicas, then the larger Prior, then by a hash of seed and the name, so that
// workloads with different seeds do not all give their remainder to the same cluster. The order of clusters does not
// matter. A larger total takes no longer.
func Divide(total int64, clusters []Cluster, seed string, fresh bool) Result {
	limit := min(max(total, 0), Most)
	wishes := sumOfMinima(clusters, limit) > limit
	contenders := make([]contender, len(clusters))
	var sum int64
	for i, c := range clusters {
		contenders[i] = c.contend(limit, wishes, fresh)
		contenders[i].hash = hash(seed, c.Name)
		sum += contenders[i].share
	}
	if sum > limit {
		// They compete for what they have: the replica that would be placed last is the first to go.
		sum = 0
		for i := range contenders {
			c := &contenders[i]
			c.share, c.room = c.least, c.share
			sum += c.share
		}
	}
	fill(contenders, limit-sum)
	return result(total, clusters, contenders, wishes)
}

func (c Cluster) contend(limit int64, wishes, fresh bool) contender {
	least, most := c.bounds()
	if c.Weight <= 0 {
		most = least
	}
	if wishes {
		least = 0
	}
	most = min(most, limit)
	share := min(max(c.Prior, least), most)
	if fresh {
		share = least
	}
	c.Weight = min(c.Weight, Most)
	return contender{Cluster: c, least: least, share: share, room: most}
}

// bounds returns the bounds of the share, apart from those by weight.
func (c Cluster) bounds() (least, most int64) {
	most = min(max(c.Max, 0), Most)
	return min(max(c.Min, 0), most), most
}

// sumOfMinima stops when the sum is above limit, so that it cannot overflow.
func sumOfMinima(clusters []Cluster, limit int64) (sum int64) {
	for _, c := range clusters {
		least, _ := c.bounds()
		if sum += least; sum > limit {
			break
		}
	}
	return sum
}

// hash is FNV-1a, with its bits mixed as at the end of MurmurHash3: without that, names that differ only in their last
// bytes have nearly the same order for all seeds.
func hash(seed, name string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(name))
	_, _ = f.Write([]byte{0})
	_, _ = f.Write([]byte(seed))
	h := f.Sum64()
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func result(total int64, clusters []Cluster, contenders []contender, wishes bool) Result {
	r := Result{Shares: make([]int64, len(contenders)), Unplaced: max(total, 0)}
	for i, c := range contenders {
		r.Shares[i] = c.share
		r.Unplaced -= c.share
		if least, _ := clusters[i].bounds(); wishes && c.share < least {
			r.Unmet = append(r.Unmet, c.Name)
		}
	}
	slices.Sort(r.Unmet)
	return r
}

// fill gives n replicas to the contenders, or as many as there is room for. Those of weight 0 come last, with equal
// parts; they have room only if every Min is ignored.
func fill(contenders []contender, n int64) {
	var weighted, weightless []*contender
	for i := range contenders {
		c := &contenders[i]
		if c.Weight > 0 {
			weighted = append(weighted, c)
		} else {
			c.Weight = 1
			weightless = append(weightless, c)
		}
	}
	give(weightless, give(weighted, n))
}

// scale is the number of binary places of a price.
const scale = 31

// give gives n replicas to the contenders, all with a weight of 1 or more, and returns those for which there is no
// room.
//
// The replica after k others has the price (2k+1)/w, and the cheapest are given. give finds the highest price, as a
// multiple of 2^-31, up to which there are no more than n replicas. Prices of a cluster are 2/w apart, and w is less
// than 2^31: of the replicas up to the next multiple, each cluster has at most one.
func give(contenders []*contender, n int64) int64 {
	var low, high uint64 = 0, (2*Most + 1) << scale
	for low < high {
		middle := low + (high-low+1)/2
		if offered(contenders, middle) <= n {
			low = middle
		} else {
			high = middle - 1
		}
	}
	n -= offered(contenders, low)
	var next []*contender
	for _, c := range contenders {
		c.share = c.upTo(low)
		if c.share < c.room {
			next = append(next, c)
		}
	}
	slices.SortFunc(next, inTurn)
	for _, c := range next[:min(int64(len(next)), n)] {
		c.share++
		n--
	}
	return n
}

// offered is the number of replicas that are free up to a price.
func offered(contenders []*contender, price uint64) (sum int64) {
	for _, c := range contenders {
		sum += c.upTo(price) - c.share
	}
	return sum
}

// upTo is the share with all replicas up to a price.
func (c *contender) upTo(price uint64) int64 {
	high, low := bits.Mul64(price, uint64(c.Weight)) // less than 2^94
	count := ((high<<(64-scale) | low>>scale) + 1) / 2
	return min(max(int64(min(count, Most)), c.share), c.room)
}

// inTurn sorts the contender that gets the next replica first. It is a total order of all replicas of all clusters, in
// which the replicas of one cluster keep their order whatever the others have; so shares grow with the total.
func inTurn(a, b *contender) int {
	return cmp.Or(
		cmp.Compare(b.Weight*(2*a.share+1), a.Weight*(2*b.share+1)),
		cmp.Compare(a.share, b.share),
		cmp.Compare(b.Prior, a.Prior),
		cmp.Compare(a.hash, b.hash),
		strings.Compare(a.Name, b.Name),
	)
}
