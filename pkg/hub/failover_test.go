package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// failovers is a hub with all its agents and members, which a scenario has for itself. The scenarios of failover and
// of divided replicas have numbers (F1, D17), with which the names of their tests begin, on all levels.
type failovers struct {
	*fleet
	watching client.WithWatch
	members  map[string]*testworld.ModelMember
	shared   *testworld.SharedClusters
	user     *lasting
	// braked is whether the scenario makes the agent brake, which it remembers.
	braked bool
}

// after is the time of the failover policies.
const after = 5 * time.Minute

// among selects members by their names.
func among(names ...string) v1beta1.ClusterSelectorTerm {
	return testworld.Labelled(nil, testworld.In(member, names...))
}

// prefer prefers a member.
func prefer(name string) testworld.Option {
	return testworld.Prefer(100, testworld.Labelled(map[string]string{member: name}))
}

// failing is the policy to leave a lost cluster.
func failing(spec *v1beta1.PlacementSpec) {
	spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: after}}
}

func purging(purge v1beta1.FailoverPurge) testworld.Option {
	return func(spec *v1beta1.PlacementSpec) { spec.Policy.Failover.Purge = purge }
}

// placed is a placement that is available.
type placed struct {
	*failovers
	of *v1beta1.ClusterResourcePlacement
	// on are its clusters when it became available, and spare the other candidates.
	on, spare []string
}

// place creates a placement of number clusters of these candidates with a failover policy, and waits until it is
// available.
func (f *failovers) place(name string, number int, candidates []string, options ...testworld.Option) *placed {
	f.Helper()
	options = append([]testworld.Option{testworld.PickN(int32(number), among(candidates...)), failing}, options...)
	return f.placeAs(name, candidates, options...)
}

// placeAs is place with no other options than these.
func (f *failovers) placeAs(name string, candidates []string, options ...testworld.Option) *placed {
	f.Helper()
	p := &placed{failovers: f, of: testworld.ClusterPlacement(name, "shop", options...)}
	p.of.Finalizers = nil
	f.must(f.Client.Create(f.Context(), p.of))
	f.removeAtEnd(p.of)
	testworld.Await(f, 2*testworld.Workload, name+" to be available", func(ctx context.Context) (err error) {
		p.on, err = p.availableOn(ctx)
		return err
	})
	for _, c := range candidates {
		if !slices.Contains(p.on, c) {
			p.spare = append(p.spare, c)
		}
	}
	return p
}

// removeAtEnd deletes a placement at the end of the scenario, while the members still answer.
func (f *failovers) removeAtEnd(p *v1beta1.ClusterResourcePlacement) {
	f.Cleanup(func() {
		f.must(client.IgnoreNotFound(f.Client.Delete(context.WithoutCancel(f.Context()), p)))
		testworld.AwaitGone(f, f.Client, p, nil)
	})
}

// availableOn returns the clusters on which the placement is available as a whole.
func (p *placed) availableOn(ctx context.Context) (on []string, err error) {
	if err := p.Client.Get(ctx, client.ObjectKeyFromObject(p.of), p.of); err != nil {
		return nil, err
	}
	c := meta.FindStatusCondition(p.of.Status.Conditions, p.of.ConditionType(v1beta1.ConditionAvailable))
	if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.of.Generation {
		return nil, fmt.Errorf("conditions %+v", p.of.Status.Conditions)
	}
	for _, entry := range p.of.Status.PerClusterPlacementStatuses {
		on = append(on, entry.ClusterName)
	}
	return sorted(on...), nil
}

// available waits until the placement has all clusters that it wants and is available on these, and on no others.
func (p *placed) available(clusters ...string) {
	p.Helper()
	testworld.Await(p, 2*testworld.Workload, p.of.Name+" to be available on "+strings.Join(clusters, " and "), func(ctx context.Context) error {
		on, err := p.availableOn(ctx)
		if err != nil {
			return err
		}
		scheduled := meta.IsStatusConditionTrue(p.of.Status.Conditions, p.of.ConditionType(v1beta1.ConditionScheduled))
		if !slices.Equal(on, sorted(clusters...)) || !scheduled {
			return fmt.Errorf("on %q, conditions %+v", on, p.of.Status.Conditions)
		}
		return nil
	})
}

// reports waits until a condition of the placement has the reason, and a message with all words.
func (p *placed) reports(condition, reason string, words ...string) {
	p.Helper()
	testworld.Await(p, testworld.Workload, p.of.Name+" to report "+reason, func(ctx context.Context) error {
		if err := p.Client.Get(ctx, client.ObjectKeyFromObject(p.of), p.of); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.of.Status.Conditions, p.of.ConditionType(condition))
		if c == nil || c.Reason != reason || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Message, word) }) {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}

// nameless waits until the placement lacks one cluster, with an entry without a name that has all words.
func (p *placed) nameless(words ...string) {
	p.Helper()
	testworld.Await(p, testworld.Workload, p.of.Name+" to lack a cluster", func(ctx context.Context) error {
		if err := p.Client.Get(ctx, client.ObjectKeyFromObject(p.of), p.of); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.of.Status.Conditions, p.of.ConditionType(v1beta1.ConditionScheduled))
		var entries []string
		for _, e := range p.of.Status.PerClusterPlacementStatuses {
			if e.ClusterName == "" && len(e.Conditions) > 0 {
				entries = append(entries, e.Conditions[0].Message)
			}
		}
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled || len(entries) != 1 ||
			slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(entries[0], word) }) {
			return fmt.Errorf("condition %+v, entries without a name %q", c, entries)
		}
		return nil
	})
}

// list are the placement's bindings.
func (p *placed) list(ctx context.Context) ([]v1beta1.ClusterResourceBinding, error) {
	var list v1beta1.ClusterResourceBindingList
	err := p.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: p.of.Name})
	return list.Items, err
}

// has compares the bindings: cluster, or cluster>other for one that the other replaces, both with ~ if it is not bound
// otherwise.
func (p *placed) has(ctx context.Context, want ...string) error {
	list, err := p.list(ctx)
	if err != nil {
		return err
	}
	var got []string
	for i := range list {
		b := &list[i]
		text, state := b.Spec.TargetCluster, v1beta1.BindingStateBound
		if e := failover.ReplacedBy(b); e != nil {
			text, state = text+">"+e.With, v1beta1.BindingStateUnscheduled
		}
		if b.Spec.State != state {
			text += "~" + string(b.Spec.State)
		}
		if !b.DeletionTimestamp.IsZero() {
			text += "~deleted"
		}
		got = append(got, text)
	}
	if got, want := sorted(got...), sorted(want...); !slices.Equal(got, want) {
		return fmt.Errorf("bindings %q, want %q", got, want)
	}
	return nil
}

// bound waits until the bindings are these, and checks that they stay so for a moment.
func (p *placed) bound(want ...string) {
	p.Helper()
	testworld.Await(p, testworld.Workload, p.of.Name+" to be bound", func(ctx context.Context) error { return p.has(ctx, want...) })
	p.stay(want...)
}

func (p *placed) stay(want ...string) {
	p.Helper()
	testworld.Stable(p, moment, "the bindings of "+p.of.Name, func(ctx context.Context) error { return p.has(ctx, want...) })
}

// moment is for how long nothing must happen where something would at once.
const moment = time.Second

// versions are the resource versions of the bindings: as long as they are the same, no binding was written.
func (p *placed) versions(ctx context.Context) (map[string]string, error) {
	list, err := p.list(ctx)
	out := map[string]string{}
	for _, b := range list {
		out[b.Name] = b.ResourceVersion
	}
	return out, err
}

// versionsNow are those of the versions at present.
func (p *placed) versionsNow() map[string]string {
	p.Helper()
	return testworld.AwaitStill(p, moment/2, "the bindings of "+p.of.Name, p.versions)
}

// unwritten checks that no binding is written for a moment, and was not since before.
func (p *placed) unwritten(before map[string]string) {
	p.Helper()
	testworld.Stable(p, moment, "the bindings of "+p.of.Name, func(ctx context.Context) error {
		is, err := p.versions(ctx)
		if err == nil && !maps.Equal(is, before) {
			err = fmt.Errorf("they have versions %v; they had %v", is, before)
		}
		return err
	})
}

// orders are the Works for a member with their generations: as long as they are the same, nothing is written there.
func (p *placed) orders(cluster string) map[string]string {
	p.Helper()
	var list v1beta1.WorkList
	p.must(p.Client.List(p.Context(), &list, client.InNamespace(contract.MemberNamespace(cluster)), client.MatchingLabels{contract.LabelPlacement: p.of.Name}))
	out := map[string]string{}
	for _, w := range list.Items {
		out[w.Name] = fmt.Sprintf("%s, generation %d, deleted %s", w.UID, w.Generation, w.DeletionTimestamp)
	}
	if len(out) == 0 {
		p.Errorf("%s has no Works of %s", cluster, p.of.Name)
	}
	return out
}

// untouched checks that the Works for a member are as they were.
func (p *placed) untouched(cluster string, before map[string]string) {
	p.Helper()
	if is := p.orders(cluster); !maps.Equal(is, before) {
		p.Errorf("%s is to apply %v; it was %v", cluster, is, before)
	}
}

// binding is that to a cluster.
func (p *placed) binding(cluster string) *v1beta1.ClusterResourceBinding {
	p.Helper()
	list, err := p.list(p.Context())
	p.must(err)
	i := slices.IndexFunc(list, func(b v1beta1.ClusterResourceBinding) bool { return b.Spec.TargetCluster == cluster })
	if i < 0 {
		p.Fatalf("%s has no binding to %s", p.of.Name, cluster)
	}
	return &list[i]
}

// edit changes the placement.
func (p *placed) edit(change func(*v1beta1.PlacementSpec)) {
	p.Helper()
	testworld.Update(p, p.Client, p.of, func(o *v1beta1.ClusterResourcePlacement) { change(&o.Spec) })
}

// snapshots is how many policy snapshots the placement has.
func (p *placed) snapshots() int {
	p.Helper()
	var list v1beta1.ClusterSchedulingPolicySnapshotList
	p.must(p.Client.List(p.Context(), &list, client.MatchingLabels{contract.LabelPlacement: p.of.Name}))
	return len(list.Items)
}

// lose makes the hub lose members one after the other, which it heard last that long ago.
func (f *failovers) lose(ago time.Duration, names ...string) (last time.Time) {
	f.Helper()
	for _, name := range names {
		last = f.members[name].Unheard(ago)
		f.awaitSilence(name, clusterv1beta1.SilenceLost)
	}
	return last
}

// hear makes members report again.
func (f *failovers) hear(names ...string) {
	f.Helper()
	for _, name := range names {
		f.members[name].Healthy()
	}
	for _, name := range names {
		f.awaitSilence(name, "")
	}
}

// silence is the record of the silence of a member; nil for none.
func (f *failovers) silence(ctx context.Context, name string) (*clusterv1beta1.ClusterSilence, error) {
	c := testworld.NewMemberCluster(name)
	err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c)
	return c.Status.Silence, err
}

// awaitSilence waits until the hub concludes that from the silence of a member; empty for a member that is heard.
func (f *failovers) awaitSilence(name string, state clusterv1beta1.SilenceState) {
	f.Helper()
	testworld.Await(f, testworld.Workload, fmt.Sprintf("the silence of %s to be %q", name, state), func(ctx context.Context) error {
		s, err := f.silence(ctx, name)
		if err != nil {
			return err
		}
		is := clusterv1beta1.SilenceState("")
		if s != nil && s.State != clusterv1beta1.SilenceOver {
			is = s.State
		}
		if is != state {
			return fmt.Errorf("silence %+v", s)
		}
		return nil
	})
}

// event waits for an event about an object with all words.
func (f *failovers) event(about, reason string, words ...string) {
	f.Helper()
	testworld.AwaitEvents(f, f.Client, metav1.NamespaceDefault, reason+" of "+about, func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == about && e.Reason == reason &&
				!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Message, word) })
		})
	})
}

// without returns the names but for those.
func without(names []string, out ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(out, name) })
}

func sorted(values ...string) []string { return slices.Sorted(slices.Values(values)) }
