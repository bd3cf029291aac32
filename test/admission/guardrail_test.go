package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const clusters = "cluster.kubernetes-fleet.io/v1beta1"

// cluster is a MemberCluster with annotations in YAML.
func cluster(name, annotations string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: MemberCluster, metadata: {name: %s, annotations: %s}, "+
		"spec: {identity: {apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}}}", clusters, name, annotations, identityName))
}

// ofFleet makes a MemberCluster one of a managed fleet.
const ofFleet = `{fleet.azure.com/cluster-resource-id: one}`

// fleetCluster is a MemberCluster of a managed fleet, upstreamCluster one that is not.
func fleetCluster(t *testing.T) *unstructured.Unstructured {
	return joined(t, cluster("fleet-cluster", ofFleet))
}

func upstreamCluster(t *testing.T) *unstructured.Unstructured {
	return joined(t, cluster("upstream-cluster", `{}`))
}

// joined creates a MemberCluster unless it is there, and waits until the agent has given it a namespace.
func joined(t *testing.T, mc *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	testworld.Await(t, testworld.Soon, "the namespace of "+mc.GetName(), func(ctx context.Context) error {
		if err := master.Get(ctx, client.ObjectKeyFromObject(mc), mc.DeepCopy()); client.IgnoreNotFound(err) != nil {
			return err
		} else if err != nil {
			return master.Create(ctx, mc.DeepCopy())
		}
		internal := internal(mc)
		return master.Get(ctx, client.ObjectKeyFromObject(internal), internal.DeepCopy())
	})
	return mc
}

func namespaceOf(mc *unstructured.Unstructured) string { return "fleet-member-" + mc.GetName() }

func internal(mc *unstructured.Unstructured) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: InternalMemberCluster, metadata: {namespace: %s, name: %s}, spec: {state: Join}}",
		clusters, namespaceOf(mc), mc.GetName()))
}

// named is an object that is nothing but its name.
func named(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {namespace: %s, name: %s}}", apiVersion, kind, namespace, name))
}

func work(namespace, name string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: Work, metadata: {namespace: %s, name: %s}, spec: {workload: {manifests: []}}}", placements, namespace, name))
}

func pod(namespace, name string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: %s}, "+
		"spec: {automountServiceAccountToken: false, containers: [{name: c, image: none.example/none}]}}", namespace, name))
}

func replicaSet(namespace, name string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: apps/v1, kind: ReplicaSet, metadata: {namespace: %s, name: %s}, spec: {replicas: 0, selector: {matchLabels: {a: b}}, "+
		"template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: none.example/none}]}}}}", namespace, name))
}

const networking = "networking.fleet.azure.com/v1alpha1"

// networkingKinds makes stand-ins of the kinds of fleet networking, which another project defines, and waits until the
// namespace of a member takes them.
func networkingKinds(t *testing.T, member string) {
	t.Helper()
	for _, kind := range []string{"InternalServiceExport", "InternalServiceImport", "EndpointSliceExport"} {
		singular := strings.ToLower(kind)
		given(t, object(fmt.Sprintf(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition,
			metadata: {name: %[1]ss.networking.fleet.azure.com},
			spec: {group: networking.fleet.azure.com, scope: Namespaced, names: {kind: %[2]s, plural: %[1]ss, singular: %[1]s, listKind: %[2]sList},
				versions: [{name: v1alpha1, served: true, storage: true,
					schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`, singular, kind)))
		probe := named(networking, kind, contract.MemberNamespace(member), "probe")
		testworld.Await(t, testworld.Long, kind+" in the namespace of "+member, func(ctx context.Context) error {
			if err := counted(ctx, member, corev1.ResourceName("count/"+singular+"s.networking.fleet.azure.com")); err != nil {
				return err
			}
			return all(creates(probe), deletes(probe))(ctx, master, false)
		})
	}
}

// counted is nil when the quota of a member counts a kind. It deletes the quota if it was counted before the hub's
// controller of quotas knew the kind. Such a quota keeps objects of the kind out for minutes; the agent makes it
// again, and what is new is counted at once.
func counted(ctx context.Context, member string, count corev1.ResourceName) error {
	quota := &corev1.ResourceQuota{}
	err := master.Get(ctx, types.NamespacedName{Namespace: contract.MemberNamespace(member), Name: contract.QuotaName(member)}, quota)
	if err != nil {
		return err
	}
	_, bounded := quota.Status.Hard[count]
	if _, known := quota.Status.Used[count]; known {
		return nil
	}
	err = fmt.Errorf("the quota does not count %s", count)
	if bounded {
		err = errors.Join(err, master.Delete(ctx, quota))
	}
	return err
}

// standard is the text of a denial.
func standard(who actor, operation, kind, subresource, namespace, name string) string {
	return fmt.Sprintf("user: '%s' in 'groups: [system:authenticated]' is not allowed to %s resource %s/%s: %s/%s",
		who.name, operation, kind, subresource, namespace, name)
}

// row is a request, and the text of its refusal; empty if it is allowed.
type row struct {
	name string
	who  actor
	what write
	says string
}

func play(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if r.says == "" {
				allowed(t, r.who, r.what)
				return
			}
			refused(t, r.who, r.what, r.says)
		})
	}
}

// annotated is a merge patch of an annotation. A nil value removes it.
func annotated(key string, value any) string {
	if value == nil {
		return fmt.Sprintf(`{"metadata": {"annotations": {%q: null}}}`, key)
	}
	return fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, key, value)
}

const (
	usage         = `{"status": {"resourceUsage": {"observationTime": "2024-01-01T00:00:00Z"}}}`
	tainted       = `{"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}}`
	labelsOfUsers = `{"metadata": {"labels": {"a": "b"}}}`
)

func TestGuardRailOfFleetClusters(t *testing.T) {
	const kind, lastGone = "cluster.kubernetes-fleet.io/v1beta1, Kind=MemberCluster",
		"no user is allowed to remove all fleet pre-fixed annotations from a fleet member cluster"
	mc := fleetCluster(t)
	deny := func(operation string) string { return standard(user, operation, kind, "", "", mc.GetName()) }
	play(t, []row{
		{"contract:252 a user creates one", user, creates(cluster("fleet-new", ofFleet)), standard(user, "CREATE", kind, "", "", "fleet-new")},
		{"contract:253 a user changes its annotation", user, patches(mc, annotated("fleet.azure.com/cluster-resource-id", "two")), deny("UPDATE")},
		{"contract:253 a user removes its annotation", user, patches(mc, annotated("fleet.azure.com/cluster-resource-id", nil)), lastGone},
		{"contract:254 a master removes its annotation", master, patches(mc, annotated("fleet.azure.com/cluster-resource-id", nil)), lastGone},
		{"contract:255 a user deletes it", user, deletes(mc), deny("DELETE")},
		{"contract:256 a user changes labels", user, patches(mc, labelsOfUsers), ""},
		{"contract:257 a user adds an annotation", user, patches(mc, annotated("example.com/a", "b")), ""},
		{"contract:258 a master changes its annotation", master, patches(mc, annotated("fleet.azure.com/cluster-resource-id", "three")), ""},
		{"contract:259 a master adds an annotation of the fleet and removes it", master, all(
			patches(mc, annotated("fleet.azure.com/location", "here")), patches(mc, annotated("fleet.azure.com/location", nil))), ""},
		{"contract:260 a user adds a taint", user, patches(mc, tainted), ""},
		{"contract:261 a master changes the status", master, patchesStatus(mc, usage), ""},
		{"a user changes the status", user, patchesStatus(mc, usage), standard(user, "UPDATE", kind, "status", "", mc.GetName())},
		{"a user changes the spec", user, patches(mc, `{"spec": {"heartbeatPeriodSeconds": 31}}`), deny("UPDATE")},
	})
}

func TestGuardRailOfUpstreamClusters(t *testing.T) {
	const kind, first = "cluster.kubernetes-fleet.io/v1beta1, Kind=MemberCluster",
		"no user is allowed to add a fleet pre-fixed annotation to an upstream member cluster"
	mc, another := upstreamCluster(t), cluster("upstream-new", `{}`)
	play(t, []row{
		{"contract:262 a user creates and deletes one", user, all(creates(another), deletes(another)), ""},
		{"contract:263 a user makes it one of a fleet", user, patches(mc, annotated("fleet.azure.com/location", "here")), first},
		{"contract:264 a master makes it one of a fleet", master, patches(mc, annotated("fleet.azure.com/location", "here")), first},
		{"contract:265 a user changes the status", user, patchesStatus(mc, usage), standard(user, "UPDATE", kind, "status", "", mc.GetName())},
		{"contract:266 a user adds an annotation", user, patches(mc, annotated("example.com/a", "b")), ""},
		{"contract:267 a user adds a taint", user, patches(mc, tainted), ""},
		{"contract:268 a master changes the spec", master, patches(mc, `{"spec": {"heartbeatPeriodSeconds": 31}}`), ""},
		{"contract:269 a user changes the spec", user, patches(mc, `{"spec": {"heartbeatPeriodSeconds": 32}}`), ""},
		{"contract:270 a master changes the status", master, patchesStatus(mc, usage), ""},
	})
}

func TestGuardRailOfMembersNamespaces(t *testing.T) {
	mc := fleetCluster(t)
	namespace := namespaceOf(mc)
	networkingKinds(t, mc.GetName())
	imc, theWork := internal(mc), given(t, work(namespace, "theirs"))
	export := given(t, named(networking, "InternalServiceExport", namespace, "theirs"))
	newExport := named(networking, "InternalServiceExport", namespace, "new")
	newImport := named(networking, "InternalServiceImport", namespace, "new")
	newSlice := named(networking, "EndpointSliceExport", namespace, "new")
	newInternal := internal(mc)
	newInternal.SetName("new")
	deny := func(operation, kind, subresource, name string) string {
		return standard(user, operation, kind, subresource, namespace, name)
	}
	const internalKind, workKind = "cluster.kubernetes-fleet.io/v1beta1, Kind=InternalMemberCluster", "placement.kubernetes-fleet.io/v1beta1, Kind=Work"
	play(t, []row{
		{"contract:271 a user creates an InternalMemberCluster", user, creates(newInternal), deny("CREATE", internalKind, "", "new")},
		{"contract:272 a user changes its spec", user, patches(imc, `{"spec": {"heartbeatPeriodSeconds": 31}}`), deny("UPDATE", internalKind, "", mc.GetName())},
		{"contract:273 a user deletes it", user, deletes(imc), deny("DELETE", internalKind, "", mc.GetName())},
		{"contract:274 the identity changes its status", identity, patchesStatus(imc, usage), ""},
		{"contract:275 the identity changes its labels", identity, patches(imc, labelsOfUsers), ""},
		{"contract:276 a master changes its spec", master, patches(imc, `{"spec": {"heartbeatPeriodSeconds": 31}}`), ""},
		{"contract:277 a user changes the status of a Work", user, patchesStatus(theWork, `{"status": {"conditions": []}}`),
			deny("UPDATE", workKind, "status", "theirs")},
		{"contract:278 the identity changes its labels", identity, patches(theWork, labelsOfUsers), ""},
		{"contract:279 the identity changes its status", identity, patchesStatus(theWork, `{"status": {"conditions": []}}`), ""},
		{"contract:280 a master changes its spec", master, patches(theWork, `{"spec": {"workload": {"manifests": [
			{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}]}}}`), ""},
		{"contract:281 a user changes an InternalServiceExport", user, patches(export, labelsOfUsers),
			deny("UPDATE", "networking.fleet.azure.com/v1alpha1, Kind=InternalServiceExport", "", "theirs")},
		{"contract:282 the identity creates and deletes an InternalServiceExport", identity, all(creates(newExport), deletes(newExport)), ""},
		{"contract:283 the identity creates and deletes an InternalServiceImport", identity, all(creates(newImport), deletes(newImport)), ""},
		{"contract:284 the identity creates and deletes an EndpointSliceExport", identity, all(creates(newSlice), deletes(newSlice)), ""},
		{"contract:292 a user creates an InternalServiceExport in kube-system", user, creates(named(networking, "InternalServiceExport", "kube-system", "new")),
			standard(user, "CREATE", "networking.fleet.azure.com/v1alpha1, Kind=InternalServiceExport", "", "kube-system", "new")},
		{"the identity writes a Work of another member", identity, creates(work(namespaceOf(strangersCluster(t)), "new")),
			standard(identity, "CREATE", workKind, "", "fleet-member-strangers-cluster", "new")},
		{"the identity writes a config map in its namespace", identity, creates(named("v1", "ConfigMap", namespace, "new")),
			standard(identity, "CREATE", "/v1, Kind=ConfigMap", "", namespace, "new")},
	})
}

// strangersCluster is a MemberCluster with another identity.
func strangersCluster(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	mc := cluster("strangers-cluster", `{}`)
	if err := unstructured.SetNestedField(mc.Object, "stranger", "spec", "identity", "name"); err != nil {
		t.Fatal(err)
	}
	return joined(t, mc)
}

func TestGuardRailOfReservedNamespaces(t *testing.T) {
	namespace := namespaceOf(fleetCluster(t))
	theirPod := given(t, pod("fleet-system", "theirs"))
	theirReplicas := given(t, replicaSet(namespace, "theirs"))
	theirBudget := given(t, podBudget(namespace, "theirs"))
	play(t, []row{
		{"contract:285 a user creates a pod", user, creates(pod("fleet-system", "new")), standard(user, "CREATE", "/v1, Kind=Pod", "", "fleet-system", "new")},
		{"contract:286 a user changes a pod", user, patches(theirPod, labelsOfUsers), standard(user, "UPDATE", "/v1, Kind=Pod", "", "fleet-system", "theirs")},
		{"contract:287 a user creates a replica set", user, creates(replicaSet(namespace, "new")),
			standard(user, "CREATE", "apps/v1, Kind=ReplicaSet", "", namespace, "new")},
		{"contract:288 a user changes a replica set", user, patches(theirReplicas, labelsOfUsers),
			standard(user, "UPDATE", "apps/v1, Kind=ReplicaSet", "", namespace, "theirs")},
		{"contract:289 a user creates a budget in fleet-system", user, creates(podBudget("fleet-system", "new")),
			standard(user, "CREATE", "policy/v1, Kind=PodDisruptionBudget", "", "fleet-system", "new")},
		{"contract:290 a user changes a budget", user, patches(theirBudget, labelsOfUsers),
			standard(user, "UPDATE", "policy/v1, Kind=PodDisruptionBudget", "", namespace, "theirs")},
		{"contract:291 a user creates a budget in kube-system", user, creates(podBudget("kube-system", "new")),
			standard(user, "CREATE", "policy/v1, Kind=PodDisruptionBudget", "", "kube-system", "new")},
		{"contract:293 a user creates a service account in kube-system", user, creates(named("v1", "ServiceAccount", "kube-system", "new")),
			standard(user, "CREATE", "/v1, Kind=ServiceAccount", "", "kube-system", "new")},
		{"a user writes a lease, which components do all the time", user, creates(named("coordination.k8s.io/v1", "Lease", "kube-system", "of-user")), ""},
		{"a user deletes a lease", user, deletes(named("coordination.k8s.io/v1", "Lease", "kube-system", "of-user")),
			standard(user, "DELETE", "coordination.k8s.io/v1, Kind=Lease", "", "kube-system", "of-user")},
		{"a user writes in a namespace of users", user, creates(named("v1", "ConfigMap", "default", "new")), ""},
		{"a user creates a reserved namespace", user, creates(named("v1", "Namespace", "", "kube-new")), standard(user, "CREATE", "/v1, Kind=Namespace", "", "kube-new", "kube-new")},
		{"a user creates a reserved namespace by the prefix of its name", user,
			creates(object(`{apiVersion: v1, kind: Namespace, metadata: {generateName: fleet-new-}}`)),
			standard(user, "CREATE", "/v1, Kind=Namespace", "", "", "fleet-new-")},
		{"a user creates a namespace by another prefix", user, creates(object(`{apiVersion: v1, kind: Namespace, metadata: {generateName: of-user-}}`)), ""},
		{"a user creates another namespace", user, creates(named("v1", "Namespace", "", "of-user")), ""},
		{"a user changes a definition of the fleet", user,
			patches(named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "works.placement.kubernetes-fleet.io"), labelsOfUsers),
			standard(user, "UPDATE", "apiextensions.k8s.io/v1, Kind=CustomResourceDefinition", "", "", "works.placement.kubernetes-fleet.io")},
		{"a user deletes a definition of the fleet", user,
			deletes(named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "works.placement.kubernetes-fleet.io")),
			standard(user, "DELETE", "apiextensions.k8s.io/v1, Kind=CustomResourceDefinition", "", "", "works.placement.kubernetes-fleet.io")},
		{"a user deletes all definitions at once", user, deletesAll(named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "")),
			"is not allowed to DELETE resource apiextensions.k8s.io/v1, Kind=CustomResourceDefinition/: /"},
		{"a user scales the hub agent", user, scales(named("apps/v1", "Deployment", "fleet-system", "hub-agent")),
			standard(user, "UPDATE", "autoscaling/v1, Kind=Scale", "scale", "fleet-system", "hub-agent")},
	})
}
