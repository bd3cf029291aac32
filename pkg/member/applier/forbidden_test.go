package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestForbiddenKindsAreReportedWithTheirRule(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	lacks := apierrors.NewForbidden(deployments, "web", errors.New(`User "a" cannot patch resource "deployments" in API group "apps" in the namespace "app"`))
	for name, tc := range map[string]struct {
		err  error
		kind schema.GroupKind
		want []string
		not  string
	}{
		"a lack of access": {lacks, schema.GroupKind{Group: "apps", Kind: "Deployment"},
			[]string{`cannot patch resource "deployments"`, `{apiGroups: ["apps"], resources: ["deployments"], verbs: [get, list`}, ""},
		"one that was wrapped": {fmt.Errorf("patch: %w", lacks), schema.GroupKind{Group: "apps", Kind: "Deployment"}, []string{"rbac.placeable"}, ""},
		"a lack of access to Secrets": {
			apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "s", errors.New(`User "a" cannot create resource "secrets" in API group "" in the namespace "app"`)),
			schema.GroupKind{Kind: "Secret"}, []string{`{apiGroups: [""], resources: ["secrets"]`}, "User"},
		"a Role that grants more than the agent has": {
			apierrors.NewForbidden(schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, "r",
				errors.New(`user "a" is attempting to grant RBAC permissions not currently held: {APIGroups:["x"]}`)),
			schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"}, []string{"not currently held", "rbac.escalate"}, "rbac.placeable"},
		"a quota": {apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "p", errors.New("exceeded quota: few")),
			schema.GroupKind{Kind: "Pod"}, []string{"exceeded quota"}, "rbac"},
	} {
		t.Run(name, func(t *testing.T) {
			got := explain(tc.err, tc.kind)
			for _, part := range tc.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q lacks %q", got, part)
				}
			}
			if tc.not != "" && strings.Contains(got, tc.not) {
				t.Errorf("%q has %q", got, tc.not)
			}
		})
	}
}
