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
	// Picked is whether the placement is to be on the cluster; Left is whether another cluster replaces it.
	Picked, Left bool
	// Has is the resource snapshot of the content that the cluster was given; empty if it has none yet.
	Has string
	// Settled is whether everything that the cluster has now is available there.
	Settled bool
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
	// Lowers is whether a share is lowered. Other writes come first.
	Lowers bool
	// Lost is whether other clusters get the replicas from now on, because the cluster is lost.
	Lost bool
	// Promises are the requests of the replicas that the cluster gets.
	Promises corev1.ResourceList
}

// Decision are the changes to write.
type Decision struct {
	Writes []Write
	// Waiting is whether some replicas have no room in what clusters report, and Again when to decide again without an
	// event, zero for never.
	Waiting bool
	Again   time.Duration
}

// limitedFor is how long a cluster gets no more replicas of a workload after some had no node.
const limitedFor = 30 * time.Minute

// keptRevisions is how many revisions that are not in use any more a binding keeps, until another write drops them.
const keptRevisions = 3

// Decide returns the changes that lead toward the division that the policy demands, in the order of bindings. If they
// have been carried out and nothing else has changed, it returns none.
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
	waiting  bool
	again    time.Duration
	rules    string
	weights  []int64
	clusters []cluster
}

// cluster is a picked cluster in a decision.
type cluster struct {
	*Binding
	weight int64
	// away is whether its replicas are given to other clusters, and back whether they were and it is heard again.
	away, back bool
	// shares are the decided ones, by snapshot; done is whether all are what they should be.
	shares map[string][]v1beta1.ReplicaShare
	done   bool
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
	matched := false
	for i := range d.Bindings {
		b := &d.Bindings[i]
		if !b.Picked {
			continue
		}
		c := cluster{Binding: b, shares: map[string][]v1beta1.ReplicaShare{}, done: true, promises: corev1.ResourceList{}}
		for j, by := range selectors {
			if by.Matches(labels.Set(b.Labels)) {
				matched = true
				c.weight = max(c.weight, int64(d.Policy.Weights[j].Weight))
			}
		}
		was := isLost(b.Shares)
		c.away = !b.Heard && (was || b.Lost && !d.Frozen)
		c.back = was && b.Heard
		d.clusters = append(d.clusters, c)
	}
	if !matched {
		for i := range d.clusters {
			d.clusters[i].weight = 1
		}
	}
	slices.SortFunc(d.clusters, func(a, b cluster) int { return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name)) })
	return nil
}

// part is the share of one cluster of one number, while it is decided.
type part struct {
	// have is what the cluster has, prior what the last decision gave it: a move there may not have ended.
	have, prior int64
	// present is what the cluster has in the revision that it was given.
	present int64
	// own is whether the binding has a share of this revision, other whether it has one of another revision.
	own, other bool
	pinned     bool
	// limit is the greatest share until until, because more replicas had no node; nil for none. free is how many of have
	// are known not to run.
	limit *int64
	until time.Time
	free  int64
	division.Cluster
}

// divide decides the shares of one number in one revision.
func (d *decision) divide(revision Revision, n Number) {
	parts := d.parts(revision, n)
	d.measure(parts, n)
	first := !slices.ContainsFunc(parts, func(p part) bool { return p.own || p.other })
	total := n.Total
	if !first {
		d.begin(parts, n, total)
	}
	seed := d.Seed + "/" + n.Key.String()
	fresh := first || d.fresh()
	if d.Policy.By == v1beta1.ReplicaDivisionAggregate {
		d.aggregate(parts, total, fresh)
	}
	input := make([]division.Cluster, len(parts))
	for i, p := range parts {
		input[i] = p.Cluster
		input[i].Prior = p.prior
	}
	divided := division.Divide(total, input, seed, fresh)
	want, next := divided.Shares, divided.Shares
	if divided.Unplaced > 0 {
		d.waiting = d.waiting || d.measured()
		d.awaitRoom(parts)
	}
	switch {
	case first:
	case d.Frozen:
		next = make([]int64, len(parts))
		for i, p := range parts {
			next[i] = p.have
		}
	default:
		next = division.Next(total, d.surge(total), d.places(parts, want)).Shares
	}
	for i := range d.clusters {
		c := &d.clusters[i]
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
		case parts[i].pinned:
			share.Replicas = number(parts[i].Min)
		case next[i] != want[i]:
			share.Target, c.done = ptr.To(number(want[i])), false
		}
		if more := next[i] - parts[i].present; more > 0 && !c.away && revision.Snapshot == d.Revisions[len(d.Revisions)-1].Snapshot {
			capacity.Add(c.promises, capacity.Times(n.Requests, more))
		}
		c.shares[revision.Snapshot] = append(c.shares[revision.Snapshot], share)
	}
}

func number(n int64) int32 { return int32(max(0, min(n, math.MaxInt32))) }

// has returns the share of a cluster of a number: own is whether it is that of the revision, other whether it is the
// newest of another one.
func (c *cluster) has(snapshot string, k Key) (share v1beta1.ReplicaShare, own, other bool) {
	for _, r := range slices.Backward(c.Shares) {
		for _, s := range r.Workloads {
			if KeyOf(s) != k {
				continue
			}
			if r.ResourceSnapshotName == snapshot {
				return s, true, false
			}
			if !other {
				share, other = s, true
			}
		}
	}
	return share, false, other
}

func (d *decision) parts(revision Revision, n Number) []part {
	out := make([]part, len(d.clusters))
	for i := range d.clusters {
		c := &d.clusters[i]
		p := part{Cluster: division.Cluster{Name: c.Cluster, Weight: c.weight}}
		var share v1beta1.ReplicaShare
		share, p.own, p.other = c.has(revision.Snapshot, n.Key)
		p.have, p.prior = int64(share.Replicas), int64(ptr.Deref(share.Target, share.Replicas))
		if given, own, _ := c.has(c.Has, n.Key); own {
			p.present = int64(given.Replicas)
		}
		low, high := int64(ptr.Deref(d.Policy.MinPerCluster, 0)), int64(ptr.Deref(d.Policy.MaxPerCluster, math.MaxInt32))
		if n.Field != "" {
			low = max(low, 1) // an autoscaler needs one
		}
		pinned, isPinned := int64(0), false
		if c.Change != nil {
			pinned, isPinned = n.Pinned(c.Change)
		}
		switch {
		case c.away:
			low, high, p.have, p.prior, p.present, p.own, p.other = 0, 0, 0, 0, 0, p.own || p.other, false
		case isPinned:
			low, high, p.pinned = pinned, pinned, true
		case !c.Heard:
			low, high = p.have, p.have
		}
		p.Min, p.Max = low, high
		if !p.pinned && !c.away {
			d.limit(&p, c, share, n)
		}
		out[i] = p
	}
	return out
}

// limit lowers the upper bound of a cluster in which some replicas have no node, or had none not long ago.
func (d *decision) limit(p *part, c *cluster, share v1beta1.ReplicaShare, n Number) {
	if share.Limit != nil && share.LimitedUntil != nil && share.LimitedUntil.After(d.Now) {
		p.limit, p.until = ptr.To(int64(*share.Limit)), share.LimitedUntil.Time
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

// awaitRoom decides again when the first limit ends, if there are replicas without room.
func (d *decision) awaitRoom(parts []part) {
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
		p.Weight = max(p.have, p.present+d.room(c, n))
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
	if n.unknown || c.Usage == nil || !c.Heard || c.Has != "" && !c.Settled {
		return 0
	}
	promised := corev1.ResourceList{}
	capacity.Add(promised, c.Promised)
	capacity.Add(promised, c.promises)
	room, _ := capacity.Room(c.Usage, n.Requests, promised)
	return room
}

// begin sets the shares from which those of the revision begin. A revision that is new divides what the clusters have
// of the one before. A cluster that was lost and is heard again has what is left of its old share.
func (d *decision) begin(parts []part, n Number, total int64) {
	anew, others := false, int64(0)
	input := make([]division.Cluster, len(parts))
	for i, p := range parts {
		anew = anew || p.other && !p.own && !d.clusters[i].back
		input[i] = p.Cluster
		if d.clusters[i].back {
			input[i].Min, input[i].Max = 0, 0
		}
	}
	continued := func(from func(part) int64) []int64 {
		for i, p := range parts {
			input[i].Prior = from(p)
		}
		return division.Divide(total, input, d.Seed+"/"+n.Key.String(), false).Shares
	}
	if anew {
		have, prior := continued(func(p part) int64 { return p.have }), continued(func(p part) int64 { return p.prior })
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

// fresh reports whether the shares are computed without regard to those that clusters have.
func (d *decision) fresh() bool {
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

func (d *decision) surge(total int64) int64 {
	n, err := rollout.Share(d.Surge, int(total))
	if err != nil {
		return 0 // the placement's status reports it
	}
	return int64(max(n, 0))
}

func (d *decision) places(parts []part, want []int64) []division.Place {
	out := make([]division.Place, len(parts))
	for i, p := range parts {
		c := &d.clusters[i]
		out[i] = division.Place{Name: c.Cluster, Have: p.have, Want: want[i], Settled: c.Settled && !c.back, Lost: c.away, Free: p.free}
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
				out = append(out, Write{Binding: b.Name, Shares: shares, Lowers: lowers(b.Shares, shares), Lost: c.away && !isLost(b.Shares), Promises: c.promises})
			}
		case b.Left && slices.ContainsFunc(b.Shares, func(s v1beta1.RevisionShares) bool { return !s.Lost }):
			shares := slices.Clone(b.Shares)
			for j := range shares {
				shares[j].Lost = true
			}
			out = append(out, Write{Binding: b.Name, Shares: shares})
		}
	}
	slices.SortFunc(out, func(a, b Write) int { return strings.Compare(a.Binding, b.Binding) })
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
	case c.back && d.Failback:
		rules = returned
	case rules == returned && d.Failback && !d.fresh():
	case c.done && !d.Frozen || len(c.Shares) == 0:
		rules = d.rules
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
