package roller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement on a real hub. The test does what the placer, the scheduler and the dispatcher would.
type scene struct {
	*hub
	agent *agent
	key   types.NamespacedName
}

func TestRoller(t *testing.T) {
	h := startHub(t)
	for _, name := range []string{"m1", "m2", "m3"} {
		h.join(name)
	}
	h.Must(h.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "app"}}))
	a := h.startAgent()
	for i, scenario := range []struct {
		name string
		play func(*scene)
	}{
		{"binds with everything in one write", binds},
		{"moves clusters in turns, and says who waits", turns},
		{"waits for all parts of the content", parts},
		{"follows edits of the limits and of the strategy", edits},
		{"goes on with the others when a cluster is silent", silence},
		{"keeps what is given up on a silent cluster until it is heard", parks},
		{"keeps what is on a replaced cluster until the replacement is available", exchanges},
		{"keeps it while the replacement is replaced too", exchangesAgain},
		{"follows the name of the replacement", repoints},
		{"gives a replacement what the lost cluster had while the latest revision is rejected", fallsBack},
		{"purges what is on a replaced cluster at once where that is wanted", purges},
		{"returns to a cluster before it leaves its replacement", returns},
		{"goes on with the others when a cluster leaves", leave},
		{"goes on with what there is when nobody finds more", shortage},
		{"removes what is given up", removes},
		{"leaves placements alone that are going or External", leaves},
		{"never takes a cluster back to older content", behindHand},
		{"follows overrides, within the budget", overriding},
		{"gives nothing to a cluster before the overrides that came with it", awaitsOverrides},
		{"follows labels that overrides select by", relabels},
		{"follows labels that overrides put into the content, within the budget", revalues},
		{"never takes a cluster back to an older override", behindHandOverrides},
		{"stops when the failure budget is spent, until it is told to try again", stops},
		{"takes clusters back when the failure budget is spent", takesBack},
		{"writes nothing after a restart", restarts},
	} {
		for j, namespace := range []string{"", "app"} {
			t.Run(scenario.name+" in namespace "+namespace, func(t *testing.T) {
				here := *h
				here.T = t
				s := &scene{hub: &here, agent: a, key: types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("p%d-%d", i, j)}}
				a.Take()
				scenario.play(s)
			})
		}
	}
	a.Stop()
	for _, namespace := range []string{"", "app"} {
		t.Run("goes on with the way back after a restart in namespace "+namespace, func(t *testing.T) {
			here := *h
			here.T = t
			goesBackAfterARestart(&scene{hub: &here, key: types.NamespacedName{Namespace: namespace, Name: "restarted"}})
		})
		t.Run("goes on with an exchange after a restart in namespace "+namespace, func(t *testing.T) {
			here := *h
			here.T = t
			exchangesOverARestart(&scene{hub: &here, key: types.NamespacedName{Namespace: namespace, Name: "exchanged"}})
		})
	}
}

// join makes a member cluster that is well.
func (h *hub) join(name string) {
	h.Helper()
	h.Must(h.Client.Create(h.Context(), &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/test"}},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: name}},
	}))
	h.heard(name, time.Now().Add(time.Hour)) // which is good for the whole test
}

// heard sets when a cluster was heard of last.
func (h *hub) heard(name string, at time.Time) {
	h.Helper()
	well := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Well", LastTransitionTime: metav1.Now()}
	}
	var cluster clusterv1beta1.MemberCluster
	h.Must(h.Client.Get(h.Context(), types.NamespacedName{Name: name}, &cluster))
	cluster.Status.Conditions = []metav1.Condition{}
	cluster.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		Conditions:            []metav1.Condition{well(clusterv1beta1.ConditionJoined), well(clusterv1beta1.ConditionHealthy)},
		LastReceivedHeartbeat: metav1.NewTime(at),
	}}
	h.Must(h.Client.Status().Update(h.Context(), &cluster))
}

func (s *scene) place(changes ...func(*v1beta1.PlacementSpec)) {
	s.Helper()
	placement := scope.Placements.New(s.key)
	placement.SetNamespace(s.key.Namespace)
	placement.SetName(s.key.Name)
	placement.SetFinalizers([]string{"example.com/test"})
	spec := placement.GetSpec()
	spec.ResourceSelectors = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}}
	spec.Strategy.RollingUpdate = &v1beta1.RollingUpdateConfig{MaxUnavailable: ptr.To(intstr.FromInt32(1)), UnavailablePeriodSeconds: ptr.To(1)}
	for _, change := range changes {
		change(spec)
	}
	s.Must(s.Client.Create(s.Context(), placement))
}

func (s *scene) edit(change func(*v1beta1.PlacementSpec)) {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	change(placement.GetSpec())
	s.Must(s.Client.Update(s.Context(), placement))
	if s.agent != nil {
		testworld.AwaitKnown(s, s.agent.Knows, placement)
	}
}

// content makes the latest group of resource snapshots, with as many of its parts as are given, from the first, which
// is 0.
func (s *scene) content(index, count int, parts ...int) {
	s.Helper()
	for _, part := range parts {
		snapshot := scope.ResourceSnapshots.New(s.key)
		snapshot.SetNamespace(s.key.Namespace)
		snapshot.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name, contract.LabelResourceIndex: fmt.Sprint(index)})
		if part == 0 {
			snapshot.SetName(contract.MasterSnapshotName(s.key.Name, index))
			snapshot.GetLabels()[contract.LabelLatest] = "true"
			snapshot.SetAnnotations(map[string]string{contract.AnnotationResourceHash: "hash", contract.AnnotationSnapshotCount: fmt.Sprint(count)})
		} else {
			snapshot.SetName(contract.SubSnapshotName(s.key.Name, index, part-1))
			snapshot.SetAnnotations(map[string]string{contract.AnnotationSubindex: fmt.Sprint(part - 1)})
		}
		snapshot.GetSpec().SelectedResources = []v1beta1.ResourceContent{}
		testworld.OwnedOn(s, s.Client, s.key, snapshot)
		s.Must(s.Client.Create(s.Context(), snapshot))
	}
}

func (s *scene) binding(cluster string) v1beta1.BindingObject {
	s.Helper()
	b, err := scope.Bindings.Get(s.Context(), s.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-" + cluster})
	s.Must(err)
	return b
}

// schedule does what the scheduler does.
func (s *scene) schedule(clusters ...string) {
	s.Helper()
	for _, cluster := range clusters {
		b := scope.Bindings.New(s.key)
		b.SetNamespace(s.key.Namespace)
		b.SetName(s.key.Name + "-" + cluster)
		b.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name})
		b.SetFinalizers([]string{contract.FinalizerBinding})
		*b.GetSpec() = v1beta1.ResourceBindingSpec{
			State: v1beta1.BindingStateScheduled, SchedulingPolicySnapshotName: "policy", TargetCluster: cluster,
			ClusterDecision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"},
		}
		s.Must(s.Client.Create(s.Context(), b))
	}
}

// change writes a binding again until nobody else has in between.
func (s *scene) change(cluster string, change func(v1beta1.BindingObject)) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "a write", func(ctx context.Context) error {
		b := s.binding(cluster)
		change(b)
		return s.Client.Update(ctx, b)
	})
}

// available does what the dispatcher does when the cluster is well, or not, and waits until the agent, if one runs,
// knows.
func (s *scene) available(cluster string, well bool) {
	s.Helper()
	var b v1beta1.BindingObject
	testworld.Await(s, testworld.Soon, "a report", func(ctx context.Context) error {
		b = s.binding(cluster)
		available := metav1.Condition{
			Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAllWorkAreAvailable,
			ObservedGeneration: b.GetGeneration(), LastTransitionTime: metav1.Now(),
		}
		started := report.RolloutStarted(b.GetGeneration())
		started.LastTransitionTime = metav1.Now()
		b.GetStatus().FailedPlacements = nil
		if well {
			b.GetStatus().LastHealthy = ptr.To(rollout.BindingOf(b).Revision())
		} else {
			available.Status, available.Reason = metav1.ConditionFalse, v1beta1.ReasonNotAllWorkAreAvailable
			b.GetStatus().FailedPlacements = []v1beta1.FailedResourcePlacement{{
				ResourceIdentifier: v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Name: "cm"}, Condition: available,
			}}
		}
		*b.GetConditions() = []metav1.Condition{started, available}
		return s.Client.Status().Update(ctx, b)
	})
	if s.agent != nil {
		testworld.AwaitKnown(s, s.agent.Knows, b)
	}
}

// await waits for the bindings to be as described: cluster=state of resource index, with ! for one that is told to
// wait.
func (s *scene) await(want string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "bindings", func(context.Context) error {
		if got := s.describe(); got != want {
			return fmt.Errorf("bindings are %q; want %q", got, want)
		}
		return nil
	})
}

func (s *scene) describe() string {
	s.Helper()
	list, err := scope.Bindings.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
	s.Must(err)
	var got []string
	for _, b := range list {
		text := b.GetSpec().TargetCluster + "=" + string(b.GetSpec().State)
		if index, ok := contract.MasterIndex(s.key.Name, b.GetSpec().ResourceSnapshotName); ok {
			text += fmt.Sprint(index)
		}
		if !b.GetDeletionTimestamp().IsZero() {
			text += "-"
		}
		if c := delivery.StatusOf(b).Current(v1beta1.ConditionRolloutStarted); c != nil && c.Status == metav1.ConditionFalse {
			text += "!"
		}
		got = append(got, text)
	}
	slices.Sort(got)
	return strings.Join(got, " ")
}

func (s *scene) quiet(what string) {
	s.Helper()
	s.agent.Take()
	s.silent(500*time.Millisecond, what, s.agent)
}

// silent sees an agent write nothing of this placement for a while. Others are left as they were when their tests
// ended, and go on.
func (s *scene) silent(during time.Duration, what string, a *agent) {
	s.Helper()
	testworld.Stable(s, during, what, func(context.Context) error {
		for _, write := range a.All() {
			if strings.Contains(write, s.key.Name) {
				return errors.New(write)
			}
		}
		return nil
	})
}

// settled is a placement whose clusters all have content 0 and are well.
func (s *scene) settled(changes ...func(*v1beta1.PlacementSpec)) {
	s.Helper()
	s.place(changes...)
	s.content(0, 1, 0)
	s.schedule("m1", "m2", "m3")
	s.await("m1=Bound0 m2=Bound0 m3=Bound0")
	for _, cluster := range []string{"m1", "m2", "m3"} {
		s.available(cluster, true)
	}
}
