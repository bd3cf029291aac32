package naming

import (
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
