package selection

import (
	"cmp"
)

// rank puts kinds first that others depend on. The order is part of the contract, because it determines the hash of
// the stored content. It uses only the kind: a custom kind has the rank of the built-in kind with the same name.
var rank = ranked(
	"PriorityClass", "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget", "ServiceAccount", "Secret",
	"ConfigMap", "StorageClass", "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole",
	"ClusterRoleBinding", "Role", "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment",
	"HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
)

func ranked(kinds ...string) map[string]int {
	out := make(map[string]int, len(kinds))
	for i, kind := range kinds {
		out[kind] = i
	}
	return out
}

// compare orders refs for storing: by rank; then by group/version, or by the whole kind if it has no rank; then by
// name.
func compare(a, b Ref) int {
	rankA, known := rank[a.Kind.Kind]
	if !known {
		rankA = len(rank)
	}
	rankB, ok := rank[b.Kind.Kind]
	if !ok {
		rankB = len(rank)
	}
	if c := cmp.Compare(rankA, rankB); c != 0 {
		return c
	}
	if a.Kind != b.Kind {
		kindA, kindB := a.Kind.String(), b.Kind.String()
		if known {
			kindA, kindB = a.Kind.GroupVersion().String(), b.Kind.GroupVersion().String()
		}
		if c := cmp.Compare(kindA, kindB); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
}
