package e2e

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// contents are the names of what a scenario places, and the builders of such objects.
type contents struct {
	// app is the namespace that is placed, and name the placement.
	app, name string
	// namespaced is whether the placement is a ResourcePlacement of cm, instead of a ClusterResourcePlacement of app and
	// its objects.
	namespaced bool
}

// all is what the scenario's placement selects.
func (s contents) all() []v1beta1.ResourceIdentifier {
	if s.namespaced {
		return []v1beta1.ResourceIdentifier{s.selected("ConfigMap", "cm")}
	}
	return []v1beta1.ResourceIdentifier{s.selectedNamespace(), s.selected("ConfigMap", "cm")}
}

// selected is an object of a core kind in the scenario's namespace, as a status names it.
func (s contents) selected(kind, name string) v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Version: "v1", Kind: kind, Namespace: s.app, Name: name}
}

func (s contents) selectedNamespace() v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Version: "v1", Kind: "Namespace", Name: s.app}
}
