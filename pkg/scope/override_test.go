package scope

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

func TestOverrideOf(t *testing.T) {
	for _, key := range []types.NamespacedName{wide, narrow} {
		s := OverrideSnapshots.New(key)
		s.SetNamespace(key.Namespace)
		if got := ownerOf(OverrideOf(s)); got.OK {
			t.Errorf("a snapshot without the label is of %v", got.Key)
		}
		s.SetLabels(map[string]string{contract.LabelOverride: "o"})
		if diff := cmp.Diff(owner{key, true}, ownerOf(OverrideOf(s))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestEvictedBy(t *testing.T) {
	for _, key := range []types.NamespacedName{wide, narrow} {
		e := Evictions.New(key)
		e.SetNamespace(key.Namespace)
		e.SetName("eviction")
		e.GetSpec().PlacementName = "o"
		if got := EvictedBy(e); got != key {
			t.Errorf("the placement is %v, want %v", got, key)
		}
	}
}

// snapshotOf returns the snapshot of an override of this key, limited to a placement unless ref is nil.
func snapshotOf(key types.NamespacedName, ref *v1beta1.PlacementRef) v1beta1.OverrideSnapshotObject {
	if key.Namespace == "" {
		s := &v1beta1.ClusterResourceOverrideSnapshot{}
		s.Name, s.Spec.OverrideSpec.Placement = key.Name, ref
		return s
	}
	s := &v1beta1.ResourceOverrideSnapshot{}
	s.Namespace, s.Name, s.Spec.OverrideSpec.Placement = key.Namespace, key.Name, ref
	return s
}

func TestLimitOf(t *testing.T) {
	to := func(scope v1beta1.PlacementScope) *v1beta1.PlacementRef {
		return &v1beta1.PlacementRef{Name: "web", Scope: scope}
	}
	for name, tc := range map[string]struct {
		of   types.NamespacedName
		ref  *v1beta1.PlacementRef
		want owner
	}{
		"cluster-wide, no limit":            {wide, nil, owner{}},
		"namespaced, no limit":              {narrow, nil, owner{}},
		"cluster-wide, cluster-wide":        {wide, to(v1beta1.PlacementScopeCluster), owner{types.NamespacedName{Name: "web"}, true}},
		"namespaced, cluster-wide":          {narrow, to(v1beta1.PlacementScopeCluster), owner{types.NamespacedName{Name: "web"}, true}},
		"namespaced, default":               {narrow, to(""), owner{types.NamespacedName{Name: "web"}, true}},
		"namespaced, namespaced":            {narrow, to(v1beta1.PlacementScopeNamespaced), owner{types.NamespacedName{Namespace: "app", Name: "web"}, true}},
		"cluster-wide, namespaced: nothing": {wide, to(v1beta1.PlacementScopeNamespaced), owner{types.NamespacedName{Namespace: "*", Name: "web"}, true}},
	} {
		if diff := cmp.Diff(tc.want, ownerOf(LimitOf(snapshotOf(tc.of, tc.ref)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// builder is a fake API server with the indexes of Index.
type builder struct{ *fake.ClientBuilder }

func (b builder) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	b.WithIndex(obj, field, values)
	return nil
}

func serverWith(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	b := builder{fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...)}
	if err := Index(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b.Build()
}

func TestOverridesFor(t *testing.T) {
	wideWeb := &v1beta1.PlacementRef{Name: "web", Scope: v1beta1.PlacementScopeCluster}
	narrowWeb := &v1beta1.PlacementRef{Name: "web", Scope: v1beta1.PlacementScopeNamespaced}
	all := []client.Object{
		snapshotOf(types.NamespacedName{Name: "any"}, nil),
		snapshotOf(types.NamespacedName{Name: "wide-web"}, wideWeb),
		snapshotOf(types.NamespacedName{Name: "wide-other"}, &v1beta1.PlacementRef{Name: "other", Scope: v1beta1.PlacementScopeCluster}),
	}
	for _, namespace := range []string{"app", "shop", "fleet-member-east"} {
		for name, ref := range map[string]*v1beta1.PlacementRef{"any": nil, "wide-web": wideWeb, "narrow-web": narrowWeb} {
			all = append(all, snapshotOf(types.NamespacedName{Namespace: namespace, Name: name}, ref))
		}
	}
	web, webInApp := types.NamespacedName{Name: "web"}, types.NamespacedName{Namespace: "app", Name: "web"}
	for name, tc := range map[string]struct {
		placement  types.NamespacedName
		namespaces []string
		want       []string
	}{
		"cluster-wide, of one namespace": {web, []string{"app"}, []string{"/any", "/wide-web", "app/any", "app/wide-web"}},
		"cluster-wide, of two namespaces": {web, []string{"app", "shop"},
			[]string{"/any", "/wide-web", "app/any", "app/wide-web", "shop/any", "shop/wide-web"}},
		"cluster-wide, of no namespace":        {web, nil, []string{"/any", "/wide-web"}},
		"cluster-wide, of a reserved one":      {web, []string{"fleet-member-east"}, []string{"/any", "/wide-web"}},
		"cluster-wide, that no override names": {types.NamespacedName{Name: "none"}, []string{"app"}, []string{"/any", "app/any"}},
		"namespaced":                           {webInApp, []string{"app"}, []string{"/any", "app/any", "app/narrow-web"}},
	} {
		found, err := OverridesFor(t.Context(), serverWith(t, all...), tc.placement, func() []string { return tc.namespaces })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, keysOfSnapshots(found)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	found, err := OverridesFor(t.Context(), serverWith(t, all[:3]...), web, func() []string {
		t.Error("the namespaces are read although there is no namespaced override")
		return nil
	})
	if diff := cmp.Diff([]string{"/any", "/wide-web"}, keysOfSnapshots(found)); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	limited, err := OverridesLimitedTo(t.Context(), serverWith(t, all...), webInApp)
	if diff := cmp.Diff([]string{"app/narrow-web"}, keysOfSnapshots(limited)); diff != "" || err != nil {
		t.Errorf("limited, error %v (-want +got):\n%s", err, diff)
	}
}

func keysOfSnapshots(found []v1beta1.OverrideSnapshotObject) []string {
	var out []string
	for _, o := range found {
		out = append(out, Key(client.ObjectKeyFromObject(o)))
	}
	slices.Sort(out)
	return out
}

func TestFreshOverrides(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	var all []client.Object
	for name, age := range map[string]time.Duration{"fresh": 0, "old": time.Hour, "recorded": 0} {
		for _, key := range []types.NamespacedName{{Name: name}, {Namespace: "app", Name: name}, {Namespace: "fleet-member-east", Name: name}} {
			o := Overrides.New(key)
			o.SetNamespace(key.Namespace)
			o.SetName(name)
			o.SetCreationTimestamp(metav1.NewTime(now.Add(-age)))
			all = append(all, o)
			if name == "recorded" {
				s := snapshotOf(types.NamespacedName{Namespace: key.Namespace, Name: contract.OverrideSnapshotName(name, 0)}, nil)
				s.SetLabels(map[string]string{contract.LabelOverride: name})
				all = append(all, s)
			}
		}
	}
	found, err := FreshOverrides(t.Context(), serverWith(t, all...), now.Add(-time.Minute))
	var got []string
	for _, o := range found {
		got = append(got, Key(client.ObjectKeyFromObject(o)))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"/fresh", "app/fresh"}, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// A binding names the overrides of all revisions that it may need.
func TestOverridesOfABinding(t *testing.T) {
	revision := func(index string) v1beta1.Revision {
		return v1beta1.Revision{
			ClusterResourceOverrideSnapshots: []string{"all" + index + "-0"},
			ResourceOverrideSnapshots:        []v1beta1.NamespacedName{{Namespace: "app", Name: "some" + index + "-10"}},
		}
	}
	for _, key := range []types.NamespacedName{wide, narrow} {
		b := Bindings.New(key)
		has, healthy, before := revision("1"), revision("2"), revision("3")
		b.GetSpec().ClusterResourceOverrideSnapshots, b.GetSpec().ResourceOverrideSnapshots = has.ClusterResourceOverrideSnapshots, has.ResourceOverrideSnapshots
		b.GetStatus().LastHealthy = &healthy
		before.ResourceSnapshotName = "web-0-snapshot"
		mark := delivery.Mark{Before: &before}
		if err := mark.Put(b); err != nil {
			t.Fatal(err)
		}
		got := overridesOf(b)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"/all1", "/all2", "/all3", "app/some1", "app/some2", "app/some3"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
