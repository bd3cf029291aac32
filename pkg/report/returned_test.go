package report_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

func TestReturnsStatus(t *testing.T) {
	mirror := func(to v1beta1.ReportBackDestination) *v1beta1.ReportBackStrategy {
		return &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeMirror, Destination: &to}
	}
	fixed := func(names ...string) *v1beta1.PlacementPolicy {
		return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: names}
	}
	some := func(n int32) *v1beta1.PlacementPolicy {
		return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(n)}
	}
	origin := mirror(v1beta1.ReportBackDestinationOriginalResource)
	const many = "status can be carried back from one cluster only: the policy must be of type PickFixed with one name, " +
		"or PickN with numberOfClusters 1; or set strategy.reportBackStrategy.destination to WorkAPI"
	for name, tc := range map[string]struct {
		policy   *v1beta1.PlacementPolicy
		strategy *v1beta1.ReportBackStrategy
		want     bool
		mistake  string
	}{
		"nothing is said":                 {fixed("a"), nil, false, ""},
		"it is disabled":                  {fixed("a"), &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeDisabled}, false, ""},
		"the Work is the destination":     {some(3), mirror(v1beta1.ReportBackDestinationWorkAPI), false, ""},
		"one named cluster":               {fixed("a"), origin, true, ""},
		"the best cluster":                {some(1), origin, true, ""},
		"two named clusters":              {fixed("a", "b"), origin, false, many},
		"the two best":                    {some(2), origin, false, many},
		"all clusters":                    {&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}, origin, false, many},
		"no policy, which is all of them": {nil, origin, false, many},
	} {
		t.Run(name, func(t *testing.T) {
			got, mistake := report.ReturnsStatus(&v1beta1.PlacementSpec{Policy: tc.policy, Strategy: v1beta1.RolloutStrategy{ReportBackStrategy: tc.strategy}})
			if got != tc.want || mistake != tc.mistake {
				t.Errorf("%v, %q; want %v, %q", got, mistake, tc.want, tc.mistake)
			}
		})
	}
}

func TestReturns(t *testing.T) {
	manifest := func(kind, name, status string) v1beta1.ManifestCondition {
		m := v1beta1.ManifestCondition{Identifier: v1beta1.WorkResourceIdentifier{Group: "apps", Version: "v1", Kind: kind, Resource: "x", Namespace: "app", Name: name}}
		if status != "" {
			m.BackReportedStatus = &v1beta1.BackReportedStatus{ObservedStatus: runtime.RawExtension{Raw: []byte(status)}}
		}
		return m
	}
	selected := []v1beta1.ResourceIdentifier{
		{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "app", Name: "a"},
		{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "app", Name: "b"},
		{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "app", Name: "wrapped", Envelope: &v1beta1.EnvelopeIdentifier{Name: "e"}},
	}
	work := v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Name: "w", Generation: 3}}
	work.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, ObservedGeneration: 3}}
	work.Status.ManifestConditions = []v1beta1.ManifestCondition{
		manifest("Deployment", "a", `{"apiVersion":"apps/v1","kind":"Deployment","status":{"replicas":2}}`),
		manifest("Deployment", "b", ""),
		manifest("Deployment", "wrapped", `{"status":{"replicas":1}}`),
		manifest("Deployment", "left", `{"status":{"replicas":1}}`),
		manifest("StatefulSet", "a", `{"status":{"replicas":9}}`),
	}
	for name, tc := range map[string]struct {
		change func(*v1beta1.Work)
		want   []string
		fails  bool
	}{
		"what is selected by itself comes back":      {func(*v1beta1.Work) {}, []string{`a {"replicas":2}`}, false},
		"a Work of another generation says nothing":  {func(w *v1beta1.Work) { w.Generation++ }, nil, false},
		"one that is not applied says nothing":       {func(w *v1beta1.Work) { w.Status.Conditions[0].Status = metav1.ConditionFalse }, nil, false},
		"one that goes says nothing":                 {func(w *v1beta1.Work) { w.DeletionTimestamp = ptr.To(metav1.Now()) }, nil, false},
		"one that was made from an envelope neither": {func(w *v1beta1.Work) { w.Labels = map[string]string{contract.LabelEnvelopeKind: "x"} }, nil, false},
		"one bad status does not stop the others": {func(w *v1beta1.Work) {
			w.Status.ManifestConditions[1] = manifest("Deployment", "b", "{")
		}, []string{`a {"replicas":2}`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := work.DeepCopy()
			tc.change(w)
			found, err := report.Returns(w, selected)
			var got []string
			for _, r := range found {
				text, err := json.Marshal(r.Status)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s %s", r.Name, text))
			}
			if !slices.Equal(got, tc.want) || (err != nil) != tc.fails {
				t.Errorf("%v, %v; want %v, error %v", got, err, tc.want, tc.fails)
			}
		})
	}
}
