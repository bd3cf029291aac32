package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Failover defines when a placement leaves a lost cluster for another one. The hub agent stops all failovers while so
// many clusters are silent that its own network is more likely to be the cause; see "kubectl fleet failover status".
//
// While a lost cluster is not heard, its agent and its objects may still be running: they are left as they are until
// it is heard again.
type Failover struct {
	// After is how long a cluster is not heard, or reports that it is unhealthy, before another cluster replaces it:
	// a Go duration such as 5m, from 30s to 720h. A shorter one than three heartbeat periods of the cluster counts as
	// three periods. The cluster stays if no other cluster can be picked.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('30s') && duration(self) <= duration('720h')",message="after must be from 30s to 720h"
	After metav1.Duration `json:"after"`

	// Purge defines what happens to the objects on a replaced cluster: Graceful, the default, removes them when the
	// cluster is heard and the other cluster is available; Immediate removes them as soon as the cluster is heard;
	// Never leaves them there, without an owner. From a cluster that was left because of a taint, Never removes them as
	// Graceful does.
	// +optional
	// +kubebuilder:default=Graceful
	Purge FailoverPurge `json:"purge,omitempty"`

	// Failback defines what happens when a replaced cluster is well again: with Never, the default, the placement
	// stays where it is; with WhenHealthy it returns after the cluster was heard and healthy for 10 minutes. It leaves
	// the other cluster once it is available on the first.
	// +optional
	// +kubebuilder:default=Never
	Failback FailbackPolicy `json:"failback,omitempty"`
}

// FailoverPurge defines what happens to the objects on a replaced cluster.
// +kubebuilder:validation:Enum=Graceful;Immediate;Never
type FailoverPurge string

const (
	// FailoverPurgeGraceful removes them when the cluster is heard and its replacement is available.
	FailoverPurgeGraceful FailoverPurge = "Graceful"
	// FailoverPurgeImmediate removes them when the cluster is heard.
	FailoverPurgeImmediate FailoverPurge = "Immediate"
	// FailoverPurgeNever leaves them there, without an owner.
	FailoverPurgeNever FailoverPurge = "Never"
)

// FailbackPolicy defines whether a placement returns to a replaced cluster.
// +kubebuilder:validation:Enum=Never;WhenHealthy
type FailbackPolicy string

const (
	// FailbackNever stays on the replacement.
	FailbackNever FailbackPolicy = "Never"
	// FailbackWhenHealthy returns to the cluster after it was heard and healthy for 10 minutes.
	FailbackWhenHealthy FailbackPolicy = "WhenHealthy"
)
