// Package registrar admits clusters to the fleet and releases them. For every MemberCluster it maintains a namespace
// on the hub, access rights of the cluster's identity to that namespace and to nothing else, and an
// InternalMemberCluster for the exchange between the hub and the cluster's agents; it copies the agents' reports to
// the MemberCluster's status.
package registrar

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// RecorderName is the event recorder's name.
const RecorderName = "mcv1beta1"

// Registrar reconciles MemberClusters.
type Registrar struct {
	// Client reads MemberClusters, InternalMemberClusters and Works from the cache and sees its own writes. Direct
	// reads and writes namespaces, ResourceQuotas, Roles and RoleBindings without one.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// HubUID is the hub's identity, as the function HubUID reads it.
	HubUID types.UID
	// Workers is the number of clusters reconciled in parallel.
	Workers int
	// Networking is whether members must also run the two agents of fleet networking.
	Networking bool
	// ForceDeleteWait is the time limit for the agents of a deleted cluster to leave.
	ForceDeleteWait time.Duration
	// Domain is the label of the domains that can fail as a whole, for judging silent clusters; empty for none.
	Domain string
	// NewCache creates the cache of the objects for members; nil for the default.
	NewCache cache.NewCacheFunc
	// Now is the clock.
	Now func() time.Time
	// Awake is since when this process has received heartbeats. SetupWithManager sets it to the present unless it is set.
	Awake time.Time

	// known are the UIDs of the clusters whose report this process has copied: later reports are newer than its start.
	known sync.Map
	// silences are the silent clusters.
	silences silences
	// quotaRefused are the times at which the API server denied this process a write of a cluster's quota, by the
	// cluster's UID.
	quotaRefused sync.Map
	// recounted are the waits for Kubernetes to count all kinds of a cluster's quota, each a recounting, by the cluster's
	// UID.
	recounted sync.Map
	// crds are the states of CustomResourceDefinitions, each a crdState, by name.
	crds sync.Map
	// members reads the objects for members from a cache of those objects alone; SetupWithManager creates it.
	members client.Reader
}

// HubUID is the identity of the hub: the UID of its namespace kube-system, which clients can neither choose nor
// change. A hub that is restored into a new cluster has another one.
func HubUID(ctx context.Context, hub client.Reader) (types.UID, error) {
	var system corev1.Namespace
	if err := hub.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &system); err != nil {
		return "", fmt.Errorf("read the hub's identity from namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return system.UID, nil
}

// Reconcile maintains the membership of one MemberCluster.
func (r *Registrar) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var cluster v1beta1.MemberCluster
	if err := r.Client.Get(ctx, req.NamespacedName, &cluster); apierrors.IsNotFound(err) {
		r.silences.forget(req.Name)
		return ctrl.Result{}, r.freeFormer(ctx, req.Name)
	} else if err != nil {
		return ctrl.Result{}, err
	}
	seen, err := r.observe(ctx, &cluster)
	if err != nil {
		return ctrl.Result{}, err
	}
	step := membership.Next(seen.Seen, r.Now())
	if err := r.carryOut(ctx, step.Action, seen); err != nil {
		return ctrl.Result{}, err
	}
	waits := []time.Duration{step.Again, seen.judgeAgain, r.untilSilent(&cluster), r.recountingOf(&cluster).wait}
	return ctrl.Result{RequeueAfter: shortest(waits)}, nil
}

// observed is the state of one cluster as it was read.
type observed struct {
	membership.Seen
	// namespace is the cluster's; nil if there is none.
	namespace *corev1.Namespace
	// judgeAgain is when to judge the cluster's silence again without an event; zero if there is no need.
	judgeAgain time.Duration
}

func (r *Registrar) observe(ctx context.Context, cluster *v1beta1.MemberCluster) (*observed, error) {
	out := &observed{Seen: membership.Seen{
		Cluster:         cluster,
		Agents:          membership.Agents(r.Networking),
		ForceDeleteWait: r.ForceDeleteWait,
	}}
	namespace, err := r.namespaceOf(ctx, cluster)
	if err != nil {
		return nil, err
	}
	out.namespace = namespace
	switch {
	case namespace == nil:
		out.Namespace = membership.NamespaceGone
	case !membership.Owns(cluster, namespace):
		out.Namespace = membership.NamespaceForeign
		return out, nil // its contents do not belong to this cluster
	case !namespace.DeletionTimestamp.IsZero():
		out.Namespace = membership.NamespaceTerminating
	default:
		out.Namespace = membership.NamespaceActive
	}
	var internal v1beta1.InternalMemberCluster
	key := types.NamespacedName{Namespace: contract.MemberNamespace(cluster.Name), Name: cluster.Name}
	err = r.Client.Get(ctx, key, &internal)
	if err == nil && !cluster.DeletionTimestamp.IsZero() && membership.NeverJoined(&internal) {
		err = r.Direct.Get(ctx, key, &internal) // the cache may not have the first report yet
	}
	if err == nil {
		out.Internal = &internal
	} else if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get internal member cluster %s: %w", cluster.Name, err)
	}
	return out, nil
}

// namespaceOf returns the namespace with the name of the cluster's; nil if there is none. The cache selects namespaces
// by their label, so a miss is checked with the API server.
func (r *Registrar) namespaceOf(ctx context.Context, cluster *v1beta1.MemberCluster) (*corev1.Namespace, error) {
	key := types.NamespacedName{Name: contract.MemberNamespace(cluster.Name)}
	for _, reader := range []client.Reader{r.members, r.Direct} {
		var namespace corev1.Namespace
		err := reader.Get(ctx, key, &namespace)
		if err == nil {
			return &namespace, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("get namespace of member %s: %w", cluster.Name, err)
		}
	}
	return nil, nil
}

func (r *Registrar) carryOut(ctx context.Context, action membership.Action, seen *observed) error {
	switch action {
	case membership.Admit:
		return r.admit(ctx, seen)
	case membership.Dismiss:
		if err := r.request(ctx, seen, v1beta1.ClusterStateLeave); err != nil {
			return err
		}
		return r.report(ctx, seen, fmt.Sprintf("The cluster is being deleted and its agents must leave; the hub agent stops waiting for an agent %s after the "+
			"deletion. If the member agent is stopped, start it so that it leaves sooner", r.ForceDeleteWait))
	case membership.CleanUp:
		if _, _, err := r.free(ctx, seen.Cluster, false); err != nil {
			return err
		}
		if err := r.deleteNamespace(ctx, seen); err != nil {
			return err
		}
		return r.report(ctx, seen, "The cluster is being deleted; its namespace on the hub is deleted next")
	case membership.AwaitNamespace:
		return r.awaitNamespace(ctx, seen)
	case membership.Refuse:
		name := seen.namespace.Name
		return r.report(ctx, seen, fmt.Sprintf("Namespace %s exists and was not created for this MemberCluster, so the hub agent does not use it; "+
			"delete it, or hand it over to the cluster with all its contents: kubectl annotate namespace %s %s=%s",
			name, name, contract.AnnotationAdoptFor, seen.Cluster.UID))
	case membership.Release:
		return r.release(ctx, seen)
	}
	return nil
}

// admit creates or repairs all objects, in the order of their dependencies.
func (r *Registrar) admit(ctx context.Context, seen *observed) error {
	if err := r.claim(ctx, seen.Cluster); err != nil {
		return err
	}
	if err := r.ensureNamespace(ctx, seen); apierrors.IsInvalid(err) {
		// With its prefix, the name of a MemberCluster may not be a valid namespace. Its owner has to correct that.
		return r.report(ctx, seen, err.Error())
	} else if err != nil {
		return err
	}
	if err := r.ensureQuota(ctx, seen.Cluster); err != nil {
		return err
	}
	if err := r.ensureRole(ctx, seen.Cluster); err != nil {
		return err
	}
	if err := r.ensureRoleBinding(ctx, seen.Cluster); err != nil {
		return err
	}
	if err := r.request(ctx, seen, v1beta1.ClusterStateJoin); err != nil {
		return err
	}
	return r.report(ctx, seen, "")
}

// claim adds our finalizer and the cluster's name, as a label for selectors, to the MemberCluster in one write.
func (r *Registrar) claim(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	before := cluster.DeepCopy()
	added := controllerutil.AddFinalizer(cluster, contract.FinalizerMemberCluster)
	if !added && cluster.Labels[contract.LabelMemberName] == cluster.Name {
		return nil
	}
	if cluster.Labels == nil {
		cluster.Labels = map[string]string{}
	}
	cluster.Labels[contract.LabelMemberName] = cluster.Name
	if err := r.Client.Patch(ctx, cluster, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("claim member cluster %s: %w", cluster.Name, err)
	}
	return nil
}

func (r *Registrar) deleteNamespace(ctx context.Context, seen *observed) error {
	err := r.Direct.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: seen.namespace.Name}}, client.Preconditions{UID: &seen.namespace.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete namespace %s: %w", seen.namespace.Name, err)
	}
	return nil
}

// release removes the finalizer of the MemberCluster.
func (r *Registrar) release(ctx context.Context, seen *observed) error {
	before := seen.Cluster.DeepCopy()
	controllerutil.RemoveFinalizer(seen.Cluster, contract.FinalizerMemberCluster)
	err := r.Client.Patch(ctx, seen.Cluster, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release member cluster %s: %w", seen.Cluster.Name, err)
	}
	r.known.Delete(seen.Cluster.UID)
	r.silences.forget(seen.Cluster.Name)
	r.quotaRefused.Delete(seen.Cluster.UID)
	r.recounted.Delete(seen.Cluster.UID)
	ctrl.LoggerFrom(ctx).Info("Released member cluster", "cluster", seen.Cluster.Name)
	return nil
}

// report writes the MemberCluster's status if it differs. waiting is what the cluster waits for; empty for nothing.
func (r *Registrar) report(ctx context.Context, seen *observed, waiting string) error {
	before := seen.Cluster.DeepCopy()
	facts := report.MemberFacts{Generation: seen.Cluster.Generation, Waiting: waiting}
	standing := membership.StandingOf(seen.Internal, seen.Agents)
	facts.Joined, facts.Unclear = standing.Joined, standing.Unclear
	facts.Silence, facts.Taints = kept(seen.Cluster), failover.SeenTaints(seen.Cluster, r.Now())
	if seen.Internal != nil {
		_, live := r.known.Load(seen.Cluster.UID)
		believed := membership.Believe(seen.Cluster, &seen.Internal.Status, live, r.Now())
		facts.Internal, facts.Doubts, facts.Mistakes = &believed.Status, believed.Doubts, believed.Mistakes
		facts.ClockKnown = believed.Skew != membership.SkewUnknown
		if facts.ClockKnown && believed.Skew != membership.SkewNone {
			facts.Clock = string(believed.Skew)
		}
		facts.Silent = r.silence(seen.Cluster, believed.Status.AgentStatus)
		judgement, err := r.judge(ctx, seen.Cluster, believed.Status.AgentStatus)
		if err != nil {
			return err
		}
		facts.Silence, seen.judgeAgain = judgement.Silence, judgement.Again
	} else if was := meta.FindStatusCondition(before.Status.Conditions, v1beta1.ConditionJoined); was != nil && was.Status == metav1.ConditionFalse {
		facts.Joined = metav1.ConditionFalse // the report was deleted with its namespace; the cluster has left
	}
	seen.Cluster.Status = report.Member(before.Status, facts, metav1.NewTime(r.Now()))
	wrote, err := loop.WriteStatus(ctx, r.Client, before, seen.Cluster)
	if err != nil {
		return err
	}
	r.known.Store(seen.Cluster.UID, true)
	r.silences.count(seen.Cluster.Name, seen.Cluster.Status.Silence)
	if wrote {
		r.recordSilence(ctx, seen.Cluster, before.Status)
		r.recordTransitions(ctx, seen.Cluster, before.Status.Conditions, seen.Cluster.Status.Conditions)
	}
	return nil
}

// recordTransitions records events and logs for changes of a cluster's membership. A new cluster that has not reported
// yet is none.
func (r *Registrar) recordTransitions(ctx context.Context, cluster *v1beta1.MemberCluster, before, after []metav1.Condition) {
	changed := func(kind string) *metav1.Condition {
		was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
		if is == nil || was != nil && was.Status == is.Status || was == nil && is.Status == metav1.ConditionUnknown {
			return nil
		}
		ctrl.LoggerFrom(ctx).Info("Membership changed", "cluster", cluster.Name, "condition", kind, "status", is.Status, "reason", is.Reason)
		return is
	}
	const heard = v1beta1.ConditionHeartbeatsReceived
	if meta.FindStatusCondition(before, heard) != nil && meta.FindStatusCondition(after, heard) == nil {
		ctrl.LoggerFrom(ctx).Info("Membership changed", "cluster", cluster.Name, "condition", heard, "status", metav1.ConditionTrue)
		r.Recorder.Event(cluster, corev1.EventTypeNormal, heard, "The hub receives heartbeats from the member agent again")
	}
	if c := changed(v1beta1.ConditionReadyToJoin); c != nil && c.Status == metav1.ConditionTrue {
		r.Recorder.Event(cluster, corev1.EventTypeNormal, "MemberClusterReadyToJoin", c.Message)
	}
	for _, kind := range []string{heard, v1beta1.ConditionClocksInStep, v1beta1.ConditionReportAccepted, v1beta1.ConditionBelievedPropertiesAccepted} {
		if c := changed(kind); c != nil {
			r.Recorder.Event(cluster, corev1.EventTypeWarning, c.Reason, c.Message)
		}
	}
	if c := changed(v1beta1.ConditionJoined); c != nil {
		if c.Status == metav1.ConditionUnknown {
			r.Recorder.Event(cluster, corev1.EventTypeWarning, "MemberClusterJoinStateUnknown", c.Message)
			return
		}
		if c.Status == metav1.ConditionTrue {
			metrics.CountJoin()
		} else {
			metrics.CountLeave()
		}
		r.Recorder.Event(cluster, corev1.EventTypeNormal, "MemberClusterJoined", c.Message)
	}
}
