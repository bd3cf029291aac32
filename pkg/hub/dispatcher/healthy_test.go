package dispatcher

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// The status that reports a healthy revision records it as the last healthy one, and no other status does.
func TestLastHealthyRevisionIsRecorded(t *testing.T) {
	besideOneAgent(t, "healthy", func(s *scene) {
		s.snapshot(0, 1)
		s.bind(0)
		s.awaitWorks(1, 0)
		s.report(metav1.ConditionFalse, "Failed")
		s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse)
		s.lastHealthy("")
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
		s.lastHealthy(contract.MasterSnapshotName(s.placement.Name, 0))
		s.snapshot(1, 1)
		s.bind(1)
		s.awaitWorks(1, 1)
		s.report(metav1.ConditionFalse, "Failed")
		s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse)
		s.lastHealthy(contract.MasterSnapshotName(s.placement.Name, 0))
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
	})
}

// lastHealthy compares the last healthy revision in the binding; "" is none. It is written together with the
// conditions.
func (s *scene) lastHealthy(want string) {
	s.Helper()
	binding, err := scope.Bindings.Get(s.Context(), s.Client, s.binding)
	if err != nil {
		s.Fatal(err)
	}
	got := ""
	if last := binding.GetStatus().LastHealthy; last != nil {
		got = last.ResourceSnapshotName
	}
	if got != want {
		s.Errorf("the binding was last healthy with %q, want %q", got, want)
	}
}
