package joiner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// stage is a Joiner with everything around it played.
type stage struct {
	t        *testing.T
	joiner   *Joiner
	hub      client.Client
	events   *testworld.Recorder
	writes   int
	now      time.Time
	joins    int
	pauses   int
	hubUID   types.UID
	member   client.Client
	leaves   int
	leaveErr error
	health   error
	facts    error
	refuse   error
	barred   error
}

func (s *stage) Identify(hub types.UID)      { s.hubUID = hub }
func (s *stage) Join()                       { s.joins++ }
func (s *stage) Pause()                      { s.pauses++ }
func (s *stage) Leave(context.Context) error { s.leaves++; return s.leaveErr }

func newStage(t *testing.T, state clusterv1beta1.ClusterState) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clusterv1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, events: &testworld.Recorder{}, now: start}
	imc := &clusterv1beta1.InternalMemberCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-m", Name: "m", Generation: 1},
		Spec:       clusterv1beta1.InternalMemberClusterSpec{State: state, HeartbeatPeriodSeconds: 60},
	}
	s.hub = fake.NewClientBuilder().WithScheme(scheme).WithObjects(imc).WithStatusSubresource(imc).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
				if s.refuse != nil {
					return s.refuse
				}
				s.writes++
				return c.SubResource(sub).Update(ctx, obj, opts...)
			},
		}).Build()
	core := runtime.NewScheme()
	if err := corev1.AddToScheme(core); err != nil {
		t.Fatal(err)
	}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: "cluster-1"}}
	s.member = fake.NewClientBuilder().WithScheme(core).WithObjects(system).Build()
	s.restart()
	return s
}

// restart puts a new agent in the place of the old one.
func (s *stage) restart() {
	s.joiner = &Joiner{
		Member: "m", Hub: s.hub, Cluster: s.member, Refused: func() {}, Applier: s, Recorder: s.events, Gates: &process.Gates{},
		Health: func(context.Context) error { return s.health },
		Inventory: func(context.Context) (*report.Inventory, error) {
			if s.facts != nil {
				return nil, s.facts
			}
			return facts(1, true, "3", "2").Inventory, nil
		},
		Barred: func(err error) { s.barred = err },
		Now:    func() time.Time { return s.now },
	}
}

func (s *stage) reconcile() (reconcile.Result, error) {
	return s.joiner.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: s.joiner.key()})
}

func (s *stage) mustReconcile() reconcile.Result {
	s.t.Helper()
	result, err := s.reconcile()
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

func (s *stage) imc() *clusterv1beta1.InternalMemberCluster {
	s.t.Helper()
	imc := &clusterv1beta1.InternalMemberCluster{}
	if err := s.hub.Get(s.t.Context(), s.joiner.key(), imc); err != nil {
		s.t.Fatal(err)
	}
	return imc
}

func (s *stage) condition(kind string) metav1.Condition {
	s.t.Helper()
	imc := s.imc()
	if agent := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent); agent != nil {
		if c := meta.FindStatusCondition(agent.Conditions, kind); c != nil {
			return *c
		}
	}
	return metav1.Condition{}
}

func (s *stage) told() []string {
	var out []string
	for _, e := range s.events.Take() {
		out = append(out, e.Type+" "+e.Reason)
	}
	return out
}

func TestJoinWritesOnceAndTellsOnce(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	for range 3 {
		if result := s.mustReconcile(); result.RequeueAfter <= 0 || result.RequeueAfter > lookAround {
			t.Errorf("looks again after %s", result.RequeueAfter)
		}
	}
	if s.writes != 1 || s.joins != 1 {
		t.Errorf("%d writes, %d joins; want one of each", s.writes, s.joins)
	}
	if c := s.condition(clusterv1beta1.ConditionJoined); c.Status != metav1.ConditionTrue {
		t.Errorf("Joined is %+v", c)
	}
	if got := strings.Join(s.told(), ", "); got != "Normal InternalMemberClusterHealthy, Normal InternalMemberClusterJoined" {
		t.Errorf("events: %s", got)
	}
	if err := s.joiner.Gates.Waiting(); err != nil {
		t.Errorf("joined, and still %v", err)
	}
}

func TestJoiningAndLeavingIsCounted(t *testing.T) {
	joined, left := counted(t, "join_result_counter"), counted(t, "leave_result_counter")
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	for range 2 {
		s.mustReconcile()
	}
	s.restart()
	s.mustReconcile()
	if n := counted(t, "join_result_counter") - joined; n != 1 {
		t.Errorf("%v joins are counted; want 1", n)
	}
	imc := s.imc()
	imc.Spec.State = clusterv1beta1.ClusterStateLeave
	if err := s.hub.Update(t.Context(), imc); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.mustReconcile()
	}
	if n := counted(t, "leave_result_counter") - left; n != 1 {
		t.Errorf("%v leaves are counted; want 1", n)
	}
}

// counted is the value of a counter with result success, 0 if there is none yet.
func counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name && family.Metric[0].Label[0].GetValue() == "success" {
			return family.Metric[0].Counter.GetValue()
		}
	}
	return 0
}

func TestRestartWritesNothingBeforeItIsDue(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	s.now = s.now.Add(50 * time.Second)
	s.restart()
	result := s.mustReconcile()
	if s.writes != 1 || s.joins != 2 {
		t.Fatalf("%d writes, %d joins; want 1 and 2", s.writes, s.joins)
	}
	s.now = s.now.Add(result.RequeueAfter)
	for s.writes == 1 {
		s.now = s.now.Add(s.mustReconcile().RequeueAfter)
	}
	if beat := s.imc().Status.AgentStatus[0].LastReceivedHeartbeat.Sub(start); beat < 57*time.Second || beat > 64*time.Second {
		t.Errorf("the second heartbeat came %s after the first", beat)
	}
}

func TestHeartbeatDoesNotDependOnFacts(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	s.told()
	s.health, s.facts = errors.New("500"), errors.New("nodes are forbidden")
	s.now = s.now.Add(70 * time.Second)
	s.mustReconcile()
	imc := s.imc()
	if s.writes != 2 || !imc.Status.AgentStatus[0].LastReceivedHeartbeat.Time.Equal(s.now) {
		t.Errorf("%d writes, last heartbeat %s; want one at %s", s.writes, imc.Status.AgentStatus[0].LastReceivedHeartbeat, s.now)
	}
	if c := s.condition(clusterv1beta1.ConditionHealthy); c.Status != metav1.ConditionFalse {
		t.Errorf("Healthy is %+v", c)
	}
	if imc.Status.Properties["kubernetes-fleet.io/node-count"].Value != "3" {
		t.Errorf("properties are %v; what is not known now must stay", imc.Status.Properties)
	}
	if got := strings.Join(s.told(), ", "); got != "Warning InternalMemberClusterUnhealthy" {
		t.Errorf("events: %s", got)
	}
}

func TestLeave(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateLeave)
	s.leaveErr = errors.New("works cannot be listed")
	for range 2 {
		if _, err := s.reconcile(); !errors.Is(err, s.leaveErr) {
			t.Fatalf("error %v; want %v", err, s.leaveErr)
		}
	}
	if c := s.condition(clusterv1beta1.ConditionJoined); s.writes != 1 || c.Reason != clusterv1beta1.ReasonInternalMemberClusterFailedToLeave {
		t.Errorf("%d writes, Joined %+v", s.writes, c)
	}
	s.leaveErr = nil
	for range 2 {
		s.mustReconcile()
	}
	if c := s.condition(clusterv1beta1.ConditionJoined); s.writes != 2 || c.Status != metav1.ConditionFalse || c.Reason != clusterv1beta1.ReasonInternalMemberClusterLeft {
		t.Errorf("%d writes, Joined %+v", s.writes, c)
	}
	if s.joiner.Gates.Waiting() == nil {
		t.Error("left, and still ready")
	}
}

func TestWithoutInternalMemberClusterNothingIsLetGo(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	if err := s.hub.Delete(t.Context(), s.imc()); err != nil {
		t.Fatal(err)
	}
	s.mustReconcile()
	if s.leaves != 0 {
		t.Error("the applier was told to leave")
	}
	if err := s.joiner.Gates.Waiting(); err == nil || !strings.Contains(err.Error(), "InternalMemberCluster fleet-member-m/m does not exist") {
		t.Errorf("waits for %v", err)
	}
}

func TestRefusedReportMeansThatAccessIsLost(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.refuse = apierrors.NewForbidden(schema.GroupResource{Resource: "internalmemberclusters"}, "m", errors.New("no role"))
	if _, err := s.reconcile(); !apierrors.IsForbidden(err) || !apierrors.IsForbidden(s.barred) {
		t.Errorf("error %v, told %v; want both to be the refusal", err, s.barred)
	}
}
