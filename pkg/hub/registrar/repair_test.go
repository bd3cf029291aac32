package registrar

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// The registrar undoes what other clients change or delete in its objects for a member.
func TestDamageIsRepaired(t *testing.T) {
	besideOneAgent(t, time.Hour, map[string]func(*hub, *agent){
		"of the role":                    repairsRole,
		"of the role binding":            repairsRoleBinding,
		"of the internal member cluster": repairsInternalMemberCluster,
		"of the namespace":               repairsNamespace,
	})
}

func (h *hub) awaitRepair(of string, check func() error) {
	h.Helper()
	testworld.Await(h, testworld.Workload, "the repair of "+of, func(context.Context) error { return check() })
}

// checkRole returns an error unless the role of a member has the rules that it must have.
func (h *hub) checkRole(member string) error {
	var role rbacv1.Role
	if err := h.get(&role, contract.MemberNamespace(member), contract.RoleName(member)); err != nil {
		return err
	}
	if diff := cmp.Diff(membership.RoleFor(&v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: member}}, false).Rules, role.Rules); diff != "" {
		return errors.New(diff)
	}
	return nil
}

// checkRoleBinding returns an error unless the role binding of a member gives the member's role to the user alone.
func (h *hub) checkRoleBinding(member, user string) error {
	var binding rbacv1.RoleBinding
	if err := h.get(&binding, contract.MemberNamespace(member), contract.RoleBindingName(member)); err != nil {
		return err
	}
	if len(binding.Subjects) != 1 || binding.Subjects[0].Name != user || binding.RoleRef.Name != contract.RoleName(member) {
		return fmt.Errorf("%+v to %+v", binding.Subjects, binding.RoleRef)
	}
	return nil
}

func repairsRole(h *hub, _ *agent) {
	h.invite("roles")
	check := func() error { return h.checkRole("roles") }
	var role rbacv1.Role
	get := func() { h.Must(h.get(&role, "fleet-member-roles", contract.RoleName("roles"))) }
	get()
	role.Rules[0].APIGroups = []string{"*"}
	h.Must(h.Client.Update(h.Context(), &role))
	h.awaitRepair("a role with too many rights", check)
	h.Must(h.Client.Delete(h.Context(), &role))
	h.awaitRepair("a deleted role", check)
	get()
	role.Labels, role.Rules = nil, nil
	h.Must(h.Client.Update(h.Context(), &role))
	h.awaitRepair("a role without the label by which it is watched", check)
}

func repairsRoleBinding(h *hub, a *agent) {
	h.invite("subjects")
	var cluster v1beta1.MemberCluster
	h.Must(h.get(&cluster, "", "subjects"))
	cluster.Spec.Identity.Name = "new-agent"
	h.Must(h.Client.Update(h.Context(), &cluster))
	check := func() error { return h.checkRoleBinding("subjects", "new-agent") }
	h.awaitRepair("the subject after a change of the identity", check)
	a.events.Await(h, "RoleBindingUpdated")
	binding := &rbacv1.RoleBinding{}
	h.Must(h.get(binding, "fleet-member-subjects", contract.RoleBindingName("subjects")))
	h.Must(h.Client.Delete(h.Context(), binding))
	h.awaitRepair("a deleted role binding", check)
	other := membership.RoleBindingFor(&cluster)
	h.Must(h.Client.Delete(h.Context(), other.DeepCopy()))
	other.RoleRef.Name = "another"
	if err := h.Client.Create(h.Context(), other); err != nil && !apierrors.IsAlreadyExists(err) {
		h.Fatal(err)
	}
	h.awaitRepair("a role binding to another role", check)
}

func repairsInternalMemberCluster(h *hub, _ *agent) {
	h.invite("internals")
	internal := &v1beta1.InternalMemberCluster{}
	get := func() error { return h.get(internal, "fleet-member-internals", "internals") }
	h.Must(get())
	internal.Spec.State = v1beta1.ClusterStateLeave
	h.Must(h.Client.Update(h.Context(), internal))
	h.awaitRepair("a request to leave by another client", func() error {
		if err := get(); err != nil {
			return err
		}
		if internal.Spec.State != v1beta1.ClusterStateJoin {
			return fmt.Errorf("%+v", internal.Spec)
		}
		return nil
	})
	internal.Annotations[contract.AnnotationHubUID] = "of-another-hub"
	h.Must(h.Client.Update(h.Context(), internal))
	h.awaitRepair("the identity of the hub", func() error {
		var system corev1.Namespace
		if err := errors.Join(get(), h.get(&system, "", "kube-system")); err != nil {
			return err
		}
		if got := internal.Annotations[contract.AnnotationHubUID]; got != string(system.UID) {
			return fmt.Errorf("%q, want %q", got, system.UID)
		}
		return nil
	})
	h.Must(h.Client.Delete(h.Context(), internal))
	h.awaitRepair("a deleted internal member cluster", get)
}

// A deleted namespace comes back with all objects, although it had a Work that its member could no longer reach.
func repairsNamespace(h *hub, _ *agent) {
	h.invite("places")
	var namespace corev1.Namespace
	get := func() error { return h.get(&namespace, "", "fleet-member-places") }
	h.Must(get())
	h.work("places")
	was := namespace.UID
	h.Must(h.Client.Delete(h.Context(), &namespace))
	h.awaitRepair("a deleted namespace", func() error {
		if err := get(); err != nil {
			return err
		}
		if namespace.UID == was {
			return errors.New("it is still there")
		}
		return errors.Join(h.checkRole("places"), h.checkRoleBinding("places", "agent-of-places"),
			h.get(&v1beta1.InternalMemberCluster{}, namespace.Name, "places"))
	})
	h.await("places", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
	h.Must(get())
	namespace.Labels = nil
	h.Must(h.Client.Update(h.Context(), &namespace))
	h.awaitRepair("a namespace without its label", func() error {
		if err := get(); err != nil {
			return err
		}
		if namespace.Labels[contract.LabelFleetResource] != "true" {
			return fmt.Errorf("%v", namespace.Labels)
		}
		return nil
	})
}
