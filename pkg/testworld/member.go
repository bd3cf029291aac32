package testworld

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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

// silence is the age of the last heartbeat of a Silent member: longer than any agent's limit.
const silence = 20 * time.Minute

// ModelMember is a member without a cluster: only its MemberCluster exists on the hub. It writes the reports of the
// missing member agent: the health that the test sets, and for every Work that it is applied and available.
type ModelMember struct {
	Name string

	hub client.WithWatch
	t   testing.TB
	// beats is whether its heartbeat is renewed, and beating is held while it is.
	beats   atomic.Bool
	beating sync.Mutex
	// idle is whether it does not apply Works.
	idle atomic.Bool
	// telling adds to its reports on Works.
	telling atomic.Pointer[func(*v1beta1.Work)]
}

// heartbeat is the interval of heartbeats of a Healthy member whose MemberCluster sets none.
const heartbeat = time.Minute

// NewMemberCluster is a MemberCluster whose identity no agent has.
func NewMemberCluster(name string) *clusterv1beta1.MemberCluster {
	return &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "nobody"}},
	}
}

// StartModelMember creates a MemberCluster and writes the reports of its agent until the end of the test, when it
// leaves. It joins when Healthy or Silent is called.
func StartModelMember(t testing.TB, hub client.WithWatch, mc *clusterv1beta1.MemberCluster) *ModelMember {
	t.Helper()
	m := &ModelMember{Name: mc.Name, hub: hub, t: t}
	if err := hub.Create(t.Context(), mc); err != nil {
		t.Fatalf("create MemberCluster %s: %v", m.Name, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var answering sync.WaitGroup
	answering.Go(func() { m.answer(ctx) })
	answering.Go(func() {
		wait.UntilWithContext(ctx, m.beat, cmp.Or(time.Duration(mc.Spec.HeartbeatPeriodSeconds)*time.Second, heartbeat))
	})
	t.Cleanup(func() {
		m.dismiss(ctx)
		cancel()
		answering.Wait()
	})
	return m
}

// answer reports on new and changed Works until ctx ends.
func (m *ModelMember) answer(ctx context.Context) {
	for ctx.Err() == nil {
		// Without a resource version, a watch starts with all existing objects.
		works, err := m.hub.Watch(ctx, &v1beta1.WorkList{}, client.InNamespace(contract.MemberNamespace(m.Name)))
		if err != nil {
			Pause()
			continue
		}
		for event := range works.ResultChan() {
			work, ok := event.Object.(*v1beta1.Work)
			if !ok || event.Type == watch.Deleted || m.idle.Load() && work.DeletionTimestamp.IsZero() {
				continue
			}
			// After a conflict or a deletion there is another event.
			switch err := m.report(ctx, work); {
			case err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || ctx.Err() != nil:
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
				m.t.Errorf("answer for member %s: %v", m.Name, err)
			default: // the hub is busy: the next watch starts with all existing objects
				works.Stop()
				Pause()
			}
		}
		works.Stop()
	}
}

// beat renews the heartbeat of a Healthy member that is not leaving. Errors are ignored because the next heartbeat
// follows.
func (m *ModelMember) beat(ctx context.Context) {
	m.beating.Lock()
	defer m.beating.Unlock()
	imc := m.internal()
	if !m.beats.Load() || m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc) != nil {
		return
	}
	if imc.Spec.State != clusterv1beta1.ClusterStateJoin || len(imc.Status.AgentStatus) != 1 {
		return
	}
	imc.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.Now()
	if m.beats.Load() { // a report written meanwhile wins: this write conflicts with it
		_ = m.hub.Status().Update(ctx, imc)
	}
}

// report writes the status of a Work as applied and available, or completes its deletion.
func (m *ModelMember) report(ctx context.Context, work *v1beta1.Work) error {
	if work.DeletionTimestamp != nil {
		if !controllerutil.RemoveFinalizer(work, contract.FinalizerWork) {
			return nil
		}
		return m.hub.Update(ctx, work)
	}
	changed := false
	for kind, reason := range map[string]string{
		v1beta1.ConditionApplied:   v1beta1.ReasonAllManifestsApplied,
		v1beta1.ConditionAvailable: v1beta1.ReasonAllManifestsAvailable,
	} {
		changed = meta.SetStatusCondition(&work.Status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: work.Generation,
		}) || changed
	}
	if tell := m.telling.Load(); tell != nil {
		before := work.Status.DeepCopy()
		(*tell)(work)
		changed = changed || !equality.Semantic.DeepEqual(before, &work.Status)
	}
	if !changed {
		return nil
	}
	return m.hub.Status().Update(ctx, work)
}

// Healthy reports that the member has joined and is healthy now.
func (m *ModelMember) Healthy() {
	m.t.Helper()
	m.writeReport(time.Now(), metav1.ConditionTrue, clusterv1beta1.ReasonInternalMemberClusterHealthy)
	m.beats.Store(true)
}

// Silent reports that the member has joined, with a last heartbeat that is too old.
func (m *ModelMember) Silent() {
	m.t.Helper()
	m.writeReport(time.Now().Add(-silence), metav1.ConditionTrue, clusterv1beta1.ReasonInternalMemberClusterHealthy)
}

// Sick reports now that the member's API server has been unhealthy for as long as a Silent member is silent.
func (m *ModelMember) Sick() {
	m.t.Helper()
	m.writeReport(time.Now(), metav1.ConditionFalse, clusterv1beta1.ReasonInternalMemberClusterUnhealthy)
}

// Unheard ends the heartbeats. The hub recorded the last one so long ago: that is written into its record, because no
// test waits for minutes. It returns when that was.
func (m *ModelMember) Unheard(ago time.Duration) (last time.Time) {
	m.t.Helper()
	m.beats.Store(false)
	m.beating.Lock() // until a heartbeat that is being written has arrived
	defer m.beating.Unlock()
	last = time.Now().Add(-ago).Truncate(time.Second)
	Await(m.t, Soon, "the record of the last heartbeat of "+m.Name, func(ctx context.Context) error {
		imc, mc := m.internal(), NewMemberCluster(m.Name)
		if err := errors.Join(m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc), m.hub.Get(ctx, client.ObjectKeyFromObject(mc), mc)); err != nil {
			return err
		}
		if len(imc.Status.AgentStatus) != 1 || len(mc.Status.AgentStatus) != 1 {
			return fmt.Errorf("agents are %+v, and on the hub %+v", imc.Status.AgentStatus, mc.Status.AgentStatus)
		}
		agent := &mc.Status.AgentStatus[0]
		agent.ReportedHeartbeat = imc.Status.AgentStatus[0].LastReceivedHeartbeat.DeepCopy()
		agent.LastReceivedHeartbeat = metav1.NewTime(last)
		return m.hub.Status().Update(ctx, mc)
	})
	// The hub agent would look again when a heartbeat is late: it is not woken by the status, which only it writes.
	m.Change(func(mc *clusterv1beta1.MemberCluster) {
		if mc.Annotations == nil {
			mc.Annotations = map[string]string{}
		}
		mc.Annotations["test.flagship.dev/unheard-since"] = last.UTC().Format(time.RFC3339Nano)
	})
	return last
}

// Idle makes the member apply no Works until Busy is called; those that are being deleted it removes.
func (m *ModelMember) Idle() { m.idle.Store(true) }

// Telling sets a function that adds to each report on a Work; nil for none. Reports of before change with Busy.
func (m *ModelMember) Telling(add func(*v1beta1.Work)) {
	if add == nil {
		m.telling.Store(nil)
		return
	}
	m.telling.Store(&add)
}

// Busy makes an idle member apply all its Works. One that is not idle reports on all of them again, if that changes a report.
func (m *ModelMember) Busy() {
	m.t.Helper()
	m.idle.Store(false)
	Await(m.t, Soon, m.Name+" to apply its Works", func(ctx context.Context) error {
		var works v1beta1.WorkList
		if err := m.hub.List(ctx, &works, client.InNamespace(contract.MemberNamespace(m.Name))); err != nil {
			return err
		}
		for i := range works.Items {
			if err := client.IgnoreNotFound(m.report(ctx, &works.Items[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeReport writes the report of an agent, and waits until the MemberCluster has it.
func (m *ModelMember) writeReport(heartbeat time.Time, healthy metav1.ConditionStatus, reason string) {
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
	Await(m.t, Soon, "MemberCluster "+m.Name+" to have the report", func(ctx context.Context) error {
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
			return fmt.Errorf("agent status is %+v", got)
		}
		return nil
	})
}

// Leave deletes the MemberCluster. The member does not leave until Left is called.
func (m *ModelMember) Leave() {
	m.t.Helper()
	if err := client.IgnoreNotFound(m.hub.Delete(context.WithoutCancel(m.t.Context()), NewMemberCluster(m.Name))); err != nil {
		m.t.Errorf("delete MemberCluster %s: %v", m.Name, err)
	}
}

// Left makes the member leave, and waits until its MemberCluster is gone.
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
		return errors.Join(errors.New("it still exists"), m.goodbye(ctx))
	})
}

// dismiss makes the member leave at the end of a test. It does not wait until the MemberCluster is gone, because the
// deletion of its namespace takes seconds.
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

// release removes the test's own finalizer from the MemberCluster.
func (m *ModelMember) release(ctx context.Context) error {
	mc := NewMemberCluster(m.Name)
	if err := m.hub.Get(ctx, client.ObjectKeyFromObject(mc), mc); err != nil || !controllerutil.RemoveFinalizer(mc, Blocker) {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(m.hub.Update(ctx, mc))
}

// goodbye reports that the member has left, so that the hub agent need not wait until it removes the member by force.
// It returns an error if the member must not leave yet.
func (m *ModelMember) goodbye(ctx context.Context) error {
	imc := m.internal()
	if err := m.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc); err != nil {
		return client.IgnoreNotFound(err)
	}
	if imc.Spec.State != clusterv1beta1.ClusterStateLeave {
		return fmt.Errorf("its desired state is %s", imc.Spec.State)
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

// Change changes the MemberCluster and retries on conflicts.
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
