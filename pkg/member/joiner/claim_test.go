package joiner

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
)

func (s *stage) marker() (*corev1.ConfigMap, error) {
	out := &corev1.ConfigMap{}
	return out, s.member.Get(s.t.Context(), types.NamespacedName{Namespace: membership.MarkerNamespace, Name: membership.MarkerName}, out)
}

func (s *stage) mustMark(m membership.Marker) {
	s.t.Helper()
	if err := s.member.Create(s.t.Context(), m.ConfigMap()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) hubIs(uid string) {
	s.t.Helper()
	imc := s.imc()
	imc.Annotations = map[string]string{contract.AnnotationHubUID: uid}
	if err := s.hub.Update(s.t.Context(), imc); err != nil {
		s.t.Fatal(err)
	}
}

func TestJoiningMarksTheCluster(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile() // a hub that does not report its identity
	s.hubIs("hub-1")
	s.mustReconcile()
	cm, err := s.marker()
	if err != nil {
		t.Fatal(err)
	}
	if m := membership.MarkerOf(cm); m.Hub != "hub-1" || m.Namespace != "fleet-member-m" || m.Since == "" {
		t.Errorf("marker %+v", m)
	}
	if s.hubUID != "hub-1" || s.imc().Status.ClusterUID != "cluster-1" {
		t.Errorf("the applier knows hub %q, the hub knows cluster %q", s.hubUID, s.imc().Status.ClusterUID)
	}
	s.restart()
	s.mustReconcile()
	if again, err := s.marker(); err != nil || again.ResourceVersion != cm.ResourceVersion {
		t.Errorf("a restart wrote the marker (%v)", err)
	}
	imc := s.imc()
	imc.Spec.State = clusterv1beta1.ClusterStateLeave
	if err := s.hub.Update(t.Context(), imc); err != nil {
		t.Fatal(err)
	}
	s.mustReconcile()
	if _, err := s.marker(); !apierrors.IsNotFound(err) {
		t.Errorf("after leaving, the marker is there (%v)", err)
	}
}

// Case two-agents-one-cluster: the second agent is refused with the hub and member in the message, changes nothing,
// and joins when the marker is gone.
func TestSecondAgentIsRefused(t *testing.T) {
	for name, marker := range map[string]membership.Marker{
		"another member": {Hub: "hub-1", Namespace: "fleet-member-other", Since: "2026-01-01T00:00:00Z"},
		"another hub":    {Hub: "hub-0", Namespace: "fleet-member-m", Since: "2026-01-01T00:00:00Z"},
		"spoiled":        {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, clusterv1beta1.ClusterStateJoin)
			s.hubIs("hub-1")
			s.mustMark(marker)
			for range 3 {
				if result := s.mustReconcile(); result.RequeueAfter <= 0 {
					t.Error("it does not look again")
				}
			}
			c := s.condition(clusterv1beta1.ConditionJoined)
			if c.Status != metav1.ConditionUnknown || c.Reason != clusterv1beta1.ReasonInternalMemberClusterRefused ||
				!strings.Contains(c.Message, marker.Namespace) || !strings.Contains(c.Message, string(marker.Hub)) {
				t.Errorf("Joined is %+v", c)
			}
			if s.joins != 0 || s.writes != 1 || s.joiner.Gates.Waiting() == nil {
				t.Errorf("%d joins, %d writes, gates %v", s.joins, s.writes, s.joiner.Gates.Waiting())
			}
			if told := strings.Join(s.told(), ", "); strings.Count(told, "Warning InternalMemberClusterRefused") != 1 {
				t.Errorf("events: %s", told)
			}
			if err := s.member.Delete(t.Context(), marker.ConfigMap()); err != nil {
				t.Fatal(err)
			}
			s.mustReconcile()
			if c := s.condition(clusterv1beta1.ConditionJoined); c.Status != metav1.ConditionTrue || s.joins != 1 {
				t.Errorf("after the marker is gone, Joined is %+v", c)
			}
		})
	}
}

// An agent that loses its cluster to another stops, and lets go of nothing.
func TestAgentThatLosesItsClusterStops(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	cm, err := s.marker()
	if err != nil {
		t.Fatal(err)
	}
	cm.Data = membership.Marker{Hub: "hub-2", Namespace: "fleet-member-x"}.ConfigMap().Data
	if err := s.member.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	s.mustReconcile()
	if s.pauses != 1 || s.leaves != 0 {
		t.Errorf("%d pauses, %d leaves; want 1, 0", s.pauses, s.leaves)
	}
}

// Two clusters with the credentials of one member: the second is refused while the first reports, and does not report
// for it.
func TestSecondClusterOfOneNameIsRefused(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	imc := s.imc()
	imc.Status.ClusterUID = "cluster-0"
	if err := s.hub.Status().Update(t.Context(), imc); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.writes, s.joins = 0, 0
	s.mustReconcile()
	if s.writes != 0 || s.joins != 0 || s.joiner.Gates.Waiting() == nil || !strings.Contains(s.joiner.Gates.Waiting().Error(), "cluster-0") {
		t.Errorf("%d writes, %d joins, gates %v", s.writes, s.joins, s.joiner.Gates.Waiting())
	}
	leave := s.imc()
	leave.Spec.State = clusterv1beta1.ClusterStateLeave
	if err := s.hub.Update(t.Context(), leave); err != nil {
		t.Fatal(err)
	}
	s.mustReconcile()
	if s.writes != 0 || s.leaves != 0 {
		t.Errorf("it answered for the other: %d writes, %d leaves", s.writes, s.leaves)
	}
	leave = s.imc()
	leave.Spec.State = clusterv1beta1.ClusterStateJoin
	if err := s.hub.Update(t.Context(), leave); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(time.Hour) // the other has gone
	s.mustReconcile()
	if s.joins != 1 || s.imc().Status.ClusterUID != "cluster-1" {
		t.Errorf("%d joins, cluster %q", s.joins, s.imc().Status.ClusterUID)
	}
}

func TestLeavingThatFailsKeepsTheMarker(t *testing.T) {
	s := newStage(t, clusterv1beta1.ClusterStateJoin)
	s.mustReconcile()
	imc := s.imc()
	imc.Spec.State = clusterv1beta1.ClusterStateLeave
	if err := s.hub.Update(t.Context(), imc); err != nil {
		t.Fatal(err)
	}
	s.leaveErr = errors.New("a Work cannot be written")
	if _, err := s.reconcile(); err == nil {
		t.Fatal("leaving succeeds")
	}
	if _, err := s.marker(); err != nil {
		t.Error(err)
	}
}
