package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func with(name string) v1beta1.PlacementAffinityTerm {
	return v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementWith, Name: name}
}

func apartFrom(group string) v1beta1.PlacementAffinityTerm {
	return v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": group}}}
}

// about adds required terms to a policy.
func about(p *v1beta1.PlacementPolicy, terms ...v1beta1.PlacementAffinityTerm) *v1beta1.PlacementPolicy {
	p.Affinity = &v1beta1.Affinity{PlacementAffinity: &v1beta1.PlacementAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	return p
}

// next is a scene of another placement beside s.
func (s *scene) next(name string) *scene {
	return &scene{hub: s.hub, agent: s.agent, key: types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-" + name}, index: -1}
}

// group gives the placement the label by which terms select it.
func (s *scene) group(value string) {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(p client.Object) { p.SetLabels(map[string]string{"group": value}) })
}

// refuses waits until the policy snapshot reports that for a cluster.
func (s *scene) refuses(cluster, why string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, cluster+" to be refused", func(context.Context) error {
		want := fmt.Sprintf("cluster %q cannot be chosen: %s", cluster, why)
		decisions := s.policy().GetStatus().ClusterDecisions
		if !slices.ContainsFunc(decisions, func(d v1beta1.ClusterDecision) bool { return d.Reason == want }) {
			return fmt.Errorf("decisions are %+v", decisions)
		}
		return nil
	})
}

func followsOthers(s *scene) {
	db := s.next("db")
	s.place(contract.FinalizerScheduler)
	s.use(about(&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}, with(db.key.Name)), 0)
	s.await("", " "+fulfilledReason)
	s.refuses("m1", fmt.Sprintf("it must be with placement %q, which does not exist", db.key.Name))
	db.place(contract.FinalizerScheduler)
	s.refuses("m1", fmt.Sprintf("it must be with placement %q, which has picked no cluster yet", db.key.Name))
	db.use(pickFixed("m2"), 0)
	s.await("m2=Scheduled", "m2 "+fulfilledReason)
	db.use(pickFixed("m1"), 0)
	s.await("m1=Scheduled m2=Scheduled", "m1 m2 "+fulfilledReason)
	s.quiet("having followed the other placement, and stayed where it was")

	group := s.key.Name + s.key.Namespace
	byLabel := apartFrom(group)
	byLabel.Relation = v1beta1.PlacementWith
	s.use(about(pickN(), byLabel), 1)
	s.await("m1=Unscheduled m2=Unscheduled", " "+unfulfilledReason)
	s.refuses("m1", "it must be with a placement with labels group="+group+", and there is none")
	db.group(group)
	s.await("m1=Scheduled m2=Unscheduled", "m1 "+fulfilledReason)
	db.group("")
	s.quiet("having lost the label of the other placement")

	db.group(group)
	s.use(about(pickN(), apartFrom(group)), 3)
	s.await("m1=Unscheduled m2=Scheduled m3=Scheduled", "m2 m3 "+unfulfilledReason)
	db.remove()
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
}

// Placements that must be apart from each other, and that are all decided at once, never share a cluster.
func staysApart(s *scene) {
	group := s.key.Name + s.key.Namespace
	s.place(contract.FinalizerScheduler) // it is not one of them
	s.use(nil, 0)
	var all []*scene
	for i := range 4 {
		one := s.next(fmt.Sprint("apart-", i))
		one.place()
		one.group(group)
		one.use(about(pickN(), apartFrom(group)), 1)
		all = append(all, one)
	}
	var ready sync.WaitGroup
	errs := make([]error, len(all))
	for i, one := range all {
		ready.Go(func() {
			placement, err := scope.Placements.Get(s.Context(), s.Client, one.key)
			before := placement.DeepCopyObject().(client.Object)
			placement.SetFinalizers([]string{contract.FinalizerScheduler})
			errs[i] = errors.Join(err, s.Client.Patch(s.Context(), placement, client.MergeFrom(before)))
		})
	}
	ready.Wait()
	s.Must(errors.Join(errs...))
	testworld.Await(s, testworld.Soon, "a cluster for three of the four", func(context.Context) error {
		on, decided := map[string]int{}, 0
		for _, one := range all {
			if len(one.policy().GetStatus().Conditions) > 0 {
				decided++
			}
			for _, b := range one.bindings() {
				on[b.GetSpec().TargetCluster]++
			}
		}
		for cluster, n := range on {
			if n > 1 {
				s.Fatalf("%d placements are on %s", n, cluster)
			}
		}
		if decided < len(all) || len(on) < 3 {
			return fmt.Errorf("%d are decided; they are on %v", decided, on)
		}
		return nil
	})
	for _, one := range all {
		one.remove()
	}
}

func TestWhatOtherPlacementsWake(t *testing.T) {
	s := &Scheduler{Namespaced: true, Client: fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(
		&v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "db", Labels: map[string]string{"group": "a"}}},
		&v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "db"}},
	).Build()}
	record := func(namespace, name string, policy *v1beta1.PlacementPolicy, d schedule.Decision) {
		key := types.NamespacedName{Namespace: namespace, Name: name}
		s.followers.set(key, schedule.SelectionOf(policy))
		s.followers.settle(key, policy, d)
	}
	found, open := schedule.Decision{Found: 1, Wanted: 1}, schedule.Decision{Wanted: 1}
	record("", "no-terms", pickN(), open)
	record("", "with-db", about(pickN(), with("db")), open)
	record("", "with-db-done", about(pickN(), with("db")), found)
	record("", "with-db-waits", about(pickN(), with("db")), schedule.Decision{Found: 1, Wanted: 1, Waiting: true})
	record("", "with-db-all", about(&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}, with("db")), found)
	record("", "apart-a", about(pickN(), apartFrom("a")), open)
	record("", "apart-b", about(pickN(), apartFrom("b")), open)
	record("", "db", about(pickN(), apartFrom("a")), open)
	record("app", "with-db", about(pickN(), with("db")), open)
	record("other", "with-db", about(pickN(), with("db")), open)
	record("", "no-more", about(pickN(), with("db")), open)
	s.followers.set(types.NamespacedName{Name: "no-more"}, schedule.Selection{})

	placement := func(name, group, uid string) client.Object {
		return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid), Labels: map[string]string{"group": group}}}
	}
	binding := func(of, cluster string, state v1beta1.BindingState, changes ...func(*v1beta1.ClusterResourceBinding)) client.Object {
		b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{contract.LabelPlacement: of}}}
		b.Spec.TargetCluster, b.Spec.State = cluster, state
		for _, change := range changes {
			change(b)
		}
		return b
	}
	deleted := func(b *v1beta1.ClusterResourceBinding) { b.DeletionTimestamp = &metav1.Time{Time: noon} }
	adopted := func(b *v1beta1.ClusterResourceBinding) {
		b.Annotations = map[string]string{contract.AnnotationPlacementUID: "new"}
	}
	healthy := func(b *v1beta1.ClusterResourceBinding) { b.Status.LastHealthy = &v1beta1.Revision{} }
	narrow := &v1beta1.ResourceBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "b", Labels: map[string]string{contract.LabelPlacement: "db"}}}
	const byName, scheduled, bound, unscheduled = "with-db with-db-all with-db-waits", v1beta1.BindingStateScheduled, v1beta1.BindingStateBound, v1beta1.BindingStateUnscheduled
	for name, tc := range map[string]struct {
		was, is client.Object
		want    string
	}{
		"a new placement":                   {is: placement("db", "b", "1"), want: "apart-b " + byName},
		"a placement that goes":             {was: placement("db", "a", "1"), want: "apart-a " + byName},
		"another label":                     {was: placement("db", "a", "1"), is: placement("db", "b", "1"), want: "apart-a apart-b " + byName},
		"the same labels":                   {was: placement("db", "a", "1"), is: placement("db", "a", "1")},
		"a placement that was made again":   {was: placement("db", "a", "1"), is: placement("db", "a", "2"), want: "apart-a " + byName},
		"a placement that no term names":    {is: placement("web", "c", "1")},
		"a placement by its labels only":    {is: placement("web", "a", "1"), want: "apart-a db"},
		"a new binding":                     {is: binding("db", "m1", scheduled), want: "apart-a " + byName},
		"a new binding in a namespace":      {is: narrow, want: "app/with-db"},
		"a binding of a placement unknown":  {is: binding("web", "m1", scheduled), want: "apart-a apart-b db"},
		"a binding that is given up":        {was: binding("db", "m1", bound), is: binding("db", "m1", unscheduled), want: "apart-a " + byName},
		"a binding that is taken back":      {was: binding("db", "m1", unscheduled), is: binding("db", "m1", bound), want: "apart-a " + byName},
		"a binding that is adopted":         {was: binding("db", "m1", bound), is: binding("db", "m1", bound, adopted), want: "apart-a " + byName},
		"a binding that is deleted":         {was: binding("db", "m1", bound), is: binding("db", "m1", bound, deleted), want: "apart-a " + byName},
		"a binding that goes":               {was: binding("db", "m1", bound), want: "apart-a " + byName},
		"a binding that gets its content":   {was: binding("db", "m1", scheduled), is: binding("db", "m1", bound)},
		"a binding that becomes available":  {was: binding("db", "m1", bound), is: binding("db", "m1", bound, healthy)},
		"a binding given up before it goes": {was: binding("db", "m1", unscheduled)},
	} {
		handler := s.otherBindings()
		if _, ok := cmp.Or(tc.is, tc.was).(v1beta1.PlacementObject); ok {
			handler = s.otherPlacements()
		}
		got := enqueued(func(q queue) {
			switch {
			case tc.was == nil:
				handler.Create(t.Context(), event.CreateEvent{Object: tc.is}, q)
			case tc.is == nil:
				handler.Delete(t.Context(), event.DeleteEvent{Object: tc.was}, q)
			default:
				handler.Update(t.Context(), event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}, q)
			}
		})
		if got != tc.want {
			t.Errorf("%s wakes %q; want %q", name, got, tc.want)
		}
	}
}
