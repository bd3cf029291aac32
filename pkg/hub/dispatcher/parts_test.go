package dispatcher

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A revision of three parts becomes three Works; two are deleted when the next revision has one part.
func TestWorksFollowTheNumberOfParts(t *testing.T) {
	besideOneAgent(t, "shrinks", func(s *scene) {
		s.snapshot(0, 3)
		s.bind(0)
		s.awaitWorks(3, 0)
		s.snapshot(1, 1)
		s.bind(1)
		testworld.Await(s, testworld.Soon, "two works to go", func(context.Context) error {
			going := 0
			for _, w := range s.works() {
				if !w.DeletionTimestamp.IsZero() {
					going++
				}
			}
			if going != 2 {
				return fmt.Errorf("%d are going", going)
			}
			return nil
		})
		s.freeWorks()
		s.awaitWorks(1, 1)
	})
}

// A revision changes no Work until all its parts exist.
func TestIncompleteRevisionChangesNothing(t *testing.T) {
	besideOneAgent(t, "partial", func(s *scene) {
		s.snapshot(0, 2)
		s.bind(0)
		s.awaitWorks(2, 0)
		s.part(1, -1, 2)
		s.bind(1)
		s.awaitStatus(v1beta1.ConditionOverridden, metav1.ConditionFalse)
		s.awaitWorks(2, 0)
		s.snapshot(1, 2) // only the second is missing
		s.awaitWorks(2, 1)
	})
}
