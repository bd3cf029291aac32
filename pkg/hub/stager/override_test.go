package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// override makes the snapshot of an override of the namespace that is placed.
func (s *scene) override(rules ...v1beta1.OverrideRule) *v1beta1.ClusterResourceOverrideSnapshot {
	s.Helper()
	o := &v1beta1.ClusterResourceOverrideSnapshot{}
	o.Name = s.key.Name + s.key.Namespace + "-o-0"
	o.Labels = map[string]string{contract.LabelOverride: s.key.Name + s.key.Namespace + "-o", contract.LabelOverrideIndex: "0", contract.LabelLatest: "true"}
	o.Spec.OverrideHash = []byte("hash")
	o.Spec.OverrideSpec = v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: rules},
	}
	s.create(o)
	return o
}

// awaitsOverrides starts a run when the snapshot of an override is not made yet.
func awaitsOverrides(s *scene) {
	s.frozen = time.Now() // the override stays a new one, however long this takes
	s.lay(all(4))
	o := &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: s.key.Name + s.key.Namespace + "-o"}}
	rule := testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "v"))
	o.Spec = v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{rule}},
	}
	s.create(o)
	s.schedule()
	agent := s.start()
	s.run()
	planned := func(ctx context.Context) (v1beta1.UpdateRunObject, error) {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(run.GetStatus().StagesStatus) == 0 {
			err = fmt.Errorf("it has no plan: %+v", run.GetStatus())
		}
		return run, err
	}
	testworld.Await(s, testworld.Soon, "the run to be looked at", func(context.Context) error {
		if len(agent.Take()) == 0 {
			return errors.New("no write")
		}
		return nil
	})
	testworld.Stable(s, 300*time.Millisecond, "no plan", func(ctx context.Context) error {
		if run, err := planned(ctx); err == nil {
			return fmt.Errorf("it has a plan: %+v", run.GetStatus())
		}
		return nil
	})
	snapshot := s.override(rule)
	defer func() {
		must(s.T, s.Client.Delete(s.Context(), snapshot))
		must(s.T, s.Client.Delete(s.Context(), o))
	}()
	testworld.Await(s, testworld.Soon, "the plan", func(ctx context.Context) error {
		run, err := planned(ctx)
		if err != nil {
			return err
		}
		for _, c := range run.GetStatus().StagesStatus[0].Clusters {
			if !slices.Contains(c.ClusterResourceOverrideSnapshots, snapshot.Name) {
				return fmt.Errorf("cluster %+v", c)
			}
		}
		return nil
	})
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

// relabelled releases once more what all clusters have, after a label of one of them has changed what that comes to.
func relabelled(s *scene) {
	s.lay(all(4))
	s.label("m1", "z1")
	o := s.override(testworld.Patching(testworld.Everywhere(), testworld.Annotating("zone", "${MEMBER-CLUSTER-LABEL-KEY-zone}")))
	defer func() { must(s.T, s.Client.Delete(s.Context(), o)) }()
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
	was := s.bindings()
	s.label("m1", "z2")
	again := s.next(s.key.Name+"-again", "", "0")
	testworld.Await(s, testworld.Soon, "m1 to get its content anew", func(context.Context) error {
		if is := s.bindings()["m1"]; is.GetSpec().OverrideFingerprint == was["m1"].GetSpec().OverrideFingerprint {
			return fmt.Errorf("its binding has %+v", *is.GetSpec())
		}
		return nil
	})
	s.available("m1")
	s.says(again, v1beta1.ConditionSucceeded, metav1.ConditionTrue, "")
	for m, b := range s.bindings() {
		if changed := b.GetGeneration() != was[m].GetGeneration(); changed != (m == "m1") {
			s.Errorf("%s changed: %t", b.GetName(), changed)
		}
	}
}

// label sets the zone of a member.
func (s *scene) label(member, zone string) {
	s.Helper()
	var cluster clusterv1beta1.MemberCluster
	testworld.Await(s, testworld.Soon, "a label of "+member, func(ctx context.Context) error {
		if err := s.Client.Get(ctx, types.NamespacedName{Name: member}, &cluster); err != nil {
			return err
		}
		cluster.Labels = map[string]string{"zone": zone}
		return s.Client.Update(ctx, &cluster)
	})
	s.known(&cluster)
}
