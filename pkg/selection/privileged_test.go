package selection

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestPrivilegedKinds(t *testing.T) {
	for kind, want := range map[schema.GroupKind]bool{
		{Group: "rbac.authorization.k8s.io", Kind: "Role"}:                            true,
		{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:              true,
		{Group: "authorization.openshift.io", Kind: "RoleBinding"}:                    true,
		{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}: true,
		{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:    true,
		{Group: "apiregistration.k8s.io", Kind: "APIService"}:                         true,
		{Kind: "Secret"}:                       true,
		{Group: "example.com", Kind: "Secret"}: false,
		{Kind: "ServiceAccount"}:               false,
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: false,
	} {
		if got := Privileged(kind); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}

func TestPermittedLeavesOutWhatIsPrivileged(t *testing.T) {
	ref := func(group, kind string) Ref {
		return Ref{Kind: Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}}, Name: "n"}
	}
	namespace, role, config := ref("", "Namespace"), ref("rbac.authorization.k8s.io", "Role"), ref("", "ConfigMap")
	all := Selection{Refs: []Ref{namespace, role, ref("", "Secret"), config}, Unread: []schema.GroupKind{{Kind: "Thing"}}}
	before := append([]Ref(nil), all.Refs...)
	got, held := all.Permitted()
	if want := (Selection{Refs: []Ref{namespace, config}, Unread: all.Unread}); !reflect.DeepEqual(got, want) {
		t.Errorf("kept %+v", got)
	}
	if want := []Ref{role, ref("", "Secret")}; !reflect.DeepEqual(held, want) {
		t.Errorf("left out %+v", held)
	}
	if !reflect.DeepEqual(all.Refs, before) {
		t.Error("the selection itself was changed")
	}
}
