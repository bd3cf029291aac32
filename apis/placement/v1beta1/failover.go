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

	// AfterUnavailable is how long what was available on a cluster is not available there any more before another
	// cluster replaces it: a Go duration such as 10m, from 30s to 720h. Without it the placement leaves no cluster for
	// this reason. It counts only with the resources and overrides with which it was available, when the rollout is
	// over, and only while they are available on another cluster of the placement; a placement of one cluster leaves
	// one only once for the same resources. It is for type PickN only.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('30s') && duration(self) <= duration('720h')",message="afterUnavailable must be from 30s to 720h"
	AfterUnavailable *metav1.Duration `json:"afterUnavailable,omitempty"`

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

	// State are values of the statuses of placed objects, at most 16, that the placement takes along when another
	// cluster replaces one: the same objects get them as annotations there. At most 200 values with 64 KiB together are
	// taken along. Members then report the statuses of all objects of the placement to the hub, whatever
	// strategy.reportBackStrategy says. It is for type PickN only.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	State []FailoverState `json:"state,omitempty"`
}

// FailoverState is a value of the status of an object. The one that the cluster reported last is used, so that a lost
// cluster need not be heard. A value that the status lacks is left out, and the placement's events say so.
type FailoverState struct {
	// Group is the API group of the object; empty for the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Namespace is the namespace of the object. If it is empty, objects in every namespace match, and objects without
	// a namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name is the name of the object. If it is empty, all objects of the kind match.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// JSONPath is where the value is in the object, as for "kubectl get -o jsonpath" but without braces; it begins with
	// .status, for instance .status.checkpoint or .status.conditions[?(@.type=="Saved")].message. It must find one value,
	// and must not search with two dots or list several fields in brackets. A string is taken as it is, another value in
	// its JSON form. A value of more than 4096 bytes, or with control characters, is left out.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.startsWith('.status.') || self.startsWith('.status[')",message="jsonPath must begin with .status. or .status["
	JSONPath string `json:"jsonPath"`

	// Annotation is the key of the annotation that the object gets on the other cluster. Keys of kubernetes.io, k8s.io
	// and kubernetes-fleet.io, and of their subdomains, are refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",message="annotation must be a key of an annotation, such as example.com/checkpoint"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|kubernetes-fleet[.]io)/')",message="annotation must not be a key of kubernetes.io, k8s.io or kubernetes-fleet.io"
	Annotation string `json:"annotation"`
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

// ObjectAnnotation is an annotation that an object gets on one cluster.
type ObjectAnnotation struct {
	// Group is the API group of the object; empty for the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind of the object.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Namespace is the namespace of the object; empty for objects without a namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Name is the name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Annotation is the key.
	// +required
	// +kubebuilder:validation:MaxLength=317
	Annotation string `json:"annotation"`

	// Value is the value, at most 4096 bytes.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}
