package charts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/charts"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Those who try the policies. Except for the agent and the garbage collector, RBAC gives them more than they should
// have, so that a policy decides.
const (
	agentUser     = "system:serviceaccount:fleet-system:hub-agent-sa"
	collectorUser = "system:serviceaccount:kube-system:generic-garbage-collector"
	// caseUser is the tenant of the cases: every verb on three kinds of its namespace.
	caseUser = "system:serviceaccount:rg-tenant:mallory"
	// rogueUser may do anything with the fleet's groups, everywhere.
	rogueUser = "rogue"
	// memberUser has that in a member's namespace.
	memberUser = "member"
	// tenantUser has the chart's role in its namespace, trustedUser also the role to place privileged objects,
	// keeperUser the one for Secrets.
	tenantUser, trustedUser, keeperUser = "tenant", "trusted", "keeper"
	// releaserUser is a tenant with the verb to release removals.
	releaserUser = "releaser"
	// operatorUser has the chart's role, repairerUser also the verb to write what the agent writes.
	operatorUser, repairerUser = "operator", "repairer"
	adminUser                  = "admin"
)

const (
	tenantNamespace = "rg-tenant"
	memberNamespace = "fleet-member-m1"
)

// hubWithPolicies is a hub on which Helm has installed the chart. No agent runs.
type hubWithPolicies struct {
	*testworld.Cluster
}

func installHub(t *testing.T) hubWithPolicies {
	t.Helper()
	hub := hubWithPolicies{testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub"})}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &hub.Kubeconfig
	helm := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := helm.Init(flags, contract.NamespaceSystem, "secret"); err != nil {
		t.Fatal(err)
	}
	chart, err := charts.Load(charts.HubAgent)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(helm)
	install.ReleaseName, install.Namespace, install.CreateNamespace = charts.HubAgent, contract.NamespaceSystem, true
	install.WaitStrategy = kube.HookOnlyStrategy
	install.DisableOpenAPIValidation = true
	if _, err := install.RunWithContext(t.Context(), chart, map[string]any{"replicaCount": 0}); err != nil {
		t.Fatalf("install the chart: %v", err)
	}
	hub.people(t)
	hub.awaitPolicies(t)
	testworld.Await(t, testworld.Soon, "the rights that were granted last", func(ctx context.Context) error {
		event := memberEvent("probe")
		event.Namespace, event.InvolvedObject.Namespace = tenantNamespace, tenantNamespace
		return errors.Join(hub.as(t, adminUser).List(ctx, &corev1.SecretList{}), hub.as(t, tenantUser).Create(ctx, event, client.DryRunAll))
	})
	return hub
}

// people makes the namespaces and grants each user its rights.
func (h hubWithPolicies) people(t *testing.T) {
	t.Helper()
	every := []string{"*"}
	groups := []string{"placement.kubernetes-fleet.io", "cluster.kubernetes-fleet.io"}
	role := func(name string, groups, resources, verbs []string) client.Object {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules: []rbacv1.PolicyRule{{APIGroups: groups, Resources: resources, Verbs: verbs}}}
	}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenantNamespace}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: memberNamespace}},
		role("case", groups[:1], []string{"resourceplacements", "resourceenvelopes", "resourceoverrides"}, every),
		role("rogue", groups, every, every),
		role("repair", groups, []string{"works", "resourcebindings"}, []string{"manage-internals"}),
		role("write", groups, []string{"works", "resourcebindings"}, []string{"create", "get", "update", "patch", "delete"}),
		grant("rogue", rogueUser, ""), grant("rogue", memberUser, memberNamespace), grant("case", caseUser, tenantNamespace),
		grant("hub-agent-tenant", tenantUser, tenantNamespace), grant("hub-agent-tenant", trustedUser, tenantNamespace),
		grant("hub-agent-place-privileged", trustedUser, tenantNamespace),
		grant("hub-agent-tenant", keeperUser, tenantNamespace), grant("hub-agent-place-secrets", keeperUser, tenantNamespace),
		grant("hub-agent-tenant", releaserUser, tenantNamespace), grant("hub-agent-release-removal", releaserUser, tenantNamespace),
		grant("hub-agent-operator", operatorUser, ""), grant("write", repairerUser, ""), grant("repair", repairerUser, ""),
		grant("cluster-admin", adminUser, ""),
		role("record", []string{"", "events.k8s.io"}, []string{"events"}, []string{"create", "patch"}),
		grant("record", memberUser, memberNamespace), grant("record", tenantUser, memberNamespace), grant("record", tenantUser, tenantNamespace),
	}
	for _, o := range objects {
		if err := h.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// grant binds a role to a user, in a namespace or, with none, everywhere.
func grant(role, user, namespace string) client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: role + "-" + strings.ReplaceAll(user, ":", "-")}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	if namespace == "" {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	}
	return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
}

// as is a client with the rights of user.
func (h hubWithPolicies) as(t *testing.T, user string) client.Client {
	t.Helper()
	config := rest.CopyConfig(h.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: apis.Scheme(), Mapper: h.Client.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitPolicies returns when the API server has taken each policy up, which it does a little after they are stored.
func (h hubWithPolicies) awaitPolicies(t *testing.T) {
	t.Helper()
	rogue := h.as(t, rogueUser)
	for policy, object := range map[string]client.Object{
		"internals": testWork("probe"), "privileged-placements": placementOf("probe", "rbac.authorization.k8s.io", "Role"),
		"privileged-overrides": overrideOf("probe", "rbac.authorization.k8s.io", "Role"), "privileged-envelopes": envelopeOf("probe", role("probe")),
		"removals": releasing(placementOf("probe", "", "ConfigMap"), "digest"),
	} {
		testworld.Await(t, testworld.Soon, "policy "+policy, func(ctx context.Context) error {
			return refusedBy(policy, rogue.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll))
		})
	}
	testworld.Await(t, testworld.Soon, "policy member-events", func(ctx context.Context) error {
		return refusedBy("member-events", h.as(t, memberUser).Create(ctx, memberEvent("probe"), client.DryRunAll))
	})
	testworld.Await(t, testworld.Soon, "the policy that marks placements", func(ctx context.Context) error {
		placement := wide("probe")
		if err := h.as(t, operatorUser).Create(ctx, placement, client.DryRunAll); err != nil {
			return err
		}
		return authoredBy(placement, contract.AuthorRestricted)
	})
}

// refusedBy is an error unless err is the refusal of a policy.
func refusedBy(policy string, err error) error {
	if err == nil {
		return errors.New("is allowed")
	}
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "'hub-agent-"+policy+"'") || strings.Contains(err.Error(), "expression") {
		return fmt.Errorf("policy %s does not decide: %w", policy, err)
	}
	return nil
}

func authoredBy(o client.Object, want string) error {
	if got := o.GetAnnotations()[contract.AnnotationAuthor]; got != want {
		return fmt.Errorf("annotation %s is %q, want %q", contract.AnnotationAuthor, got, want)
	}
	return nil
}

func allowed(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func refused(t *testing.T, what, policy string, err error) {
	t.Helper()
	if err := refusedBy(policy, err); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func inTenant(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: tenantNamespace, Name: name}
}

func placementOf(name, group, kind string) *v1beta1.ResourcePlacement {
	return &v1beta1.ResourcePlacement{ObjectMeta: inTenant(name), Spec: v1beta1.PlacementSpec{
		ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Group: group, Version: "v1", Kind: kind, Name: "any"}},
	}}
}

// wide takes a whole namespace.
func wide(name string) *v1beta1.ClusterResourcePlacement {
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.PlacementSpec{
		ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "shop"}},
	}}
}

func narrow(name string) *v1beta1.ClusterResourcePlacement {
	placement := wide(name)
	placement.Spec.ResourceSelectors[0].SelectionScope = v1beta1.SelectionScopeNamespaceOnly
	return placement
}

func overridePolicy() *v1beta1.OverridePolicy {
	return &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{
		ClusterSelector:    &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{}},
		JSONPatchOverrides: []v1beta1.JSONPatchOverride{{Operator: v1beta1.JSONPatchRemove, Path: "/metadata/labels/x"}},
	}}}
}

func overrideOf(name, group, kind string) *v1beta1.ResourceOverride {
	return &v1beta1.ResourceOverride{ObjectMeta: inTenant(name), Spec: v1beta1.ResourceOverrideSpec{
		ResourceSelectors: []v1beta1.ResourceSelector{{Group: group, Version: "v1", Kind: kind, Name: "any"}},
		Policy:            overridePolicy(),
	}}
}

func clusterOverrideOf(name, group, kind string) *v1beta1.ClusterResourceOverride {
	return &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Group: group, Version: "v1", Kind: kind, Name: "any"}},
		Policy:                   overridePolicy(),
	}}
}

func envelopeOf(name string, manifests ...string) *v1beta1.ResourceEnvelope {
	envelope := &v1beta1.ResourceEnvelope{ObjectMeta: inTenant(name), Data: map[string]runtime.RawExtension{}}
	for i, manifest := range manifests {
		envelope.Data[fmt.Sprint("m", i)] = runtime.RawExtension{Raw: []byte(manifest)}
	}
	return envelope
}

func role(name string) string {
	return `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"namespace":"rg-tenant","name":"` + name + `"}}`
}

func secret(name string) string {
	return `{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"rg-tenant","name":"` + name + `"}}`
}

// config is a ConfigMap of about size bytes.
func config(name string, size int) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"rg-tenant","name":"` + name + `"},"data":{"k":"` + strings.Repeat("v", size) + `"}}`
}

func testWork(name string) *v1beta1.Work {
	return &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: memberNamespace, Name: name, Labels: map[string]string{"a": "b"}},
		Spec: v1beta1.WorkSpec{Workload: v1beta1.WorkloadTemplate{Manifests: []v1beta1.Manifest{
			{RawExtension: runtime.RawExtension{Raw: []byte(config("c", 10))}},
		}}}}
}

// merge sends a JSON merge patch.
func merge(t *testing.T, c client.Client, o client.Object, patch any, options ...client.PatchOption) error {
	t.Helper()
	body, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	return c.Patch(t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, body), options...)
}

type fields = map[string]any

func TestAdmissionPolicies(t *testing.T) {
	hub := installHub(t)
	t.Run("internals", hub.internals)
	t.Run("a member's part of its Works", hub.membersPart)
	t.Run("a user's part of snapshots", hub.usersPart)
	t.Run("tenant-override-raises-role", hub.overrideRaisesRole)
	t.Run("privileged objects by name", hub.privileged)
	t.Run("by edits", hub.edits)
	t.Run("whole namespaces", hub.wholeNamespaces)
	t.Run("removals", hub.removals)
	t.Run("sizes", hub.sizes)
	t.Run("events of members", hub.memberEvents)
	t.Run("managed fields", hub.managedFields)
	t.Run("roles", hub.roles)
}

// Each kind that the agent writes is written by it, by cluster-admins and by holders of the verb, and deleted by the
// garbage collector.
func (h hubWithPolicies) internals(t *testing.T) {
	binding := v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateScheduled, TargetCluster: "m1",
		ClusterDecision: v1beta1.ClusterDecision{ClusterName: "m1", Selected: true, Reason: "picked"}}
	overridden := v1beta1.ResourceOverrideSnapshotSpec{OverrideHash: []byte("x"), OverrideSpec: overrideOf("", "apps", "Deployment").Spec}
	clusterOverridden := v1beta1.ClusterResourceOverrideSnapshotSpec{OverrideHash: []byte("x"), OverrideSpec: clusterOverrideOf("", "apps", "Deployment").Spec}
	wide := metav1.ObjectMeta{Name: "internal"}
	inMember := metav1.ObjectMeta{Namespace: memberNamespace, Name: "internal"}
	selected := v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{Raw: []byte(config("c", 10))}}}}
	policy := v1beta1.SchedulingPolicySnapshotSpec{PolicyHash: []byte("x")}
	for _, object := range []client.Object{
		&v1beta1.ClusterResourceBinding{ObjectMeta: wide, Spec: binding},
		&v1beta1.ResourceBinding{ObjectMeta: inTenant("internal"), Spec: binding},
		&v1beta1.ClusterResourceSnapshot{ObjectMeta: wide, Spec: selected},
		&v1beta1.ResourceSnapshot{ObjectMeta: inTenant("internal"), Spec: selected},
		&v1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: wide, Spec: policy},
		&v1beta1.SchedulingPolicySnapshot{ObjectMeta: inTenant("internal"), Spec: policy},
		&v1beta1.ClusterResourceOverrideSnapshot{ObjectMeta: wide, Spec: clusterOverridden},
		&v1beta1.ResourceOverrideSnapshot{ObjectMeta: inTenant("internal"), Spec: overridden},
		testWork("internal"),
		&clusterv1beta1.InternalMemberCluster{ObjectMeta: inMember,
			Spec: clusterv1beta1.InternalMemberClusterSpec{State: clusterv1beta1.ClusterStateJoin, HeartbeatPeriodSeconds: 60}},
	} {
		what := fmt.Sprintf("%T", object)
		create := func(user string) error {
			return h.as(t, user).Create(t.Context(), object.DeepCopyObject().(client.Object))
		}
		touch := fields{"metadata": fields{"labels": fields{"kubernetes-fleet.io/touched": "yes"}}}
		users := []string{rogueUser}
		if object.GetNamespace() == memberNamespace {
			users = append(users, memberUser)
		}
		for _, user := range users {
			refused(t, user+" creates "+what, "internals", create(user))
		}
		allowed(t, "the agent creates "+what, create(agentUser))
		for _, user := range users {
			refused(t, user+" changes "+what, "internals", merge(t, h.as(t, user), object, touch))
			refused(t, user+" deletes "+what, "internals", h.as(t, user).Delete(t.Context(), object))
		}
		allowed(t, "the agent changes "+what, merge(t, h.as(t, agentUser), object, touch))
		allowed(t, "a cluster-admin changes "+what, merge(t, h.as(t, adminUser), object, fields{"metadata": fields{"labels": nil}}))
		allowed(t, "the garbage collector deletes "+what, h.as(t, collectorUser).Delete(t.Context(), object))
	}
	forged := &v1beta1.ResourceBinding{ObjectMeta: inTenant("forged"), Spec: binding}
	allowed(t, "a holder of the verb creates", h.as(t, repairerUser).Create(t.Context(), forged.DeepCopy()))
	refused(t, "a status of a binding", "internals", h.as(t, rogueUser).Status().Patch(t.Context(), forged.DeepCopy(),
		client.RawPatch(types.MergePatchType, []byte(`{"status":{"conditions":[]}}`))))
	allowed(t, "a holder of the verb deletes", h.as(t, repairerUser).Delete(t.Context(), forged.DeepCopy()))
}

// A user who may patch snapshots may have a rollout tried again, and change nothing else of them.
func (h hubWithPolicies) usersPart(t *testing.T) {
	snapshot := &v1beta1.ClusterResourceSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: "course", Annotations: map[string]string{contract.AnnotationRolloutCourse: "{}", contract.AnnotationResourceHash: "x"}},
		Spec:       v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{}},
	}
	if err := h.as(t, agentUser).Create(t.Context(), snapshot.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	operator := h.as(t, operatorUser)
	annotate := func(key string, value any) fields {
		return fields{"metadata": fields{"annotations": fields{key: value}}}
	}
	for _, value := range []any{`{"again":1}`, nil, "{}"} {
		allowed(t, "the rollout's course", merge(t, operator, snapshot, annotate(contract.AnnotationRolloutCourse, value)))
	}
	for what, patch := range map[string]fields{
		"another annotation": annotate(contract.AnnotationResourceHash, "y"), "an annotation less": annotate(contract.AnnotationResourceHash, nil),
		"an annotation more": annotate("a", "b"), "a finalizer": {"metadata": fields{"finalizers": []string{"example.com/mine"}}},
		"a label": {"metadata": fields{"labels": fields{"a": "b"}}},
		"content": {"spec": fields{"selectedResources": []any{fields{"apiVersion": "v1", "kind": "Secret"}}}},
	} {
		refused(t, what, "internals", merge(t, operator, snapshot, patch))
	}
}

func (h hubWithPolicies) membersPart(t *testing.T) {
	work, member := testWork("part"), h.as(t, memberUser)
	if err := h.as(t, agentUser).Create(t.Context(), work.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	finalizers := func(list ...string) any { return fields{"metadata": fields{"finalizers": list}} }
	refused(t, "adds a finalizer of another name", "internals", merge(t, member, work, finalizers("example.com/mine")))
	allowed(t, "adds its finalizer", merge(t, member, work, finalizers(contract.FinalizerWork)))
	allowed(t, "an admin adds a finalizer", merge(t, h.as(t, adminUser), work, finalizers(contract.FinalizerWork, "example.com/admins")))
	refused(t, "removes another's finalizer", "internals", merge(t, member, work, finalizers(contract.FinalizerWork)))
	allowed(t, "removes its finalizer", merge(t, member, work, finalizers("example.com/admins")))
	for what, patch := range map[string]fields{
		"a label":     {"metadata": fields{"labels": fields{contract.LabelPlacement: "other"}}},
		"new labels":  {"metadata": fields{"labels": fields{"placement.kubernetes-fleet.io/new": "x"}}},
		"annotations": {"metadata": fields{"annotations": fields{"a": "c"}}},
		"owners":      {"metadata": fields{"ownerReferences": []any{fields{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}}}},
		"spec":        {"spec": fields{"workload": fields{"manifests": []any{}}}},
	} {
		refused(t, "changes "+what, "internals", merge(t, member, work, patch))
	}
	allowed(t, "sets a label of its own", merge(t, member, work, fields{"metadata": fields{"labels": fields{"a": "c", "member.example/b": "d"}}}))
	allowed(t, "removes a label of its own", merge(t, member, work, fields{"metadata": fields{"labels": fields{"member.example/b": nil}}}))
	allowed(t, "an admin sets a label of the fleet", merge(t, h.as(t, adminUser), work, fields{"metadata": fields{"labels": fields{contract.LabelPlacement: "p"}}}))
	refused(t, "removes a label of the fleet", "internals", merge(t, member, work, fields{"metadata": fields{"labels": fields{contract.LabelPlacement: nil}}}))
	report := client.RawPatch(types.MergePatchType, []byte(`{"status":{"conditions":[]}}`))
	allowed(t, "writes the status", member.Status().Patch(t.Context(), work.DeepCopy(), report))
	refused(t, "deletes a Work", "internals", member.Delete(t.Context(), work.DeepCopy()))
	refused(t, "deletes them all", "internals", member.DeleteAllOf(t.Context(), &v1beta1.Work{}, client.InNamespace(memberNamespace)))
	allowed(t, "an admin lets it go", merge(t, h.as(t, adminUser), work, finalizers()))
	allowed(t, "an admin deletes it", h.as(t, adminUser).Delete(t.Context(), work.DeepCopy()))
}

// The case's own input: a Role that the tenant could not have made, by an override of one that it may place.
func (h hubWithPolicies) overrideRaisesRole(t *testing.T) {
	tenant := h.as(t, caseUser)
	refused(t, "the override", "privileged-overrides", tenant.Create(t.Context(), parse(t, `
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceOverride
metadata: {name: rg-ro, namespace: rg-tenant}
spec:
  resourceSelectors: [{group: rbac.authorization.k8s.io, version: v1, kind: Role, name: rg-weak}]
  policy: {overrideRules: [{clusterSelector: {clusterSelectorTerms: []}, jsonPatchOverrides: [
    {op: replace, path: /rules, value: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]}]}]}
`)))
	refused(t, "the placement", "privileged-placements", tenant.Create(t.Context(), parse(t, `
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: rg-rp2, namespace: rg-tenant}
spec:
  resourceSelectors: [{group: rbac.authorization.k8s.io, version: v1, kind: Role, name: rg-weak}]
  policy: {placementType: PickAll}
`)))
	refused(t, "an override that leaves the Role out", "privileged-overrides", tenant.Create(t.Context(), parse(t, `
apiVersion: placement.kubernetes-fleet.io/v1alpha1
kind: ResourceOverride
metadata: {name: rg-ro, namespace: rg-tenant}
spec:
  resourceSelectors: [{group: rbac.authorization.k8s.io, version: v1, kind: Role, name: rg-weak}]
  policy: {overrideRules: [{clusterSelector: {clusterSelectorTerms: []}, overrideType: Delete}]}
`)))
}

func (h hubWithPolicies) privileged(t *testing.T) {
	const rbac = "rbac.authorization.k8s.io"
	clusterPlacement := func(group, kind string) client.Object {
		return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "by-name"},
			Spec: placementOf("", group, kind).Spec}
	}
	clusterEnvelope := func(manifest string) client.Object {
		return &v1beta1.ClusterResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Name: "by-name"},
			Data: map[string]runtime.RawExtension{"a": {Raw: []byte(manifest)}}}
	}
	webhook := `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","metadata":{"name":"w"}}`
	namespaced := []string{caseUser, tenantUser}
	wide := []string{operatorUser}
	for _, c := range []struct {
		what, policy string
		object       client.Object
		no, yes      []string
	}{
		{"a placement of Roles", "privileged-placements", placementOf("x", rbac, "Role"), append(namespaced, keeperUser), []string{trustedUser, adminUser}},
		{"a placement of Secrets", "privileged-placements", placementOf("x", "", "Secret"), namespaced, []string{trustedUser, keeperUser, adminUser}},
		{"a placement of ConfigMaps", "", placementOf("x", "", "ConfigMap"), nil, []string{caseUser, tenantUser, adminUser}},
		{"a custom kind called Secret", "", placementOf("x", "example.com", "Secret"), nil, []string{tenantUser}},
		{"an override of Roles", "privileged-overrides", overrideOf("x", rbac, "Role"), append(namespaced, keeperUser), []string{trustedUser, adminUser}},
		{"an override of Secrets", "privileged-overrides", overrideOf("x", "", "Secret"), namespaced, []string{trustedUser, keeperUser, adminUser}},
		{"an override of Deployments", "", overrideOf("x", "apps", "Deployment"), nil, []string{caseUser, tenantUser}},
		{"an envelope of Roles", "privileged-envelopes", envelopeOf("x", config("c", 10), role("r")), append(namespaced, keeperUser), []string{trustedUser, adminUser}},
		{"an envelope of Secrets", "privileged-envelopes", envelopeOf("x", secret("s"), config("c", 10)), namespaced, []string{trustedUser, keeperUser, adminUser}},
		{"an envelope of ConfigMaps", "", envelopeOf("x", config("c", 10)), nil, []string{caseUser, tenantUser}},
		{"an envelope of what is no object", "", envelopeOf("x", `{"apiVersion":7,"kind":["Secret"]}`), nil, []string{tenantUser}},
		{"a cluster-wide placement of ClusterRoles", "privileged-placements", clusterPlacement(rbac, "ClusterRole"), wide, []string{adminUser}},
		{"a cluster-wide placement of webhooks", "privileged-placements",
			clusterPlacement("admissionregistration.k8s.io", "MutatingWebhookConfiguration"), wide, []string{adminUser}},
		{"a cluster-wide placement of APIServices", "privileged-placements", clusterPlacement("apiregistration.k8s.io", "APIService"), wide, []string{adminUser}},
		{"a cluster-wide placement of definitions", "", clusterPlacement("apiextensions.k8s.io", "CustomResourceDefinition"), nil, wide},
		{"a cluster-wide override of ClusterRoles", "privileged-overrides", clusterOverrideOf("x", rbac, "ClusterRole"), wide, []string{adminUser}},
		{"a cluster-wide override of namespaces", "privileged-overrides", clusterOverrideOf("x", "", "Namespace"), wide, []string{adminUser}},
		{"a cluster-wide envelope of webhooks", "privileged-envelopes", clusterEnvelope(webhook), wide, []string{adminUser}},
	} {
		for _, user := range c.no {
			err := h.as(t, user).Create(t.Context(), c.object.DeepCopyObject().(client.Object), client.DryRunAll)
			refused(t, user+" makes "+c.what, c.policy, err)
			if err != nil && !strings.Contains(err.Error(), "place-privileged") {
				t.Errorf("%s: the message does not name the verb: %v", c.what, err)
			}
		}
		for _, user := range c.yes {
			allowed(t, user+" makes "+c.what, h.as(t, user).Create(t.Context(), c.object.DeepCopyObject().(client.Object), client.DryRunAll))
		}
	}
}

// An edit is its author's if it changes the spec; what does not is anybody's.
func (h hubWithPolicies) edits(t *testing.T) {
	label := fields{"metadata": fields{"labels": fields{"touched": "yes"}}}
	for _, c := range []struct {
		policy string
		object client.Object
		change fields
	}{
		{"privileged-placements", placementOf("edited", "rbac.authorization.k8s.io", "Role"), fields{"spec": fields{"revisionHistoryLimit": 3}}},
		{"privileged-overrides", overrideOf("edited", "", "Secret"), fields{"spec": fields{"policy": fields{"overrideRules": []any{
			fields{"clusterSelector": fields{"clusterSelectorTerms": []any{}}, "overrideType": "Delete"}}}}}},
		{"privileged-envelopes", envelopeOf("edited", role("r"), secret("s")), fields{"data": fields{"more": fields{"apiVersion": "v1", "kind": "ConfigMap"}}}},
	} {
		if err := h.as(t, trustedUser).Create(t.Context(), c.object.DeepCopyObject().(client.Object)); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%T", c.object)
		tenant := h.as(t, tenantUser)
		allowed(t, "label of "+what, merge(t, tenant, c.object, label))
		refused(t, "change of "+what, c.policy, merge(t, tenant, c.object, c.change))
		allowed(t, "change of "+what+" by who may", merge(t, h.as(t, trustedUser), c.object, c.change))
		allowed(t, "finalizer of "+what, merge(t, h.as(t, adminUser), c.object, fields{"metadata": fields{"finalizers": []string{}}}))
		allowed(t, "deletion of "+what, tenant.Delete(t.Context(), c.object))
	}
	plain := placementOf("plain", "", "ConfigMap")
	allowed(t, "a plain placement", h.as(t, tenantUser).Create(t.Context(), plain.DeepCopy()))
	refused(t, "a plain placement made to take Roles", "privileged-placements", merge(t, h.as(t, tenantUser), plain,
		fields{"spec": fields{"resourceSelectors": []any{fields{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role"}}}}))
}

// releasing is a placement with the annotation that lets a held removal through.
func releasing[O client.Object](o O, digests string) O {
	o.SetAnnotations(map[string]string{contract.AnnotationReleaseRemoval: digests})
	return o
}

// Only who has the verb lets a held removal through. Others may leave the annotation as it is, or remove it.
func (h hubWithPolicies) removals(t *testing.T) {
	tenants := placementOf("held", "", "ConfigMap")
	wide := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "held"}, Spec: placementOf("", "apps", "Deployment").Spec}
	allowed(t, "a tenant's placement", h.as(t, tenantUser).Create(t.Context(), tenants.DeepCopy()))
	allowed(t, "an operator's placement", h.as(t, operatorUser).Create(t.Context(), wide.DeepCopy()))
	annotate := func(value any) fields {
		return fields{"metadata": fields{"annotations": fields{contract.AnnotationReleaseRemoval: value}}}
	}
	limit := fields{"spec": fields{"strategy": fields{"removal": fields{"max": "20%"}}}}
	for _, user := range []string{tenantUser, trustedUser, caseUser, rogueUser} {
		refused(t, user+" releases", "removals", merge(t, h.as(t, user), tenants, annotate("digest")))
		refused(t, user+" makes a placement that releases", "removals", h.as(t, user).Create(t.Context(), releasing(placementOf("x", "", "ConfigMap"), "digest"), client.DryRunAll))
	}
	refused(t, "a user with every verb of the fleet", "removals", merge(t, h.as(t, rogueUser), wide, annotate("digest")))
	for i, user := range []string{releaserUser, operatorUser, adminUser} {
		allowed(t, user+" releases", merge(t, h.as(t, user), tenants, annotate(fmt.Sprintf("digest-%d", i))))
	}
	allowed(t, "an operator releases", merge(t, h.as(t, operatorUser), wide, annotate("digest")))
	tenant := h.as(t, tenantUser)
	allowed(t, "a tenant changes a released placement", merge(t, tenant, tenants, limit))
	refused(t, "a tenant adds a digest", "removals", merge(t, tenant, tenants, annotate("digest-2,another")))
	allowed(t, "a tenant takes the release back", merge(t, tenant, tenants, annotate(nil)))
	allowed(t, "the deletion", errors.Join(tenant.Delete(t.Context(), tenants), h.as(t, operatorUser).Delete(t.Context(), wide)))
}

// The API server marks placements of whole namespaces by authors without the verb, and holds the mark.
func (h hubWithPolicies) wholeNamespaces(t *testing.T) {
	operator, admin := h.as(t, operatorUser), h.as(t, adminUser)
	unmark := fields{"metadata": fields{"annotations": fields{contract.AnnotationAuthor: nil}}}
	mark := fields{"metadata": fields{"annotations": fields{contract.AnnotationAuthor: contract.AuthorRestricted}}}
	author := func(name, want string) {
		t.Helper()
		var placement v1beta1.ClusterResourcePlacement
		allowed(t, "get", h.Client.Get(t.Context(), types.NamespacedName{Name: name}, &placement))
		allowed(t, name, authoredBy(&placement, want))
	}

	allowed(t, "an operator's", operator.Create(t.Context(), wide("operators")))
	author("operators", contract.AuthorRestricted)
	_ = merge(t, operator, wide("operators"), unmark)
	author("operators", contract.AuthorRestricted)
	allowed(t, "an admin removes the mark", merge(t, admin, wide("operators"), unmark))
	author("operators", "")

	allowed(t, "an admin's", admin.Create(t.Context(), wide("admins")))
	author("admins", "")
	allowed(t, "a label of it", merge(t, operator, wide("admins"), fields{"metadata": fields{"labels": fields{"a": "b"}}}))
	author("admins", "")
	change := fields{"spec": fields{"revisionHistoryLimit": 3}}
	refused(t, "an operator's edit of it", "privileged-placements", merge(t, operator, wide("admins"), change))
	allowed(t, "the mark by the operator's own hand", merge(t, operator, wide("admins"), mark))
	allowed(t, "then the edit", merge(t, operator, wide("admins"), change))

	allowed(t, "a narrow one", operator.Create(t.Context(), narrow("grows")))
	author("grows", "")
	allowed(t, "becomes wide", merge(t, operator, wide("grows"), fields{"spec": fields{"resourceSelectors": wide("").Spec.ResourceSelectors}}))
	author("grows", contract.AuthorRestricted)
	allowed(t, "the agent's finalizer", merge(t, h.as(t, agentUser), wide("grows"), fields{"metadata": fields{"finalizers": []string{contract.FinalizerPlacement}}}))
	allowed(t, "and without", merge(t, h.as(t, agentUser), wide("grows"), fields{"metadata": fields{"finalizers": []string{}}}))
}

// The largest objects that the schemas and etcd take do not exhaust what CEL may spend, and the last of many is looked
// at, too. An entry of managed fields that ends in null is stored one level deeper than it was sent, which the API
// server may not be able to read.
func (h hubWithPolicies) managedFields(t *testing.T) {
	entry := func(levels int, leaf string) string {
		return `[{"manager":"x","operation":"Update","apiVersion":"placement.kubernetes-fleet.io/v1beta1","fieldsType":"FieldsV1","fieldsV1":` +
			strings.Repeat(`{"f:a":`, levels) + leaf + strings.Repeat("}", levels) + "}]"
	}
	tenant := h.as(t, tenantUser)
	placement := placementOf("managed", "", "ConfigMap")
	allowed(t, "a placement", tenant.Create(t.Context(), placement.DeepCopy()))
	work := testWork("managed")
	if err := h.as(t, agentUser).Create(t.Context(), work.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		levels int
		leaf   string
	}{{30, "{}"}, {9_990, "{}"}, {9_996, "null"}} {
		for who, change := range map[string]func(patch client.Patch) error{
			"a tenant": func(patch client.Patch) error { return tenant.Patch(t.Context(), placement.DeepCopy(), patch) },
			"a member": func(patch client.Patch) error { return h.as(t, memberUser).Patch(t.Context(), work.DeepCopy(), patch) },
		} {
			patch := `[{"op":"add","path":"/metadata/managedFields","value":` + entry(tc.levels, tc.leaf) + `}]`
			what := fmt.Sprintf("%s sends %d levels of managed fields", who, tc.levels)
			refused(t, what, "managed-fields", change(client.RawPatch(types.JSONPatchType, []byte(patch))))
		}
	}
	allowed(t, "a tenant clears them", tenant.Patch(t.Context(), placement.DeepCopy(),
		client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/managedFields","value":[{}]}]`))))
	if err := h.as(t, adminUser).List(t.Context(), &v1beta1.WorkList{}); err != nil {
		t.Error(err)
	}
}

func (h hubWithPolicies) sizes(t *testing.T) {
	const selectors, manifests = 100, 50
	many := placementOf("many", "", "ConfigMap")
	for len(many.Spec.ResourceSelectors) < selectors {
		term := v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "ConfigMap", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{}}}
		for i := range 20 {
			term.LabelSelector.MatchLabels[fmt.Sprintf("example.com/%d-%d", len(many.Spec.ResourceSelectors), i)] = "value"
		}
		many.Spec.ResourceSelectors = append(many.Spec.ResourceSelectors, term)
	}
	tenant := h.as(t, tenantUser)
	allowed(t, "a placement with 100 selectors", tenant.Create(t.Context(), many.DeepCopy()))
	allowed(t, "its label", merge(t, tenant, many, fields{"metadata": fields{"labels": fields{"a": "b"}}}))
	last := many.DeepCopy()
	last.Name = "last"
	last.Spec.ResourceSelectors[selectors-1] = v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Secret"}
	refused(t, "with a Secret as the last", "privileged-placements", tenant.Create(t.Context(), last.DeepCopy()))
	allowed(t, "the same by who may", h.as(t, trustedUser).Create(t.Context(), last.DeepCopy()))
	allowed(t, "its label by who may not", merge(t, tenant, last, fields{"metadata": fields{"labels": fields{"a": "b"}}}))

	var big []string
	for i := range manifests {
		big = append(big, config(fmt.Sprint("c", i), 20<<10))
	}
	allowed(t, "an envelope of a megabyte", tenant.Create(t.Context(), envelopeOf("big", big...)))
	big[manifests-1] = role("r")
	refused(t, "with a Role as the last", "privileged-envelopes", tenant.Create(t.Context(), envelopeOf("role", big...)))
	allowed(t, "the same by who may", h.as(t, trustedUser).Create(t.Context(), envelopeOf("role", big...)))
	allowed(t, "its label by who may not", merge(t, tenant, envelopeOf("role"), fields{"metadata": fields{"labels": fields{"a": "b"}}}))
	// Many small values cost more than few large ones.
	crowded := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":[` + strings.TrimSuffix(strings.Repeat(`{"verbs":["get"]},`, 200), ",") + `]}`
	for i := range big {
		big[i] = crowded
	}
	allowed(t, "a crowded envelope by who may", h.as(t, trustedUser).Create(t.Context(), envelopeOf("crowded", big...)))
	allowed(t, "its label by who may not", merge(t, tenant, envelopeOf("crowded"), fields{"metadata": fields{"labels": fields{"a": "b"}}}))

	work := testWork("big")
	for range manifests {
		work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(crowded)}})
	}
	allowed(t, "a Work of a megabyte", h.as(t, agentUser).Create(t.Context(), work.DeepCopy()))
	allowed(t, "its finalizer", merge(t, h.as(t, memberUser), work, fields{"metadata": fields{"finalizers": []string{contract.FinalizerWork}}}))
	allowed(t, "and without", merge(t, h.as(t, memberUser), work, fields{"metadata": fields{"finalizers": []string{}}}))
}

// A member fills the hub with no events: it has a few names for them, and each is small.
func (h hubWithPolicies) memberEvents(t *testing.T) {
	const member = "m1"
	as := h.as(t, memberUser)
	own := memberEvent("m1.17a3b4c5d6e7f809")
	own.Message = strings.Repeat("long ", 1000)
	own = membership.EventFor(member, own)
	allowed(t, "an event as the agent writes it", as.Create(t.Context(), own))
	allowed(t, "a change of it", merge(t, as, own, fields{"count": 2, "message": "short"}))
	for what, patch := range map[string]fields{
		"a large message":     {"message": strings.Repeat("a", 1025)},
		"a large reason":      {"reason": strings.Repeat("a", 257)},
		"a large host":        {"source": fields{"host": strings.Repeat("ü", 129)}},
		"a large field path":  {"involvedObject": fields{"fieldPath": strings.Repeat("a", 257)}},
		"another object":      {"related": fields{"name": strings.Repeat("a", 100_000)}},
		"a label":             {"metadata": fields{"labels": fields{"a": "b"}}},
		"an annotation":       {"metadata": fields{"annotations": fields{"a": "b"}}},
		"a finalizer":         {"metadata": fields{"finalizers": []string{"rogue.example/stay"}}},
		"an owner":            {"metadata": fields{"ownerReferences": []fields{{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}}}},
		"a long generateName": {"metadata": fields{"generateName": strings.Repeat("a", 200)}},
	} {
		refused(t, what+", by a patch", "member-events", merge(t, as, own, patch))
	}
	for _, name := range []string{"m1.17a3b4c5d6e7f809", "m1.zz", "m1.000", "m1.0", "m10.00", "m2.00", "x"} {
		refused(t, "the name "+name, "member-events", as.Create(t.Context(), memberEvent(name)))
	}
	generated := memberEvent("")
	generated.GenerateName = "m1."
	refused(t, "a name of the API server's making", "member-events", as.Create(t.Context(), generated))
	newer := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: memberNamespace, Name: "m1.aa"}, EventTime: metav1.NowMicro(), Type: "Normal", Reason: "R", Action: "A",
		ReportingController: "example.com/rogue", ReportingInstance: "x", Regarding: memberEvent("").InvolvedObject,
	}
	allowed(t, "an event of events.k8s.io", as.Create(t.Context(), newer.DeepCopy()))
	newer.Name = "x"
	refused(t, "the name x in events.k8s.io", "member-events", as.Create(t.Context(), newer))

	for _, user := range []string{adminUser, agentUser, tenantUser} {
		event := memberEvent("of-" + strings.ReplaceAll(user, ":", "-"))
		event.Annotations = map[string]string{"a": "b"}
		allowed(t, "events of "+user, h.as(t, user).Create(t.Context(), event))
	}
}

func memberEvent(name string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: memberNamespace, Name: name},
		InvolvedObject: corev1.ObjectReference{APIVersion: "cluster.kubernetes-fleet.io/v1beta1", Kind: "InternalMemberCluster", Namespace: memberNamespace, Name: "m1"},
		Type:           corev1.EventTypeNormal, Reason: "R", Message: "m", Count: 1, Source: corev1.EventSource{Component: "test"},
	}
}

// A tenant's role places objects, and neither reads nor writes what the agent makes of them.
func (h hubWithPolicies) roles(t *testing.T) {
	tenant := h.as(t, tenantUser)
	for _, list := range []client.ObjectList{&v1beta1.ResourcePlacementList{}, &v1beta1.ResourceBindingList{}, &v1beta1.ApprovalRequestList{}} {
		allowed(t, fmt.Sprintf("list %T", list), tenant.List(t.Context(), list, client.InNamespace(tenantNamespace)))
	}
	for _, list := range []client.ObjectList{&v1beta1.ResourceSnapshotList{}, &v1beta1.WorkList{}} {
		if err := tenant.List(t.Context(), list, client.InNamespace(tenantNamespace)); !apierrors.IsForbidden(err) {
			t.Errorf("list %T: %v", list, err)
		}
	}
	if err := tenant.List(t.Context(), &v1beta1.ResourcePlacementList{}); !apierrors.IsForbidden(err) {
		t.Errorf("lists placements of all namespaces: %v", err)
	}
	if err := tenant.Create(t.Context(), &v1beta1.ResourceBinding{ObjectMeta: inTenant("x")}); !apierrors.IsForbidden(err) {
		t.Errorf("creates a binding: %v", err)
	}
	allowed(t, "grant", h.Client.Create(t.Context(), grant("view", "viewer", tenantNamespace)))
	viewer := h.as(t, "viewer")
	testworld.Await(t, testworld.Soon, "the role view to gather the chart's", func(ctx context.Context) error {
		return viewer.List(ctx, &v1beta1.ResourcePlacementList{}, client.InNamespace(tenantNamespace))
	})
	for _, list := range []client.ObjectList{&v1beta1.ResourceEnvelopeList{}, &v1beta1.ResourceSnapshotList{}, &v1beta1.ResourceOverrideList{}} {
		if err := viewer.List(t.Context(), list, client.InNamespace(tenantNamespace)); !apierrors.IsForbidden(err) {
			t.Errorf("view lists %T: %v", list, err)
		}
	}
	if err := viewer.Create(t.Context(), placementOf("x", "", "ConfigMap")); !apierrors.IsForbidden(err) {
		t.Errorf("view creates a placement: %v", err)
	}
}
