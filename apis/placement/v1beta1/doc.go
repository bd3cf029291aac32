// Package v1beta1 is the placement API, version v1beta1: what a user asks to be placed on which member clusters, and
// every object the agents pass the work along with. It is the version that is stored and the only one the agents speak;
// the other served versions are derived from this package, by the +flagship markers on its types and fields.
//
// Cluster-wide kinds and their namespaced twins share one Spec and one Status. Where "the hub agent" writes a field,
// nobody else should.
//
// +groupName=placement.kubernetes-fleet.io
// +kubebuilder:object:generate=true
package v1beta1
