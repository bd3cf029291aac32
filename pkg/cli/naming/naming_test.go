package naming

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestBothScopes(t *testing.T) {
	for key, want := range map[types.NamespacedName][3]string{
		{Name: "web"}:                    {"web", "ClusterResourcePlacement web", "kubectl fleet rollout status web"},
		{Namespace: "shop", Name: "web"}: {"shop/web", "ResourcePlacement shop/web", "kubectl fleet rollout status web -n shop"},
	} {
		if got := [3]string{Object(key), Placement(key), Command(key.Namespace, "fleet", "rollout", "status", key.Name)}; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPlacementOf(t *testing.T) {
	for _, c := range []struct{ arg, namespace, want, err string }{
		{arg: "web", want: "web"},
		{arg: "web", namespace: "shop", want: "shop/web"},
		{arg: "crp/web", want: "web"},
		{arg: "ClusterResourcePlacement/web", want: "web"},
		{arg: "clusterresourceplacements.placement.kubernetes-fleet.io/web", want: "web"},
		{arg: "crp.v1beta1.placement.kubernetes-fleet.io/web", want: "web"},
		{arg: "rp.v1.placement.kubernetes-fleet.io/web", namespace: "shop", want: "shop/web"},
		{arg: "rp/web", namespace: "shop", want: "shop/web"},
		{arg: "resourceplacement/web", namespace: "shop", want: "shop/web"},
		{arg: "resourceplacements.placement.kubernetes-fleet.io/web", namespace: "shop", want: "shop/web"},
		{arg: "crp/web", namespace: "shop", err: "--namespace shop: a ClusterResourcePlacement has no namespace; leave the flag out, or name rp/web"},
		{arg: "rp/web", err: "a ResourcePlacement needs --namespace"},
		{arg: "deployment/web", err: `kind "deployment" is no kind of placements: use crp/web for a ClusterResourcePlacement`},
		{arg: "crp.apps/web", err: `kind "crp.apps" is no kind of placements`},
		{arg: "crp.v1beta1.apps/web", err: `kind "crp.v1beta1.apps" is no kind of placements`},
		{arg: "crp.v1beta1/web", err: `kind "crp.v1beta1" is no kind of placements`},
		{arg: "crp.v9.placement.kubernetes-fleet.io/web", err: `kind "crp.v9.placement.kubernetes-fleet.io" is no kind of placements`},
		{arg: "crp/", err: `"crp/" does not name a placement: use NAME, crp/NAME or rp/NAME`},
		{arg: "shop/rp/web", namespace: "shop", err: `"shop/rp/web" does not name a placement`},
	} {
		key, err := PlacementOf(c.arg, c.namespace)
		if c.err == "" && (err != nil || Object(key) != c.want) || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
			t.Errorf("%s in %q: %s, error %v; want %s, %s", c.arg, c.namespace, Object(key), err, c.want, c.err)
		}
	}
}
