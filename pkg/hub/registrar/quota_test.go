package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// serveExports makes the hub serve one of the kinds of fleet networking.
func (h *hub) serveExports() {
	h.Helper()
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "internalserviceexports." + membership.NetworkingGroup},
		"spec": map[string]any{
			"group": membership.NetworkingGroup, "scope": "Namespaced",
			"names": map[string]any{"plural": "internalserviceexports", "singular": "internalserviceexport", "kind": "InternalServiceExport"},
			"versions": []any{map[string]any{
				"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	h.Must(h.Client.Create(h.Context(), crd))
}

func export(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": membership.NetworkingGroup + "/v1alpha1", "kind": "InternalServiceExport",
		"metadata": map[string]any{"namespace": namespace, "name": name},
	}}
}

// quotaOf is the quota of a member as it must be, and what differs from that.
func (h *hub) quotaOf(member string) (*corev1.ResourceQuota, error) {
	quota := &corev1.ResourceQuota{}
	if err := h.get(quota, contract.MemberNamespace(member), contract.QuotaName(member)); err != nil {
		return quota, err
	}
	want := membership.QuotaFor(&v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: member}})
	if !equality.Semantic.DeepEqual(quota.Spec, want.Spec) || len(quota.OwnerReferences) != 1 || quota.Labels[contract.LabelFleetResource] != "true" {
		return quota, fmt.Errorf("labels %v, owners %v, spec: %s", quota.Labels, quota.OwnerReferences, cmp.Diff(want.Spec, quota.Spec))
	}
	return quota, nil
}

func (h *hub) awaitQuota(member, what string) *corev1.ResourceQuota {
	h.Helper()
	var quota *corev1.ResourceQuota
	testworld.Await(h, testworld.Workload, what, func(context.Context) (err error) {
		quota, err = h.quotaOf(member)
		return err
	})
	return quota
}

// changeQuota changes the quota of a member. Kubernetes writes its status meanwhile.
func (h *hub) changeQuota(member string, change func(*corev1.ResourceQuota)) {
	h.Helper()
	testworld.Await(h, testworld.Soon, "a change of the quota of "+member, func(ctx context.Context) error {
		quota := &corev1.ResourceQuota{}
		if err := h.get(quota, contract.MemberNamespace(member), contract.QuotaName(member)); err != nil {
			return err
		}
		change(quota)
		return h.Client.Update(ctx, quota)
	})
}

// The counts of what a member may create are bounded, by the names that Kubernetes counts under.
func TestQuotaBoundsWhatAMemberCreates(t *testing.T) {
	h := onHub(t)
	a := h.startAgent(time.Hour)
	h.invite("counted")
	early := h.awaitQuota("counted", "its quota")
	testworld.Await(t, testworld.Long, "Kubernetes to take up the quota", func(context.Context) error {
		if err := h.get(early, early.Namespace, early.Name); err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(early.Spec.Hard, early.Status.Hard) {
			return fmt.Errorf("its status is %v", early.Status)
		}
		return nil
	})
	h.serveExports()
	testworld.Await(t, testworld.Long, "a kind that is served later to be counted", func(ctx context.Context) error {
		return h.Client.Create(ctx, export(early.Namespace, "early"))
	})
	h.Must(h.Client.Delete(t.Context(), export(early.Namespace, "early")))
	if now := h.awaitQuota("counted", "its quota"); now.UID != early.UID {
		t.Error("the quota was deleted and created again; without it the member has no bounds")
	}
	h.changeQuota("counted", func(quota *corev1.ResourceQuota) {
		quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}
	})
	h.awaitQuota("counted", "a quota of others' making to be restored")
	h.changeQuota("counted", func(quota *corev1.ResourceQuota) { quota.Labels, quota.Spec.Hard = nil, nil })
	quota := h.awaitQuota("counted", "a quota that is out of sight to be restored")
	h.Must(h.Client.Delete(t.Context(), quota))
	quota = h.awaitQuota("counted", "a quota that is gone to be made again")
	h.Must(h.Client.Delete(t.Context(), quota))
	scoped := membership.QuotaFor(&v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "counted"}})
	scoped.OwnerReferences, scoped.Spec.Scopes = nil, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}
	scoped.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}
	if err := h.Client.Create(t.Context(), scoped); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	h.awaitQuota("counted", "a quota that cannot be changed to be replaced")

	a.Stop()
	h.changeQuota("counted", func(quota *corev1.ResourceQuota) {
		for name := range quota.Spec.Hard {
			quota.Spec.Hard[name] = resource.MustParse("2")
		}
	})
	testworld.Await(t, testworld.Long, "Kubernetes to take up the changed quota", func(context.Context) error {
		if err := h.get(quota, contract.MemberNamespace("counted"), contract.QuotaName("counted")); err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(quota.Spec.Hard, quota.Status.Hard) {
			return fmt.Errorf("its status is %v", quota.Status)
		}
		return nil
	})
	names, namespace, tries := []string{"a", "b"}, contract.MemberNamespace("counted"), 2
	testworld.Await(t, testworld.Long, "Kubernetes to count", func(ctx context.Context) error {
		for len(names) > 0 {
			if err := h.Client.Create(ctx, export(namespace, names[0])); err != nil {
				// Kubernetes learns of a new kind within half a minute, and counts it for a quota whose bounds change,
				// or five minutes later.
				tries++
				other := fmt.Appendf(nil, `{"spec":{"hard":{"count/endpointsliceimports.%s":"%d"}}}`, membership.NetworkingGroup, tries)
				return errors.Join(err, h.Client.Patch(ctx, quota, client.RawPatch(types.MergePatchType, other)))
			}
			names = names[1:]
		}
		return nil
	})
	testworld.Await(t, testworld.Workload, "one more than the quota has to be refused", func(ctx context.Context) error {
		err := h.Client.Create(ctx, export(namespace, "c"))
		if err == nil { // Kubernetes' controller counts behindhand, and may have written an older count
			return errors.Join(errors.New("it was created"), h.Client.Delete(ctx, export(namespace, "c")))
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
			return err
		}
		return nil
	})
}

// A kind is served if its CRD is established and has a served version.
func TestServes(t *testing.T) {
	crd := func(established string, served ...bool) *unstructured.Unstructured {
		var versions []any
		for _, is := range served {
			versions = append(versions, map[string]any{"served": is})
		}
		return &unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"versions": versions},
			"status": map[string]any{"conditions": []any{
				map[string]any{"type": "NamesAccepted", "status": "True"}, map[string]any{"type": "Established", "status": established},
			}},
		}}
	}
	for name, c := range map[string]struct {
		crd  *unstructured.Unstructured
		want bool
	}{
		"served":             {crd("True", true), true},
		"one version of two": {crd("True", false, true), true},
		"not established":    {crd("False", true), false},
		"no served version":  {crd("True", false), false},
		"new":                {&unstructured.Unstructured{Object: map[string]any{}}, false},
	} {
		if got := serves(c.crd); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Access rights of an older chart have no quotas: clusters join without one, and the hub's admin learns of it once.
func TestJoinsWithoutTheRightToQuotas(t *testing.T) {
	h := onHub(t)
	const user = "hub-agent-of-older-rights"
	all, read, write := []string{"*"}, []string{"get", "list", "watch"}, []string{"create", "update", "patch", "delete"}
	h.Must(h.Client.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: all, Resources: all, Verbs: read},
		{APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: all, Verbs: write},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: write},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: append([]string{"bind", "escalate"}, write...)},
	}}))
	h.Must(h.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}))
	agent := h.as(user)
	testworld.Await(t, testworld.Soon, "the hub to know of the rights", func(ctx context.Context) error {
		return agent.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &corev1.Namespace{})
	})
	cfg := rest.CopyConfig(h.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	a := h.startAgentAs(cfg, time.Hour)
	h.invite("unbounded")
	h.beat("unbounded", metav1.ConditionTrue, time.Now())
	h.await("unbounded", v1beta1.ConditionJoined, metav1.ConditionTrue)
	refusals := func() int {
		n := 0
		for _, e := range a.events.All() {
			if about, ok := e.About.(*v1beta1.MemberCluster); ok && about.Name == "unbounded" && e.Reason == "ResourceQuotaRefused" {
				n++
			}
		}
		return n
	}
	tries := 0
	for _, write := range a.All() {
		if strings.HasSuffix(write, "/namespaces/fleet-member-unbounded/resourcequotas") {
			tries++
		}
	}
	if told := refusals(); told != 1 || tries != 1 {
		t.Errorf("it tried %d times and recorded %d events; want one of each", tries, told)
	}
	if _, err := h.quotaOf("unbounded"); !apierrors.IsNotFound(err) {
		t.Error(errors.Join(errors.New("the refused quota is there"), err))
	}
}
