// Package v1beta1 is the cluster API, version v1beta1: the member clusters of a fleet, and the object through which a
// member's agent and the hub talk about membership. It is the version that is stored and the only one the agents speak;
// the other served version is derived from this package, by the +flagship markers on its types and fields.
//
// +groupName=cluster.kubernetes-fleet.io
// +kubebuilder:object:generate=true
package v1beta1
