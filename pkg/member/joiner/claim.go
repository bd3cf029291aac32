package joiner

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// silence is how long the cluster that last reported as this member must have been silent before another one may take
// its name; silentPeriods is the same in heartbeats.
const silence, silentPeriods = 5 * time.Minute, 5

// refusal is why the agent may not join. own is whether it may report that in the InternalMemberCluster: not if the
// object is another cluster's.
type refusal struct {
	message string
	own     bool
}

// claim makes this cluster the member of imc, or returns why it cannot be. If two agents claim at once, only one
// succeeds: the marker is created once.
func (j *Joiner) claim(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) (*refusal, error) {
	other, err := j.rival(ctx, imc)
	if err != nil {
		return nil, err
	}
	if other != "" {
		return &refusal{message: fmt.Sprintf("The cluster whose namespace %s has the UID %s reports as member %s; this cluster has the UID %s. "+
			"The agent applies and removes nothing. Create another MemberCluster for this cluster; it takes over the name when the other cluster has not reported for %s",
			metav1.NamespaceSystem, other, j.Member, j.clusterUID, patienceWith(imc))}, nil
	}
	marker, err := j.mark(ctx, imc)
	if err != nil || marker.Admits(hubOf(imc), imc.Namespace) {
		return nil, err
	}
	return &refusal{message: marker.Refusal(), own: true}, nil
}

func hubOf(imc *clusterv1beta1.InternalMemberCluster) types.UID {
	return types.UID(imc.Annotations[contract.AnnotationHubUID])
}

// rival is the UID of another cluster that reports as this member; empty if there is none.
func (j *Joiner) rival(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) (types.UID, error) {
	if j.clusterUID == "" {
		var system corev1.Namespace
		if err := j.Cluster.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &system); err != nil {
			return "", fmt.Errorf("read the identity of this cluster: %w", err)
		}
		j.clusterUID = system.UID
	}
	uid := imc.Status.ClusterUID
	agent := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent)
	if uid == "" || uid == j.clusterUID || agent == nil || j.Now().Sub(agent.LastReceivedHeartbeat.Time) > patienceWith(imc) {
		return "", nil
	}
	return uid, nil
}

func patienceWith(imc *clusterv1beta1.InternalMemberCluster) time.Duration {
	return max(silence, silentPeriods*time.Duration(imc.Spec.HeartbeatPeriodSeconds)*time.Second)
}

// mark returns the cluster's marker. It creates a missing one, and completes one that was written before the hub's
// identity was known.
func (j *Joiner) mark(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) (membership.Marker, error) {
	wanted := membership.Marker{Hub: hubOf(imc), Namespace: imc.Namespace, Since: j.Now().UTC().Format(time.RFC3339)}
	found := &corev1.ConfigMap{}
	err := j.Cluster.Get(ctx, types.NamespacedName{Namespace: membership.MarkerNamespace, Name: membership.MarkerName}, found)
	if apierrors.IsNotFound(err) {
		if err := j.Cluster.Create(ctx, wanted.ConfigMap(), client.FieldOwner(contract.ManagerMember)); err != nil {
			return wanted, fmt.Errorf("create the marker of this cluster's membership: %w", err)
		}
		return wanted, nil
	}
	if err != nil {
		return wanted, fmt.Errorf("read the marker of this cluster's membership: %w", err)
	}
	marker := membership.MarkerOf(found)
	if marker.Hub == "" && wanted.Hub != "" && marker.Admits(wanted.Hub, wanted.Namespace) {
		marker.Hub = wanted.Hub
		found.Data = marker.ConfigMap().Data
		if err := j.Cluster.Update(ctx, found, client.FieldOwner(contract.ManagerMember)); err != nil {
			return wanted, fmt.Errorf("complete the marker of this cluster's membership: %w", err)
		}
	}
	return marker, nil
}

// unmark removes the marker of this membership after the cluster has left.
func (j *Joiner) unmark(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) error {
	found := &corev1.ConfigMap{}
	err := j.Cluster.Get(ctx, types.NamespacedName{Namespace: membership.MarkerNamespace, Name: membership.MarkerName}, found)
	if apierrors.IsForbidden(err) {
		return nil // without the right to read it, this agent has not made it either
	}
	if err == nil && membership.MarkerOf(found).Admits(hubOf(imc), imc.Namespace) {
		err = j.Cluster.Delete(ctx, found, client.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the marker of this cluster's membership: %w", err)
	}
	return nil
}

// refuse stops the agent, which may not act for this member, and reports why. It checks again periodically.
func (j *Joiner) refuse(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster, why refusal) (reconcile.Result, error) {
	if j.applying {
		j.Applier.Pause()
		j.applying = false
	}
	j.Gates.Close(gate, why.message)
	if j.refused != why.message {
		j.refused = why.message
		j.Refused()
		j.Recorder.Event(imc, corev1.EventTypeWarning, clusterv1beta1.ReasonInternalMemberClusterRefused, why.message)
		ctrl.LoggerFrom(ctx).Info("Refused to join", "cluster", j.Member, "reason", why.message)
	}
	if !why.own {
		return reconcile.Result{RequeueAfter: lookAround}, nil
	}
	now := j.Now()
	wanted := report.AgentRefused(imc.Status, imc.Generation, why.message, metav1.NewTime(now))
	if step := next(j.Member, &imc.Status, &wanted, period(imc), now); step.write {
		if err := j.write(ctx, imc, wanted); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: lookAround}, nil
}

func period(imc *clusterv1beta1.InternalMemberCluster) time.Duration {
	return time.Duration(max(1, imc.Spec.HeartbeatPeriodSeconds)) * time.Second
}
