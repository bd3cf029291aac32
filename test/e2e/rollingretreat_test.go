package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// judged gives a rolling update a failure policy that allows no failure. A window of hours never passes by itself: so
// the scenario decides when a cluster has failed, and not how busy the machine is.
func judged(action v1beta1.FailureAction, window time.Duration) testworld.Option {
	return func(s *v1beta1.PlacementSpec) {
		s.Strategy.RollingUpdate.FailurePolicy = &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: window}, OnFailure: action}
	}
}

// rolling is a release of the Deployment web that has arrived everywhere with the first image, by a rolling update
// with a failure policy.
func rolling(s *scene, action v1beta1.FailureAction) *release {
	s.Helper()
	web := s.deployment()
	web.Spec.Template.Spec.Containers[0].Image = firstImage
	s.create(web)
	r := &release{scene: s, placement: s.placeOne(s.identified("apps", "Deployment", web.Name), judged(action, time.Hour))}
	s.of(r.placement).expectWithin(testworld.Workload, onAll())
	r.images(firstImage, firstImage, firstImage)
	for _, m := range members() { // which may take another revision, if the hub had not seen all objects at first
		r.binding(m.name, "to have been well with what it has", func(b v1beta1.BindingObject) error {
			if last := b.GetStatus().LastHealthy; last == nil || last.ResourceSnapshotName != b.GetSpec().ResourceSnapshotName {
				return fmt.Errorf("it has %s, and was well with %+v", b.GetSpec().ResourceSnapshotName, last)
			}
			return nil
		})
	}
	return r
}

// binding waits until the binding to a cluster is as described.
func (r *release) binding(cluster, what string, is func(v1beta1.BindingObject) error) {
	r.Helper()
	testworld.Await(r.T, testworld.Workload, "the binding to "+cluster+" "+what, func(ctx context.Context) error {
		bindings, err := scope.Bindings.List(ctx, theHub, r.placement.GetNamespace(), client.MatchingLabels{contract.LabelPlacement: r.placement.GetName()})
		if err != nil {
			return err
		}
		for _, b := range bindings {
			if b.GetSpec().TargetCluster == cluster {
				return is(b)
			}
		}
		return errors.New("there is none")
	})
}

// unwell waits until a cluster says that what it has now is not available.
func (r *release) unwell(cluster string) {
	r.Helper()
	r.binding(cluster, "to say that it is not available", func(b v1beta1.BindingObject) error {
		c := delivery.StatusOf(b).Current(v1beta1.ConditionAvailable)
		if c == nil || c.Status != metav1.ConditionFalse || len(b.GetStatus().FailedPlacements) == 0 {
			return fmt.Errorf("Available is %+v", c)
		}
		return nil
	})
}

// tells waits until the placement's status is as described.
func (r *release) tells(what string, is func(p v1beta1.PlacementObject) error) {
	r.Helper()
	testworld.Await(r.T, testworld.Workload, "the placement "+what, func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(r.placement), r.placement); err != nil {
			return err
		}
		return is(r.placement)
	})
}

func TestARollingUpdateStopsAtTheFirstFailure(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := rolling(s, v1beta1.FailureActionStop)
		r.ships(brokenImage)
		r.images(brokenImage, firstImage, firstImage)
		r.unwell(c1.name)
		s.of(r.placement).edit(judged(v1beta1.FailureActionStop, 2*time.Second))
		r.tells("to stop", func(p v1beta1.PlacementObject) error {
			held := "no RolloutStarted"
			for _, entry := range p.GetStatus().PerClusterPlacementStatuses {
				if c := meta.FindStatusCondition(entry.Conditions, v1beta1.ConditionRolloutStarted); entry.ClusterName == c2.name && c != nil {
					held = c.Message
				}
			}
			return first(
				says(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionWithinFailureBudget), metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent,
					"1 of 3 clusters failed: "+c1.name, "kubectl fleet rollout resume "+p.GetName()),
				contains(held, "failure budget of 0"),
			)
		})
		if c := meta.FindStatusCondition(r.placement.GetStatus().Conditions, r.placement.ConditionType(v1beta1.ConditionRolledBack)); c != nil {
			s.Errorf("RolledBack is %+v; the policy asks for no rollback", c)
		}
		r.events(r.placement, v1beta1.ReasonFailureBudgetSpent)
		r.images(brokenImage, firstImage, firstImage)
		s.of(r.placement).edit(judged(v1beta1.FailureActionStop, time.Hour))
		r.ships(secondImage)
		s.of(r.placement).expectWithin(2*testworld.Workload, onAll())
		r.images(secondImage, secondImage, secondImage)
	})
}

func TestARollingUpdateGoesBackEverywhere(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := rolling(s, v1beta1.FailureActionRollback)
		where := "flagship.test/" + s.name
		r.marks(c1, where, true)
		r.marks(c2, where, true)
		testworld.Update(s, theHub, r.deployment(), func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Image = secondImage
			d.Spec.Template.Spec.NodeSelector = map[string]string{where: "yes"} // which no node of c3 has
		})
		r.images(secondImage, secondImage, secondImage)
		r.unwell(c3.name)
		s.of(r.placement).edit(judged(v1beta1.FailureActionRollback, 5*time.Second))
		r.tells("to be back", func(p v1beta1.PlacementObject) error {
			return first(
				says(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionWithinFailureBudget), metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent,
					"1 of 3 clusters failed: "+c3.name),
				says(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionRolledBack), metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded, "3 of 3"),
			)
		})
		r.images(firstImage, firstImage, firstImage)
		r.events(r.placement, v1beta1.ReasonFailureBudgetSpent, v1beta1.ReasonRollbackSucceeded)
		for _, m := range members() {
			r.binding(m.name, "to say that it is back", func(b v1beta1.BindingObject) error {
				return says(*b.GetConditions(), v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded)
			})
		}
		s.of(r.placement).edit(judged(v1beta1.FailureActionRollback, time.Hour))
		testworld.Update(s, theHub, r.deployment(), func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector = nil })
		s.of(r.placement).expectWithin(2*testworld.Workload, onAll())
		r.images(secondImage, secondImage, secondImage)
	})
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("%q does not say %q", text, part)
	}
	return nil
}
