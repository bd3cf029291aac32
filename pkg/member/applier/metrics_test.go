package applier

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestPassesAreCountedByTheirOutcome(t *testing.T) {
	workPasses.Reset()
	manifestPasses.Reset()
	condition := func(kind, reason string) metav1.Condition { return metav1.Condition{Type: kind, Reason: reason} }
	count(v1beta1.WorkStatus{
		Conditions: []metav1.Condition{condition("Applied", "AppliedAll"), condition("Available", "SomeAreNot")},
		ManifestConditions: []v1beta1.ManifestCondition{
			{Conditions: []metav1.Condition{condition("Applied", "Done"), condition("Available", "Yes")}},
			{Conditions: []metav1.Condition{condition("Applied", "Done"), condition("Available", "Yes")}},
			{Conditions: []metav1.Condition{condition("Applied", "Drifted")}, DriftDetails: &v1beta1.DriftDetails{}},
		},
	})
	count(v1beta1.WorkStatus{
		Conditions:         []metav1.Condition{condition("DiffReported", "Compared")},
		ManifestConditions: []v1beta1.ManifestCondition{{Conditions: []metav1.Condition{condition("DiffReported", "Differs")}, DiffDetails: &v1beta1.DiffDetails{}}},
	})
	if err := testutil.CollectAndCompare(workPasses, strings.NewReader(
		"# HELP fleet_work_processing_requests_total Passes over Works that led to a status. An event on the hub or on the member causes one pass, a failure causes more.\n"+
			"# TYPE fleet_work_processing_requests_total counter\n"+
			`fleet_work_processing_requests_total{apply_status="AppliedAll",availability_status="SomeAreNot",diff_reporting_status="Skipped"} 1
fleet_work_processing_requests_total{apply_status="Skipped",availability_status="Skipped",diff_reporting_status="Compared"} 1
`)); err != nil {
		t.Error(err)
	}
	if err := testutil.CollectAndCompare(manifestPasses, strings.NewReader(
		"# HELP fleet_manifest_processing_requests_total Manifests processed in passes over Works.\n# TYPE fleet_manifest_processing_requests_total counter\n"+
			`fleet_manifest_processing_requests_total{apply_status="Done",availability_status="Yes",diff_detection_status="NotFound",diff_reporting_status="Skipped",drift_detection_status="NotFound"} 2
fleet_manifest_processing_requests_total{apply_status="Drifted",availability_status="Skipped",diff_detection_status="NotFound",diff_reporting_status="Skipped",drift_detection_status="Found"} 1
fleet_manifest_processing_requests_total{apply_status="Skipped",availability_status="Skipped",diff_detection_status="Found",diff_reporting_status="Differs",drift_detection_status="NotFound"} 1
`)); err != nil {
		t.Error(err)
	}
}
