package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PlacementAffinity selects clusters by those that other placements have picked. It applies only when clusters are
// picked: a picked cluster stays picked when the other placements move, until the policy changes. It does not apply to
// the other placements: two that must stay apart from each other both need a term.
type PlacementAffinity struct {
	// RequiredDuringSchedulingIgnoredDuringExecution are the terms, at most 10, that must all match for a cluster to be
	// picked.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	RequiredDuringSchedulingIgnoredDuringExecution []PlacementAffinityTerm `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`

	// PreferredDuringSchedulingIgnoredDuringExecution are terms, at most 10, that add to the score of clusters that
	// match. It is for PickN only.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	PreferredDuringSchedulingIgnoredDuringExecution []PreferredPlacementAffinityTerm `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// PlacementAffinityTerm matches clusters by those of other placements: of ClusterResourcePlacements for a
// ClusterResourcePlacement, of ResourcePlacements in the same namespace for a ResourcePlacement. A placement never
// counts for its own terms.
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.selector)",message="set either name or selector"
type PlacementAffinityTerm struct {
	// Relation is With, which matches the clusters that one of the other placements has picked, or Apart, which matches
	// the clusters that none of them has picked. With matches no cluster until one of them has picked one.
	// +required
	Relation PlacementRelation `json:"relation"`

	// Name is the name of the other placement. Set either name or selector.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Selector selects the other placements by their labels. An empty selector selects all. Set either name or
	// selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// TopologyKey is a label of MemberClusters: all clusters with the same value count as one, such as those of a region.
	// Clusters without the label match no With, and every Apart. Without it every cluster counts by itself.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	TopologyKey string `json:"topologyKey,omitempty"`
}

// PlacementRelation defines whether clusters of other placements are sought or avoided.
// +kubebuilder:validation:Enum=With;Apart
type PlacementRelation string

const (
	// PlacementWith matches clusters of other placements.
	PlacementWith PlacementRelation = "With"
	// PlacementApart matches clusters without other placements.
	PlacementApart PlacementRelation = "Apart"
)

// PreferredPlacementAffinityTerm adds to the score of the clusters that match it.
type PreferredPlacementAffinityTerm struct {
	// Weight is added to the affinity score of a matching cluster, from -100 to 100.
	// +required
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// Preference is the term to match.
	// +required
	Preference PlacementAffinityTerm `json:"preference"`
}
