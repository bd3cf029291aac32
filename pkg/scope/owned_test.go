package scope

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// placementOf returns the placement web for key's scope.
func placementOf(key types.NamespacedName) v1beta1.PlacementObject {
	p := Placements.New(key)
	p.SetNamespace(key.Namespace)
	p.SetName("web")
	p.SetUID("uid")
	return p
}

func TestOwnedBy(t *testing.T) {
	yes, no := true, false
	for _, key := range []types.NamespacedName{wide, narrow} {
		kind, twin := Placements.Kind(key), Placements.Kind(narrow)
		if key == narrow {
			twin = Placements.Kind(wide)
		}
		for name, tc := range map[string]struct {
			owners []metav1.OwnerReference
			want   bool
		}{
			"none":                            {nil, false},
			"the placement":                   {[]metav1.OwnerReference{{Kind: kind, Name: "web", UID: "uid", Controller: &yes}}, true},
			"the placement after another one": {[]metav1.OwnerReference{{Kind: "ConfigMap", Name: "cm", UID: "x"}, {Kind: kind, Name: "web", UID: "uid", Controller: &yes}}, true},
			"an earlier placement":            {[]metav1.OwnerReference{{Kind: kind, Name: "web", UID: "earlier", Controller: &yes}}, false},
			"a placement of another name":     {[]metav1.OwnerReference{{Kind: kind, Name: "other", UID: "uid", Controller: &yes}}, false},
			"another kind":                    {[]metav1.OwnerReference{{Kind: twin, Name: "web", UID: "uid", Controller: &yes}}, false},
			"not as its controller":           {[]metav1.OwnerReference{{Kind: kind, Name: "web", UID: "uid", Controller: &no}}, false},
			"the placement, not controlling":  {[]metav1.OwnerReference{{Kind: kind, Name: "web", UID: "uid"}}, false},
		} {
			snapshot := ResourceSnapshots.New(key)
			snapshot.SetOwnerReferences(tc.owners)
			if got := OwnedBy(snapshot, placementOf(key)); got != tc.want {
				t.Errorf("%s, owner is %s: %v, want %v", kind, name, got, tc.want)
			}
		}
	}
}

func TestBindingsOfAPlacement(t *testing.T) {
	for _, key := range []types.NamespacedName{wide, narrow} {
		var all []v1beta1.BindingObject
		for _, b := range []struct {
			name, uid  string
			marked, of bool
		}{
			{name: "of the placement", uid: "uid", marked: true, of: true},
			{name: "of an earlier placement", uid: "earlier", marked: true},
			{name: "of an earlier version", of: true},
		} {
			binding := Bindings.New(key)
			binding.SetName(b.name)
			if b.uid != "" {
				binding.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: b.uid})
			}
			if got := Marked(binding); got != b.marked {
				t.Errorf("%T %s is marked: %v, want %v", binding, b.name, got, b.marked)
			}
			if got := Of(binding, placementOf(key)); got != b.of {
				t.Errorf("%T %s is of the placement: %v, want %v", binding, b.name, got, b.of)
			}
			all = append(all, binding)
		}
		var got []string
		for _, b := range OnlyOf(placementOf(key), all) {
			got = append(got, b.GetName())
		}
		if diff := cmp.Diff([]string{"of the placement", "of an earlier version"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
