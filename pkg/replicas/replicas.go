// Package replicas decides how the replicas of workloads in a placement are divided over its clusters: which numbers
// in the content are divided, the share of each cluster, and the next step from the shares that clusters have to those
// that they should have. It takes the content of the revisions in use and facts about bindings, and returns the shares
// to write on bindings. hub/divider carries it out; the dispatcher writes the shares into the objects.
//
// Each revision of the content has its own shares, so that the sum over clusters that have different revisions stays
// between the totals of the two. Package division contains the arithmetic.
package replicas

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/capacity"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/division"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// PolicyOf returns how the placement divides replicas; nil if it does not.
func PolicyOf(placement v1beta1.PlacementObject) *v1beta1.ReplicaPolicy {
	if policy := placement.GetSpec().Policy; policy != nil {
		return policy.Replicas
	}
	return nil
}

// Of returns the shares of a binding for a resource snapshot; ok is false if they are not decided.
func Of(b v1beta1.BindingObject, snapshot string) (shares v1beta1.RevisionShares, ok bool) {
	at := slices.IndexFunc(b.GetSpec().Shares, func(s v1beta1.RevisionShares) bool { return s.ResourceSnapshotName == snapshot })
	if at < 0 {
		return v1beta1.RevisionShares{}, false
	}
	return b.GetSpec().Shares[at], true
}

// Check returns why a policy cannot be used, nil if it can.
func Check(policy *v1beta1.ReplicaPolicy) error {
	return validate.Replicas(policy, field.NewPath("spec", "policy", "replicas")).ToAggregate()
}

// returned are the rules of a cluster that was lost and is heard again, until it gets its share back.
const returned = "returned"

// Revision is the content that clusters have, or will get.
type Revision struct {
	// Snapshot is the first resource snapshot.
	Snapshot string
	Numbers  []Number
	// Problem is why the content cannot be read or divided; nil if it can. Its shares stay as they are.
	Problem error
}

// Binding are the facts about a binding.
type Binding struct {
	Name, Cluster string
	// Labels are those of its MemberCluster.
	Labels map[string]string
	// Picked is whether the placement picks the cluster; Left is whether another cluster replaces it.
	Picked, Left bool
	// Snapshot is the revision that the cluster has, empty if it has none yet. Settled is whether everything that the
	// cluster has now is available there.
	Snapshot string
	Settled  bool
	// Placed is whether the cluster ever reported that it applied the content of the placement.
	Placed bool
	// Heard is whether the hub hears the cluster, and Lost whether the placement leaves it because it does not.
	Heard, Lost bool
	// Trusted is whether a cluster that was lost has been heard and healthy for long enough to get its share back.
	Trusted bool
	// Usage is what the cluster reports of its resources, and Promised what is promised to pods that the report does not
	// contain yet.
	Usage    *clusterv1beta1.ResourceUsage
	Promised corev1.ResourceList
	// Unschedulable is how many replicas of a workload have had no node for some time, in what the cluster has now.
	Unschedulable map[Key]int64
	// Change applies the overrides of the binding; nil for none.
	Change func([]byte) ([]byte, error)
	// Shares are those in its spec.
	Shares []v1beta1.RevisionShares
}

// Request is the input of a decision. Decide does not change it.
type Request struct {
	Policy *v1beta1.ReplicaPolicy
	// Seed breaks ties, so that placements with few replicas do not all favor the same clusters.
	Seed string
	// Surge is how many replicas more than the total may exist while shares move: a number, or a share of the total.
	Surge *intstr.IntOrString
	// Rebalance, if it changes, makes all shares be computed anew.
	Rebalance string
	// Failback is whether a lost cluster gets its share back.
	Failback bool
	// Frozen is whether no share may move because the hub suspects its own network.
	Frozen bool
	// Revisions are those in use and the latest, oldest first.
	Revisions []Revision
	Bindings  []Binding
	Now       time.Time
}

// Write is a change of the shares of one binding.
type Write struct {
	Binding string
	Shares  []v1beta1.RevisionShares
	// Turn is when to write it: first those of the lowest turn.
	Turn Turn
	// Lost is whether other clusters get the replicas from now on, because the cluster is lost.
	Lost bool
	// Promises are the requests of the replicas that the cluster gets.
	Promises corev1.ResourceList
}

// Decision are the changes to write, in the order in which to write them. Those of one turn can be written in any
// order.
type Decision struct {
	Writes []Write
	// Waiting is whether some replicas have no room in what clusters report, and Again when to decide again without an
	// event, zero for never.
	Waiting bool
	Again   time.Duration
}

// Turn orders the writes of a decision, so that what is promised holds after each of them.
type Turn int

// Values of Turn. What is already so is recorded first: shares are marked as lost, and have what overrides set.
// Otherwise other clusters could get replicas that count twice. Shares are lowered last, after others are raised.
const (
	Records Turn = iota
	Raises
	Lowers
)

// limitedFor is how long a cluster gets no more replicas of a workload after some had no node.
const limitedFor = 30 * time.Minute

// keptRevisions is how many revisions that are not in use any more a binding keeps, until another write drops them.
const keptRevisions = 3

// Decide returns the changes that lead toward the division that the policy demands. If they have been carried out, it
// returns few or none until what has changed is available.
func Decide(r Request) (Decision, error) {
	if err := Check(r.Policy); err != nil {
		return Decision{}, err
	}
	d := &decision{Request: r}
	if err := d.prepare(); err != nil {
		return Decision{}, err
	}
	for _, revision := range r.Revisions {
		if revision.Problem != nil {
			continue
		}
		for _, n := range revision.Numbers {
			d.divide(revision, n)
		}
	}
	return Decision{Writes: d.writes(), Waiting: d.waiting, Again: d.again}, nil
}

// decision is the state of one decision.
type decision struct {
	Request
	waiting bool
	again   time.Duration
	rules   string
	// anew is whether the shares are computed without regard to those that clusters have.
	anew     bool
	clusters []cluster
}

// cluster is a picked cluster in a decision.
type cluster struct {
	*Binding
	weight int64
	// away is whether its replicas are given to other clusters, and back whether they were and it is heard again.
	away, back bool
	// shares are the decided ones, by snapshot; pinned is whether an override has changed one.
	shares map[string][]v1beta1.ReplicaShare
	pinned bool
	// promises are the requests of the replicas that it gets by this decision.
	promises corev1.ResourceList
}

func (d *decision) prepare() error {
	var err error
	d.rules, err = contract.Hash([]any{d.Policy.By, d.Policy.Weights, d.Policy.MinPerCluster, d.Policy.MaxPerCluster, d.Rebalance})
	if err != nil {
		return err
	}
	d.rules = d.rules[:16]
	selectors := make([]labels.Selector, len(d.Policy.Weights))
	for i, w := range d.Policy.Weights {
		if selectors[i], err = metav1.LabelSelectorAsSelector(&w.ClusterSelector); err != nil {
			return err
		}
	}
	matched, settled := false, d.othersSettled()
	for i := range d.Bindings {
		b := &d.Bindings[i]
		if !b.Picked {
			continue
		}
		c := cluster{Binding: b, shares: map[string][]v1beta1.ReplicaShare{}, promises: corev1.ResourceList{}}
		for j, by := range selectors {
			if by.Matches(labels.Set(b.Labels)) {
				matched = true
				c.weight = max(c.weight, int64(d.Policy.Weights[j].Weight))
			}
		}
		was := isLost(b.Shares)
		c.back = was && b.Heard && settled && !d.Frozen
		c.away = was && !c.back || !b.Heard && b.Lost && !d.Frozen
		d.clusters = append(d.clusters, c)
	}
	if !matched {
		for i := range d.clusters {
			d.clusters[i].weight = 1
		}
	}
	slices.SortFunc(d.clusters, func(a, b cluster) int { return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name)) })
	d.anew = d.isFresh()
	return nil
}

// othersSettled reports whether everything is available on the clusters that have the replicas of lost ones. A cluster
// that is heard again keeps what runs there until then.
func (d *decision) othersSettled() bool {
	return !slices.ContainsFunc(d.Bindings, func(b Binding) bool {
		return b.Picked && len(b.Shares) > 0 && !isLost(b.Shares) && !b.Settled
	})
}

// part is the share of one cluster of one number, while it is decided.
type part struct {
	// have is what the cluster has, prior what the last decision gave it: a move there may not have ended.
	have, prior int64
	// present is what the cluster has in the revision that it was given.
	present int64
	// own is whether the binding has a share of this revision, other whether it has one of another revision.
	own, other bool
	// fixed is whether the share cannot be chosen: an override sets it, which is pinned, or the cluster is not heard.
	fixed, pinned bool
	// changed is whether an override has just changed the share, which is recorded first.
	changed bool
	// limit is the greatest share until until, because more replicas had no node; nil for none. free is how many of have
	// are known not to run.
	limit *int64
	until time.Time
	free  int64
	division.Cluster
}

// divide decides the shares of one number in one revision.
func (d *decision) divide(revision Revision, n Number) {
	parts, first := d.parts(revision, n)
	d.measure(parts, n)
	total := n.Total
	if !first {
		d.begin(parts, n, total)
	}
	fresh := first || d.anew
	if d.Policy.By == v1beta1.ReplicaDivisionAggregate {
		d.aggregate(parts, total, fresh)
	}
	want := d.want(total, n.Key, parts, func(p part) int64 { return p.prior }, fresh)
	d.awaitRoom(total, want, parts)
	next := want
	switch {
	case first:
	case d.Frozen:
		next = make([]int64, len(parts))
		for i, p := range parts {
			next[i] = p.have
		}
	default:
		next = division.Next(total, d.limit(total, parts), d.places(n.Key, parts, want)).Shares
	}
	for i := range d.clusters {
		c := &d.clusters[i]
		c.pinned = c.pinned || parts[i].changed
		share := v1beta1.ReplicaShare{
			Group: n.Group, Kind: n.Kind, Namespace: n.Namespace, Name: n.Name, Field: n.Field,
			Replicas: number(next[i]), Of: number(total), Pinned: parts[i].pinned,
		}
		if limit := parts[i].limit; limit != nil {
			share.Limit, share.LimitedUntil = ptr.To(number(*limit)), ptr.To(metav1.NewTime(parts[i].until))
		}
		switch {
		case c.away:
			last, _, _ := c.has(revision.Snapshot, n.Key)
			share.Replicas = last.Replicas
		case next[i] != want[i]:
			share.Target = ptr.To(number(want[i]))
		}
		if more := next[i] - parts[i].present; more > 0 && !c.away && revision.Snapshot == d.Revisions[len(d.Revisions)-1].Snapshot {
			capacity.Add(c.promises, capacity.Times(n.Requests, more))
		}
		c.shares[revision.Snapshot] = append(c.shares[revision.Snapshot], share)
	}
}

func number(n int64) int32 { return int32(max(0, min(n, math.MaxInt32))) }

// has returns the share of a cluster of a number: own is whether it is that of the revision, other whether it is that
// of the revision that the cluster has or, if there is none, the newest of another one.
func (c *cluster) has(snapshot string, k Key) (share v1beta1.ReplicaShare, own, other bool) {
	if s, ok := c.share(snapshot, k); ok {
		return s, true, false
	}
	if s, ok := c.share(c.Snapshot, k); ok {
		return s, false, true
	}
	for _, r := range slices.Backward(c.Shares) {
		if s, ok := c.share(r.ResourceSnapshotName, k); ok {
			return s, false, true
		}
	}
	return v1beta1.ReplicaShare{}, false, false
}

func (c *cluster) share(snapshot string, k Key) (v1beta1.ReplicaShare, bool) {
	for _, r := range c.Shares {
		for _, s := range r.Workloads {
			if r.ResourceSnapshotName == snapshot && KeyOf(s) == k {
				return s, true
			}
		}
	}
	return v1beta1.ReplicaShare{}, false
}

// parts returns the part of each cluster, and whether none has a share of the number in any revision.
func (d *decision) parts(revision Revision, n Number) (out []part, first bool) {
	out, first = make([]part, len(d.clusters)), true
	for i := range d.clusters {
		c := &d.clusters[i]
		p := part{Cluster: division.Cluster{Name: c.Cluster, Weight: c.weight}}
		var share v1beta1.ReplicaShare
		share, p.own, p.other = c.has(revision.Snapshot, n.Key)
		first = first && !p.own && !p.other
		p.have, p.prior = int64(share.Replicas), int64(ptr.Deref(share.Target, share.Replicas))
		if c.Snapshot != "" {
			runs, _, _ := c.has(c.Snapshot, n.Key)
			p.present = int64(runs.Replicas)
		}
		p.Min, p.Max = int64(ptr.Deref(d.Policy.MinPerCluster, 0)), int64(ptr.Deref(d.Policy.MaxPerCluster, math.MaxInt32))
		if n.Field != "" {
			p.Min = max(p.Min, 1) // an autoscaler needs one
		}
		out[i] = p
	}
	for i := range out {
		c, p := &d.clusters[i], &out[i]
		if first && c.Placed {
			p.present = n.Total // it was not divided yet
		}
		pinned, isPinned := int64(0), false
		if c.Change != nil {
			pinned, isPinned = n.Pinned(c.Change)
		}
		switch {
		case c.away:
			p.Min, p.Max, p.have, p.prior, p.present, p.own, p.other = 0, 0, 0, 0, 0, p.own || p.other, false
		case isPinned:
			p.changed = p.have != pinned
			p.fixed, p.pinned, p.have, p.prior = true, true, pinned, pinned
		case !c.Heard && !first: // the first division counts all clusters: the hub may have heard none since it started
			p.fixed, p.prior = true, p.have
		}
		if !p.pinned && !c.away {
			d.confine(p, c, n)
		}
	}
	return out, first
}

// finer is a factor of all weights, so that there are weights that are far less than those of the policy.
const finer = 1000

// want divides the total over the parts, which have prior. Pinned shares count as they are. Those of clusters that are
// not heard, too, unless the total is less.
func (d *decision) want(total int64, k Key, parts []part, prior func(part) int64, fresh bool) []int64 {
	out := make([]int64, len(parts))
	var at []int
	var input []division.Cluster
	var kept, minima int64
	for i, p := range parts {
		c := p.Cluster
		c.Prior = prior(p)
		switch {
		case p.pinned:
			out[i] = p.have
			total -= p.have
			continue
		case p.fixed:
			c.Min, c.Max = p.have, p.have
			kept += p.have
		default:
			minima += c.Min
		}
		if c.Weight *= finer; c.Weight == 0 && !fresh {
			c.Weight, c.Max = 1, min(c.Max, max(c.Min, c.Prior)) // it keeps its share, but is the first to lose replicas
		}
		at, input = append(at, i), append(input, c)
	}
	total = max(total, 0)
	if kept <= total && total < kept+minima {
		for j, i := range at {
			if !parts[i].fixed {
				input[j].Min = 0
			}
		}
	}
	for j, share := range division.Divide(total, input, d.Seed+"/"+k.String(), fresh).Shares {
		out[at[j]] = share
	}
	return out
}

// confine lowers the upper bound of a cluster in which some replicas have no node, or had none not long ago.
func (d *decision) confine(p *part, c *cluster, n Number) {
	share, _, _ := c.has(c.Snapshot, n.Key)
	if share.Limit != nil && share.LimitedUntil != nil && share.LimitedUntil.After(d.Now) {
		until := d.Now.Add(limitedFor).Truncate(time.Second)
		if share.LimitedUntil.Time.Before(until) { // later only if the clock was set back
			until = share.LimitedUntil.Time
		}
		p.limit, p.until = ptr.To(int64(*share.Limit)), until
	}
	if missing := min(c.Unschedulable[n.Key], p.present); missing > 0 && c.Heard {
		if limit := p.present - missing; p.limit == nil || *p.limit > limit {
			p.limit, p.until = &limit, d.Now.Add(limitedFor).Truncate(time.Second)
		}
		p.free = max(0, p.have-*p.limit)
	}
	if p.limit != nil {
		p.Max = min(p.Max, *p.limit)
	}
}

// awaitRoom decides again, if there are replicas without room, when a cluster reports more or when the first limit
// ends.
func (d *decision) awaitRoom(total int64, want []int64, parts []part) {
	for _, n := range want {
		total -= n
	}
	if total <= 0 {
		return
	}
	d.waiting = d.waiting || d.measured()
	for _, p := range parts {
		if p.limit == nil {
			continue
		}
		if after := p.until.Sub(d.Now); d.again == 0 || after < d.again {
			d.again = max(after, time.Second)
		}
	}
}

// measured reports whether the shares depend on the capacities of clusters.
func (d *decision) measured() bool {
	return d.Policy.By == v1beta1.ReplicaDivisionCapacity || d.Policy.By == v1beta1.ReplicaDivisionAggregate
}

// measure sets weights and upper bounds by the capacities of clusters: what they have, and have room for.
func (d *decision) measure(parts []part, n Number) {
	if !d.measured() {
		return
	}
	for i := range parts {
		p, c := &parts[i], &d.clusters[i]
		p.Weight = max(p.have, p.prior, p.present+d.room(c, n))
		if !p.pinned && !c.away {
			p.Max = min(p.Max, p.Weight)
		}
	}
}

// aggregate takes the weight of clusters that are not needed: those with the most capacity are used, and unless the
// division is fresh, those that have replicas already.
func (d *decision) aggregate(parts []part, total int64, fresh bool) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	used := func(i int) bool { return !fresh && parts[i].prior > 0 }
	slices.SortStableFunc(order, func(i, j int) int {
		if used(i) != used(j) {
			if used(i) {
				return -1
			}
			return 1
		}
		return cmp.Compare(parts[j].Max, parts[i].Max)
	})
	var enough int64
	for _, i := range order {
		if enough >= total && !used(i) {
			parts[i].Weight = 0
		}
		enough += parts[i].Max
	}
}

// room returns for how many more replicas a cluster has room; none if it is not known, or while what it was given may
// not have taken its room yet.
func (d *decision) room(c *cluster, n Number) int64 {
	if n.unknown || c.Usage == nil || !c.Heard || c.Snapshot != "" && !c.Settled {
		return 0
	}
	promised := corev1.ResourceList{}
	capacity.Add(promised, c.Promised)
	capacity.Add(promised, c.promises)
	room, _ := capacity.Room(c.Usage, n.Requests, promised)
	return room
}

// begin sets the shares from which those of the revision begin. A revision that is new divides what the clusters have
// of the one before; while shares move, this is more than the total. A cluster that was lost and is heard again has
// what is left of its old share.
func (d *decision) begin(parts []part, n Number, total int64) {
	anew, others := false, int64(0)
	input := slices.Clone(parts)
	for i, p := range parts {
		anew = anew || p.other && !p.own && !d.clusters[i].back
		if d.clusters[i].back {
			input[i].Min, input[i].Max, input[i].have, input[i].prior = 0, 0, 0, 0
		}
	}
	if anew {
		start := total + d.surplus(parts, n.Key)
		have := d.want(start, n.Key, keeping(input, start), func(p part) int64 { return p.have }, false)
		prior := d.want(total, n.Key, input, func(p part) int64 { return p.prior }, false)
		for i := range parts {
			if parts[i].other && !parts[i].own {
				parts[i].have, parts[i].prior = have[i], prior[i]
			}
		}
	}
	for i, p := range parts {
		if !d.clusters[i].back {
			others += p.have
		}
	}
	for i := range parts {
		if p := &parts[i]; d.clusters[i].back {
			p.have = min(p.have, max(0, total-others))
			p.prior = p.have
			others += p.have
		}
	}
}

// isFresh reports whether the shares are computed without regard to those that clusters have.
func (d *decision) isFresh() bool {
	if d.Frozen {
		return false
	}
	came, trusted := false, true
	for _, c := range d.clusters {
		switch rules := c.rules(); {
		case len(c.Shares) == 0 || !c.Heard || c.back || rules == d.rules:
		case rules == returned:
			came, trusted = true, trusted && c.Trusted
		default:
			return true
		}
	}
	return came && trusted && d.Failback
}

// rules are those of the newest shares of a cluster.
func (c *cluster) rules() string {
	if len(c.Shares) == 0 {
		return ""
	}
	return c.Shares[len(c.Shares)-1].Rules
}

// surplus is how many replicas more than the total the clusters have of the revision before, because shares move. If an
// agent ended when some shares of the new revision were written, these do not count: they are of another total.
func (d *decision) surplus(parts []part, k Key) int64 {
	var has, of int64
	for i, p := range parts {
		c := &d.clusters[i]
		if c.away || c.back {
			continue
		}
		share, _, _ := c.has("", k)
		of = max(of, int64(share.Of))
		if p.own && !p.pinned {
			has += int64(share.Replicas)
		} else {
			has += p.have
		}
	}
	return max(has-of, 0)
}

// keeping returns parts that get what is added to the shares that the clusters have, or lose what is taken from them,
// and nothing else.
func keeping(parts []part, total int64) []part {
	var has int64
	for _, p := range parts {
		has += p.have
	}
	out := slices.Clone(parts)
	for i := range out {
		if p := &out[i]; has > total {
			p.Min, p.Max = 0, p.have
		} else {
			p.Min, p.Max = p.have, max(p.have, p.Max)
		}
	}
	return out
}

// limit is how many replicas more than the total there may be. If a share that cannot be chosen is the reason for
// more, others are not lowered before it is available.
func (d *decision) limit(total int64, parts []part) int64 {
	var have int64
	fixed := false
	for _, p := range parts {
		have += p.have
		fixed = fixed || p.fixed
	}
	if fixed {
		return max(d.surge(total), have-total)
	}
	return d.surge(total)
}

func (d *decision) surge(total int64) int64 {
	n, err := rollout.Share(d.Surge, int(total))
	if err != nil {
		return 0 // the placement's status reports it
	}
	return int64(max(n, 0))
}

func (d *decision) places(k Key, parts []part, want []int64) []division.Place {
	out := make([]division.Place, len(parts))
	for i, p := range parts {
		c := &d.clusters[i]
		running, _ := c.share(c.Snapshot, k) // it may have another revision, with another share
		out[i] = division.Place{
			Name: c.Cluster, Have: p.have, Want: want[i], Lost: c.away, Free: p.free,
			Settled: c.Settled && !c.back && int64(running.Replicas) >= p.have,
		}
	}
	return out
}

// writes returns the bindings whose shares change.
func (d *decision) writes() []Write {
	var out []Write
	decided := map[string]*cluster{}
	for i := range d.clusters {
		decided[d.clusters[i].Name] = &d.clusters[i]
	}
	for i := range d.Bindings {
		b := &d.Bindings[i]
		switch c := decided[b.Name]; {
		case c != nil:
			shares := d.sharesOf(c)
			if !equality.Semantic.DeepEqual(shares, used(d.Revisions, b.Shares)) || len(b.Shares) > len(shares)+keptRevisions {
				out = append(out, Write{Binding: b.Name, Shares: shares, Turn: c.turn(shares), Lost: c.away && !isLost(b.Shares), Promises: c.promises})
			}
		case b.Left && slices.ContainsFunc(b.Shares, func(s v1beta1.RevisionShares) bool { return !s.Lost }):
			shares := slices.Clone(b.Shares)
			for j := range shares {
				shares[j].Lost = true
			}
			out = append(out, Write{Binding: b.Name, Shares: shares, Turn: Records})
		}
	}
	slices.SortFunc(out, func(a, b Write) int {
		return cmp.Or(cmp.Compare(a.Turn, b.Turn), strings.Compare(a.Binding, b.Binding))
	})
	return out
}

// used returns the shares of the revisions in use.
func used(revisions []Revision, shares []v1beta1.RevisionShares) (out []v1beta1.RevisionShares) {
	for _, s := range shares {
		if slices.ContainsFunc(revisions, func(r Revision) bool { return r.Snapshot == s.ResourceSnapshotName }) {
			out = append(out, s)
		}
	}
	return out
}

// sharesOf returns the shares of a binding after this decision, those of the oldest revision first.
func (d *decision) sharesOf(c *cluster) []v1beta1.RevisionShares {
	rules := c.rules()
	switch {
	case len(c.Shares) == 0:
		rules = d.rules
	case !c.Heard: // if the policy changes meanwhile, all is divided anew when it is heard
	case c.back && d.Failback:
		rules = returned
	case c.back:
		rules = d.rules
	case d.Frozen || d.unread() || rules == returned && d.Failback && !d.anew:
	default:
		rules = d.rules // the targets are recorded with them
	}
	var out []v1beta1.RevisionShares
	for _, r := range d.Revisions {
		s := v1beta1.RevisionShares{ResourceSnapshotName: r.Snapshot, Rules: rules, Lost: c.away, Workloads: c.shares[r.Snapshot]}
		if r.Problem != nil {
			at := slices.IndexFunc(c.Shares, func(s v1beta1.RevisionShares) bool { return s.ResourceSnapshotName == r.Snapshot })
			if at < 0 {
				continue
			}
			s.Workloads = c.Shares[at].Workloads
		}
		out = append(out, s)
	}
	return out
}

// unread reports whether some content could not be divided.
func (d *decision) unread() bool {
	return slices.ContainsFunc(d.Revisions, func(r Revision) bool { return r.Problem != nil })
}

// turn returns when to write the shares of a cluster.
func (c *cluster) turn(after []v1beta1.RevisionShares) Turn {
	switch {
	case c.away || c.pinned:
		return Records
	case lowers(c.Shares, after):
		return Lowers
	default:
		return Raises
	}
}

// lowers reports whether a share in after is lower than in before.
func lowers(before, after []v1beta1.RevisionShares) bool {
	for _, r := range after {
		at := slices.IndexFunc(before, func(s v1beta1.RevisionShares) bool { return s.ResourceSnapshotName == r.ResourceSnapshotName })
		if at < 0 {
			continue
		}
		for _, s := range r.Workloads {
			for _, was := range before[at].Workloads {
				if KeyOf(s) == KeyOf(was) && s.Replicas < was.Replicas {
					return true
				}
			}
		}
	}
	return false
}

func isLost(shares []v1beta1.RevisionShares) bool {
	return slices.ContainsFunc(shares, func(s v1beta1.RevisionShares) bool { return s.Lost })
}
