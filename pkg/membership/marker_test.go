package membership

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestMarkerAdmits(t *testing.T) {
	for name, tc := range map[string]struct {
		marker    Marker
		hub       types.UID
		namespace string
		want      bool
	}{
		"its own agent":                 {Marker{Hub: "h1", Namespace: "fleet-member-a"}, "h1", "fleet-member-a", true},
		"another member of the hub":     {Marker{Hub: "h1", Namespace: "fleet-member-a"}, "h1", "fleet-member-b", false},
		"the same name of another hub":  {Marker{Hub: "h1", Namespace: "fleet-member-a"}, "h2", "fleet-member-a", false},
		"a hub that reports no UID":     {Marker{Hub: "h1", Namespace: "fleet-member-a"}, "", "fleet-member-a", true},
		"a marker from such a hub":      {Marker{Namespace: "fleet-member-a"}, "h1", "fleet-member-a", true},
		"another member of such a hub":  {Marker{Namespace: "fleet-member-a"}, "", "fleet-member-b", false},
		"a marker that names no member": {Marker{Hub: "h1"}, "h1", "fleet-member-a", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := MarkerOf(tc.marker.ConfigMap()).Admits(tc.hub, tc.namespace); got != tc.want {
				t.Errorf("admitted: %v; want %v", got, tc.want)
			}
		})
	}
}
