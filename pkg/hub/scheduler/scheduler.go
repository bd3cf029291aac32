// Package scheduler chooses clusters for placements: it reads a placement's latest policy snapshot, its bindings and
// the MemberClusters, decides with package schedule, and writes bindings and the policy snapshot's status.
//
// It also deletes the bindings of a deleted placement, and removes its finalizer from a deleted binding once it has
// seen the deletion.
package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// writersPerPlacement is how many bindings of one placement are written in parallel.
const writersPerPlacement = 16

// Scheduler reconciles placements of both scopes.
type Scheduler struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Direct reads from the API server, once for each deleted placement.
	Direct client.Reader
	// Workers is the number of placements reconciled in parallel.
	Workers int
	// Namespaced is whether ResourcePlacements are served.
	Namespaced bool
	// Runs is whether update runs are served.
	Runs bool
	// Domain is the label of MemberClusters that names domains which can fail as a whole; empty for none.
	Domain string
	// Recorder records failovers on placements.
	Recorder record.EventRecorder
	// Pace limits how many placements leave a cluster in a time; nil for no limit.
	Pace *rate.Limiter
	// Removal is what one change may remove if its placement does not say.
	Removal removal.Policy
	// Now is the clock.
	Now func() time.Time
	// Trace records spans; nil for none.
	Trace *trace.Agent

	created  created
	letGo    once
	began    once
	granted  loop.Granted
	silences silences
	// waiting are the placements with an exchange of clusters that another state of the fleet may cause, end or undo.
	waiting loop.Waiting
	turns   turns
	// awake is when the scheduler started.
	awake time.Time
	// followers are the placements whose policy has terms about other placements, and alone is held while one of them is
	// decided: two that must be apart from each other never pick the same cluster at the same time.
	followers followers
	alone     sync.Mutex
}

// Reconcile schedules one placement.
func (s *Scheduler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	if err := s.catchUp(ctx, req.NamespacedName); err != nil {
		return ctrl.Result{}, err
	}
	placement, err := scope.Placements.Get(ctx, s.Client, req.NamespacedName)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	bindings, listErr := scope.Bindings.List(ctx, s.Client, req.Namespace, scope.Fast(scope.OfPlacement(req.NamespacedName))...)
	if listErr != nil {
		return ctrl.Result{}, listErr
	}
	if err != nil { // the placement is gone
		s.letGo.forget(req.NamespacedName)
		s.began.forget(req.NamespacedName)
		s.waiting.Set(req.NamespacedName, false)
		s.followers.set(req.NamespacedName, schedule.Selection{})
		s.paced(req.NamespacedName, schedule.Decision{})
		return ctrl.Result{}, s.releaseUnplaced(ctx, bindings)
	}
	if !placement.GetDeletionTimestamp().IsZero() {
		ctx, end := s.Trace.Remove(ctx, req.NamespacedName, trace.Subject{Placement: req.NamespacedName, UID: placement.GetUID()}, placement.GetDeletionTimestamp())
		err := s.cleanUp(ctx, placement, bindings)
		end(err)
		return ctrl.Result{}, err
	}
	return s.schedule(ctx, placement, bindings)
}

// schedule decides for a placement that is not being deleted. Bindings are created only once the placement has the
// finalizer that ensures that they are deleted with it; the placer adds it, and that event requeues the placement.
func (s *Scheduler) schedule(ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) (result ctrl.Result, err error) {
	policy, err := s.latest(ctx, placement)
	if err != nil {
		return ctrl.Result{}, err
	}
	if policy == nil || !controllerutil.ContainsFinalizer(placement, contract.FinalizerScheduler) {
		ctrl.LoggerFrom(ctx).V(1).Info("Waiting for the policy snapshot and the finalizer of the placement")
		return ctrl.Result{}, s.releaseDeleted(ctx, bindings)
	}
	key, selection := client.ObjectKeyFromObject(placement), schedule.SelectionOf(policy.GetSpec().Policy)
	ctx, end := s.Trace.Continue(ctx, key, trace.Subject{Placement: key, UID: placement.GetUID()}, policy)
	defer func() { end(err) }()
	s.followers.set(key, selection) // before others are read: later events of theirs requeue the placement
	if selection.Empty() {
		return s.decide(ctx, placement, policy, bindings, nil)
	}
	s.alone.Lock()
	defer s.alone.Unlock()
	others, err := s.others(ctx, key, selection)
	if err != nil {
		return ctrl.Result{}, err
	}
	return s.decide(ctx, placement, policy, bindings, others)
}

// decide decides for a placement with its latest policy, and carries the decision out.
func (s *Scheduler) decide(ctx context.Context, placement v1beta1.PlacementObject, policy v1beta1.PolicySnapshotObject,
	bindings []v1beta1.BindingObject, others []schedule.Placement) (ctrl.Result, error) {
	var clusters clusterv1beta1.MemberClusterList
	if err := s.Client.List(ctx, &clusters, scope.Fast()...); err != nil {
		return ctrl.Result{}, fmt.Errorf("list member clusters: %w", err)
	}
	bindings = ours(placement, bindings)
	request, err := schedule.RequestOf(placement, policy, bindings, clusters.Items, s.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	request.Domain, request.Placements, request.Awake = s.Domain, others, s.awake
	request.Removal, request.Granted = removal.PolicyOf(placement, s.Removal), s.granted.Of(placement.GetUID())
	if request.Run, err = s.activeRun(ctx, placement); err != nil {
		return ctrl.Result{}, err
	}
	decision := schedule.Decide(request)
	if s.starts(client.ObjectKeyFromObject(placement), decision) {
		decision.Again = time.Millisecond
	}
	if wait := s.paced(client.ObjectKeyFromObject(placement), decision); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	along, err := s.takeAlong(ctx, placement, bindings, decision)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(decision.Granted) > 0 {
		s.granted.Add(placement.GetUID(), decision.Granted)
	}
	if err := s.carryOut(ctx, writing{placement, bindings, decision, along}); err != nil {
		return ctrl.Result{}, err
	}
	s.granted.Add(placement.GetUID(), decision.Awaited)
	if gone, err := s.anyGone(ctx, decision.Create); err != nil || gone {
		// The cluster was deleted while its binding was being created, so its deletion event could not find the
		// binding.
		return ctrl.Result{RequeueAfter: time.Millisecond}, err
	}
	s.recordLeft(placement, decision)
	s.followers.settle(client.ObjectKeyFromObject(placement), request.Policy, decision)
	if decision.Hold {
		return ctrl.Result{}, nil
	}
	wrote, err := s.report(ctx, policy, decision)
	if err == nil {
		err = s.rebalanced(ctx, placement, policy, decision)
	}
	if err != nil || !wrote || decision.Fulfilled() && len(decision.Held) == 0 {
		return ctrl.Result{RequeueAfter: decision.Again}, err
	}
	return s.lookOnceMore(ctx, policy)
}

// starts records whether the placement waits, and reports whether it does so from now on. Until then, events for which
// it waits are not passed to it, so those that came during the decision must be considered now.
func (s *Scheduler) starts(key types.NamespacedName, d schedule.Decision) bool {
	starts := d.Waiting && !s.waiting.Has(key)
	s.waiting.Set(key, d.Waiting)
	return starts
}

// lookOnceMore follows the first report of missing clusters. Until the cache shows that report, events of clusters are
// not passed to placements that seem to have all clusters they request, so events that came meanwhile must be
// considered now.
func (s *Scheduler) lookOnceMore(ctx context.Context, policy v1beta1.PolicySnapshotObject) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(policy)
	if _, err := scope.PolicySnapshots.Get(ctx, s.Client, key); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: time.Millisecond}, nil
}

// latest returns the placement's latest policy snapshot; nil if there is none yet. A snapshot of an earlier placement
// of the same name may still be in the cache; it does not count.
func (s *Scheduler) latest(ctx context.Context, placement v1beta1.PlacementObject) (v1beta1.PolicySnapshotObject, error) {
	key := client.ObjectKeyFromObject(placement)
	all, err := scope.PolicySnapshots.List(ctx, s.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(all, func(policy v1beta1.PolicySnapshotObject) bool {
		return !policy.GetDeletionTimestamp().IsZero() || !scope.OwnedBy(policy, placement)
	})
	return snapshot.LatestPolicy(ours), nil
}

// anyGone reports whether a cluster that has just got a binding no longer exists.
func (s *Scheduler) anyGone(ctx context.Context, picked []v1beta1.ClusterDecision) (bool, error) {
	for _, d := range picked {
		var cluster clusterv1beta1.MemberCluster
		err := s.Client.Get(ctx, types.NamespacedName{Name: d.ClusterName}, &cluster, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("get member cluster %s: %w", d.ClusterName, err)
		}
	}
	return false, nil
}

// report writes the decision into the policy snapshot's status, if it differs.
func (s *Scheduler) report(ctx context.Context, before v1beta1.PolicySnapshotObject, decision schedule.Decision) (wrote bool, err error) {
	generation, err := strconv.ParseInt(before.GetAnnotations()[contract.AnnotationGeneration], 10, 64)
	if err != nil {
		return false, fmt.Errorf("read the placement's generation from policy snapshot %s: %w", client.ObjectKeyFromObject(before), err)
	}
	after := before.DeepCopyObject().(v1beta1.PolicySnapshotObject)
	facts := report.PolicyFacts{
		Generation: before.GetGeneration(),
		Placement:  generation,
		Decisions:  decision.Clusters,
		Found:      decision.Found,
		Wanted:     decision.Wanted,
		Removal:    decision.Removal,
	}
	for _, h := range decision.Held {
		facts.Held, facts.AwaitsRun = append(facts.Held, strings.TrimSuffix(h.Reason, ".")), facts.AwaitsRun || h.Run
	}
	*after.GetStatus() = report.Policy(*before.GetStatus(), facts, metav1.NewTime(s.Now()))
	return loop.WriteStatus(ctx, s.Client, before, after)
}

// created remembers the bindings created for a placement until the cache has them. A decision without them could
// choose more clusters than requested.
type created struct {
	mu    sync.Mutex
	names map[types.NamespacedName][]types.NamespacedName
}

func (c *created) add(placement, binding types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = map[types.NamespacedName][]types.NamespacedName{}
	}
	c.names[placement] = append(c.names[placement], binding)
}

func (c *created) of(placement types.NamespacedName) []types.NamespacedName {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[placement]
}

func (c *created) forget(placement types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.names, placement)
}

// catchUp waits until the cache has the bindings that were created last for the placement.
func (s *Scheduler) catchUp(ctx context.Context, placement types.NamespacedName) error {
	for _, key := range s.created.of(placement) {
		binding := scope.Bindings.New(key)
		if err := s.Client.Get(ctx, key, binding, client.UnsafeDisableDeepCopy); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get binding %s: %w", key, err)
		}
	}
	s.created.forget(placement)
	return nil
}
