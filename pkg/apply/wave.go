package apply

import "k8s.io/apimachinery/pkg/runtime/schema"

// waves of resources: dependencies come first. Within a wave the order does not matter. Of the numbers, only the order
// is part of the contract.
var waves = [][]string{
	{"namespaces", "priorityclasses"},
	{"networkpolicies", "resourcequotas", "limitranges", "podsecuritypolicies", "poddisruptionbudgets", "serviceaccounts", "secrets",
		"configmaps", "storageclasses", "persistentvolumes", "persistentvolumeclaims", "customresourcedefinitions", "ingressclasses"},
	{"clusterroles", "roles"},
	{"clusterrolebindings", "rolebindings"},
	{"services", "daemonsets", "pods", "replicationcontrollers", "replicasets", "deployments", "horizontalpodautoscalers",
		"statefulsets", "jobs", "cronjobs", "ingresses"},
	{"apiservices", "validatingwebhookconfigurations", "mutatingwebhookconfigurations"},
}

// LastWave is the wave of every resource outside of the table: custom resources, which may depend on any other.
var LastWave = len(waves)

var knownGroups = map[string]bool{
	"": true, "networking.k8s.io": true, "scheduling.k8s.io": true, "policy": true, "storage.k8s.io": true, "apiextensions.k8s.io": true,
	"rbac.authorization.k8s.io": true, "apps": true, "autoscaling": true, "apiregistration.k8s.io": true,
	"admissionregistration.k8s.io": true, "batch": true,
}

var waveOf = func() map[string]int {
	out := map[string]int{}
	for i, names := range waves {
		for _, name := range names {
			out[name] = i
		}
	}
	return out
}()

// Wave is the position of a resource (its plural name) in the order of applying, from 0 to LastWave. Removal has the
// reverse order.
func Wave(r schema.GroupResource) int {
	if wave, ok := waveOf[r.Resource]; ok && knownGroups[r.Group] {
		return wave
	}
	return LastWave
}
