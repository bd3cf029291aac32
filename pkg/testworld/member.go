package testworld

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// silence is for how long the heartbeat of a member that is Silent has been missing: longer than any agent waits for
// one.
const silence = 20 * time.Minute

// ModelMember is a member of which there is nothing but the MemberCluster on the hub. It answers for the agent that it
// does not have: it says what the test makes it say about its health, and about every Work that it is given that all
// of it is applied and available.
type ModelMember struct {
	Name string

	hub client.WithWatch
	t   testing.TB
	// beats is whether its heartbeat is renewed.
	beats atomic.Bool
}

// heartbeat is how often that of a member that is Healthy is renewed, so that a test may last longer than agents wait
// for one.
const heartbeat = time.Minute

// NewMemberCluster is a MemberCluster that no agent can speak for.
func NewMemberCluster(name string) *clusterv1beta1.MemberCluster {
	return &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "nobody"}},
	}
}

// StartModelMember creates a MemberCluster, which is a member once Healthy or Silent was called, and answers for it
// until the end of the test, when it leaves.
func StartModelMember(t testing.TB, hub client.WithWatch, mc *clusterv1beta1.MemberCluster) *ModelMember {
	t.Helper()
	m := &ModelMember{Name: mc.Name, hub: hub, t: t}
	if err := hub.Create(t.Context(), mc); err != nil {
		t.Fatalf("create MemberCluster %s: %v", m.Name, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var answering sync.WaitGroup
	answering.Go(func() { m.answer(ctx) })
	answering.Go(func() { wait.UntilWithContext(ctx, m.beat, heartbeat) })
	t.Cleanup(func() {
		m.dismiss(ctx)
		cancel()
		answering.Wait()
	})
	return m
}

// answer reports on Works as they come and change, until ctx ends.
func (m *ModelMember) answer(ctx context.Context) {
	for ctx.Err() == nil {
		// Without a version, a watch begins with everything there is.
		works, err := m.hub.Watch(ctx, &v1beta1.WorkList{}, client.InNamespace(contract.MemberNamespace(m.Name)))
		if err != nil {
			Pause()
			continue
		}
		for event := range works.ResultChan() {
			work, ok := event.Object.(*v1beta1.Work)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			// What came in between is an event of its own.
			switch err := m.report(ctx, work); {
			case err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || ctx.Err() != nil:
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
				m.t.Errorf("answer for member %s: %v", m.Name, err)
			default: // a hub that is busy: the next watch begins with everything there is
				works.Stop()
				Pause()
			}
		}
		works.Stop()
	}
}

// beat renews the heartbeat of a member that is Healthy and is not leaving. What goes wrong is not an error: there is
// a next one.
func (m *ModelMember) beat(ctx context.Context) {
	imc := m.internal()
	if !m.beats.Load() || m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc) != nil {
		return
	}
	if imc.Spec.State != clusterv1beta1.ClusterStateJoin || len(imc.Status.AgentStatus) != 1 {
		return
	}
	imc.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.Now()
	if m.beats.Load() { // what was said meanwhile counts: the write would conflict with it
		_ = m.hub.Status().Update(ctx, imc)
	}
}

// report says of a Work that all is well, or that nothing of it is left.
func (m *ModelMember) report(ctx context.Context, work *v1beta1.Work) error {
	if work.DeletionTimestamp != nil {
		if !controllerutil.RemoveFinalizer(work, contract.FinalizerWork) {
			return nil
		}
		return m.hub.Update(ctx, work)
	}
	news := false
	for kind, reason := range map[string]string{
		v1beta1.ConditionApplied:   v1beta1.ReasonAllManifestsApplied,
		v1beta1.ConditionAvailable: v1beta1.ReasonAllManifestsAvailable,
	} {
		news = meta.SetStatusCondition(&work.Status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: work.Generation,
		}) || news
	}
	if !news {
		return nil
	}
	return m.hub.Status().Update(ctx, work)
}

// Healthy reports that the member has joined and is well, as of now.
func (m *ModelMember) Healthy() {
	m.t.Helper()
	m.say(time.Now(), metav1.ConditionTrue, clusterv1beta1.ReasonInternalMemberClusterHealthy)
	m.beats.Store(true)
}

// Silent makes a member that has joined, and was not heard of for so long that it counts as lost.
func (m *ModelMember) Silent() {
	m.t.Helper()
	m.say(time.Now().Add(-silence), metav1.ConditionTrue, clusterv1beta1.ReasonInternalMemberClusterHealthy)
}

// Sick reports, as of now, that the member's API server has not been well for as long as Silent is silent.
func (m *ModelMember) Sick() {
	m.t.Helper()
	m.say(time.Now(), metav1.ConditionFalse, clusterv1beta1.ReasonInternalMemberClusterUnhealthy)
}

// say writes what an agent would, and waits until the hub has taken note.
func (m *ModelMember) say(heartbeat time.Time, healthy metav1.ConditionStatus, reason string) {
	m.t.Helper()
	m.beats.Store(false)
	since := metav1.NewTime(heartbeat.Add(-silence))
	agent := clusterv1beta1.AgentStatus{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		LastReceivedHeartbeat: metav1.NewTime(heartbeat),
		Conditions: []metav1.Condition{
			{Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionTrue, Reason: clusterv1beta1.ReasonInternalMemberClusterJoined, LastTransitionTime: since},
			{Type: clusterv1beta1.ConditionHealthy, Status: healthy, Reason: reason, LastTransitionTime: since},
		},
	}
	Await(m.t, Soon, "report of "+m.Name, func(ctx context.Context) error {
		imc := m.internal()
		if err := m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc); err != nil {
			return err
		}
		imc.Status.AgentStatus = []clusterv1beta1.AgentStatus{agent}
		return m.hub.Status().Update(ctx, imc)
	})
	Await(m.t, Soon, "MemberCluster "+m.Name+" to tell of the report", func(ctx context.Context) error {
		mc := NewMemberCluster(m.Name)
		if err := m.hub.Get(ctx, client.ObjectKeyFromObject(mc), mc); err != nil {
			return err
		}
		if len(mc.Status.AgentStatus) != 1 {
			return fmt.Errorf("agents are %+v", mc.Status.AgentStatus)
		}
		got := mc.Status.AgentStatus[0]
		reported := got.LastReceivedHeartbeat
		if got.ReportedHeartbeat != nil {
			reported = *got.ReportedHeartbeat
		}
		if reported.Unix() != heartbeat.Unix() || !meta.IsStatusConditionPresentAndEqual(got.Conditions, clusterv1beta1.ConditionHealthy, healthy) {
			return fmt.Errorf("it still says %+v", got)
		}
		return nil
	})
}

// Leave asks the member to leave. It does not, until Left is called.
func (m *ModelMember) Leave() {
	m.t.Helper()
	if err := client.IgnoreNotFound(m.hub.Delete(context.WithoutCancel(m.t.Context()), NewMemberCluster(m.Name))); err != nil {
		m.t.Errorf("delete MemberCluster %s: %v", m.Name, err)
	}
}

// Left makes the member leave, and waits until it is none any more.
func (m *ModelMember) Left() {
	m.t.Helper()
	m.Leave()
	Await(m.t, Workload, m.Name+" to have left", func(ctx context.Context) error {
		err := m.hub.Get(ctx, client.ObjectKey{Name: m.Name}, NewMemberCluster(m.Name))
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.Join(errors.New("it is still there"), m.goodbye(ctx))
	})
}

// dismiss makes the member leave at the end of a test. It does not wait until the MemberCluster is gone: that waits
// for its namespace, which takes seconds.
func (m *ModelMember) dismiss(ctx context.Context) {
	m.t.Helper()
	m.Leave()
	err := Until(ctx, Workload, "member "+m.Name+" to leave", func(ctx context.Context) error {
		if err := m.goodbye(ctx); err != nil {
			return err
		}
		return m.release(ctx)
	})
	if err != nil {
		m.t.Error(err)
	}
}

// release takes the test's own finalizer off the MemberCluster.
func (m *ModelMember) release(ctx context.Context) error {
	mc := NewMemberCluster(m.Name)
	if err := m.hub.Get(ctx, client.ObjectKeyFromObject(mc), mc); err != nil || !controllerutil.RemoveFinalizer(mc, Blocker) {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(m.hub.Update(ctx, mc))
}

// goodbye answers that the member has left, which spares waiting until it is forced out. It is an error if it was not
// asked to.
func (m *ModelMember) goodbye(ctx context.Context) error {
	imc := m.internal()
	if err := m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc); err != nil {
		return client.IgnoreNotFound(err)
	}
	if imc.Spec.State != clusterv1beta1.ClusterStateLeave {
		return fmt.Errorf("it is to %s", imc.Spec.State)
	}
	imc.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		LastReceivedHeartbeat: metav1.Now(),
		Conditions: []metav1.Condition{{
			Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionFalse, Reason: clusterv1beta1.ReasonInternalMemberClusterLeft,
			ObservedGeneration: imc.Generation, LastTransitionTime: metav1.Now(),
		}},
	}}
	return client.IgnoreNotFound(m.hub.Status().Update(ctx, imc))
}

func (m *ModelMember) internal() *clusterv1beta1.InternalMemberCluster {
	return &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(m.Name), Name: m.Name}}
}

// Change changes the MemberCluster, again on every conflict.
func (m *ModelMember) Change(change func(*clusterv1beta1.MemberCluster)) {
	m.t.Helper()
	Await(m.t, Soon, "change of MemberCluster "+m.Name, func(ctx context.Context) error {
		mc := NewMemberCluster(m.Name)
		if err := m.hub.Get(ctx, client.ObjectKeyFromObject(mc), mc); err != nil {
			return err
		}
		change(mc)
		return m.hub.Update(ctx, mc)
	})
}
