// Package placer creates snapshots of the policies of placements and of the objects that they select, updates both,
// and reports the progress of the clusters in the status of the placement. It serves both kinds of placement with one
// controller.
//
// It reads placements, the objects that they select (through Objects), decisions of the scheduler and the status of
// bindings. It writes snapshots, except their status; the finalizers of placements; and the status of placements.
//
// One pass observes a placement and takes four steps, each in a file of its own: choose what is selected, write the
// policy snapshot, write the revision, write the status.
package placer

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// RecorderName is the name under which the placer records events.
const RecorderName = "placement-controller"

// Objects is the source of the hub's objects that placements select.
type Objects interface {
	revise.Objects
	// Subscribe sets the function that is called with each placement that must be reconciled because objects have
	// changed.
	Subscribe(notify func(types.NamespacedName))
	// Select returns what a placement selects, and follows it from now on. A selection.UserError is for the user;
	// the placement is notified when an error that is a selection.ErrNotListed has passed.
	Select(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error)
	// Changes returns the changes seen since the last Select for the placement.
	Changes(key types.NamespacedName) snapshot.Changes
	// Forget stops following a placement.
	Forget(key types.NamespacedName)
}

// Placer is the agent. All fields must be set, except Trace.
type Placer struct {
	// Client reads the cache and sees its own writes; Direct does neither.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	Objects        Objects
	// Reviser makes the resource snapshots from the same Objects.
	Reviser *revise.Reviser
	// Windows bound how long changes are gathered before they become a revision.
	Windows snapshot.Windows
	// Workers is how many placements are reconciled concurrently.
	Workers int
	// Namespaced is whether ResourcePlacements are reconciled, too.
	Namespaced bool
	// Removal is what one change may remove if its placement does not say.
	Removal removal.Policy
	// Now is the clock.
	Now func() time.Time
	// Trace records spans.
	Trace *trace.Agent

	mu       sync.Mutex
	memories map[types.NamespacedName]*memory
	doomed   doomed
}

// memory caches the results of the steps for a placement between reconciliations. Only its own step writes each field.
// Losing it costs time only.
type memory struct {
	selection selected
	revision  revision
	status    reported
	// clusters is how many bindings the placement has; guarded by Placer.mu.
	clusters int
}

// observed is a placement with its objects as they were read, and the results of the steps for later steps.
type observed struct {
	key types.NamespacedName
	revise.State
	policies []v1beta1.PolicySnapshotObject
	memory   *memory
	// fresh is whether the placement is new: it has no snapshots and no finalizer.
	fresh bool

	// found is the new selection; nil if the last one is still valid.
	found *selection.Selection
	// policy is the current policy snapshot.
	policy v1beta1.PolicySnapshotObject
	// latest is the current revision. With strategy External there is none; bound has the revisions that bindings
	// name, by the name of the master.
	latest report.Snapshot
	bound  map[string]report.Snapshot
	// delayed is whether the write of a status that only reports progress is delayed.
	delayed bool
}

// Reconcile brings one placement up to date.
func (p *Placer) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	end, err := p.Reviser.Turn(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer end()
	placement, err := scope.Placements.Get(ctx, p.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		p.forget(req.NamespacedName)
		p.doomed.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	if !placement.GetDeletionTimestamp().IsZero() {
		ctx, end := p.Trace.Remove(ctx, req.NamespacedName, trace.Subject{Placement: req.NamespacedName, UID: placement.GetUID()}, placement.GetDeletionTimestamp())
		err := p.finish(ctx, placement)
		end(err)
		return ctrl.Result{}, err
	}
	s, err := p.observe(ctx, placement)
	if err != nil {
		return ctrl.Result{}, err
	}
	again, err := p.place(ctx, s)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return ctrl.Result{}, nil // the placement is about to be deleted, too
	}
	return ctrl.Result{RequeueAfter: again}, err
}

// observe reads what belongs to a placement.
func (p *Placer) observe(ctx context.Context, placement v1beta1.PlacementObject) (*observed, error) {
	s := &observed{key: client.ObjectKeyFromObject(placement)}
	var err error
	// The listed objects are not modified, so they need no copy.
	if s.policies, err = scope.PolicySnapshots.List(ctx, p.Client, s.key.Namespace, scope.OfPlacement(s.key),
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	if s.State, err = p.Reviser.Observe(ctx, placement); err != nil {
		return nil, err
	}
	s.fresh = len(s.Groups) == 0 && !controllerutil.ContainsFinalizer(placement, contract.FinalizerPlacement)
	s.memory = p.remembered(s.key, len(s.Bindings))
	return s, nil
}

// place takes the four steps. Like each step, it returns after how long to requeue the placement; zero for never.
func (p *Placer) place(ctx context.Context, s *observed) (again time.Duration, err error) {
	if mistake := report.StatusCopyOf(s.Placement, s.Placement.GetStatus()).Mistake; mistake != "" {
		return 0, p.refuse(ctx, s, mistake)
	}
	if wrong := validate.PlacementName(s.key.Name); len(wrong) > 0 {
		return 0, p.refuse(ctx, s, wrong[0].Detail)
	}
	ctx, end := p.follow(ctx, s)
	defer func() { end(err) }()
	gathering, err := p.choose(ctx, s)
	if err != nil {
		return 0, p.placeUnchosen(ctx, s, err)
	}
	if _, err := p.writePolicy(ctx, s); err != nil {
		return 0, err
	}
	// The watch of placements may be ahead of the watches of objects that were created before the placement. These
	// catch up while the policy snapshot of a new placement is written, and while the scheduler decides.
	if s.fresh && !p.Objects.Changes(s.key).First.IsZero() {
		if gathering, err = p.choose(ctx, s); err != nil {
			return 0, err
		}
	}
	pruning, err := p.revise(ctx, s)
	if err != nil {
		return 0, err
	}
	progressing, err := p.reportStatus(ctx, s)
	return soonest(gathering, pruning, progressing), err
}

// follow begins the trace of a change of the placement or of its objects, or continues that of the latest revision.
func (p *Placer) follow(ctx context.Context, s *observed) (context.Context, func(error)) {
	if p.Trace == nil {
		return ctx, func(error) {}
	}
	of := trace.Subject{Placement: s.key, UID: s.Placement.GetUID()}
	// At the start of the agent every placement is selected anew, which is no change.
	if due, _ := p.due(s); due && (s.fresh || s.memory.selection.attempt > 0) {
		return p.Trace.Begin(ctx, s.key, of, p.Objects.Changes(s.key).First)
	}
	latest, ok := snapshot.Latest(s.Groups)
	if !ok {
		return ctx, func(error) {}
	}
	return p.Trace.Continue(ctx, s.key, of, latest.Master)
}

// placeUnchosen handles a placement whose selection failed with cause: the current revision stays, and its status is
// updated.
func (p *Placer) placeUnchosen(ctx context.Context, s *observed, cause error) error {
	var mistake *selection.UserError
	switch {
	case errors.As(cause, &mistake):
		return p.refuse(ctx, s, mistake.Error())
	case errors.Is(cause, selection.ErrNotListed):
		log.FromContext(ctx).Info("Waiting for the lists of selected kinds", "reason", cause.Error())
		return p.addFinalizers(ctx, s.Placement)
	}
	ok, err := s.keepRevision()
	if err != nil || !ok {
		return errors.Join(cause, err, p.addFinalizers(ctx, s.Placement))
	}
	if _, err := p.writePolicy(ctx, s); err != nil {
		return errors.Join(cause, err)
	}
	_, err = p.reportStatus(ctx, s)
	return errors.Join(cause, err)
}

// refuse reports a mistake in the placement's spec. Placed objects are not changed.
func (p *Placer) refuse(ctx context.Context, s *observed, mistake string) error {
	if err := p.addFinalizers(ctx, s.Placement); err != nil {
		return err
	}
	return p.writeStatus(ctx, s, report.InvalidPlacement(s.Placement, mistake, s.stamp()))
}

// soonest returns the shortest duration that is not zero; zero if all are.
func soonest(durations ...time.Duration) time.Duration {
	var out time.Duration
	for _, d := range durations {
		if d > 0 && (out == 0 || d < out) {
			out = d
		}
	}
	return out
}

// external reports whether update runs, and not the placer, make and roll out the resource snapshots of a placement.
func external(placement v1beta1.PlacementObject) bool {
	return placement.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// stamp is the time for writes, in whole seconds like the API server stores it.
func (s *observed) stamp() metav1.Time { return metav1.NewTime(s.Now).Rfc3339Copy() }

// remembered returns the memory of a placement that has so many bindings.
func (p *Placer) remembered(key types.NamespacedName, clusters int) *memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memories == nil {
		p.memories = map[types.NamespacedName]*memory{}
	}
	if p.memories[key] == nil {
		p.memories[key] = &memory{}
	}
	p.memories[key].clusters = clusters
	return p.memories[key]
}

func (p *Placer) forget(key types.NamespacedName) {
	p.Objects.Forget(key)
	setHeld(key, report.Holds{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.memories[key]; m != nil {
		m.status.progress.drop()
	}
	delete(p.memories, key)
}
