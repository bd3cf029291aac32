package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement on a real hub. The test does what the placer would.
type scene struct {
	*hub
	agent *testworld.Agent
	key   types.NamespacedName
	index int
}

func TestScheduler(t *testing.T) {
	h := startHub(t)
	for _, cluster := range []string{"m1", "m2", "m3"} {
		h.join(cluster, true)
	}
	h.join("m4", false)
	a := h.startAgent()
	for _, scenario := range []struct {
		name string
		play func(*scene)
	}{
		{"creates what was decided, once the placement can be cleaned up", creates},
		{"follows the number wanted", follows},
		{"gives up and takes back", returns},
		{"adopts what earlier versions and placements left", adopts},
		{"replaces what is deleted", replaces},
		{"cleans up", cleansUp},
		{"lets go of what can have no bindings", letsGo},
		{"reacts to clusters that can matter", reacts},
		{"leaves a lost cluster", leaves},
		{"takes values of statuses along to another cluster", takesStateAlong},
		{"leaves a tainted cluster that it tolerates for a time", leavesTainted},
		{"leaves what fails", leavesFailed},
		{"moves to better clusters on request", rebalances},
		{"goes where other placements are, and away from them", followsOthers},
		{"keeps placements apart that are decided at once", staysApart},
		{"holds clusters that a policy gives up", holdsClusters},
		{"waits for the placer before it cleans up", waitsForPlacer},
		{"writes nothing after a restart", restarts},
	} {
		for i, namespace := range []string{"", "app"} {
			t.Run(scenario.name+" in namespace "+namespace, func(t *testing.T) {
				here := *h
				here.T = t
				name := fmt.Sprintf("p%d-%d", i, len(scenario.name))
				s := &scene{hub: &here, agent: a, key: types.NamespacedName{Namespace: namespace, Name: name}, index: -1}
				a.Take()
				scenario.play(s)
				s.remove()
			})
		}
	}
}

// join makes a member cluster that is well, or has not reported yet.
func (h *hub) join(name string, well bool) {
	h.Helper()
	cluster := &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: name}},
	}
	h.Must(h.Client.Create(h.Context(), cluster))
	if well {
		h.heartbeat(name)
	}
}

func (h *hub) heartbeat(name string) {
	h.Helper()
	var cluster clusterv1beta1.MemberCluster
	h.Must(h.Client.Get(h.Context(), types.NamespacedName{Name: name}, &cluster))
	well := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Well", LastTransitionTime: metav1.Now()}
	}
	cluster.Status.Conditions = []metav1.Condition{}
	cluster.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		Conditions:            []metav1.Condition{well(clusterv1beta1.ConditionJoined), well(clusterv1beta1.ConditionHealthy)},
		LastReceivedHeartbeat: metav1.NewTime(time.Now().Add(time.Hour)), // which is good for the whole test
	}}
	h.Must(h.Client.Status().Update(h.Context(), &cluster))
}

// place makes the placement with the finalizers that the placer gives it, or without.
func (s *scene) place(finalizers ...string) {
	s.Helper()
	if s.key.Namespace != "" {
		err := s.Client.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.key.Namespace}})
		if !apierrors.IsAlreadyExists(err) {
			s.Must(err)
		}
	}
	placement := scope.Placements.New(s.key)
	placement.SetNamespace(s.key.Namespace)
	placement.SetName(s.key.Name)
	placement.SetFinalizers(finalizers)
	placement.GetSpec().ResourceSelectors = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}}
	s.Must(s.Client.Create(s.Context(), placement))
}

// use makes policy the latest snapshot, with the number of clusters wanted.
func (s *scene) use(policy *v1beta1.PlacementPolicy, number int) {
	s.Helper()
	if s.index >= 0 {
		s.edit(s.policy(), func(old client.Object) { old.GetLabels()[contract.LabelLatest] = "false" })
	}
	s.index++
	snapshot := scope.PolicySnapshots.New(s.key)
	snapshot.SetNamespace(s.key.Namespace)
	snapshot.SetName(contract.PolicySnapshotName(s.key.Name, s.index))
	snapshot.SetLabels(map[string]string{
		contract.LabelPlacement: s.key.Name, contract.LabelPolicyIndex: fmt.Sprint(s.index), contract.LabelLatest: "true",
	})
	snapshot.SetAnnotations(map[string]string{contract.AnnotationGeneration: "7", contract.AnnotationNumberOfClusters: fmt.Sprint(number)})
	snapshot.GetSpec().Policy = policy
	snapshot.GetSpec().PolicyHash = []byte("hash")
	testworld.OwnedOn(s, s.Client, s.key, snapshot)
	s.Must(s.Client.Create(s.Context(), snapshot))
}

func (s *scene) policy() v1beta1.PolicySnapshotObject {
	s.Helper()
	key := types.NamespacedName{Namespace: s.key.Namespace, Name: contract.PolicySnapshotName(s.key.Name, s.index)}
	snapshot, err := scope.PolicySnapshots.Get(s.Context(), s.Client, key)
	s.Must(err)
	return snapshot
}

func (s *scene) edit(obj client.Object, change func(client.Object)) {
	s.Helper()
	before := obj.DeepCopyObject().(client.Object)
	change(obj)
	s.Must(s.Client.Patch(s.Context(), obj, client.MergeFrom(before)))
}

// rebind edits the binding to a cluster, and waits until the agent knows.
func (s *scene) rebind(cluster string, change func(client.Object)) {
	s.Helper()
	b := s.binding(cluster)
	s.edit(b, change)
	testworld.AwaitKnown(s, s.agent.Knows, b)
}

func (s *scene) bindings() []v1beta1.BindingObject {
	s.Helper()
	list, err := scope.Bindings.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
	s.Must(err)
	return list
}

func (s *scene) binding(cluster string) v1beta1.BindingObject {
	s.Helper()
	list := s.bindings()
	i := slices.IndexFunc(list, func(b v1beta1.BindingObject) bool {
		return b.GetSpec().TargetCluster == cluster && b.GetDeletionTimestamp().IsZero()
	})
	if i < 0 {
		s.Fatalf("there is no binding to %s", cluster)
	}
	return list[i]
}

// await waits for living bindings, as cluster=state, and for what the policy snapshot reports: chosen clusters,
// reason.
func (s *scene) await(bound, reported string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "bindings", func(context.Context) error {
		var got []string
		for _, b := range s.bindings() {
			if b.GetDeletionTimestamp().IsZero() {
				got = append(got, b.GetSpec().TargetCluster+"="+string(b.GetSpec().State))
			}
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != bound {
			return fmt.Errorf("bindings are %q; want %q", text, bound)
		}
		policy := s.policy()
		var chosen []string
		for _, d := range policy.GetStatus().ClusterDecisions {
			if d.Selected {
				chosen = append(chosen, d.ClusterName)
			}
		}
		condition := meta.FindStatusCondition(*policy.GetConditions(), v1beta1.ConditionScheduled)
		if condition == nil {
			return fmt.Errorf("there is no Scheduled condition")
		}
		if text := strings.Join(chosen, " ") + " " + condition.Reason; text != reported {
			return fmt.Errorf("reported is %q; want %q", text, reported)
		}
		if seen, want := policy.GetStatus().ObservedCRPGeneration, policy.GetAnnotations()[contract.AnnotationGeneration]; fmt.Sprint(seen) != want {
			return fmt.Errorf("observed generation %d; want %s", seen, want)
		}
		return nil
	})
}

// writes are those of the agent since the last call, without late ones for the placements of other scenes; creations
// name no object.
func (s *scene) writes() []string {
	return slices.DeleteFunc(s.agent.Take(), func(w string) bool {
		return !strings.HasPrefix(w, "POST") && !strings.Contains(w, s.key.Name)
	})
}

// quiet asserts that the agent writes nothing for a while.
func (s *scene) quiet(what string) {
	s.Helper()
	s.agent.Take()
	testworld.Stable(s, 500*time.Millisecond, what, func(context.Context) error {
		if writes := s.writes(); len(writes) > 0 {
			return fmt.Errorf("writes: %s", strings.Join(writes, ", "))
		}
		return nil
	})
}

// remove deletes the placement and lets go of everything, as the other agents would.
func (s *scene) remove() {
	s.Helper()
	placement := scope.Placements.New(s.key)
	placement.SetNamespace(s.key.Namespace)
	placement.SetName(s.key.Name)
	if err := s.Client.Delete(s.Context(), placement); !apierrors.IsNotFound(err) {
		s.Must(err)
	}
	testworld.AwaitGone(s, s.Client, placement, nil)
	testworld.Await(s, testworld.Soon, "the bindings to be gone", func(context.Context) error {
		left := s.bindings()
		for _, b := range left {
			if controllerutil.ContainsFinalizer(b, contract.FinalizerWork) && !b.GetDeletionTimestamp().IsZero() {
				// The dispatcher lets go of both at once when the placement is gone.
				s.edit(b, func(b client.Object) { b.SetFinalizers(nil) })
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%d are left", len(left))
		}
		return nil
	})
}

const (
	fulfilledReason   = v1beta1.ReasonSchedulingPolicyFulfilled
	unfulfilledReason = v1beta1.ReasonSchedulingPolicyUnfulfilled
)

func pickN() *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}
}

func pickFixed(names ...string) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: names}
}
