package property

import (
	"fmt"
	"maps"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func TestOwnerOfANamespace(t *testing.T) {
	owner := func(version, kind, name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name}
	}
	for name, tc := range map[string]struct {
		owners []metav1.OwnerReference
		want   string
	}{
		"a namespace of the cluster's own": {nil, ""},
		"one that was placed":              {[]metav1.OwnerReference{owner("placement.kubernetes-fleet.io/v1beta1", "AppliedWork", "w")}, "w"},
		"the first of two counts": {[]metav1.OwnerReference{owner("v1", "ConfigMap", "c"), owner("placement.kubernetes-fleet.io/v1beta1", "AppliedWork", "w"),
			owner("placement.kubernetes-fleet.io/v1", "AppliedWork", "x")}, "w"},
		"another group's kind of that name": {[]metav1.OwnerReference{owner("example.com/v1beta1", "AppliedWork", "w")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := spaceOf(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{OwnerReferences: tc.owners}}).owner; got != tc.want {
				t.Errorf("owner %q; want %q", got, tc.want)
			}
		})
	}
}

// namespace is a space that is as old as its number is low.
func namespace(n int, owner string, going bool) *space {
	s := &space{owner: owner, going: going}
	s.Name = fmt.Sprintf("ns-%d", n)
	s.CreationTimestamp = metav1.NewTime(time.Date(2031, 1, 1, 0, n, 0, 0, time.UTC))
	return s
}

func TestNamespacesAreLimited(t *testing.T) {
	s := spaces{}
	for n := range 5 {
		if !s.move(nil, namespace(n, "", false)) {
			t.Errorf("namespace %d makes no difference", n)
		}
	}
	names, left := s.names(3)
	if want := map[string]string{"ns-0": "", "ns-1": "", "ns-2": ""}; !maps.Equal(names, want) || left != 2 {
		t.Errorf("of five the list is %v and %d are left out; want %v and 2", names, left, want)
	}
	if !s.move(namespace(1, "", false), namespace(1, "", true)) {
		t.Error("the end of a namespace makes no difference")
	}
	names, left = s.names(3)
	if want := map[string]string{"ns-0": "", "ns-2": "", "ns-3": ""}; !maps.Equal(names, want) || left != 1 {
		t.Errorf("when one ends the list is %v and %d are left out; want %v and 1: the next comes in at once", names, left, want)
	}
	if s.move(namespace(1, "", true), nil) {
		t.Error("a namespace ended twice")
	}
	if !s.move(namespace(0, "", false), namespace(0, "w", false)) || s.move(namespace(0, "w", false), namespace(0, "w", false)) {
		t.Error("a change of the owner makes a difference, and nothing else does")
	}
}

// Whatever comes and goes, the list is that of the oldest that are there.
func TestNamespacesAreThoseThatAreThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kept, there := spaces{}, map[int]*space{}
		t.Repeat(map[string]func(*rapid.T){
			"is": func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "namespace")
				is := namespace(n, rapid.SampledFrom([]string{"", "w"}).Draw(t, "owner"), rapid.Bool().Draw(t, "going"))
				kept.move(there[n], is)
				there[n] = is
			},
			"goes": func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "namespace")
				if there[n] != nil {
					kept.move(there[n], nil)
					delete(there, n)
				}
			},
			"": func(t *rapid.T) {
				const most = 4
				want, extra := map[string]string{}, 0
				for n := range 10 {
					if there[n] == nil || there[n].going {
						continue
					}
					if len(want) == most {
						extra++
						continue
					}
					want[there[n].Name] = there[n].owner
				}
				if names, left := kept.names(most); !maps.Equal(names, want) || left != extra {
					t.Fatalf("the list is %v and %d are left out; want %v and %d", names, left, want, extra)
				}
			},
		})
	})
}
