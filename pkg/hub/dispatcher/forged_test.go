package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// evil is a snapshot as a rogue makes it: it bears a placement's name and grants everything.
func evil(key types.NamespacedName, index int) v1beta1.ResourceSnapshotObject {
	s := scope.ResourceSnapshots.New(key)
	s.SetNamespace(key.Namespace)
	s.SetName(contract.MasterSnapshotName(key.Name, index))
	s.SetLabels(map[string]string{contract.LabelPlacement: key.Name, contract.LabelLatest: "true", contract.LabelResourceIndex: fmt.Sprint(index)})
	s.SetAnnotations(map[string]string{contract.AnnotationResourceHash: "x", contract.AnnotationSnapshotCount: "1"})
	s.GetSpec().SelectedResources = []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{Raw: []byte(
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"rg-evil-admin"},` +
			`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},` +
			`"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory"}]}`)}}}
	return s
}

// forged is a binding as a rogue makes it.
func forged(key types.NamespacedName, cluster string, index int) v1beta1.BindingObject {
	b := scope.Bindings.New(key)
	b.SetNamespace(key.Namespace)
	b.SetName("rg-evil-b")
	b.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
	*b.GetSpec() = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateBound, TargetCluster: cluster, ResourceSnapshotName: contract.MasterSnapshotName(key.Name, index),
		SchedulingPolicySnapshotName: "x", ClusterDecision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "x"},
	}
	return b
}

// Case member-forges-binding and similar ones: an object that only looks like a binding of the scheduler places
// nothing, and its status reports why.
func TestMemberForgesBinding(t *testing.T) {
	h := onHub(t)
	before := h.worksOfAll()
	victim := newScene(h, "", "victim", "east")
	tenant := newScene(h, "shop", "web", "east")
	newScene(h, "shop", "other", "west") // web is not picked for that cluster
	rogue := types.NamespacedName{Namespace: contract.MemberNamespace("rogue"), Name: "rg-evil"}
	h.Must(h.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: rogue.Namespace}}))
	h.startAgent()

	lonely := types.NamespacedName{Name: "no-such-placement"}
	elsewhere := types.NamespacedName{Namespace: "shop", Name: "web"}
	for _, s := range []client.Object{evil(rogue, 0), evil(lonely, 0), evil(victim.placement, 7), evil(tenant.placement, 7)} {
		h.Must(h.Client.Create(t.Context(), s))
	}
	tenant.snapshot(0, 1)
	stale := forged(tenant.placement, "east", 0)
	stale.SetName("rg-stale")
	stale.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: "of-an-earlier-placement"})
	unpicked := forged(elsewhere, "west", 0)
	unpicked.SetName("rg-unpicked")
	why := map[v1beta1.BindingObject]string{
		forged(lonely, "east", 0):           "does not exist",
		forged(victim.placement, "east", 7): "was not made for placement",
		forged(tenant.placement, "east", 7): "was not made for placement",
		stale:                               "earlier placement",
		unpicked:                            "has not picked cluster west",
	}
	names := 0
	for b := range why {
		b.SetName(fmt.Sprintf("%s-%d", b.GetName(), names))
		names++
		h.Must(h.Client.Create(t.Context(), b))
	}
	h.Must(h.Client.Create(t.Context(), forged(rogue, "east", 0)))
	for b, cause := range why {
		testworld.Await(t, testworld.Soon, fmt.Sprintf("%s/%s to report %q", b.GetNamespace(), b.GetName(), cause), func(ctx context.Context) error {
			is, err := scope.Bindings.Get(ctx, h.Client, client.ObjectKeyFromObject(b))
			if err != nil {
				return err
			}
			c := meta.FindStatusCondition(*is.GetConditions(), v1beta1.ConditionWorkSynchronized)
			if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, cause) {
				return fmt.Errorf("condition %+v", c)
			}
			return nil
		})
	}
	// The scheduler's own binding, made after them, is carried out, and nothing else is.
	tenant.bind(0)
	tenant.awaitWorks(1, 0)
	works := h.worksOfAll()
	maps.DeleteFunc(works, func(uid types.UID, _ string) bool { _, old := before[uid]; return old })
	if got := slices.Collect(maps.Values(works)); !slices.Equal(got, []string{tenant.binding.Name}) {
		t.Errorf("works of bindings %q; want one of %s alone", got, tenant.binding.Name)
	}
	tenant.deletePlacementAndBinding()
}

// worksOfAll returns the binding of every Work on the hub, by the UID of the Work.
func (h *hub) worksOfAll() map[types.UID]string {
	h.Helper()
	var works v1beta1.WorkList
	h.Must(h.Client.List(h.Context(), &works))
	bindings := map[types.UID]string{}
	for _, w := range works.Items {
		bindings[w.UID] = w.Labels[contract.LabelBinding]
	}
	return bindings
}

// A tenant who may write the snapshots of a placement of its own, and its bindings, gets nothing out of the namespace
// with them.
func TestForgedSnapshotOfANamespacedPlacement(t *testing.T) {
	h := onHub(t)
	tenant := newScene(h, "shop", "tenant", "east")
	h.startAgent()
	tenant.snapshot(0, 1)
	tenant.bind(0)
	tenant.awaitWorks(1, 0)
	for index, object := range []string{
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"rg-evil-admin"}}`,
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"rg-evil-admin","namespace":"shop"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"rg-evil-admin","namespace":"kube-system"}}`,
		`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ClusterResourceEnvelope","metadata":{"name":"e"},"data":{"a":` +
			`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"rg-evil-admin"}}}}`,
	} {
		s := evil(tenant.placement, index+1)
		s.GetSpec().SelectedResources[0].Raw = []byte(object)
		testworld.OwnedOn(t, h.Client, tenant.placement, s)
		h.Must(h.Client.Create(t.Context(), s))
		tenant.bind(index + 1)
		testworld.Await(t, testworld.Soon, "why "+object+" is refused", func(ctx context.Context) error {
			b, err := scope.Bindings.Get(ctx, h.Client, tenant.binding)
			if err != nil {
				return err
			}
			c := delivery.StatusOf(b).Current(v1beta1.ConditionWorkSynchronized)
			if c == nil || c.Status != metav1.ConditionFalse ||
				!strings.Contains(c.Message, "rg-evil-admin") || !strings.Contains(c.Message, "places objects of namespace shop only") {
				return fmt.Errorf("condition %+v", c)
			}
			return nil
		})
		tenant.awaitWorks(1, 0)
	}
	tenant.snapshot(9, 1)
	tenant.bind(9)
	tenant.awaitWorks(1, 9)
	tenant.deletePlacementAndBinding()
}

// A binding to a cluster that is not picked any more keeps its Works, and their reports, and brings no other content
// there: not by another snapshot, and not by a Work that only looks like the dispatcher's.
func TestClusterThatIsNotPickedGetsNoOtherContent(t *testing.T) {
	inBothScopes(t, "unpicked", func(s *scene) {
		a := s.startAgent()
		s.snapshot(0, 2)
		s.bind(0)
		s.awaitWorks(2, 0)
		a.Stop()
		s.unpick()
		s.startAgent() // which knows of that from its start
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
		s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionTrue)
		s.snapshot(1, 2)
		s.bind(1)
		s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse)
		s.awaitWorks(2, 0)
		s.bind(0)
		s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionTrue)
		lost := s.works()[0]
		s.Must(s.Client.Delete(s.Context(), &lost))
		s.freeWorks()
		s.report(metav1.ConditionFalse, "Failed")
		s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse)
		s.awaitWorks(1, 0)
		s.pick()
		s.awaitWorks(2, 0)
		s.deletePlacementAndBinding()
	})
}

// unpick takes the picks out of the placement's policy snapshot.
func (s *scene) unpick() {
	s.Helper()
	key := types.NamespacedName{Namespace: s.placement.Namespace, Name: contract.PolicySnapshotName(s.placement.Name, 0)}
	policy, err := scope.PolicySnapshots.Get(s.Context(), s.Client, key)
	s.Must(err)
	policy.GetStatus().ClusterDecisions = nil
	s.Must(s.Client.Status().Update(s.Context(), policy))
}

// No tenant takes the Work name of another's placement, or keeps it from one: cluster-wide shop.web and web in
// namespace shop have Works of the same usual name. The first has it, the second has another one, and neither minds
// the other, also when one of them goes.
func TestWorkNamesOfAnotherPlacement(t *testing.T) {
	for name, order := range map[string]func(wide, narrow *scene) (first, second *scene){
		"second": func(wide, narrow *scene) (*scene, *scene) { return wide, narrow },
		"first":  func(wide, narrow *scene) (*scene, *scene) { return narrow, wide },
	} {
		t.Run("the tenant's is "+name, func(t *testing.T) {
			h := onHub(t)
			first, second := order(newScene(h, "", "shop."+name, "east"), newScene(h, "shop", name, "east"))
			h.startAgent() // it knows of both from its start
			for _, s := range []*scene{first, second} {
				s.snapshot(0, 2)
				s.bind(0)
				s.awaitWorks(2, 0)
			}
			usual, other := first.works(), second.works()
			for _, w := range usual {
				if !slices.ContainsFunc(other, func(o v1beta1.Work) bool {
					return o.Name == contract.OtherWorkName(w.Name, second.placement.Namespace)
				}) {
					t.Errorf("the first has %s, the second %s and %s", w.Name, other[0].Name, other[1].Name)
				}
			}
			for _, s := range []*scene{first, second} {
				s.report(metav1.ConditionTrue, "Done")
				s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			}
			first.deletePlacementAndBinding()
			second.snapshot(1, 2)
			second.bind(1)
			second.awaitWorks(2, 1)
			for i, w := range second.works() {
				if w.UID != other[i].UID {
					t.Errorf("work %s became %s", other[i].Name, w.Name)
				}
			}
			second.deletePlacementAndBinding()
		})
	}
}
