// Package v1beta1 is the placement API, version v1beta1: placements, which select objects and member clusters, and all
// objects through which the agents propagate them. The API server stores this version, and the agents use no other;
// the other served versions are derived from this package, by the +flagship markers on its types and fields.
//
// The cluster-wide and the namespaced kind of a concept share one Spec and one Status. If a comment names the hub
// agent as the writer of a field, other clients must not write it.
//
// +groupName=placement.kubernetes-fleet.io
// +kubebuilder:object:generate=true
package v1beta1
