package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// division is a placement that divides the replicas of the Deployment web in the namespace of its name.
type division struct {
	*failovers
	placement *v1beta1.ClusterResourcePlacement
	history
}

// history is what the Works of a placement had, from their events.
type history struct {
	mu sync.Mutex
	// most is the greatest number of replicas that a Work has had.
	most int64
	// wanted are the replicas in the Works by cluster, and running those that the clusters reported last.
	wanted, running map[string]int64
	// sums are all sums of wanted and running so far, and fell the clusters with a number that has fallen.
	sums []sums
	fell []string
}

type sums struct{ wanted, running int64 }

// divide creates a placement that divides replicas, on what the options pick.
func (f *failovers) divide(name string, replicas int32, policy v1beta1.ReplicaPolicy, options ...testworld.Option) *division {
	f.Helper()
	d := &division{failovers: f, placement: testworld.ClusterPlacement(name, name, options...)}
	d.wanted, d.running = map[string]int64{}, map[string]int64{}
	d.placement.Finalizers = nil
	d.placement.Spec.Policy.Replicas = &policy
	testworld.Go(f, "the record of the Works of "+name, func(ctx context.Context) error { return d.follow(ctx, name) })
	for _, o := range []client.Object{testworld.Namespace(name), deployment(name, replicas), d.placement} {
		f.must(f.Client.Create(f.Context(), o))
	}
	f.removeAtEnd(d.placement)
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

// follow records the Works of the placement, which the scenario may be changing.
func (d *division) follow(ctx context.Context, name string) error {
	for ; ctx.Err() == nil; testworld.Pause() {
		works, err := d.watching.Watch(ctx, &v1beta1.WorkList{}, client.MatchingLabels{contract.LabelPlacement: name})
		if err != nil {
			continue
		}
		for event := range works.ResultChan() {
			if w, ok := event.Object.(*v1beta1.Work); ok {
				d.note(w)
			}
		}
	}
	return nil
}

// note records a Work. What it has was reported when its conditions are of its generation.
func (r *history) note(w *v1beta1.Work) {
	n, ok := replicasIn(w)
	if !ok {
		return
	}
	cluster, _ := contract.MemberOf(w.Namespace)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = max(r.most, n)
	if n < r.wanted[cluster] {
		r.fell = append(r.fell, cluster)
	}
	r.wanted[cluster] = n
	if c := meta.FindStatusCondition(w.Status.Conditions, v1beta1.ConditionAvailable); c != nil && c.ObservedGeneration == w.Generation {
		r.running[cluster] = n
	}
	var s sums
	for _, n := range r.wanted {
		s.wanted += n
	}
	for _, n := range r.running {
		s.running += n
	}
	r.sums = append(r.sums, s)
}

// again forgets what was recorded, but for what the Works have now. It returns what happens from then on.
func (r *history) again() (since func() (all []sums, fell []string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums, r.fell = nil, nil
	return func() ([]sums, []string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.sums), slices.Clone(r.fell)
	}
}

// greatest is the greatest number of replicas that a Work has had.
func (r *history) greatest() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
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
	testworld.Stable(d, moment, d.placement.Name+" to stay "+want, func(ctx context.Context) error { return d.has(ctx, want) })
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

// ofFour picks the clusters of the worked example.
func ofFour() testworld.Option { return testworld.PickAll(among(four...)) }

// D17: more and fewer replicas are added and taken, an edit of the weights divides anew, and a cluster whose share stays
// is not written to.
func TestD17Scale(t *testing.T) {
	f := hubs.take(t)
	d := f.divide("scaled", 20, weigh(worked), ofFour())
	d.becomes("east-1=7 east-2=7 west-1=4 west-2=2", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	d.scale(24)
	d.becomes("east-1=8 east-2=8 west-1=5 west-2=3", v1beta1.ReasonReplicasDivided, "24 of 24")
	d.scale(12)
	d.becomes("east-1=4 east-2=4 west-1=3 west-2=1", v1beta1.ReasonReplicasDivided, "12 of 12")
	d.scale(20)
	d.becomes("east-1=7 east-2=7 west-1=4 west-2=2", v1beta1.ReasonReplicasDivided, "20 of 20")

	before, err := d.generations(t.Context())
	f.must(err)
	since := d.again()
	d.scale(21)
	d.becomes("east-1=7 east-2=7 west-1=5 west-2=2", v1beta1.ReasonReplicasDivided, "21 of 21")
	after, err := d.generations(t.Context())
	f.must(err)
	for name, generation := range after {
		raised := strings.HasPrefix(name, contract.MemberNamespace("west-1"))
		if strings.HasPrefix(name, contract.MemberNamespace("")) && (before[name] != generation) != raised {
			t.Errorf("%s has generation %d, and had %d before one replica was added to west-1", name, generation, before[name])
		}
	}
	if all, fell := since(); len(fell) > 0 {
		t.Errorf("the replicas fell on %q; the sums were %v", fell, all)
	}
	d.scale(20)
	d.edit(func(p *v1beta1.PlacementPolicy) {
		for i := range p.Replicas.Weights {
			p.Replicas.Weights[i].Weight = 1
		}
	})
	d.becomes("east-1=5 east-2=5 west-1=5 west-2=5", v1beta1.ReasonReplicasDivided, "20 of 20")
}

// Overrides set the numbers of their clusters, an agent that starts writes nothing, and without the policy every cluster
// gets all replicas.
func TestReplicasFollow(t *testing.T) {
	f := hubs.take(t)
	d := f.divide("divided", 12, weigh(worked), ofFour())
	d.becomes("east-1=4 east-2=4 west-1=3 west-2=1", v1beta1.ReasonReplicasDivided, "12 of 12")
	d.edit(func(p *v1beta1.PlacementPolicy) { p.Replicas.Weights = nil })
	d.becomes("east-1=3 east-2=3 west-1=3 west-2=3", v1beta1.ReasonReplicasDivided, "12 of 12")

	// An override sets the number of a cluster, also beyond the maximum, and the others divide the rest. Numbers here are
	// without ties, which the UID of the placement decides.
	pin := testworld.Override(d.placement.Name, "pin", testworld.Patching(
		[]v1beta1.ClusterSelectorTerm{among("east-1")}, testworld.Patch(v1beta1.JSONPatchReplace, "/spec/replicas", 6)))
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
	if most := d.greatest(); most > 8 {
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

// rebalance requests that all shares are computed anew, as "kubectl fleet rebalance" does.
func (d *division) rebalance() {
	d.Helper()
	testworld.Update(d, d.Client, d.placement, func(p *v1beta1.ClusterResourcePlacement) {
		p.Annotations = map[string]string{contract.AnnotationRebalance: time.Now().UTC().Format(time.RFC3339)}
	})
}

// D18: other clusters get the replicas of a lost one, which keeps its own until it is heard. It gets its minimum then,
// and its share with a rebalance, during which as many replicas run as before and no more than the surge above.
func TestD18LossAndReturn(t *testing.T) {
	f := hubs.take(t)
	d := f.divide("returning", 20, weigh(worked), ofFour(), failing)
	waiting := f.divide("waiting", 20, weigh(worked), ofFour())
	const whole = "east-1=7 east-2=7 west-1=4 west-2=2"
	d.becomes(whole, v1beta1.ReasonReplicasDivided)
	waiting.becomes(whole, v1beta1.ReasonReplicasDivided)
	f.lose(6*time.Minute, "east-1")
	d.becomes("east-1=7 east-2=8 west-1=8 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 3 clusters", "lost clusters: east-1")
	waiting.keeps(whole)
	d.keeps("east-1=7 east-2=8 west-1=8 west-2=4")

	f.hear("east-1")
	d.becomes("east-1=1 east-2=8 west-1=7 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	waiting.keeps(whole)
	d.keeps("east-1=1 east-2=8 west-1=7 west-2=4")

	since := d.again()
	d.rebalance()
	d.becomes(whole, v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	all, _ := since()
	if len(all) < 6 {
		t.Errorf("only %d events of Works", len(all))
	}
	for _, s := range all {
		if s.wanted > 25 || s.running < 20 {
			t.Errorf("%d replicas are wanted and %d run during the rebalance", s.wanted, s.running)
		}
	}
	for _, d := range []*division{d, waiting} {
		if most := d.greatest(); most > 8 {
			t.Errorf("a cluster was given %d replicas of %s", most, d.placement.Name)
		}
	}
}

// D18: a lost cluster gets only its minimum back, and the growth. A cluster that replaces it gets its share.
func TestD18Growth(t *testing.T) {
	f := hubs.take(t)
	spread := f.divide("spread", 20, weigh(worked), ofFour(), failing)
	exchange := f.divide("exchange", 10, v1beta1.ReplicaPolicy{}, testworld.PickN(2, among("east-1", "north-1", "north-2")), prefer("east-1"),
		testworld.Prefer(50, among("north-2")), failing)
	spread.becomes("east-1=7 east-2=7 west-1=4 west-2=2", v1beta1.ReasonReplicasDivided)
	exchange.becomes("east-1=5 north-2=5", v1beta1.ReasonReplicasDivided)
	f.members["north-1"].Idle()

	f.lose(6*time.Minute, "east-1")
	spread.becomes("east-1=7 east-2=8 west-1=8 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 3 clusters", "lost clusters: east-1")
	exchanged := &placed{failovers: f, of: exchange.placement}
	exchanged.bound("east-1>north-1", "north-1", "north-2")
	testworld.Await(f, testworld.Soon, "a share of the replacement", func(ctx context.Context) error { return exchange.share(ctx, "north-1", 5) })
	before := exchanged.orders("east-1")
	f.hear("east-1")
	spread.becomes("east-1=1 east-2=8 west-1=7 west-2=4", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	exchanged.bound("east-1", "north-2")
	exchange.becomes("east-1=5 north-2=5", v1beta1.ReasonReplicasDivided, "10 of 10 on 2 clusters")
	exchanged.untouched("east-1", before)
	spread.scale(26)
	spread.becomes("east-1=7 east-2=8 west-1=7 west-2=4", v1beta1.ReasonReplicasDivided, "26 of 26 on 4 clusters")
}

// D19: replicas without room are reported, and placed when a cluster is heard again. Those that find no node on one
// cluster go to others, and are not given back when it reports room.
func TestD19NoRoom(t *testing.T) {
	f := hubs.take(t)
	d := f.divide("crowded", 20, weigh(worked), ofFour(), failing)
	full := f.divide("full", 20, weigh(worked), ofFour())
	const whole = "east-1=7 east-2=7 west-1=4 west-2=2"
	d.becomes(whole, v1beta1.ReasonReplicasDivided)
	full.becomes(whole, v1beta1.ReasonReplicasDivided)
	f.lose(6*time.Minute, "east-1", "east-2")
	d.becomes("east-1=7 east-2=8 west-1=8 west-2=8", v1beta1.ReasonReplicasUnplaced, "no room for 4 of 20")
	f.hear("east-2")
	d.becomes("east-1=7 east-2=4 west-1=8 west-2=8", v1beta1.ReasonReplicasDivided, "20 of 20 on 3 clusters")
	f.hear("east-1")
	d.becomes("east-1=1 east-2=4 west-1=8 west-2=7", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")

	f.members["east-2"].Telling(roomFor("full", 4))
	f.members["east-2"].Busy()
	full.becomes("east-1=8 east-2=4 west-1=5 west-2=3", v1beta1.ReasonReplicasDivided, "20 of 20 on 4 clusters")
	f.members["east-2"].Telling(roomFor("full", 20))
	f.members["east-2"].Busy()
	full.keeps("east-1=8 east-2=4 west-1=5 west-2=3")
	full.scale(22)
	testworld.Await(t, testworld.Workload, "growth that is not on east-2", func(ctx context.Context) error {
		return errors.Join(full.share(ctx, "east-2", 4), full.has(ctx, "east-1=8 east-2=4 west-1=7 west-2=3"))
	})
}

// roomFor reports the replicas of a placement that have no node on a member with room for that many.
func roomFor(placement string, room int64) func(*v1beta1.Work) {
	return func(w *v1beta1.Work) {
		n, ok := replicasIn(w)
		if !ok || w.Labels[contract.LabelPlacement] != placement {
			return
		}
		w.Status.ManifestConditions = nil
		for i, m := range w.Spec.Workload.Manifests {
			if strings.Contains(string(m.Raw), `"kind":"Deployment"`) {
				w.Status.ManifestConditions = append(w.Status.ManifestConditions, v1beta1.ManifestCondition{
					Identifier: v1beta1.WorkResourceIdentifier{
						Ordinal: i, Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: placement, Name: "web",
					},
					Conditions: []metav1.Condition{}, UnschedulableReplicas: int32(max(0, n-room)),
				})
			}
		}
	}
}

// D20: while a new image with more replicas rolls out and the hub agent ends meanwhile, the sum is between the two
// totals and no share falls.
func TestD20Mixed(t *testing.T) {
	f := hubs.take(t)
	three := []string{"east-1", "west-1", "north-1"}
	policy := weigh(map[string]int32{"east-1": 170, "west-1": 110, "north-1": 60})
	policy.MinPerCluster, policy.MaxPerCluster = nil, nil
	d := f.divide("mixed", 5, policy, testworld.PickN(3, among(three...)))
	d.becomes("east-1=2 north-1=1 west-1=2", v1beta1.ReasonReplicasDivided, "5 of 5")
	since := d.again()
	for _, name := range three {
		f.members[name].Idle()
	}
	testworld.Update(t, f.Client, deployment(d.placement.Name, 0), func(o *appsv1.Deployment) {
		o.Spec.Replicas, o.Spec.Template.Spec.Containers[0].Image = ptr.To[int32](8), "new"
	})
	testworld.Await(t, testworld.Workload, "the new image on a cluster", func(ctx context.Context) error {
		if n, err := d.images(ctx, "new"); err != nil || n == 0 || n == 3 {
			return fmt.Errorf("it is on %d: %w", n, err)
		}
		return nil
	})
	f.stop()
	for _, name := range three {
		f.members[name].Busy()
	}
	f.start()
	d.becomes("east-1=4 north-1=1 west-1=3", v1beta1.ReasonReplicasDivided, "8 of 8 on 3 clusters")
	if n, err := d.images(t.Context(), "new"); err != nil || n != 3 {
		t.Errorf("the new image is on %d clusters, %v", n, err)
	}
	all, fell := since()
	for _, s := range all {
		if s.wanted < 5 || s.wanted > 8 {
			t.Errorf("%d replicas are wanted", s.wanted)
		}
	}
	if len(all) < 6 || len(fell) > 0 {
		t.Errorf("%d events of Works; shares fell on %q", len(all), fell)
	}
}

// images is how many Works have an image.
func (d *division) images(ctx context.Context, image string) (n int, err error) {
	var list v1beta1.WorkList
	if err := d.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: d.placement.Name}); err != nil {
		return 0, err
	}
	for _, w := range list.Items {
		for _, m := range w.Spec.Workload.Manifests {
			if strings.Contains(string(m.Raw), fmt.Sprintf(`"image":%q`, image)) {
				n++
			}
		}
	}
	return n, nil
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
