package dispatcher

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A binding becomes Works and a status, a new revision changes them, and a deletion removes them, each with no write
// more than it needs.
func TestWritesForABinding(t *testing.T) {
	inBothScopes(t, "budget", func(s *scene) {
		began := time.Now()
		a := s.startAgentAt(func() time.Time { return began }) // a status that only reports progress is delayed for ever
		bindings := "clusterresourcebindings"
		if s.binding.Namespace != "" {
			bindings = "resourcebindings"
		}
		s.snapshot(0, 1)
		s.bind(0)
		s.awaitWorks(1, 0)
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
		s.awaitStatus(v1beta1.ConditionRolloutStarted, metav1.ConditionTrue)
		want := map[string]int{"POST works": 1, "PUT " + bindings + "/status": 1}
		if diff := cmp.Diff(want, counts(a)); diff != "" {
			s.Fatalf("create: %s", diff)
		}
		s.snapshot(1, 1)
		s.bind(1)
		s.awaitWorks(1, 1)
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
		want["PATCH works"], want["PUT "+bindings+"/status"] = 1, 2
		if diff := cmp.Diff(want, counts(a)); diff != "" {
			s.Fatalf("edit: %s", diff)
		}
		s.deletePlacementAndBinding()
		want["DELETE works"], want["PATCH "+bindings] = 1, 1
		if diff := cmp.Diff(want, counts(a)); diff != "" {
			s.Fatalf("delete: %s", diff)
		}
	})
}

// An agent that starts writes nothing for bindings that have not changed, also if a report is still missing.
func TestRestartWritesNothing(t *testing.T) {
	s := newScene(onHub(t), "", "restart", "east")
	done := newScene(s.hub, "shop", "restarts", "east")
	first := s.startAgent()
	s.snapshot(0, 2)
	s.bind(0)
	s.awaitWorks(2, 0)
	s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse) // in progress, and for good
	done.snapshot(0, 1)
	done.bind(0)
	done.awaitWorks(1, 0)
	done.report(metav1.ConditionTrue, "Done")
	done.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
	first.Stop()
	second := s.startAgent()
	// A write that is held back would come within this time.
	testworld.Stable(t, 2*report.Patience, "quiet", func(context.Context) error {
		if diff := cmp.Diff(map[string]int{}, counts(second)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	s.deletePlacementAndBinding()
	done.deletePlacementAndBinding()
}
