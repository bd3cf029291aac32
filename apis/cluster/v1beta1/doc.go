// Package v1beta1 is the cluster API, version v1beta1: the member clusters of a fleet, and the object that a member's
// agents and the hub agent use for membership. The API server stores this version, and the agents use no other; the
// other served version is derived from this package, by the +flagship markers on its types and fields.
//
// +groupName=cluster.kubernetes-fleet.io
// +kubebuilder:object:generate=true
package v1beta1
