package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func creates(s *scene) {
	s.place()
	s.use(nil, 0)
	s.quiet("waiting for the finalizer")
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(p client.Object) { p.SetFinalizers([]string{contract.FinalizerScheduler}) })
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
	for _, b := range s.bindings() {
		spec := b.GetSpec()
		if !strings.HasPrefix(b.GetName(), s.key.Name+"-"+spec.TargetCluster+"-") {
			s.Errorf("binding to %s has the name %s", spec.TargetCluster, b.GetName())
		}
		if got := b.GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerBinding}) {
			s.Errorf("binding %s has finalizers %v", b.GetName(), got)
		}
		d := spec.ClusterDecision
		if spec.SchedulingPolicySnapshotName != s.policy().GetName() || !d.Selected || d.ClusterName != spec.TargetCluster || d.ClusterScore == nil {
			s.Errorf("binding %s says %+v", b.GetName(), spec)
		}
	}
	decisions := s.policy().GetStatus().ClusterDecisions
	if last := decisions[len(decisions)-1]; len(decisions) != 4 || last.ClusterName != "m4" || last.Selected || last.ClusterScore != nil {
		s.Errorf("decisions are %+v", decisions)
	}
	if writes := s.writes(); len(writes) != 4 {
		s.Errorf("writes are %v; want three bindings and one status", writes)
	}
	s.quiet("having decided")
}

func follows(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.use(pickN(), 1)
	s.await("m3=Scheduled", "m3 "+fulfilledReason)
	want := func(number, generation string) {
		s.edit(s.policy(), func(p client.Object) {
			p.GetAnnotations()[contract.AnnotationNumberOfClusters] = number
			p.GetAnnotations()[contract.AnnotationGeneration] = generation
		})
	}
	want("5", "8")
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+unfulfilledReason)
	want("1", "9")
	s.await("m1=Unscheduled m2=Unscheduled m3=Scheduled", "m3 "+fulfilledReason)
	want("1", "10")
	s.await("m1=Unscheduled m2=Unscheduled m3=Scheduled", "m3 "+fulfilledReason)
}

func returns(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.use(pickFixed("m1", "m2"), 0)
	s.await("m1=Scheduled m2=Scheduled", "m1 m2 "+fulfilledReason)
	s.rebind("m1", func(b client.Object) {
		b.SetAnnotations(map[string]string{"example.com/mine": "yes"})
		b.(v1beta1.BindingObject).GetSpec().State = v1beta1.BindingStateBound
		b.(v1beta1.BindingObject).GetSpec().ResourceSnapshotName = s.key.Name + "-0-snapshot"
	})
	name := s.binding("m1").GetName()
	s.use(pickFixed("m3"), 0)
	s.await("m1=Unscheduled m2=Unscheduled m3=Scheduled", "m3 "+fulfilledReason)
	b := s.binding("m1")
	if a := b.GetAnnotations(); a[contract.AnnotationPreviousState] != "Bound" || a["example.com/mine"] != "yes" ||
		a[contract.AnnotationPlacementUID] == "" || len(a) != 3 {
		s.Errorf("annotations are %v", a)
	}
	if got, want := b.GetSpec().SchedulingPolicySnapshotName, contract.PolicySnapshotName(s.key.Name, 0); got != want {
		s.Errorf("a binding that is given up names policy %s; want %s", got, want)
	}
	s.use(pickFixed("m1", "m3"), 0)
	s.await("m1=Bound m2=Unscheduled m3=Scheduled", "m1 m3 "+fulfilledReason)
	b = s.binding("m1")
	if a := b.GetAnnotations(); b.GetName() != name || a["example.com/mine"] != "yes" ||
		a[contract.AnnotationPlacementUID] == "" || len(a) != 2 {
		s.Errorf("binding %s has annotations %v", b.GetName(), a)
	}
}

func replaces(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.use(pickN(), 1)
	s.await("m3=Scheduled", "m3 "+fulfilledReason)
	old := s.binding("m3")
	s.edit(old, func(b client.Object) { controllerutil.AddFinalizer(b, contract.FinalizerWork) })
	s.Must(s.Client.Delete(s.Context(), old))
	// The old one is still there, held by the dispatcher; the new one must have another name.
	s.await("m3=Scheduled", "m3 "+fulfilledReason)
	if b := s.binding("m3"); b.GetName() == old.GetName() {
		s.Errorf("the new binding has the name of the old one, %s", b.GetName())
	}
	testworld.Await(s, testworld.Soon, "the old binding to be let go", func(ctx context.Context) error {
		b := scope.Bindings.New(s.key)
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(old), b); err != nil {
			return err
		}
		if got := b.GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerWork}) {
			return fmt.Errorf("finalizers are %v", got)
		}
		return nil
	})
}
