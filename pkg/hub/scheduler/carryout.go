package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// writing is a decision with what the writes that carry it out need.
type writing struct {
	placement v1beta1.PlacementObject
	bindings  []v1beta1.BindingObject
	decision  schedule.Decision
	along     takings
}

// carryOut writes the decision to the bindings. Carried over bindings come first: with others in their place, the next
// decision would have to give them up. New and confirmed clusters come before those that are given up, so that
// a failure in between leaves too many clusters rather than too few.
func (s *Scheduler) carryOut(ctx context.Context, w writing) error {
	byName := make(map[string]v1beta1.BindingObject, len(w.bindings))
	for _, b := range w.bindings {
		byName[b.GetName()] = b
	}
	var carried, picks, left, given, rest []func(context.Context) error
	for _, d := range w.decision.Create {
		picks = append(picks, func(ctx context.Context) error { return s.create(ctx, w, d) })
	}
	changed := map[string]bool{}
	for _, c := range w.decision.Change {
		write := func(ctx context.Context) error { return s.change(ctx, w, byName[c.Binding], c) }
		changed[c.Binding] = true
		if c.State == v1beta1.BindingStateUnscheduled && !scope.Of(byName[c.Binding], w.placement) {
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
	for _, name := range w.decision.Release {
		rest = append(rest, func(ctx context.Context) error { return s.release(ctx, byName[name]) })
	}
	for _, b := range w.bindings {
		if !changed[b.GetName()] && adoptable(w.placement, b, w.decision) {
			rest = append(rest, func(ctx context.Context) error { return s.adopt(ctx, w.placement, b) })
		}
	}
	if err := loop.All(ctx, writersPerPlacement, carried...); err != nil {
		return err
	}
	err := loop.All(ctx, writersPerPlacement, picks...)
	if err == nil {
		err = loop.All(ctx, writersPerPlacement, left...)
	}
	if err == nil || !exchanging(w.decision) {
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

func (s *Scheduler) create(ctx context.Context, w writing, d v1beta1.ClusterDecision) error {
	key, replaces := client.ObjectKeyFromObject(w.placement), w.decision.Replaces[d.ClusterName]
	binding := scope.Bindings.New(key)
	binding.SetNamespace(key.Namespace)
	binding.SetName(contract.BindingName(key.Name, d.ClusterName, seed(w.placement, w.bindings, d.ClusterName)))
	binding.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
	binding.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: string(w.placement.GetUID())})
	annotate(binding.GetAnnotations(), contract.AnnotationReplaces, replaces)
	binding.SetFinalizers([]string{contract.FinalizerBinding})
	*binding.GetSpec() = v1beta1.ResourceBindingSpec{
		State:                        v1beta1.BindingStateScheduled,
		SchedulingPolicySnapshotName: w.decision.Snapshot,
		TargetCluster:                d.ClusterName,
		ClusterDecision:              d,
	}
	if replaces != nil && external(w.placement) {
		if err := s.inherit(ctx, w.bindings, replaces.With, binding); err != nil {
			return err
		}
	}
	w.along.into(binding.GetSpec())
	trace.Put(ctx, binding)
	if err := s.Client.Create(ctx, binding); err != nil {
		return fmt.Errorf("create binding %s to cluster %s: %w", client.ObjectKeyFromObject(binding), d.ClusterName, err)
	}
	s.created.add(key, client.ObjectKeyFromObject(binding))
	s.recordMissing(w.placement, w.along, d.ClusterName)
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
func (s *Scheduler) change(ctx context.Context, w writing, seen v1beta1.BindingObject, c schedule.Change) error {
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	mark(w.placement, binding)
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
	if c.Stays {
		annotations[contract.AnnotationCarriedOver] = contract.CarriedOverHeld
	}
	binding.SetAnnotations(annotations)
	spec.State, spec.SchedulingPolicySnapshotName, spec.ClusterDecision = c.State, c.Snapshot, c.Decision
	if c.Inherits {
		if err := s.inherit(ctx, w.bindings, c.Replaces.With, binding); err != nil {
			return err
		}
	}
	along := w.along
	if c.State == v1beta1.BindingStateUnscheduled || c.TakenBack {
		along = nil // only a cluster that replaces another one gets anything
	}
	along.into(spec)
	trace.Put(ctx, binding)
	if err := s.Client.Update(ctx, binding); err != nil {
		return fmt.Errorf("set the state of binding %s to %s: %w", client.ObjectKeyFromObject(binding), c.State, err)
	}
	s.recordMissing(w.placement, along, spec.TargetCluster)
	if spec.State != seen.GetSpec().State {
		ctrl.LoggerFrom(ctx).Info("Changed binding", "binding", binding.GetName(), "cluster", spec.TargetCluster, "state", spec.State)
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
