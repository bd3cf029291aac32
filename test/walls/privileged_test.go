package walls

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// refusedByPolicy fails the test unless err is the refusal of an admission policy of the hub's chart.
func refusedByPolicy(t *testing.T, what, policy string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'hub-agent-"+policy+"'") {
		t.Errorf("%s: got %v; want it refused by policy %s", what, err, policy)
	}
}

func mergePatch(t *testing.T, who actor, obj client.Object, format string, args ...any) error {
	t.Helper()
	return who.Patch(t.Context(), obj.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...)))
}

// The neighbour of tenant-override-raises-role: the Role is placed, by the administrator. The tenant neither overrides
// it nor makes the administrator's placement its own by an edit.
func TestTenantOverridesAPlacedRole(t *testing.T) {
	t.Parallel()
	placed := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: theTenant.namespace, Name: "rg-placed"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}},
	}
	create(t, theHub, placed.DeepCopy())
	attack := renamed(input(t, "tenant-override-raises-role"), "rg-weak", "rg-placed", "rg-ro", "rg-ro-placed", "rg-rp2", "rg-rp-placed")
	placement := objects(t, attack)[1]
	create(t, theHub, placement)
	holds := func(ctx context.Context, m member) error {
		var role rbacv1.Role
		if err := m.Get(ctx, client.ObjectKeyFromObject(placed), &role); err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(role.Rules, placed.Rules) {
			return fmt.Errorf("the role grants %v", role.Rules)
		}
		return nil
	}
	for _, m := range members {
		testworld.Await(t, testworld.Soon, "the administrator's placement to reach "+m.name, func(ctx context.Context) error { return holds(ctx, m) })
	}
	refusedByPolicy(t, "an override of the Role", "privileged-overrides", theTenant.Create(t.Context(), objects(t, attack)[0]))
	refusedByPolicy(t, "an edit of the placement", "privileged-placements",
		mergePatch(t, theTenant.actor, placement, `{"spec":{"revisionHistoryLimit":3}}`))
	arrives(t, "rg-after-placed")
	for _, m := range members {
		if err := holds(t.Context(), m); err != nil {
			t.Errorf("on %s: %v", m.name, err)
		}
	}
}

// Who may place whole namespaces, and no privileged objects, places the rest of them. The placement names what is left
// out.
func TestPrivilegedObjectsOfANamespaceStay(t *testing.T) {
	t.Parallel()
	const name = "rg-operated"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: name}}
	create(t, theHub, account)
	create(t, theHub, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "hub-agent-operator"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	})
	token, err := tokenOf(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := withToken("operator", token)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "r"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "s"}}
	create(t, theHub, testworld.Namespace(name))
	create(t, theHub, testworld.ConfigMap(name, "placed"))
	create(t, theHub, role.DeepCopy())
	create(t, theHub, secret.DeepCopy())
	placement := testworld.ClusterPlacement(name, name, testworld.PickFixed(m1.cluster))
	placement.Finalizers = nil
	testworld.Await(t, testworld.Soon, "the operator's rights", func(ctx context.Context) error {
		return operator.List(ctx, &v1beta1.ClusterResourcePlacementList{})
	})
	create(t, operator, placement)
	testworld.AwaitPresent(t, m1, m1.name, testworld.ConfigMap(name, ""))
	testworld.Await(t, testworld.Soon, "the placement to name what is left out", func(ctx context.Context) error {
		var now v1beta1.ClusterResourcePlacement
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(placement), &now); err != nil {
			return err
		}
		c := meta.FindStatusCondition(now.Status.Conditions, now.ConditionType(v1beta1.ConditionResourcesPermitted))
		if c == nil || !strings.Contains(c.Message, "Role "+name+"/r") || !strings.Contains(c.Message, "Secret "+name+"/s") {
			return fmt.Errorf("conditions %+v", now.Status.Conditions)
		}
		return nil
	})
	// The operator may take the mark off only in name.
	if err := mergePatch(t, operator, placement, `{"metadata":{"annotations":{%q:null}}}`, contract.AnnotationAuthor); err != nil {
		refusedByPolicy(t, "the mark", "privileged-placements", err)
	}
	arrives(t, "rg-after-operated")
	absent(t, role.DeepCopy(), m1.actor)
	absent(t, secret.DeepCopy(), m1.actor)
}
