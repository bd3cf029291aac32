package v1beta1_test

import (
	"encoding/json"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1alpha1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Hashes are computed over this JSON, and other clients read it. So the order of fields must not change, and neither
// must the set of empty fields that are written.
func TestWireForm(t *testing.T) {
	tests := map[string]struct {
		value any
		want  string
	}{
		"an override has its placement first, its policy last": {
			value: v1beta1.ResourceOverrideSpec{
				Placement:         &v1beta1.PlacementRef{Name: "p", Scope: v1beta1.PlacementScopeNamespaced},
				ResourceSelectors: []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: "c"}},
				Policy: &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{
					ClusterSelector: &v1beta1.ClusterSelector{},
					OverrideType:    v1beta1.OverrideTypeJSONPatch,
					JSONPatchOverrides: []v1beta1.JSONPatchOverride{
						{Operator: v1beta1.JSONPatchAdd, Path: "/data/a", Value: apiextensionsv1.JSON{Raw: []byte(`{"b":1}`)}},
						{Operator: v1beta1.JSONPatchRemove, Path: "/data/c"},
					},
				}}},
			},
			want: `{"placement":{"name":"p","scope":"Namespaced"},` +
				`"resourceSelectors":[{"group":"","version":"v1","kind":"ConfigMap","name":"c"}],` +
				`"policy":{"overrideRules":[{"clusterSelector":{"clusterSelectorTerms":null},"overrideType":"JSONPatch",` +
				`"jsonPatchOverrides":[{"op":"add","path":"/data/a","value":{"b":1}},{"op":"remove","path":"/data/c","value":null}]}]}}`,
		},
		"an override snapshot holds its hash as bytes": {
			value: v1beta1.ClusterResourceOverrideSnapshotSpec{OverrideHash: []byte("abc")},
			want:  `{"overrideSpec":{"clusterResourceSelectors":null,"policy":null},"overrideHash":"YWJj"}`,
		},
		"an update run writes an empty resource snapshot index": {
			value: v1beta1.UpdateRunSpec{PlacementName: "p", StagedUpdateStrategyName: "s"},
			want:  `{"placementName":"p","resourceSnapshotIndex":"","stagedRolloutStrategyName":"s"}`,
		},
		"a status says nothing before there is something to say": {
			value: v1beta1.UpdateRunStatus{},
			want:  `{}`,
		},
		"a stage task without a wait has none": {
			value: v1beta1.StageTask{Type: v1beta1.StageTaskApproval},
			want:  `{"type":"Approval"}`,
		},
		"a stage task of the oldest version always has a wait": {
			value: v1alpha1.StageTask{Type: v1alpha1.StageTaskTimedWait, WaitTime: metav1.Duration{}},
			want:  `{"type":"TimedWait","waitTime":"0s"}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
