package health

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// check judges an object of one kind. Its message does not change while the object makes progress, so that progress
// alone changes no status.
type check func(obj *unstructured.Unstructured) (State, string)

// checks are the kinds whose availability depends on their status. docs/availability.md lists them.
var checks = map[schema.GroupVersionKind]check{
	{Group: "apps", Version: "v1", Kind: "Deployment"}:                               deploymentReady,
	{Group: "apps", Version: "v1", Kind: "StatefulSet"}:                              statefulSetReady,
	{Group: "apps", Version: "v1", Kind: "DaemonSet"}:                                daemonSetReady,
	{Version: "v1", Kind: "Service"}:                                                 serviceReady,
	{Version: "v1", Kind: "PersistentVolumeClaim"}:                                   claimReady,
	{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}: crdReady,
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}:                    budgetReady,
}

// data are kinds that are available as soon as they exist.
var data = map[schema.GroupVersionKind]bool{
	{Version: "v1", Kind: "Namespace"}:                                              true,
	{Version: "v1", Kind: "Secret"}:                                                 true,
	{Version: "v1", Kind: "ConfigMap"}:                                              true,
	{Version: "v1", Kind: "ServiceAccount"}:                                         true,
	{Version: "v1", Kind: "LimitRange"}:                                             true,
	{Version: "v1", Kind: "ResourceQuota"}:                                          true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}:               true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}:        true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}:        true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"}: true,
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}:              true,
	{Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass"}:               true,
	{Group: "storage.k8s.io", Version: "v1", Kind: "CSIDriver"}:                     true,
	{Group: "storage.k8s.io", Version: "v1", Kind: "CSINode"}:                       true,
	{Group: "storage.k8s.io", Version: "v1", Kind: "CSIStorageCapacity"}:            true,
	{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}:                  true,
	{Group: "apps", Version: "v1", Kind: "ControllerRevision"}:                      true,
	{Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass"}:              true,
}

var (
	secret = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	job    = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
)

// number reads an integer field; absent reads as fallback.
func number(obj *unstructured.Unstructured, fallback int64, path ...string) int64 {
	n, found, err := unstructured.NestedInt64(obj.Object, path...)
	if err != nil || !found {
		return fallback
	}
	return n
}

func status(obj *unstructured.Unstructured, field string) int64 {
	return number(obj, 0, "status", field)
}

func text(obj *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(obj.Object, path...)
	return s
}

// seen reports whether the controller of a kind that always sets status.observedGeneration has seen the latest change.
func seen(obj *unstructured.Unstructured) bool {
	return status(obj, "observedGeneration") == obj.GetGeneration()
}

func deploymentReady(obj *unstructured.Unstructured) (State, string) {
	wanted := number(obj, 1, "spec", "replicas")
	switch {
	case !seen(obj):
		return NotYet, notObserved
	case status(obj, "updatedReplicas") != wanted:
		return NotYet, "Not all of its pods are of the latest revision yet" + stuck(obj)
	case status(obj, "availableReplicas") != wanted || status(obj, "unavailableReplicas") != 0:
		return NotYet, "Not all of its pods are available yet" + stuck(obj)
	}
	return Available, ""
}

// stuck adds the cause if the controller of a Deployment makes no progress.
func stuck(obj *unstructured.Unstructured) string {
	return because(cmp.Or(Cause(obj, "ReplicaFailure", "True"), Cause(obj, "Progressing", "False")))
}

// statefulSetReady requires all pods that the update strategy updates to be of the latest revision. The controller
// makes that revision the current one only when a rolling update without a partition ends, so the other pods only have
// to be available.
func statefulSetReady(obj *unstructured.Unstructured) (State, string) {
	wanted := number(obj, 1, "spec", "replicas")
	partition := number(obj, 0, "spec", "updateStrategy", "rollingUpdate", "partition")
	onDelete := text(obj, "spec", "updateStrategy", "type") == string(appsv1.OnDeleteStatefulSetStrategyType)
	one := status(obj, "currentReplicas") == status(obj, "updatedReplicas") &&
		text(obj, "status", "currentRevision") == text(obj, "status", "updateRevision")
	switch {
	case !seen(obj):
		return NotYet, notObserved
	case status(obj, "availableReplicas") != wanted:
		return NotYet, "Not all of its pods are available yet"
	case one:
		return Available, ""
	case onDelete && status(obj, "updatedReplicas") < wanted:
		return NotYet, "Not all of its pods are of the latest revision yet: its update strategy is OnDelete, so they are replaced when they are deleted"
	case onDelete:
		return Available, ""
	case partition > 0 && status(obj, "updatedReplicas") >= wanted-partition:
		return Available, ""
	}
	return NotYet, "Not all of its pods are of the latest revision yet"
}

func daemonSetReady(obj *unstructured.Unstructured) (State, string) {
	switch {
	case !seen(obj):
		return NotYet, notObserved
	case status(obj, "numberAvailable") != status(obj, "desiredNumberScheduled"):
		return NotYet, "Not all of its pods are available yet"
	case status(obj, "currentNumberScheduled") != status(obj, "updatedNumberScheduled"):
		return NotYet, "Not all of its pods are of the latest revision yet"
	}
	return Available, ""
}

func crdReady(obj *unstructured.Unstructured) (State, string) {
	if Condition(obj, "Established")["status"] == "True" && Condition(obj, "NamesAccepted")["status"] == "True" {
		return Available, ""
	}
	return NotYet, "The API server of the member cluster does not serve it yet"
}

// budgetReady requires that the controller has evaluated the budget, whatever the result.
func budgetReady(obj *unstructured.Unstructured) (State, string) {
	wantStatus, wantReason := "False", policyv1.InsufficientPodsReason
	if status(obj, "disruptionsAllowed") > 0 {
		wantStatus, wantReason = "True", policyv1.SufficientPodsReason
	}
	c := Condition(obj, policyv1.DisruptionAllowedCondition)
	judged, _ := c["observedGeneration"].(int64)
	switch {
	case judged != obj.GetGeneration():
		return NotYet, notObserved
	case c["status"] == wantStatus && c["reason"] == wantReason:
		return Available, ""
	case c["reason"] == policyv1.SyncFailedReason:
		return NotYet, "Its controller cannot determine its pods" + because(Cause(obj, policyv1.DisruptionAllowedCondition, "False"))
	}
	return NotYet, notObserved
}

// claimReady counts only a claim that lost its volume as not available: whether and when a claim is bound depends on
// its class, and on its pods.
func claimReady(obj *unstructured.Unstructured) (State, string) {
	if text(obj, "status", "phase") == string(corev1.ClaimLost) {
		return NotYet, "It is Lost: the volume that it was bound to no longer exists"
	}
	return Untracked, ""
}

func serviceReady(obj *unstructured.Unstructured) (State, string) {
	switch corev1.ServiceType(text(obj, "spec", "type")) {
	case corev1.ServiceTypeExternalName:
		return Untracked, ""
	case corev1.ServiceTypeLoadBalancer:
		ingress, _, _ := unstructured.NestedSlice(obj.Object, "status", "loadBalancer", "ingress")
		if len(ingress) > 0 {
			if first, ok := ingress[0].(map[string]any); ok && (filled(first["ip"]) || filled(first["hostname"])) {
				return Available, ""
			}
		}
		return NotYet, "Its load balancer has no address yet"
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, "":
		ips, _, _ := unstructured.NestedStringSlice(obj.Object, "spec", "clusterIPs")
		if len(ips) > 0 && ips[0] != "" {
			return Available, ""
		}
		return NotYet, "It has no cluster address yet"
	}
	return Untracked, ""
}

func filled(value any) bool {
	s, ok := value.(string)
	return ok && s != ""
}
