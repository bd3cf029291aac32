package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// division is a placement that divides the replicas of the Deployment web in the namespace of its name.
type division struct {
	*failovers
	placement *v1beta1.ClusterResourcePlacement
	// most is the greatest number of replicas that a Work has had.
	most atomic.Int64
}

// divide creates a placement that divides replicas, on what the options pick.
func (f *failovers) divide(name string, replicas int32, policy v1beta1.ReplicaPolicy, options ...testworld.Option) *division {
	f.Helper()
	d := &division{failovers: f, placement: testworld.ClusterPlacement(name, name, options...)}
	d.placement.Finalizers = nil
	d.placement.Spec.Policy.Replicas = &policy
	testworld.Go(f, "the record of the Works of "+name, d.record)
	for _, o := range []client.Object{testworld.Namespace(name), deployment(name, replicas), d.placement} {
		f.must(f.Client.Create(f.Context(), o))
	}
	f.Cleanup(func() { // the members answer until the whole test ends
		f.must(f.Client.Delete(f.whole.Context(), d.placement))
		testworld.AwaitGone(f, f.Client, d.placement, nil)
	})
	return d
}

func deployment(namespace string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
}

// record keeps the greatest number of replicas in any Work of the placement.
func (d *division) record(ctx context.Context) error {
	for ; ctx.Err() == nil; testworld.Pause() {
		works, err := d.watching.Watch(ctx, &v1beta1.WorkList{}, client.MatchingLabels{contract.LabelPlacement: d.placement.Name})
		if err != nil {
			continue
		}
		for event := range works.ResultChan() {
			if w, ok := event.Object.(*v1beta1.Work); ok {
				if n, ok := replicasIn(w); ok {
					d.most.Store(max(d.most.Load(), n))
				}
			}
		}
	}
	return nil
}

func replicasIn(w *v1beta1.Work) (int64, bool) {
	for _, m := range w.Spec.Workload.Manifests {
		var o struct {
			Kind string
			Spec struct{ Replicas int64 }
		}
		if json.Unmarshal(m.Raw, &o) == nil && o.Kind == "Deployment" {
			return o.Spec.Replicas, true
		}
	}
	return 0, false
}

// has returns nil if the Works of the placement have these replicas, as cluster=replicas.
func (d *division) has(ctx context.Context, want string) error {
	var list v1beta1.WorkList
	if err := d.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: d.placement.Name}); err != nil {
		return err
	}
	var out []string
	for i := range list.Items {
		w := &list.Items[i]
		cluster, _ := contract.MemberOf(w.Namespace)
		if n, ok := replicasIn(w); ok && w.DeletionTimestamp.IsZero() {
			out = append(out, fmt.Sprintf("%s=%d", cluster, n))
		}
	}
	slices.Sort(out)
	if got := strings.Join(out, " "); got != want {
		return fmt.Errorf("the Works have %s", got)
	}
	return nil
}

// becomes waits until the Works have these replicas, and the placement the condition with this reason and these words.
func (d *division) becomes(want, reason string, words ...string) {
	d.Helper()
	p := d.placement
	testworld.Await(d, 2*testworld.Workload, p.Name+" to become "+want, func(ctx context.Context) error {
		if err := d.has(ctx, want); err != nil {
			return err
		}
		if err := d.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionReplicasDivided))
		if c == nil || c.Reason != reason || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Message, word) }) {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}

// keeps checks that the Works keep these replicas.
func (d *division) keeps(want string) {
	d.Helper()
	testworld.Stable(d, 2*time.Second, d.placement.Name+" to stay "+want, func(ctx context.Context) error { return d.has(ctx, want) })
}

// edit changes the placement.
func (d *division) edit(change func(*v1beta1.PlacementPolicy)) {
	d.Helper()
	testworld.Update(d, d.Client, d.placement, func(p *v1beta1.ClusterResourcePlacement) { change(p.Spec.Policy) })
}

// scale changes the number of replicas on the hub.
func (d *division) scale(replicas int32) {
	d.Helper()
	testworld.Update(d, d.Client, deployment(d.placement.Name, 0), func(o *appsv1.Deployment) { o.Spec.Replicas = &replicas })
}

// generations are those of the Works and bindings.
func (d *division) generations(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	var works v1beta1.WorkList
	var bindings v1beta1.ClusterResourceBindingList
	of := client.MatchingLabels{contract.LabelPlacement: d.placement.Name}
	if err := errors.Join(d.Client.List(ctx, &works, of), d.Client.List(ctx, &bindings, of)); err != nil {
		return nil, err
	}
	for _, w := range works.Items {
		out[w.Namespace+"/"+w.Name] = w.Generation
	}
	for _, b := range bindings.Items {
		out[b.Name] = b.Generation
	}
	return out, nil
}

// weigh gives members weights by their names.
func weigh(weights map[string]int32) v1beta1.ReplicaPolicy {
	out := v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](1), MaxPerCluster: ptr.To[int32](8)}
	for name, weight := range weights {
		out.Weights = append(out.Weights, v1beta1.ClusterWeight{
			ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{member: name}}, Weight: weight,
		})
	}
	return out
}

// worked are the weights of the worked example.
var worked = map[string]int32{"east-1": 3, "east-2": 3, "west-1": 2, "west-2": 1}

// four picks its clusters.
func four() testworld.Option {
	return testworld.PickAll(testworld.Labelled(map[string]string{pair: "east"}), testworld.Labelled(map[string]string{pair: "west"}))
}

func replicasFollow(f *failovers) {
	d := f.divide("divided", 20, weigh(worked), four())
	d.becomes("east-1=7 east-2=7 west-1=4 west-2=2", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	d.scale(24)
	d.becomes("east-1=8 east-2=8 west-1=5 west-2=3", v1beta1.ReasonReplicasDivided, "24 of 24")
	d.scale(12)
	d.becomes("east-1=4 east-2=4 west-1=3 west-2=1", v1beta1.ReasonReplicasDivided, "12 of 12")
	d.edit(func(p *v1beta1.PlacementPolicy) { p.Replicas.Weights = nil })
	d.becomes("east-1=3 east-2=3 west-1=3 west-2=3", v1beta1.ReasonReplicasDivided, "12 of 12")

	// An override sets the number of a cluster, also beyond the maximum, and the others divide the rest. Numbers here are
	// without ties, which the UID of the placement decides.
	pin := testworld.Override(d.placement.Name, "pin", testworld.Patching(
		[]v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{member: "east-1"})}, testworld.Patch(v1beta1.JSONPatchReplace, "/spec/replicas", 6)))
	pin.Spec.ResourceSelectors = []v1beta1.ResourceSelector{{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}}
	f.must(f.Client.Create(f.Context(), pin))
	d.becomes("east-1=6 east-2=2 west-1=2 west-2=2", v1beta1.ReasonReplicasDivided, "12 of 12")
	d.edit(func(p *v1beta1.PlacementPolicy) { p.Replicas.MaxPerCluster = ptr.To[int32](3) })
	d.becomes("east-1=6 east-2=2 west-1=2 west-2=2", v1beta1.ReasonReplicasDivided)
	f.must(f.Client.Delete(f.Context(), pin))
	d.becomes("east-1=3 east-2=3 west-1=3 west-2=3", v1beta1.ReasonReplicasDivided, "12 of 12")

	// An agent that starts writes nothing.
	before, err := d.generations(f.Context())
	f.must(err)
	f.stop()
	f.start()
	other := f.divide("after", 4, v1beta1.ReplicaPolicy{MaxPerCluster: ptr.To[int32](1)}, testworld.PickFixed("north-1", "north-2"))
	other.becomes("north-1=1 north-2=1", v1beta1.ReasonReplicasUnplaced, "no room for 2 of 4")
	after, err := d.generations(f.Context())
	f.must(err)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		f.Errorf("the generations were %v and are %v after a restart", before, after)
	}
	if most := d.most.Load(); most > 8 {
		f.Errorf("a cluster was given %d replicas", most)
	}

	// Without the policy every cluster gets all replicas.
	d.edit(func(p *v1beta1.PlacementPolicy) { p.Replicas = nil })
	testworld.Await(f, testworld.Workload, "all replicas on each cluster", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(d.placement), d.placement); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(d.placement.Status.Conditions, d.placement.ConditionType(v1beta1.ConditionReplicasDivided)); c != nil {
			return fmt.Errorf("condition %+v", c)
		}
		var list v1beta1.ClusterResourceBindingList
		if err := f.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: d.placement.Name}); err != nil {
			return err
		}
		for _, b := range list.Items {
			if len(b.Spec.Shares) > 0 {
				return fmt.Errorf("binding %s has shares", b.Name)
			}
		}
		return d.has(ctx, "east-1=12 east-2=12 west-1=12 west-2=12")
	})
}

// trio is the label of the clusters of the placement exchange.
const trio = "trio"

func (f *failovers) joinTrio(name string) {
	f.Helper()
	f.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var c clusterv1beta1.MemberCluster
		if err := f.Client.Get(f.Context(), client.ObjectKey{Name: name}, &c); err != nil {
			return err
		}
		c.Labels[trio] = "yes"
		return f.Client.Update(f.Context(), &c)
	}))
}

// All placements lose the same cluster: one divides its replicas over the others, one has no failover, and one
// replaces the cluster, by one on which nothing becomes available.
func replicasOfALostCluster(f *failovers) {
	lasting := func(s *v1beta1.PlacementSpec) {
		s.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: 30 * time.Second}}
	}
	spread := f.divide("spread", 20, weigh(worked), four(), lasting)
	waiting := f.divide("waiting", 20, weigh(worked), four())
	// The third member of the trio joins it later: the placement might pick it first, because scenarios before this one
	// silenced others.
	f.joinTrio("east-1")
	f.joinTrio("north-2")
	exchange := f.divide("exchange", 10, v1beta1.ReplicaPolicy{}, testworld.PickN(2, testworld.Labelled(map[string]string{trio: "yes"})), lasting)
	f.must(f.Client.Create(f.Context(), testworld.ClusterOverride("fails", exchange.placement.Name, testworld.Patching(
		[]v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{member: "north-1"})}, testworld.Patch(v1beta1.JSONPatchReplace, "/spec/none/of", 1)))))
	const whole = "east-1=7 east-2=7 west-1=4 west-2=2"
	spread.becomes(whole, v1beta1.ReasonReplicasDivided)
	waiting.becomes(whole, v1beta1.ReasonReplicasDivided)
	exchange.becomes("east-1=5 north-2=5", v1beta1.ReasonReplicasDivided)
	f.joinTrio("north-1")

	f.members["east-1"].Silent()
	f.awaitSilence("east-1", clusterv1beta1.SilenceLost)
	spread.becomes("east-1=7 east-2=8 west-1=8 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 3 clusters", "lost clusters: east-1")
	f.awaitBindings(exchange.placement, "east-1=Unscheduled>north-1, north-1=Bound, north-2=Bound")
	testworld.Await(f, testworld.Soon, "a share of the replacement", func(ctx context.Context) error { return exchange.share(ctx, "north-1", 5) })
	waiting.keeps(whole)
	exchange.keeps("east-1=5 north-2=5")
	before, err := exchange.generations(f.Context())
	f.must(err)

	f.members["east-1"].Healthy()
	spread.becomes("east-1=1 east-2=8 west-1=7 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	f.awaitBindings(exchange.placement, "east-1=Bound, north-2=Bound")
	exchange.becomes("east-1=5 north-2=5", v1beta1.ReasonReplicasDivided, "10 of 10 on 2 clusters")
	after, err := exchange.generations(f.Context())
	f.must(err)
	for name, generation := range after {
		if strings.HasPrefix(name, contract.MemberNamespace("")) && before[name] != generation {
			f.Errorf("%s was written, although east-1 has its share back", name)
		}
	}
	waiting.keeps(whole)
	spread.scale(26)
	spread.becomes("east-1=7 east-2=8 west-1=7 west-2=4", v1beta1.ReasonReplicasDivided, "26 of 26 on 4 clusters")
	for _, d := range []*division{spread, waiting, exchange} {
		if most := d.most.Load(); most > 8 {
			f.Errorf("a cluster was given %d replicas of %s", most, d.placement.Name)
		}
	}
}

// share returns nil if the newest share of a cluster is that.
func (d *division) share(ctx context.Context, cluster string, want int32) error {
	var list v1beta1.ClusterResourceBindingList
	if err := d.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: d.placement.Name}); err != nil {
		return err
	}
	for _, b := range list.Items {
		if n := len(b.Spec.Shares); b.Spec.TargetCluster == cluster && n > 0 && b.Spec.Shares[n-1].Workloads[0].Replicas == want {
			return nil
		}
	}
	return fmt.Errorf("bindings %+v", list.Items)
}
