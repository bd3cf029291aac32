package apply

import (
	"cmp"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/health"
)

// check says whether an object of one kind is available. why is for people and does not change while the object makes progress,
// so that progress alone is no news.
type check func(obj *unstructured.Unstructured) (ok bool, why string)

var checks = map[schema.GroupVersionKind]check{
	{Group: "apps", Version: "v1", Kind: "Deployment"}:                               deploymentReady,
	{Group: "apps", Version: "v1", Kind: "StatefulSet"}:                              statefulSetReady,
	{Group: "apps", Version: "v1", Kind: "DaemonSet"}:                                daemonSetReady,
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
	service     = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	secret      = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	volumeClaim = schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}
	job         = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
)

// Tracked says whether the status of an object decides about its availability.
func Tracked(obj *unstructured.Unstructured) bool {
	gvk := obj.GroupVersionKind()
	return checks[gvk] != nil || gvk == service || gvk == volumeClaim || ruleOf(obj) != ""
}

// ruleOf is what the object's owner says availability means; empty if nothing. Secrets are available when they exist: what a rule says
// about one could tell its contents.
func ruleOf(obj *unstructured.Unstructured) string {
	if obj.GroupVersionKind() == secret {
		return ""
	}
	return obj.GetAnnotations()[contract.AnnotationAvailableWhen]
}

// Available says whether an applied object is available: by the rule that its owner gave it, else by those of its kind. Kinds without a
// rule cannot be tracked.
func Available(obj *unstructured.Unstructured, rules *health.Rules) Verdict {
	gvk := obj.GroupVersionKind()
	if rule := ruleOf(obj); rule != "" {
		return ruled(obj, rule, rules)
	}
	switch {
	case data[gvk]:
		return available
	case gvk == service:
		return serviceReady(obj)
	case gvk == volumeClaim:
		return claimReady(obj)
	case checks[gvk] == nil:
		return untracked
	}
	if ok, why := checks[gvk](obj); !ok {
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, why}
	}
	return available
}

// ruled answers the rule of the object's owner. A status that speaks of an earlier generation answers nothing.
func ruled(obj *unstructured.Unstructured, rule string, rules *health.Rules) Verdict {
	ok, why := false, notObserved
	if rule == contract.AvailableByConditions {
		ok, why = health.Conditions(obj)
	} else if current, _ := health.Observed(obj); current {
		var err error
		ok, err = rules.Holds(rule, obj.Object)
		why = fmt.Sprintf("The rule in its annotation %s does not hold yet", contract.AnnotationAvailableWhen)
		if err != nil {
			why = fmt.Sprintf("The rule in its annotation %s %v; correct it on the hub, and where a field may be missing, "+
				"ask has(object.field) first", contract.AnnotationAvailableWhen, err)
		}
	}
	if !ok && obj.GroupVersionKind() == job {
		why += failure(obj, "Failed", "True")
	}
	if !ok {
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, why}
	}
	return available
}

var (
	available = Verdict{v1beta1.ReasonManifestAvailable, "Available"}
	untracked = Verdict{v1beta1.ReasonManifestNotTrackable, "Applied; availability of this kind is not tracked"}
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

const notObserved = "Its controller on the member cluster has not seen the latest change yet"

func observed(obj *unstructured.Unstructured) bool {
	return status(obj, "observedGeneration") == obj.GetGeneration()
}

func deploymentReady(obj *unstructured.Unstructured) (bool, string) {
	wanted := number(obj, 1, "spec", "replicas")
	switch {
	case !observed(obj):
		return false, notObserved
	case status(obj, "updatedReplicas") != wanted:
		return false, "Not all of its pods are of the latest revision yet" + stuck(obj)
	case status(obj, "availableReplicas") != wanted || status(obj, "unavailableReplicas") != 0:
		return false, "Not all of its pods are available yet" + stuck(obj)
	}
	return true, ""
}

// stuck adds what the controller of a Deployment gives as the cause of its not getting on.
func stuck(obj *unstructured.Unstructured) string {
	return cmp.Or(failure(obj, "ReplicaFailure", "True"), failure(obj, "Progressing", "False"))
}

// failure is ": " and what a controller gives as the cause of a condition that has this status, which it has only for a failure; empty if
// it has another. Such messages do not change while nothing else does.
func failure(obj *unstructured.Unstructured, kind, status string) string {
	const most = 512
	c := conditionOf(obj, kind)
	if c["status"] != status {
		return ""
	}
	words := fmt.Sprint(c["reason"])
	if message, ok := c["message"].(string); ok && message != "" {
		words += ", " + message
	}
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + "..."
	}
	return ": " + words
}

// statefulSetReady wants all pods of the latest revision that the update strategy moves. The controller makes that revision the current
// one only when a rolling update without a partition ends, so the others are judged by their pods alone.
func statefulSetReady(obj *unstructured.Unstructured) (bool, string) {
	wanted := number(obj, 1, "spec", "replicas")
	partition := number(obj, 0, "spec", "updateStrategy", "rollingUpdate", "partition")
	onDelete := text(obj, "spec", "updateStrategy", "type") == string(appsv1.OnDeleteStatefulSetStrategyType)
	one := status(obj, "currentReplicas") == status(obj, "updatedReplicas") &&
		text(obj, "status", "currentRevision") == text(obj, "status", "updateRevision")
	switch {
	case !observed(obj):
		return false, notObserved
	case status(obj, "availableReplicas") != wanted:
		return false, "Not all of its pods are available yet"
	case one:
		return true, ""
	case onDelete && status(obj, "updatedReplicas") < wanted:
		return false, "Not all of its pods are of the latest revision yet: its update strategy is OnDelete, so they are replaced when they are deleted"
	case onDelete:
		return true, ""
	case partition > 0 && status(obj, "updatedReplicas") >= wanted-partition:
		return true, ""
	}
	return false, "Not all of its pods are of the latest revision yet"
}

func daemonSetReady(obj *unstructured.Unstructured) (bool, string) {
	switch {
	case !observed(obj):
		return false, notObserved
	case status(obj, "numberAvailable") != status(obj, "desiredNumberScheduled"):
		return false, "Not all of its pods are available yet"
	case status(obj, "currentNumberScheduled") != status(obj, "updatedNumberScheduled"):
		return false, "Not all of its pods are of the latest revision yet"
	}
	return true, ""
}

func crdReady(obj *unstructured.Unstructured) (bool, string) {
	if conditionOf(obj, "Established")["status"] == "True" && conditionOf(obj, "NamesAccepted")["status"] == "True" {
		return true, ""
	}
	return false, "The API server of the member cluster does not serve it yet"
}

// budgetReady says whether the controller has judged the budget, whatever the verdict.
func budgetReady(obj *unstructured.Unstructured) (bool, string) {
	wantStatus, wantReason := "False", policyv1.InsufficientPodsReason
	if status(obj, "disruptionsAllowed") > 0 {
		wantStatus, wantReason = "True", policyv1.SufficientPodsReason
	}
	c := conditionOf(obj, policyv1.DisruptionAllowedCondition)
	seen, _ := c["observedGeneration"].(int64)
	switch {
	case seen != obj.GetGeneration():
		return false, notObserved
	case c["status"] == wantStatus && c["reason"] == wantReason:
		return true, ""
	case c["reason"] == policyv1.SyncFailedReason:
		return false, "Its controller cannot tell what it covers" + failure(obj, policyv1.DisruptionAllowedCondition, "False")
	}
	return false, notObserved
}

// claimReady says no only of a claim whose volume is gone: whether and when one is bound depends on its class, and on its pods.
func claimReady(obj *unstructured.Unstructured) Verdict {
	if text(obj, "status", "phase") == string(corev1.ClaimLost) {
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, "It is Lost: the volume that it was bound to is not there any more"}
	}
	return untracked
}

func serviceReady(obj *unstructured.Unstructured) Verdict {
	switch corev1.ServiceType(text(obj, "spec", "type")) {
	case corev1.ServiceTypeExternalName:
		return untracked
	case corev1.ServiceTypeLoadBalancer:
		ingress, _, _ := unstructured.NestedSlice(obj.Object, "status", "loadBalancer", "ingress")
		if len(ingress) > 0 {
			if first, ok := ingress[0].(map[string]any); ok && (filled(first["ip"]) || filled(first["hostname"])) {
				return available
			}
		}
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, "Its load balancer has no address yet"}
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, "":
		ips, _, _ := unstructured.NestedStringSlice(obj.Object, "spec", "clusterIPs")
		if len(ips) > 0 && ips[0] != "" {
			return available
		}
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, "It has no cluster address yet"}
	}
	return untracked
}

func filled(value any) bool {
	s, ok := value.(string)
	return ok && s != ""
}

func conditionOf(obj *unstructured.Unstructured, kind string) map[string]any {
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, item := range conditions {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			return c
		}
	}
	return nil
}
