package apply

import "k8s.io/apimachinery/pkg/runtime/schema"

// waves of resources: what others need goes first. Within a wave the order does not matter. The numbers are part of the contract only
// in their order.
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

// LastWave is the wave of every resource that the table does not name: custom resources, which may need anything else.
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

// Wave is the place of a resource (its plural name) in the order of applying, from 0 to LastWave. Removing goes the other way.
func Wave(r schema.GroupResource) int {
	if wave, ok := waveOf[r.Resource]; ok && knownGroups[r.Group] {
		return wave
	}
	return LastWave
}
