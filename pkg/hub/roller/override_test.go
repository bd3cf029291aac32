package roller

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// carrying makes the latest content hold a config map of this name in namespace app.
func (s *scene) carrying(index int, name string) {
	s.Helper()
	snapshot := scope.ResourceSnapshots.New(s.key)
	snapshot.SetNamespace(s.key.Namespace)
	snapshot.SetName(contract.MasterSnapshotName(s.key.Name, index))
	snapshot.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name, contract.LabelResourceIndex: fmt.Sprint(index), contract.LabelLatest: "true"})
	snapshot.SetAnnotations(map[string]string{contract.AnnotationResourceHash: "hash", contract.AnnotationSnapshotCount: "1"})
	snapshot.GetSpec().SelectedResources = []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"app"}}`, name),
	}}}
	testworld.OwnedOn(s, s.Client, s.key, snapshot)
	s.Must(s.Client.Create(s.Context(), snapshot))
}

// override makes a snapshot of a ResourceOverride of that config map, for the clusters that match, as the overrider
// does.
func (s *scene) override(name, object string, index int, limit *v1beta1.PlacementRef, where ...v1beta1.ClusterSelectorTerm) *v1beta1.ResourceOverrideSnapshot {
	s.Helper()
	if where == nil {
		where = testworld.Everywhere()
	}
	return s.overrideSnapshot(name, object, index, limit, testworld.Patching(where, testworld.Annotating("k", "v")))
}

// overrideBy is override for any placement, by a rule.
func (s *scene) overrideBy(name, object string, rule v1beta1.OverrideRule) {
	s.Helper()
	s.overrideSnapshot(name, object, 0, nil, rule)
}

func (s *scene) overrideSnapshot(name, object string, index int, limit *v1beta1.PlacementRef,
	rule v1beta1.OverrideRule) *v1beta1.ResourceOverrideSnapshot {
	s.Helper()
	o := testworld.Override("app", name, rule)
	o.Spec.ResourceSelectors[0].Name = object
	o.Spec.Placement = limit
	snapshot := &v1beta1.ResourceOverrideSnapshot{Spec: v1beta1.ResourceOverrideSnapshotSpec{OverrideSpec: o.Spec, OverrideHash: []byte("hash")}}
	snapshot.Namespace, snapshot.Name = "app", contract.OverrideSnapshotName(name, index)
	snapshot.Labels = map[string]string{contract.LabelOverride: name, contract.LabelOverrideIndex: fmt.Sprint(index), contract.LabelLatest: "true"}
	s.Must(s.Client.Create(s.Context(), snapshot))
	return snapshot
}

func (s *scene) limit() *v1beta1.PlacementRef {
	if s.key.Namespace == "" {
		return &v1beta1.PlacementRef{Name: s.key.Name, Scope: v1beta1.PlacementScopeCluster}
	}
	return &v1beta1.PlacementRef{Name: s.key.Name, Scope: v1beta1.PlacementScopeNamespaced}
}

// overridden waits until the bindings name these snapshots: cluster=name and so on.
func (s *scene) overridden(want string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "overrides "+want, func(context.Context) error {
		var got []string
		for _, cluster := range []string{"m1", "m2", "m3"} {
			var names []string
			for _, key := range delivery.OverridesOf(s.binding(cluster)).Keys() {
				names = append(names, strings.TrimPrefix(key.Name, s.key.Name+"-"))
			}
			got = append(got, cluster+"="+strings.Join(names, ","))
		}
		if text := strings.Join(got, " "); text != want {
			return fmt.Errorf("they are %s", text)
		}
		return nil
	})
}

// ready is a placement of a config map of its own, which is up everywhere.
func (s *scene) ready(changes ...func(*v1beta1.PlacementSpec)) (object string) {
	s.Helper()
	object = s.key.Name + "-cm" + s.key.Namespace
	s.place(changes...)
	s.carrying(0, object)
	s.schedule("m1", "m2", "m3")
	s.await("m1=Bound0 m2=Bound0 m3=Bound0")
	for _, cluster := range []string{"m1", "m2", "m3"} {
		s.available(cluster, true)
	}
	return object
}

// awaitsOverrides makes an override whose snapshot comes after the placement has been scheduled. Without waiting, the
// clusters would have content that it does not change, and it would reach them one after the other.
func awaitsOverrides(s *scene) {
	object, name := s.key.Name+"-cm"+s.key.Namespace, s.key.Name+"-o"+s.key.Namespace
	o := testworld.Override("app", name, testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "v")))
	o.Spec.ResourceSelectors[0].Name = object
	s.Must(s.Client.Create(s.Context(), o))
	s.agent.behind.Store(int64(time.Hour)) // the override stays a new one, however long this takes
	defer s.agent.behind.Store(0)
	testworld.AwaitKnown(s, s.agent.Knows, o)
	s.place()
	s.carrying(0, object)
	s.schedule("m1", "m2", "m3")
	s.quiet("the override has no snapshot")
	s.override(name, object, 0, nil)
	suffix := strings.TrimPrefix(name, s.key.Name+"-")
	s.overridden("m1=" + suffix + "-0 m2=" + suffix + "-0 m3=" + suffix + "-0")
	s.await("m1=Bound0 m2=Bound0 m3=Bound0")
}

func overriding(s *scene) {
	object := s.ready()
	s.override(s.key.Name+"-other"+s.key.Namespace, "another", 0, nil)
	s.quiet("an override of something else")
	name := s.key.Name + "-o" + s.key.Namespace
	suffix := strings.TrimPrefix(name, s.key.Name+"-")
	old := s.override(name, object, 0, s.limit())
	s.overridden("m1=" + suffix + "-0 m2= m3=")
	s.await("m1=Bound0 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.quiet("the first is not available")
	s.available("m1", true)
	s.overridden("m1=" + suffix + "-0 m2=" + suffix + "-0 m3=")
	s.available("m2", true)
	s.overridden("m1=" + suffix + "-0 m2=" + suffix + "-0 m3=" + suffix + "-0")
	s.available("m3", true)
	s.quiet("all have it")

	next := s.override(name, object, 1, s.limit())
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"false"}}}`, contract.LabelLatest)
	s.Must(s.Client.Patch(s.Context(), old, client.RawPatch(types.MergePatchType, patch)))
	s.overridden("m1=" + suffix + "-1 m2=" + suffix + "-0 m3=" + suffix + "-0")
	// The override is deleted: the oldest snapshot goes first.
	s.Must(s.Client.Delete(s.Context(), old))
	s.Must(s.Client.Delete(s.Context(), next))
	// The first is not available, so it may change at once.
	s.overridden("m1= m2=" + suffix + "-0 m3=" + suffix + "-0")
	s.available("m1", true)
	s.overridden("m1= m2= m3=" + suffix + "-0")
	s.available("m2", true)
	s.overridden("m1= m2= m3=")
}

func relabels(s *scene) {
	object := s.ready(func(spec *v1beta1.PlacementSpec) { spec.Strategy.RollingUpdate.MaxUnavailable = nil })
	label := s.key.Name + s.key.Namespace
	set := func(value string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, label, value)
		s.Must(s.Client.Patch(s.Context(), testworld.NewMemberCluster("m2"), client.RawPatch(types.MergePatchType, patch)))
	}
	s.agent.Take()
	set(`"early"`)
	name := s.key.Name + "-l" + s.key.Namespace
	suffix := strings.TrimPrefix(name, s.key.Name+"-")
	s.quiet("a label that no override looks at")
	s.override(name, object, 0, nil, testworld.Labelled(map[string]string{label: "late"}))
	s.quiet("no cluster matches")
	set(`"late"`)
	s.overridden("m1= m2=" + suffix + "-0 m3=")
	s.available("m2", true)
	s.await("m1=Bound0 m2=Bound0 m3=Bound0")
	set("null")
	s.overridden("m1= m2= m3=")
}

// revalues changes labels whose values an override puts into the content.
func revalues(s *scene) {
	object := s.ready()
	label := s.key.Name + s.key.Namespace
	set := func(cluster, value string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, label, value)
		s.Must(s.Client.Patch(s.Context(), testworld.NewMemberCluster(cluster), client.RawPatch(types.MergePatchType, patch)))
	}
	given := func(cluster string) (fingerprint string, generation int64) {
		b := s.binding(cluster)
		return b.GetSpec().OverrideFingerprint, b.GetGeneration()
	}
	moved := func(cluster string, from int64) {
		s.Helper()
		testworld.Await(s, testworld.Soon, cluster+" to be changed", func(context.Context) error {
			if _, generation := given(cluster); generation == from {
				return fmt.Errorf("its generation is %d", generation)
			}
			return nil
		})
	}
	for _, cluster := range []string{"m1", "m2"} {
		set(cluster, `"one"`)
	}
	name := s.key.Name + "-v" + s.key.Namespace
	suffix := strings.TrimPrefix(name, s.key.Name+"-")
	s.overrideBy(name, object, testworld.Patching(
		[]v1beta1.ClusterSelectorTerm{testworld.Labelled(nil, metav1.LabelSelectorRequirement{Key: label, Operator: metav1.LabelSelectorOpExists})},
		testworld.Patch(v1beta1.JSONPatchAdd, "/data", map[string]string{"label": "${MEMBER-CLUSTER-LABEL-KEY-" + label + "}"})))
	s.overridden("m1=" + suffix + "-0 m2= m3=")
	s.available("m1", true)
	s.overridden("m1=" + suffix + "-0 m2=" + suffix + "-0 m3=")
	s.available("m2", true)
	one, first := given("m1")
	if other, _ := given("m2"); one == "" || one != other {
		s.Errorf("fingerprints are %q and %q; want the same", one, other)
	}

	_, second := given("m2")
	set("m1", `"two"`)
	moved("m1", first)
	set("m2", `"two"`)
	s.await("m1=Bound0 m2=Bound0! m3=Bound0") // one cluster after the other
	set("m2", `"one"`)
	s.await("m1=Bound0 m2=Bound0 m3=Bound0")
	if _, generation := given("m2"); generation != second {
		s.Errorf("m2, which has the label it had, was changed")
	}
	s.available("m1", true)
	set("m2", `"two"`)
	moved("m2", second)
}

func behindHandOverrides(s *scene) {
	object := s.ready()
	name := s.key.Name + "-b" + s.key.Namespace
	suffix := strings.TrimPrefix(name, s.key.Name+"-")
	s.override(name, object, 0, s.limit())
	s.overridden("m1=" + suffix + "-0 m2= m3=")
	// Another leader has bound to a newer one, which is not known here yet: there is no such snapshot in the
	// cache.
	hidden := &hiding{Client: s.Client, name: contract.OverrideSnapshotName(name, 1)}
	r := &Roller{Client: hidden, Direct: s.Client}
	s.override(name, object, 1, s.limit())
	b := s.binding("m1")
	b.GetSpec().ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "app", Name: hidden.name}}
	seen := map[string]v1beta1.BindingObject{"m1": b}
	if behind, err := r.behindOverrides(s.Context(), seen); err != nil || !behind {
		s.Errorf("behind is %v, %v; want that the cache is", behind, err)
	}
	b.GetSpec().ResourceOverrideSnapshots[0].Name = "deleted-0"
	if behind, err := r.behindOverrides(s.Context(), seen); err != nil || behind {
		s.Errorf("behind is %v, %v for an override that has been deleted", behind, err)
	}
}

// hiding is a cache that has not heard of one object.
type hiding struct {
	client.Client
	name string
}

func (h *hiding) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if key.Name == h.name {
		key.Name = "unheard-of"
	}
	return h.Client.Get(ctx, key, obj, opts...)
}
