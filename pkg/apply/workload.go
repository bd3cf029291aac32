package apply

import (
	"math"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/health"
)

// Workload describes an object of the member that has replicas.
type Workload struct {
	UID       types.UID
	Namespace string
	// Revision is the number of its newest ReplicaSet, if it is a Deployment; otherwise it is empty.
	Revision string
	// Unready is how many of the wanted replicas are not ready.
	Unready int32
}

// WorkloadOf returns the workload that live is; nil if it has no spec.replicas.
func WorkloadOf(live *unstructured.Unstructured) *Workload {
	wanted, found, err := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if !found || err != nil {
		return nil
	}
	var ready int64
	if health.Tracked(live) { // of other kinds, changes of the status are not seen
		ready, _, _ = unstructured.NestedInt64(live.Object, "status", "readyReplicas") // without it, none is ready
	}
	return &Workload{
		UID: live.GetUID(), Namespace: live.GetNamespace(), Revision: live.GetAnnotations()[contract.AnnotationDeploymentRevision],
		Unready: int32(min(max(wanted-max(ready, 0), 0), math.MaxInt32)),
	}
}
