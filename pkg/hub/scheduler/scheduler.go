// Package scheduler chooses clusters for placements: it reads a placement's latest policy snapshot, its bindings and
// the MemberClusters, decides with package schedule, and writes bindings and the policy snapshot's status.
//
// It also deletes the bindings of a deleted placement, and removes its finalizer from a deleted binding once it has
// seen the deletion.
package scheduler

import (
	"context"
	"errors"
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
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
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
	// Domain is the label of MemberClusters that names domains which can fail as a whole; empty for none.
	Domain string
	// Recorder records failovers on placements.
	Recorder record.EventRecorder
	// Pace limits how many placements leave a cluster in a time; nil for no limit.
	Pace *rate.Limiter
	// Now is the clock.
	Now func() time.Time

	created  created
	letGo    letGo
	silences silences
	// waiting are the placements with an exchange of clusters that another state of the fleet may cause, end or undo.
	waiting loop.Waiting
	turns   turns
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
		s.waiting.Set(req.NamespacedName, false)
		s.paced(req.NamespacedName, schedule.Decision{})
		return ctrl.Result{}, s.releaseUnplaced(ctx, bindings)
	}
	if !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, s.cleanUp(ctx, placement, bindings)
	}
	return s.schedule(ctx, placement, bindings)
}

// schedule decides for a placement that is not being deleted. Bindings are created only once the placement has the
// finalizer that ensures that they are deleted with it; the placer adds it, and that event requeues the placement.
func (s *Scheduler) schedule(ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) (ctrl.Result, error) {
	policy, err := s.latest(ctx, placement)
	if err != nil {
		return ctrl.Result{}, err
	}
	if policy == nil || !controllerutil.ContainsFinalizer(placement, contract.FinalizerScheduler) {
		ctrl.LoggerFrom(ctx).V(1).Info("Waiting for the policy snapshot and the finalizer of the placement")
		return ctrl.Result{}, s.releaseDeleted(ctx, bindings)
	}
	var clusters clusterv1beta1.MemberClusterList
	if err := s.Client.List(ctx, &clusters, scope.Fast()...); err != nil {
		return ctrl.Result{}, fmt.Errorf("list member clusters: %w", err)
	}
	bindings = ours(placement, bindings)
	request, err := schedule.RequestOf(placement, policy, bindings, clusters.Items, s.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	request.Domain = s.Domain
	decision := schedule.Decide(request)
	s.waiting.Set(client.ObjectKeyFromObject(placement), decision.Waiting)
	if wait := s.paced(client.ObjectKeyFromObject(placement), decision); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	along, err := s.takeAlong(ctx, placement, bindings, decision)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := s.carryOut(ctx, placement, bindings, decision, along); err != nil {
		return ctrl.Result{}, err
	}
	if gone, err := s.anyGone(ctx, decision.Create); err != nil || gone {
		// The cluster was deleted while its binding was being created, so its deletion event could not find the
		// binding.
		return ctrl.Result{RequeueAfter: time.Millisecond}, err
	}
	s.recordLeft(placement, decision)
	if decision.Hold {
		return ctrl.Result{}, nil
	}
	wrote, err := s.report(ctx, policy, decision)
	if err != nil || !wrote || decision.Fulfilled() {
		return ctrl.Result{RequeueAfter: decision.Again}, err
	}
	return s.lookOnceMore(ctx, policy)
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

// carryOut writes the decision to the bindings. Carried over bindings come first: with others in their place, the next
// decision would have to give them up. New and confirmed clusters come before those that are given up, so that
// a failure in between leaves too many clusters rather than too few.
func (s *Scheduler) carryOut(
	ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject, decision schedule.Decision, along takings,
) error {
	byName := make(map[string]v1beta1.BindingObject, len(bindings))
	for _, b := range bindings {
		byName[b.GetName()] = b
	}
	var carried, picks, left, given, rest []func(context.Context) error
	for _, d := range decision.Create {
		picks = append(picks, func(ctx context.Context) error { return s.create(ctx, placement, bindings, decision, d, along) })
	}
	changed := map[string]bool{}
	for _, c := range decision.Change {
		write := func(ctx context.Context) error { return s.change(ctx, placement, byName[c.Binding], c, along) }
		changed[c.Binding] = true
		if c.State == v1beta1.BindingStateUnscheduled && !scope.Of(byName[c.Binding], placement) {
			continue // no decision removes the objects of an earlier placement
		}
		switch {
		case c.ReplacedBy != nil:
			left = append(left, write)
		case c.State == v1beta1.BindingStateUnscheduled:
			given = append(given, write)
		case c.CarriedOver:
			carried = append(carried, write)
		default:
			picks = append(picks, write)
		}
	}
	for _, name := range decision.Release {
		rest = append(rest, func(ctx context.Context) error { return s.release(ctx, byName[name]) })
	}
	for _, b := range bindings {
		if !changed[b.GetName()] && adoptable(placement, b, decision) {
			rest = append(rest, func(ctx context.Context) error { return s.adopt(ctx, placement, b) })
		}
	}
	if err := loop.All(ctx, writersPerPlacement, carried...); err != nil {
		return err
	}
	err := loop.All(ctx, writersPerPlacement, picks...)
	if err == nil {
		err = loop.All(ctx, writersPerPlacement, left...)
	}
	if err == nil || !exchanging(decision) {
		err = errors.Join(err, loop.All(ctx, writersPerPlacement, given...))
	}
	return errors.Join(err, loop.All(ctx, writersPerPlacement, rest...))
}

// exchanging reports whether a decision replaces clusters with others, or takes that back: what it gives up may be the
// last copy until the rest is written.
func exchanging(d schedule.Decision) bool {
	return len(d.Left) > 0 || len(d.Replaces) > 0 ||
		slices.ContainsFunc(d.Change, func(c schedule.Change) bool { return c.TakenBack || c.ReplacedBy != nil })
}

func (s *Scheduler) create(
	ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject, decision schedule.Decision, d v1beta1.ClusterDecision,
	along takings,
) error {
	key := client.ObjectKeyFromObject(placement)
	binding := scope.Bindings.New(key)
	binding.SetNamespace(key.Namespace)
	binding.SetName(contract.BindingName(key.Name, d.ClusterName, seed(placement, bindings, d.ClusterName)))
	binding.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
	binding.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: string(placement.GetUID())})
	annotate(binding.GetAnnotations(), contract.AnnotationReplaces, decision.Replaces[d.ClusterName])
	binding.SetFinalizers([]string{contract.FinalizerBinding})
	*binding.GetSpec() = v1beta1.ResourceBindingSpec{
		State:                        v1beta1.BindingStateScheduled,
		SchedulingPolicySnapshotName: decision.Snapshot,
		TargetCluster:                d.ClusterName,
		ClusterDecision:              d,
	}
	along.into(binding.GetSpec())
	if err := s.Client.Create(ctx, binding); err != nil {
		return fmt.Errorf("create binding %s to cluster %s: %w", client.ObjectKeyFromObject(binding), d.ClusterName, err)
	}
	s.created.add(key, client.ObjectKeyFromObject(binding))
	s.recordMissing(placement, along, d.ClusterName)
	ctrl.LoggerFrom(ctx).Info("Created binding", "binding", binding.GetName(), "cluster", d.ClusterName)
	return nil
}

// seed is the input for a new binding's name. It is the same for the same decision, so that a decision from an
// outdated cache finds the name taken; and another one while former bindings to the cluster are still being deleted.
func seed(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject, cluster string) string {
	parts := []string{string(placement.GetUID()), cluster}
	var former []string
	for _, b := range bindings {
		if b.GetSpec().TargetCluster == cluster && !b.GetDeletionTimestamp().IsZero() {
			former = append(former, string(b.GetUID()))
		}
	}
	slices.Sort(former)
	return strings.Join(append(parts, former...), "/")
}

// change writes one binding. Its other annotations stay, as they belong to other clients.
func (s *Scheduler) change(ctx context.Context, placement v1beta1.PlacementObject, seen v1beta1.BindingObject, c schedule.Change, along takings) error {
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	mark(placement, binding)
	spec, annotations := binding.GetSpec(), binding.GetAnnotations()
	delete(annotations, contract.AnnotationCarriedOver)
	annotate(annotations, contract.AnnotationReplacedBy, c.ReplacedBy)
	annotate(annotations, contract.AnnotationReplaces, c.Replaces)
	if c.TakenBack {
		annotations[contract.AnnotationTakenBack] = s.Now().UTC().Format(time.RFC3339)
	}
	if c.State != v1beta1.BindingStateUnscheduled {
		delete(annotations, contract.AnnotationPreviousState)
	} else if spec.State != v1beta1.BindingStateUnscheduled {
		annotations[contract.AnnotationPreviousState] = string(spec.State)
	}
	if c.CarriedOver {
		annotations[contract.AnnotationCarriedOver] = strconv.FormatBool(true)
	}
	binding.SetAnnotations(annotations)
	spec.State, spec.SchedulingPolicySnapshotName, spec.ClusterDecision = c.State, c.Snapshot, c.Decision
	if c.State == v1beta1.BindingStateUnscheduled || c.TakenBack {
		along = nil // only a cluster that replaces another one gets anything
	}
	along.into(spec)
	if err := s.Client.Update(ctx, binding); err != nil {
		return fmt.Errorf("set the state of binding %s to %s: %w", client.ObjectKeyFromObject(binding), c.State, err)
	}
	s.recordMissing(placement, along, spec.TargetCluster)
	if c.State != seen.GetSpec().State {
		ctrl.LoggerFrom(ctx).Info("Changed binding", "binding", binding.GetName(), "cluster", spec.TargetCluster, "state", c.State)
	}
	return nil
}

// annotate writes an exchange into annotations; nil removes it.
func annotate(annotations map[string]string, name string, e *failover.Exchange) {
	delete(annotations, name)
	if e != nil {
		annotations[name] = e.String()
	}
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
	*after.GetStatus() = report.Policy(*before.GetStatus(), report.PolicyFacts{
		Generation: before.GetGeneration(),
		Placement:  generation,
		Decisions:  decision.Clusters,
		Found:      decision.Found,
		Wanted:     decision.Wanted,
	}, metav1.NewTime(s.Now()))
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
