package scope

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// The keys of a cluster-wide and of a namespaced object, and of one in the namespace of a member.
var (
	wide     = types.NamespacedName{Name: "o"}
	narrow   = types.NamespacedName{Namespace: "app", Name: "o"}
	reserved = types.NamespacedName{Namespace: "fleet-member-east", Name: "o"}
)

// pair is Kinds without its type.
type pair struct {
	kind   func(types.NamespacedName) string
	create func(types.NamespacedName) client.Object
	get    func(client.Reader, types.NamespacedName) (client.Object, error)
	// list, all and served return keys.
	list   func(client.Reader, string) ([]string, error)
	all    func(client.Reader) ([]string, error)
	served func(client.Reader, bool) ([]string, error)
	// watches is the number of kinds to watch.
	watches func(bool) int
}

func pairOf[O client.Object](k Kinds[O]) pair {
	keysOf := func(objects []O, err error) ([]string, error) {
		var out []string
		for _, o := range objects {
			out = append(out, Key(client.ObjectKeyFromObject(o)))
		}
		slices.Sort(out)
		return out, err
	}
	return pair{
		kind: k.Kind,
		create: func(key types.NamespacedName) client.Object {
			o := k.New(key)
			o.SetNamespace(key.Namespace)
			o.SetName(key.Name)
			return o
		},
		get: func(r client.Reader, key types.NamespacedName) (client.Object, error) {
			return k.Get(context.Background(), r, key)
		},
		list: func(r client.Reader, namespace string) ([]string, error) {
			return keysOf(k.List(context.Background(), r, namespace))
		},
		all: func(r client.Reader) ([]string, error) { return keysOf(k.All(context.Background(), r)) },
		served: func(r client.Reader, namespaced bool) ([]string, error) {
			return keysOf(k.AllServed(context.Background(), r, namespaced))
		},
		watches: func(namespaced bool) int { return len(k.Served(namespaced)) },
	}
}

// pairs are all Kinds, by the names of their two kinds.
var pairs = map[[2]string]pair{
	{"ClusterResourcePlacement", "ResourcePlacement"}:                                 pairOf(Placements),
	{"ClusterSchedulingPolicySnapshot", "SchedulingPolicySnapshot"}:                   pairOf(PolicySnapshots),
	{"ClusterResourceSnapshot", "ResourceSnapshot"}:                                   pairOf(ResourceSnapshots),
	{"ClusterResourceBinding", "ResourceBinding"}:                                     pairOf(Bindings),
	{"ClusterStagedUpdateRun", "StagedUpdateRun"}:                                     pairOf(UpdateRuns),
	{"ClusterStagedUpdateStrategy", "StagedUpdateStrategy"}:                           pairOf(UpdateStrategies),
	{"ClusterApprovalRequest", "ApprovalRequest"}:                                     pairOf(ApprovalRequests),
	{"ClusterResourceOverride", "ResourceOverride"}:                                   pairOf(Overrides),
	{"ClusterResourceOverrideSnapshot", "ResourceOverrideSnapshot"}:                   pairOf(OverrideSnapshots),
	{"ClusterResourcePlacementEviction", "ResourcePlacementEviction"}:                 pairOf(Evictions),
	{"ClusterResourcePlacementDisruptionBudget", "ResourcePlacementDisruptionBudget"}: pairOf(DisruptionBudgets),
}

func TestKinds(t *testing.T) {
	for kinds, p := range pairs {
		t.Run(kinds[1], func(t *testing.T) {
			var objects []client.Object
			for _, key := range []types.NamespacedName{wide, {Name: "other"}, narrow, {Namespace: "shop", Name: "o"}, reserved} {
				objects = append(objects, p.create(key))
			}
			r := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...).Build()
			type lists struct {
				Kinds                                               [2]string
				Wide, Narrow, Reserved, All, Served, ServedWideOnly []string
				Watches, WatchesWideOnly                            int
			}
			keysOf := func(keys []string, err error) []string {
				if err != nil {
					t.Error(err)
				}
				return keys
			}
			got := lists{
				Kinds: [2]string{p.kind(wide), p.kind(narrow)},
				Wide:  keysOf(p.list(r, "")), Narrow: keysOf(p.list(r, "app")), Reserved: keysOf(p.list(r, reserved.Namespace)),
				All: keysOf(p.all(r)), Served: keysOf(p.served(r, true)), ServedWideOnly: keysOf(p.served(r, false)),
				Watches: p.watches(true), WatchesWideOnly: p.watches(false),
			}
			want := lists{
				Kinds: kinds,
				Wide:  []string{"/o", "/other"}, Narrow: []string{"app/o"},
				All: []string{"/o", "/other", "app/o", "shop/o"}, Served: []string{"/o", "/other", "app/o", "shop/o"}, ServedWideOnly: []string{"/o", "/other"},
				Watches: 2, WatchesWideOnly: 1,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for i, key := range []types.NamespacedName{wide, narrow} {
				if found, err := p.get(r, key); err != nil || kindOf(found) != kinds[i] || client.ObjectKeyFromObject(found) != key {
					t.Errorf("get %s: %s %s, error %v", key, kindOf(found), client.ObjectKeyFromObject(found), err)
				}
				key.Name = "missing"
				_, err := p.get(r, key)
				if want := "get " + kinds[i] + " " + strings.TrimPrefix(Key(key), "/") + ": "; !apierrors.IsNotFound(err) || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("get %s: error %v; want NotFound that begins with %q", key, err, want)
				}
			}
		})
	}
}

// The metadata includes objects in reserved namespaces, for their deletion.
func TestListMetadata(t *testing.T) {
	var objects []client.Object
	for _, key := range []types.NamespacedName{wide, narrow, reserved} {
		objects = append(objects, pairOf(Bindings).create(key))
	}
	r := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...).Build()
	for namespace, want := range map[string]string{"": "/o", "app": "app/o", reserved.Namespace: reserved.Namespace + "/o"} {
		found, err := Bindings.ListMetadata(t.Context(), r, namespace)
		if err != nil || len(found) != 1 || Key(client.ObjectKeyFromObject(&found[0])) != want {
			t.Errorf("in namespace %q: %v, error %v; want %s", namespace, found, err, want)
		}
	}
}

func TestReserved(t *testing.T) {
	for key, want := range map[types.NamespacedName]bool{
		wide: false, narrow: false, reserved: true, {Namespace: "fleet-system", Name: "o"}: true, {Namespace: "kube-system", Name: "o"}: true,
		{Name: "fleet-member-east"}: false, {Name: "kube-system"}: false, // cluster-wide
	} {
		if got := Reserved(key); got != want {
			t.Errorf("%s is reserved: %v, want %v", key, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	part := rapid.StringMatching(`[a-z0-9.-]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		key := types.NamespacedName{Namespace: part.Draw(t, "namespace"), Name: part.Draw(t, "name")}
		namespace, name, ok := strings.Cut(Key(key), "/")
		if back := (types.NamespacedName{Namespace: namespace, Name: name}); !ok || back != key {
			t.Errorf("%v becomes %s, which is %v", key, Key(key), back)
		}
		if Key(key) == anyPlacement || Key(key) == anyPlacementFrom(key.Namespace) {
			t.Errorf("%v stands for all placements", key)
		}
	})
}

// owner is what PlacementOf, BindingOf and OverrideOf return.
type owner struct {
	Key types.NamespacedName
	OK  bool
}

func ownerOf(key types.NamespacedName, ok bool) owner { return owner{key, ok} }

func TestPlacementOf(t *testing.T) {
	labelled := func(obj client.Object, namespace string, labels map[string]string) client.Object {
		obj.SetNamespace(namespace)
		obj.SetLabels(labels)
		return obj
	}
	of := map[string]string{contract.LabelPlacement: "web"}
	for name, tc := range map[string]struct {
		obj  client.Object
		want owner
	}{
		"cluster-wide binding":          {labelled(&v1beta1.ClusterResourceBinding{}, "", of), owner{types.NamespacedName{Name: "web"}, true}},
		"namespaced binding":            {labelled(&v1beta1.ResourceBinding{}, "app", of), owner{types.NamespacedName{Namespace: "app", Name: "web"}, true}},
		"cluster-wide snapshot":         {labelled(&v1beta1.ClusterResourceSnapshot{}, "", of), owner{types.NamespacedName{Name: "web"}, true}},
		"namespaced snapshot":           {labelled(&v1beta1.ResourceSnapshot{}, "app", of), owner{types.NamespacedName{Namespace: "app", Name: "web"}, true}},
		"object without the label":      {labelled(&v1beta1.ResourceBinding{}, "app", nil), owner{}},
		"object with an empty label":    {labelled(&v1beta1.ResourceBinding{}, "app", map[string]string{contract.LabelPlacement: ""}), owner{}},
		"Work of a cluster-wide one":    {labelled(&v1beta1.Work{}, "fleet-member-east", of), owner{types.NamespacedName{Name: "web"}, true}},
		"Work without the label":        {labelled(&v1beta1.Work{}, "fleet-member-east", nil), owner{}},
		"binding with a Work's label":   {labelled(&v1beta1.ResourceBinding{}, "app", with(of, contract.LabelPlacementNamespace, "shop")), owner{types.NamespacedName{Namespace: "app", Name: "web"}, true}},
		"Work of a namespaced one":      {labelled(&v1beta1.Work{}, "fleet-member-east", with(of, contract.LabelPlacementNamespace, "app")), owner{types.NamespacedName{Namespace: "app", Name: "web"}, true}},
		"Work with no placement's name": {labelled(&v1beta1.Work{}, "fleet-member-east", map[string]string{contract.LabelPlacementNamespace: "app"}), owner{}},
	} {
		if diff := cmp.Diff(tc.want, ownerOf(PlacementOf(tc.obj))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var want []reconcile.Request
		if tc.want.OK {
			want = []reconcile.Request{{NamespacedName: tc.want.Key}}
		}
		if diff := cmp.Diff(want, RequestPlacement(t.Context(), tc.obj)); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", name, diff)
		}
	}
}

func with(labels map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range labels {
		out[k] = v
	}
	return out
}

func TestBindingOf(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		want   owner
	}{
		"cluster-wide": {map[string]string{contract.LabelBinding: "b"}, owner{types.NamespacedName{Name: "b"}, true}},
		"namespaced": {map[string]string{contract.LabelBinding: "b", contract.LabelPlacementNamespace: "app"},
			owner{types.NamespacedName{Namespace: "app", Name: "b"}, true}},
		"no label":    {map[string]string{contract.LabelPlacement: "web"}, owner{}},
		"empty label": {map[string]string{contract.LabelBinding: ""}, owner{}},
	} {
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-east", Labels: tc.labels}}
		if diff := cmp.Diff(tc.want, ownerOf(BindingOf(work))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestIsLatest(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "True": false, "": false} {
		snapshot := &v1beta1.ResourceSnapshot{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{contract.LabelLatest: value}}}
		if got := IsLatest(snapshot); got != want {
			t.Errorf("label %q is the latest: %v, want %v", value, got, want)
		}
	}
	if IsLatest(&v1beta1.ResourceSnapshot{}) {
		t.Error("a snapshot without the label is the latest")
	}
}

// indexed are the index functions that Index registers, by kind and field.
type indexed map[string]client.IndexerFunc

func (i indexed) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	name := kindOf(obj) + " " + field
	if i[name] != nil {
		return fmt.Errorf("%s has two indexes", name)
	}
	i[name] = values
	return nil
}

func TestIndex(t *testing.T) {
	got := indexed{}
	if err := Index(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if err := IndexEvictions(t.Context(), got, Evictions.Both()...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	meta := func(key types.NamespacedName) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{
			contract.LabelPlacement: "web", contract.LabelBinding: "b", contract.LabelOverride: "patch",
		}}
	}
	for _, key := range []types.NamespacedName{wide, narrow, reserved} {
		fill := func(o client.Object) client.Object {
			m := meta(key)
			o.SetNamespace(m.Namespace)
			o.SetName(m.Name)
			o.SetLabels(m.Labels)
			return o
		}
		binding := Bindings.New(key)
		binding.GetSpec().TargetCluster = "east"
		binding.GetSpec().ClusterResourceOverrideSnapshots = []string{"all-0", "no index"}
		binding.GetSpec().ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "shop", Name: "some-1"}}
		replaced := binding.DeepCopyObject().(v1beta1.BindingObject)
		replaced.SetAnnotations(map[string]string{contract.AnnotationReplacedBy: `{"with":"west"}`})
		run, eviction := UpdateRuns.New(key), Evictions.New(key)
		run.GetSpec().PlacementName, eviction.GetSpec().PlacementName = "web", "web"
		placement, override := []string{key.Namespace + "/web"}, []string{key.Namespace + "/patch"}
		anyOf := []string{"*"}
		if key.Namespace != "" {
			anyOf = append(anyOf, "*/"+key.Namespace)
		}
		for _, tc := range []struct {
			obj   client.Object
			field string
			want  []string
		}{
			{PolicySnapshots.New(key), IndexPlacement, placement},
			{ResourceSnapshots.New(key), IndexPlacement, placement},
			{binding, IndexPlacement, placement},
			{binding, IndexCluster, []string{"east"}},
			{binding, IndexReplaced, nil},
			{replaced, IndexReplaced, placement},
			{binding, IndexOverride, []string{"/all", "shop/some"}},
			{run, IndexPlacement, placement},
			{eviction, IndexPlacement, placement},
			{OverrideSnapshots.New(key), IndexOverride, override},
			{OverrideSnapshots.New(key), indexFor, anyOf},
		} {
			name, want := kindOf(tc.obj)+" "+tc.field, tc.want
			if key == reserved {
				want = nil
			}
			if got[name] == nil {
				t.Errorf("%s has no index", name)
			} else if diff := cmp.Diff(want, got[name](fill(tc.obj))); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", name, key, diff)
			}
			seen[name] = true
		}
	}
	// Works are in the namespaces of members.
	work := &v1beta1.Work{ObjectMeta: meta(reserved)}
	for field, want := range map[string]string{IndexPlacement: "/web", IndexBinding: "/b"} {
		seen["Work "+field] = true
		if diff := cmp.Diff([]string{want}, got["Work "+field](work)); diff != "" {
			t.Errorf("Work %s (-want +got):\n%s", field, diff)
		}
	}
	for name := range got {
		if !seen[name] {
			t.Errorf("the index %s has no test", name)
		}
	}
}

func TestSelectors(t *testing.T) {
	got := []client.MatchingFields{OfPlacement(wide), OfPlacement(narrow), OfBinding(narrow), OfOverride(narrow), OnCluster("east"), Replaced(narrow)}
	want := []client.MatchingFields{{IndexPlacement: "/o"}, {IndexPlacement: "app/o"}, {IndexBinding: "app/o"}, {IndexOverride: "app/o"}, {IndexCluster: "east"}, {IndexReplaced: "app/o"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
