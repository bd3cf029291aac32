package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// failovers is a hub with all its agents, and six members that report every second.
type failovers struct {
	*fleet
	watching client.WithWatch
	members  map[string]*testworld.ModelMember
}

// Labels of members: their names, and pair for the members of a scenario, which has two of its own.
const (
	member = "member"
	pair   = "pair"
)

// TestFailover plays the scenarios of failover and those of replicas on the same hub: its start takes long.
func TestFailover(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	f := &failovers{fleet: &fleet{T: t, whole: t, Cluster: testworld.StartHub(t).Cluster}, members: map[string]*testworld.ModelMember{}}
	f.start()
	var err error
	f.watching, err = client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	for name, of := range map[string]string{"east-1": "east", "east-2": "east", "west-1": "west", "west-2": "west", "north-1": "north", "north-2": "north"} {
		cluster := testworld.NewMemberCluster(name)
		cluster.Spec.HeartbeatPeriodSeconds = 1
		cluster.Labels = map[string]string{pair: of, member: name}
		f.members[name] = testworld.StartModelMember(t, f.watching, cluster)
		defer f.members[name].Left()
		f.members[name].Healthy()
	}
	f.must(f.Client.Create(t.Context(), testworld.Namespace("shop")))
	f.must(f.Client.Create(t.Context(), testworld.ConfigMap("shop", "0")))
	for _, scenario := range []struct {
		name string
		play func(*failovers)
	}{
		{"a lost cluster is replaced, and purged when it is heard", replacedAndPurged},
		{"a lost cluster without a replacement stays", lostAlone},
		{"many silent clusters stop every failover until they are released", braked},
		{"a restarted agent forgets nothing", forgetsNothing},
		{"replicas are divided over clusters, and divided anew", replicasFollow},
		{"other clusters get the replicas of a lost one until it is heard", replicasOfALostCluster},
		{"F16: a tainted cluster is left when the toleration ends, and goes when its replacement is available", tainted},
		{"F13: a placement with staged update runs leaves a lost cluster when none is active", stagedFailover},
		{"values of statuses become annotations on the cluster that replaces a lost one", takesStateAlong},
	} {
		if t.Failed() {
			return // what the last scenario has left behind
		}
		t.Run(scenario.name, func(t *testing.T) {
			here, inner := *f, *f.fleet
			inner.T = t
			here.fleet = &inner
			scenario.play(&here)
			for _, m := range f.members {
				m.Healthy()
			}
			for name := range f.members {
				here.awaitSilence(name, "")
			}
			f.stop = inner.stop
		})
	}
}

// place creates a placement of number clusters with this label, and waits until it is available on them.
func (f *failovers) place(name, of string, number int32, clusters ...string) *v1beta1.ClusterResourcePlacement {
	f.Helper()
	return f.placeAs(name, []testworld.Option{
		testworld.PickN(number, testworld.Labelled(map[string]string{pair: of})),
		func(spec *v1beta1.PlacementSpec) {
			spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: 30 * time.Second}}
		},
	}, clusters...)
}

// placeAs is place with other options.
func (f *failovers) placeAs(name string, options []testworld.Option, clusters ...string) *v1beta1.ClusterResourcePlacement {
	f.Helper()
	p := testworld.ClusterPlacement(name, "shop", options...)
	p.Finalizers = nil
	f.must(f.Client.Create(f.Context(), p))
	f.Cleanup(func() { // the members answer until the whole test ends
		f.must(f.Client.Delete(f.whole.Context(), p))
		testworld.AwaitGone(f, f.Client, p, nil)
	})
	f.available(p, clusters...)
	return p
}

// available waits until the placement is available on these clusters, and on no others.
func (f *failovers) available(p *v1beta1.ClusterResourcePlacement, clusters ...string) {
	f.Helper()
	testworld.Await(f, 2*testworld.Workload, p.Name+" to be available on "+strings.Join(clusters, " and "), func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		var on []string
		for _, entry := range p.Status.PerClusterPlacementStatuses {
			on = append(on, entry.ClusterName)
		}
		slices.Sort(on)
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionAvailable))
		if !slices.Equal(on, clusters) || c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.Generation {
			return fmt.Errorf("on %q, conditions %+v", on, p.Status.Conditions)
		}
		return nil
	})
}

// says waits until the condition FailoverComplete of the placement has the reason, and a message with all words.
func (f *failovers) says(p *v1beta1.ClusterResourcePlacement, reason string, words ...string) {
	f.Helper()
	testworld.Await(f, testworld.Workload, p.Name+" to say "+reason, func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionFailoverComplete))
		if c == nil || c.Reason != reason || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Message, word) }) {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}

// bindings are the placement's as cluster=state, with the cluster that replaces it.
func (f *failovers) bindings(ctx context.Context, p *v1beta1.ClusterResourcePlacement) (string, error) {
	var list v1beta1.ClusterResourceBindingList
	if err := f.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: p.Name}); err != nil {
		return "", err
	}
	var out []string
	for i := range list.Items {
		b := &list.Items[i]
		text := b.Spec.TargetCluster + "=" + string(b.Spec.State)
		if e := failover.ReplacedBy(b); e != nil {
			text += ">" + e.With
		}
		if !b.DeletionTimestamp.IsZero() {
			text += " deleted"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ", "), nil
}

func (f *failovers) awaitBindings(p *v1beta1.ClusterResourcePlacement, want string) {
	f.Helper()
	testworld.Await(f, testworld.Workload, "bindings "+want, func(ctx context.Context) error { return f.has(ctx, p, want) })
}

// stays checks that the bindings stay as they are.
func (f *failovers) stays(p *v1beta1.ClusterResourcePlacement, want string) {
	f.Helper()
	testworld.Stable(f, 2*time.Second, "bindings "+want, func(ctx context.Context) error { return f.has(ctx, p, want) })
}

func (f *failovers) has(ctx context.Context, p *v1beta1.ClusterResourcePlacement, want string) error {
	got, err := f.bindings(ctx, p)
	if err == nil && got != want {
		err = fmt.Errorf("they are %s", got)
	}
	return err
}

// awaitSilence waits until the hub concludes that from the silence of a member; empty for a member that is heard.
func (f *failovers) awaitSilence(member string, state clusterv1beta1.SilenceState) {
	f.Helper()
	testworld.Await(f, testworld.Workload, member+" to be "+string(state), func(ctx context.Context) error {
		c := testworld.NewMemberCluster(member)
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		is := clusterv1beta1.SilenceState("")
		if s := c.Status.Silence; s != nil && s.State != clusterv1beta1.SilenceOver {
			is = s.State
		}
		if is != state {
			return fmt.Errorf("silence %+v", c.Status.Silence)
		}
		return nil
	})
}

// works are how many Works of the placement a member has, none of them being deleted.
func (f *failovers) works(p *v1beta1.ClusterResourcePlacement, member string) (n int) {
	f.Helper()
	var list v1beta1.WorkList
	f.must(f.Client.List(f.Context(), &list, client.InNamespace(contract.MemberNamespace(member)), client.MatchingLabels{contract.LabelPlacement: p.Name}))
	for _, w := range list.Items {
		if w.DeletionTimestamp.IsZero() {
			n++
		}
	}
	return n
}

func replacedAndPurged(f *failovers) {
	p := f.place("one", "east", 1, "east-2")
	f.says(p, v1beta1.ReasonNoClusterReplaced)
	f.members["east-2"].Silent()
	f.available(p, "east-1")
	f.awaitSilence("east-2", clusterv1beta1.SilenceLost)
	f.says(p, v1beta1.ReasonClustersReplaced, "cluster east-2 (Lost since ", "replaced by east-1, which is available")
	f.stays(p, "east-1=Bound, east-2=Unscheduled>east-1")
	if n := f.works(p, "east-2"); n != 1 {
		f.Errorf("east-2 has %d Works while it is not heard; want 1", n)
	}
	f.members["east-2"].Healthy()
	f.awaitBindings(p, "east-1=Bound")
	f.says(p, v1beta1.ReasonNoClusterReplaced)
	f.stays(p, "east-1=Bound")
}

func lostAlone(f *failovers) {
	p := f.place("both", "west", 2, "west-1", "west-2")
	f.members["west-1"].Silent()
	f.says(p, v1beta1.ReasonNoReplacement, `cluster "west-1" must be replaced`)
	f.stays(p, "west-1=Bound, west-2=Bound")
	c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionScheduled))
	if c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled {
		f.Errorf("scheduled: %+v", c)
	}
	f.members["west-1"].Healthy()
	f.available(p, "west-1", "west-2")
	f.stays(p, "west-1=Bound, west-2=Bound")
}

func braked(f *failovers) {
	p := f.place("guarded", "north", 1, "north-2")
	for _, name := range []string{"west-1", "west-2"} {
		f.members[name].Silent()
		f.awaitSilence(name, clusterv1beta1.SilenceLost)
	}
	f.members["north-2"].Silent()
	f.awaitSilence("north-2", clusterv1beta1.SilenceBraked)
	f.stays(p, "north-2=Bound")
	f.release("north-2")
	f.awaitSilence("north-2", clusterv1beta1.SilenceReleased)
	f.available(p, "north-1")
}

func forgetsNothing(f *failovers) {
	p := f.place("again", "west", 1, "west-2")
	f.members["west-2"].Silent()
	f.stop()
	f.start()
	f.available(p, "west-1")
	f.stop()
	f.start()
	f.stays(p, "west-1=Bound, west-2=Unscheduled>west-1")
	f.members["west-2"].Healthy()
	f.awaitBindings(p, "west-1=Bound")
}

// taint gives a member an evicting taint, and returns when the hub first saw it; or takes it off.
func (f *failovers) taint(member string, on bool) (seen time.Time) {
	f.Helper()
	testworld.Await(f, testworld.Soon, "the taint of "+member, func(ctx context.Context) error {
		c := testworld.NewMemberCluster(member)
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		if (len(c.Spec.Taints) > 0) != on {
			c.Spec.Taints = nil
			if on {
				c.Spec.Taints = []clusterv1beta1.Taint{{Key: "leave", Effect: corev1.TaintEffectNoSchedule, Evict: true}}
			}
			if err := f.Client.Update(ctx, c); err != nil {
				return err
			}
		}
		if (len(c.Status.Taints) > 0) != on {
			return fmt.Errorf("taints in the status: %+v", c.Status.Taints)
		}
		if on {
			seen = c.Status.Taints[0].Since.Time
		}
		return nil
	})
	return seen
}

// removals watches the bindings of a placement until its end, and checks that the binding to from goes only after that
// to by was reported available.
func (f *failovers) removals(p *v1beta1.ClusterResourcePlacement, from, by string) (check func()) {
	f.Helper()
	watching, err := client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	events, err := watching.Watch(f.Context(), &v1beta1.ClusterResourceBindingList{}, client.MatchingLabels{contract.LabelPlacement: p.Name})
	f.must(err)
	f.Cleanup(events.Stop)
	return func() {
		f.Helper()
		available := false
		for event := range events.ResultChan() {
			b, ok := event.Object.(*v1beta1.ClusterResourceBinding)
			if !ok {
				f.Fatalf("the watch ended: %+v", event.Object)
			}
			switch {
			case b.Spec.TargetCluster == by:
				available = available || meta.IsStatusConditionTrue(b.Status.Conditions, v1beta1.ConditionAvailable)
			case !b.DeletionTimestamp.IsZero() && !available:
				f.Errorf("%s went before %s was available", from, by)
				return
			case event.Type == watch.Deleted:
				return
			}
		}
	}
}

func tainted(f *failovers) {
	east := testworld.Labelled(map[string]string{pair: "east"})
	seconds := func(n int64) testworld.Option {
		return func(spec *v1beta1.PlacementSpec) {
			spec.Policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists, TolerationSeconds: &n}}
		}
	}
	p := f.placeAs("moving", []testworld.Option{testworld.PickN(1, east), seconds(31536000)}, "east-2")
	named := f.placeAs("named", []testworld.Option{testworld.PickFixed("east-2")}, "east-2")
	all := f.placeAs("all", []testworld.Option{testworld.PickAll(east)}, "east-1", "east-2")
	budget := &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	budget.Spec.MinAvailable = ptr.To(intstr.FromInt32(1))
	f.must(f.Client.Create(f.Context(), budget))
	edit := func(option testworld.Option) {
		testworld.Await(f, testworld.Soon, "the edit", func(ctx context.Context) error {
			if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			option(&p.Spec)
			return f.Client.Update(ctx, p)
		})
	}
	snapshots := func() int {
		var list v1beta1.ClusterSchedulingPolicySnapshotList
		f.must(f.Client.List(f.Context(), &list, client.MatchingLabels{contract.LabelPlacement: p.Name}))
		return len(list.Items)
	}

	first := f.taint("east-2", true)
	f.stays(p, "east-2=Bound")
	f.stop()
	f.start()
	f.stays(p, "east-2=Bound")
	if again := f.taint("east-2", true); !again.Equal(first) {
		f.Errorf("seen first at %s after a restart; it was %s", again, first)
	}

	check := f.removals(p, "east-2", "east-1")
	edit(seconds(1))
	f.available(p, "east-1")
	f.awaitBindings(p, "east-1=Bound")
	check()
	if n := snapshots(); n != 1 {
		f.Errorf("%d policy snapshots; another time must create none", n)
	}
	f.stays(named, "east-2=Bound")
	f.stays(all, "east-1=Bound, east-2=Bound")

	// No other cluster can replace it: it stays, and that is reported.
	f.taint("east-1", true)
	testworld.Await(f, testworld.Workload, p.Name+" to lack a cluster", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionScheduled))
		named := func(e v1beta1.PerClusterPlacementStatus) bool {
			return e.ClusterName == "" && len(e.Conditions) > 0 &&
				strings.HasPrefix(e.Conditions[0].Message, `cluster "east-1" must be replaced (it has the taint leave=:NoSchedule,evict since `)
		}
		if c == nil || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled || !slices.ContainsFunc(p.Status.PerClusterPlacementStatuses, named) {
			return fmt.Errorf("condition %+v, entries %+v", c, p.Status.PerClusterPlacementStatuses)
		}
		return nil
	})
	f.stays(p, "east-1=Bound")
	f.taint("east-1", false)
	f.available(p, "east-1")
	f.stays(p, "east-1=Bound")
	f.taint("east-2", false)
}
