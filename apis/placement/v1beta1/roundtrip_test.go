package v1beta1_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Other clients read and write these objects, and hashes are computed over some. So the form of an empty value
// in JSON is part of the API: some optional fields are always written, and the order of fields is fixed.
func TestJSONIsWhatOtherClientsWrite(t *testing.T) {
	number, weight := int32(3), int32(7)
	tests := map[string]struct {
		value any
		want  string
	}{
		"force is written when false": {
			value: &v1beta1.ServerSideApplyConfig{},
			want:  `{"force":false}`,
		},
		"an envelope's type is always written": {
			value: &v1beta1.EnvelopeIdentifier{Name: "e"},
			want:  `{"name":"e","type":""}`,
		},
		"a decision without a score says null": {
			value: &v1beta1.ClusterDecision{ClusterName: "c", Reason: "r"},
			want:  `{"clusterName":"c","selected":false,"clusterScore":null,"reason":"r"}`,
		},
		"the spread score has its historical name": {
			value: &v1beta1.ClusterScore{TopologySpreadScore: &weight},
			want:  `{"priorityScore":7}`,
		},
		"a difference with an object that is not there has generation null": {
			value: &v1beta1.DiffedResourcePlacement{ResourceIdentifier: v1beta1.ResourceIdentifier{Version: "v1", Kind: "K", Name: "n"}},
			want: `{"version":"v1","kind":"K","name":"n","observationTime":null,"targetClusterObservedGeneration":null,` +
				`"firstDiffedObservedTime":null}`,
		},
		"so have the details of it in a Work": {
			value: &v1beta1.DiffDetails{},
			want:  `{"observationTime":null,"observedInMemberClusterGeneration":null,"firstDiffedObservedTime":null}`,
		},
		"the conditions of a policy snapshot are always written": {
			value: &v1beta1.SchedulingPolicySnapshotStatus{},
			want:  `{"observedCRPGeneration":0,"conditions":null}`,
		},
		"the conditions of a resource snapshot are always written": {
			value: &v1beta1.ResourceSnapshotStatus{},
			want:  `{"conditions":null}`,
		},
		"the conditions of a binding are always written": {
			value: &v1beta1.ResourceBindingStatus{},
			want:  `{"conditions":null}`,
		},
		"the conditions of a Work are always written": {
			value: &v1beta1.WorkStatus{},
			want:  `{"conditions":null}`,
		},
		"a manifest is known by its ordinal even when that is 0": {
			value: &v1beta1.ManifestCondition{},
			want:  `{"identifier":{"ordinal":0},"conditions":null}`,
		},
		"the conditions of a placement are not": {
			value: &v1beta1.PlacementStatus{},
			want:  `{}`,
		},
		"nor those of a cluster in it": {
			value: &v1beta1.PerClusterPlacementStatus{},
			want:  `{}`,
		},
		"a selected object stands in a snapshot as it is": {
			value: &v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{
				{RawExtension: runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap"}`)}},
			}},
			want: `{"selectedResources":[{"apiVersion":"v1","kind":"ConfigMap"}]}`,
		},
		"so does a manifest in a Work": {
			value: &v1beta1.WorkloadTemplate{Manifests: []v1beta1.Manifest{
				{RawExtension: runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap"}`)}},
			}},
			want: `{"manifests":[{"apiVersion":"v1","kind":"ConfigMap"}]}`,
		},
		"an applied object has its identifier inline": {
			value: &v1beta1.AppliedResourceMeta{UID: "u"},
			want:  `{"ordinal":0,"uid":"u"}`,
		},
		"a policy hash is bytes": {
			value: &v1beta1.SchedulingPolicySnapshotSpec{PolicyHash: []byte("abc")},
			want:  `{"policyHash":"YWJj"}`,
		},
		"a policy has its fields in the order in which they are hashed": {
			value: &v1beta1.PlacementPolicy{
				PlacementType:    v1beta1.PlacementTypePickN,
				ClusterNames:     []string{"c"},
				NumberOfClusters: &number,
				Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{
						ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{{
							LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
							PropertySelector: &v1beta1.PropertySelector{MatchExpressions: []v1beta1.PropertySelectorRequirement{
								{Name: "p", Operator: v1beta1.PropertySelectorOperatorGe, Values: []string{"1"}},
							}},
						}},
					},
					PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{{
						Weight: weight,
						Preference: v1beta1.ClusterSelectorTerm{
							PropertySorter: &v1beta1.PropertySorter{Name: "p", SortOrder: v1beta1.PropertySortOrderAscending},
						},
					}},
				}},
				TopologySpreadConstraints: []v1beta1.TopologySpreadConstraint{
					{MaxSkew: &number, TopologyKey: "k", WhenUnsatisfiable: corev1.ScheduleAnyway},
				},
				Tolerations: []v1beta1.Toleration{
					{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v", Effect: corev1.TaintEffectNoSchedule},
				},
			},
			want: `{"placementType":"PickN","clusterNames":["c"],"numberOfClusters":3,` +
				`"affinity":{"clusterAffinity":{` +
				`"requiredDuringSchedulingIgnoredDuringExecution":{"clusterSelectorTerms":[{"labelSelector":{"matchLabels":{"a":"b"}},` +
				`"propertySelector":{"matchExpressions":[{"name":"p","operator":"Ge","values":["1"]}]}}]},` +
				`"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":7,"preference":{"propertySorter":{"name":"p","sortOrder":"Ascending"}}}]}},` +
				`"topologySpreadConstraints":[{"maxSkew":3,"topologyKey":"k","whenUnsatisfiable":"ScheduleAnyway"}],` +
				`"tolerations":[{"key":"k","operator":"Equal","value":"v","effect":"NoSchedule"}]}`,
		},
		"an override has its name before its namespace": {
			value: &v1beta1.NamespacedName{Name: "n", Namespace: "ns"},
			want:  `{"name":"n","namespace":"ns"}`,
		},
		"a selector has its fields in the order in which they are hashed": {
			value: &v1beta1.ResourceSelectorTerm{
				Version: "v1", Kind: "Namespace", Name: "n",
				LabelSelector:  &metav1.LabelSelector{},
				SelectionScope: v1beta1.SelectionScopeNamespaceOnly,
			},
			want: `{"group":"","version":"v1","kind":"Namespace","name":"n","labelSelector":{},"selectionScope":"NamespaceOnly"}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(written) != test.want {
				t.Fatalf("written as\n%s, want\n%s", written, test.want)
			}
			if err := json.Unmarshal(written, test.value); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != test.want {
				t.Errorf("read and written again as\n%s, want\n%s", again, test.want)
			}
		})
	}
}
