package apply

import (
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/health"
)

func TestAvailable(t *testing.T) {
	rules, err := health.NewRules()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		object string
		want   Finding
	}{
		"available": {"{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}", Finding{v1beta1.ReasonManifestAvailable, "Available"}},
		"not yet": {
			"{apiVersion: v1, kind: Service, metadata: {name: s}}",
			Finding{v1beta1.ReasonManifestNotAvailableYet, "It has no cluster address yet"},
		},
		"not tracked": {
			"{apiVersion: example.test/v1, kind: Widget, metadata: {name: w}}",
			Finding{v1beta1.ReasonManifestNotTrackable, "Applied; availability of this kind is not tracked"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Available(object(t, tc.object), rules); got != tc.want {
				t.Errorf("%+v; want %+v", got, tc.want)
			}
		})
	}
}
