// Package evictor carries out evictions: it removes a placement from a cluster by deleting the binding, if package
// evict permits it, and records the outcome in the eviction. It reads evictions from the cache and all inputs of the
// decision from the API server.
//
// Evictions of one placement are carried out one after the other. The budget also holds with two evictors, as there
// may be for a moment when the leader changes: each spends from it by a write on the budget that names the version
// that was read.
package evictor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/evict"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Evictor reconciles placements that have evictions, of both scopes.
type Evictor struct {
	// Client reads evictions from the cache, in which SetupWithManager registers their index, and sees its own writes.
	Client client.Client
	// Direct reads from the API server, and writes what is not cached.
	Direct client.Client
	// Workers is the number of placements reconciled in parallel.
	Workers int
	// Namespaced is whether ResourcePlacementEvictions are served.
	Namespaced bool
	// Now is the clock.
	Now func() time.Time
}

// Reconcile carries out the evictions of one placement that have no outcome yet, the oldest first.
func (e *Evictor) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	all, err := scope.Evictions.List(ctx, e.Client, req.Namespace, scope.OfPlacement(req.NamespacedName), client.UnsafeDisableDeepCopy)
	if err != nil {
		return ctrl.Result{}, err
	}
	open := slices.DeleteFunc(all, report.EvictionEnded)
	slices.SortFunc(open, func(a, b v1beta1.EvictionObject) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	var errs []error
	for _, eviction := range open {
		if err := e.attend(ctx, client.ObjectKeyFromObject(eviction)); err != nil {
			observe(eviction, nil)
			errs = append(errs, fmt.Errorf("carry out eviction %s: %w", eviction.GetName(), err))
		}
	}
	return ctrl.Result{}, errors.Join(errs...)
}

// observed is the state, as it was read, that an eviction is decided from.
type observed struct {
	eviction v1beta1.EvictionObject
	facts    evict.Facts
	// budget is the object of facts.Budget; nil if there is none.
	budget   v1beta1.DisruptionBudgetObject
	spending evict.Spending
}

// attend decides on one eviction and carries it out. After a conflict it is called again and reads the new state.
func (e *Evictor) attend(ctx context.Context, key types.NamespacedName) error {
	seen, err := e.observe(ctx, key)
	if err != nil || seen == nil {
		return err
	}
	outcome := evict.Decide(seen.facts)
	if seen.carriedOut() {
		outcome = evict.Leaving()
	}
	if outcome.Evict != nil {
		if err := e.evict(ctx, seen, outcome); err != nil {
			return err
		}
	}
	report.Eviction(seen.eviction, report.EvictionFacts{Valid: outcome.Valid, Executed: outcome.Executed, Message: outcome.Message}, metav1.NewTime(e.Now()))
	if err := e.Client.Status().Update(ctx, seen.eviction); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the outcome: %w", err)
	}
	observe(seen.eviction, &outcome)
	ctrl.LoggerFrom(ctx).Info("Decided eviction", "object", key, "cluster", seen.facts.Cluster, "executed", outcome.Executed, "reason", outcome.Message)
	return nil
}

// observe reads everything about an eviction from the API server: neither a cache that is behind nor another evictor
// may cause that it is carried out twice. It returns nil for one that does not exist or has its outcome.
func (e *Evictor) observe(ctx context.Context, key types.NamespacedName) (*observed, error) {
	eviction, err := scope.Evictions.Get(ctx, e.Direct, key)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || report.EvictionEnded(eviction) {
		return nil, err
	}
	of := scope.EvictedBy(eviction)
	out := &observed{eviction: eviction, facts: evict.Facts{Cluster: eviction.GetSpec().ClusterName, Namespaced: of.Namespace != ""}}
	if len(validation.IsDNS1123Subdomain(of.Name)) > 0 {
		return out, nil // no placement can have this name, and the client may refuse the request
	}
	placement, err := scope.Placements.Get(ctx, e.Direct, of)
	if apierrors.IsNotFound(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.facts.Placement = placement
	// The budget is read before the bindings: spending from it after this makes our write conflict, and spending
	// before it shows in the bindings or in the budget.
	budget, err := scope.DisruptionBudgets.Get(ctx, e.Direct, of)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if err == nil {
		out.budget, out.facts.Budget = budget, budget.GetSpec()
		out.spending = evict.ReadSpending(budget.GetAnnotations()[contract.AnnotationEvictions])
		out.facts.Spent = out.spending.Current(e.Now())
	}
	if !contract.FitsLabel(of.Name) {
		return out, nil // it has no bindings: they need its name as a label
	}
	bindings, err := scope.Bindings.List(ctx, e.Direct, of.Namespace, client.MatchingLabels{contract.LabelPlacement: of.Name})
	if err != nil {
		return nil, err
	}
	out.facts.Bindings = scope.OnlyOf(placement, bindings)
	if out.budget != nil {
		out.facts.Unheard, err = e.unheard(ctx, out.facts.Bindings)
	}
	return out, err
}

// unheard returns which clusters that the scheduler gave up are not heard: a budget needs no others.
func (e *Evictor) unheard(ctx context.Context, bindings []v1beta1.BindingObject) (map[string]bool, error) {
	out := map[string]bool{}
	for _, b := range bindings {
		if b.GetSpec().State == v1beta1.BindingStateUnscheduled {
			out[b.GetSpec().TargetCluster] = true
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	var list clusterv1beta1.MemberClusterList
	if err := e.Direct.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list member clusters: %w", err)
	}
	for i := range list.Items {
		if liveness.Of(&list.Items[i], e.Now()) == liveness.Heard {
			delete(out, list.Items[i].Name)
		}
	}
	return out, nil
}

// carriedOut returns whether a process began the eviction and ended before it recorded that, and the binding is
// deleted or being deleted. A binding that the scheduler has created for the cluster since is not the one that was
// evicted.
func (s *observed) carriedOut() bool {
	begun := types.UID(s.eviction.GetAnnotations()[contract.AnnotationEvicting])
	if begun == "" {
		return false
	}
	return !slices.ContainsFunc(s.facts.Bindings, func(b v1beta1.BindingObject) bool {
		return b.GetUID() == begun && b.GetDeletionTimestamp().IsZero()
	})
}

// evict deletes the binding. If the decision was made from an older state, one of the writes conflicts.
func (e *Evictor) evict(ctx context.Context, seen *observed, outcome evict.Outcome) error {
	b := outcome.Evict
	if err := e.begin(ctx, seen.eviction, b); err != nil {
		return err
	}
	if outcome.Spends {
		if err := e.spend(ctx, seen, b); err != nil {
			return err
		}
	}
	uid, version := b.GetUID(), b.GetResourceVersion()
	err := e.Client.Delete(ctx, b, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete binding %s: %w", b.GetName(), err)
	}
	return nil
}

// begin writes the UID of the binding to delete on the eviction.
func (e *Evictor) begin(ctx context.Context, eviction v1beta1.EvictionObject, b v1beta1.BindingObject) error {
	before := eviction.DeepCopyObject().(client.Object)
	if !annotate(eviction, contract.AnnotationEvicting, string(b.GetUID())) {
		return nil
	}
	if err := e.Client.Patch(ctx, eviction, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("annotate the eviction with its binding: %w", err)
	}
	return nil
}

// spend takes the binding from the budget. It conflicts if the budget was written since it was read.
func (e *Evictor) spend(ctx context.Context, seen *observed, b v1beta1.BindingObject) error {
	there := map[types.UID]bool{}
	for _, b := range seen.facts.Bindings {
		there[b.GetUID()] = b.GetDeletionTimestamp().IsZero()
	}
	now := e.Now()
	next := evict.Spent{Binding: b.GetUID(), Cluster: b.GetSpec().TargetCluster, Since: now.UTC()}
	text, err := seen.spending.With(next, there, now)
	if err != nil {
		return fmt.Errorf("spend from the disruption budget: %w", err)
	}
	before := seen.budget.DeepCopyObject().(client.Object)
	annotate(seen.budget, contract.AnnotationEvictions, text)
	if err := e.Direct.Patch(ctx, seen.budget, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("spend from disruption budget %s: %w", seen.budget.GetName(), err)
	}
	return nil
}

// annotate returns whether it changed the object.
func annotate(obj client.Object, key, value string) bool {
	annotations := obj.GetAnnotations()
	if annotations[key] == value {
		return false
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	obj.SetAnnotations(annotations)
	return true
}
