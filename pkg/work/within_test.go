package work

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// What a namespaced placement places is of its namespace, whatever its snapshots and envelopes hold.
func TestWithin(t *testing.T) {
	errUnknown := errors.New("the kinds are not known yet")
	scopes := func(kind schema.GroupKind) (bool, error) {
		if kind.Group == "unknown.example.com" {
			return false, errUnknown
		}
		return kind.Kind == "ClusterRoleBinding" || kind.Kind == "Namespace", nil
	}
	admin := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"evil"}}`
	system := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"evil","namespace":"kube-system"}}`
	for name, tc := range map[string]struct {
		object string
		wrong  string
	}{
		"of the namespace":                 {configMap("a"), ""},
		"of a kind that the hub lacks":     {`{"apiVersion":"x.example.com/v1","kind":"Gadget","metadata":{"name":"g","namespace":"shop"}}`, ""},
		"in an envelope of the namespace":  {resourceEnvelope("shop", "e", configMap("a")), ""},
		"cluster-scoped":                   {admin, "ClusterRoleBinding evil is cluster-scoped, and ResourcePlacement shop/web places objects of namespace shop only"},
		"cluster-scoped, with a namespace": {strings.Replace(admin, `{"name"`, `{"namespace":"shop","name"`, 1), "ClusterRoleBinding shop/evil is cluster-scoped"},
		"the namespace itself":             {`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`, "Namespace shop is cluster-scoped"},
		"in no namespace":                  {`{"apiVersion":"x.example.com/v1","kind":"Gadget","metadata":{"name":"g"}}`, "Gadget g has no namespace"},
		"in another namespace":             {system, "ConfigMap kube-system/evil is in another namespace"},
		"in a namespace by one reading":    {strings.Replace(configMap("a"), `"metadata":{`, `"metadata":{"nameſpace":"kube-system",`, 1), "cannot be read: the field"},
		"what is no object":                {`[]`, "cannot be read"},
		"in a cluster-wide envelope":       {envelopeOf("ClusterResourceEnvelope", "", "e", admin), "ClusterRoleBinding evil is cluster-scoped"},
		"in another namespace's envelope":  {resourceEnvelope("kube-system", "e", system), "is in another namespace"},
		"of a kind that is not known yet":  {`{"apiVersion":"unknown.example.com/v1","kind":"Gadget","metadata":{"name":"g","namespace":"shop"}}`, errUnknown.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			o, wide := order(), order()
			o.Placement.Namespace, o.Binding.Namespace = "shop", "shop"
			older := o
			older.Content.ResourceSnapshotName = contract.MasterSnapshotName("web", 2)
			wanted := wantedOf(t, o, "3", raw(tc.object), raw(configMap("b")))
			for what, seen := range map[string][]*v1beta1.Work{"create": nil, "update": stored(wantedOf(t, older, "2", nil, nil))} {
				changes, err := Compare(wanted, seen, nil)
				if err != nil {
					t.Fatal(err)
				}
				err = changes.Within(o, scopes)
				if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
					t.Errorf("%s: %v; want %q", what, err, tc.wrong)
				}
				if stray := new(StrayError); errors.As(err, &stray) == errors.Is(err, errUnknown) && err != nil {
					t.Errorf("%s: %T is not told from what is not known yet", what, err)
				}
				if err := changes.Within(wide, scopes); err != nil {
					t.Errorf("%s, cluster-wide: %v", what, err)
				}
			}
		})
	}
}
