// Package placer turns placements into snapshots of their policy and of what they select, keeps both up to date, and tells on the
// placement how far its clusters have come. It serves both kinds of placement with one controller.
//
// Into it come placements, the objects they select (through Objects), decisions of the scheduler and reports of bindings. It writes
// snapshots, except their status; the finalizers of placements; and the status of placements.
package placer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// RecorderName is the name under which the placer records events.
const RecorderName = "placement-controller"

// writers is how many objects of one placement are written at once.
const writers = 8

// Objects knows the objects of the hub that placements select.
type Objects interface {
	// Subscribe sets who is told that a placement should be looked at.
	Subscribe(notify func(types.NamespacedName))
	// Select returns what a placement selects, and follows it from now on. A selection.UserError is for the user;
	// when an error that is a selection.ErrNotListed has passed, the placement is told.
	Select(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error)
	// Look returns the same and leaves Changes, and what the placement waits for, as they are.
	Look(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error)
	// Changes are when the first and the last change was seen since the placement was last selected; zero for none.
	Changes(key types.NamespacedName) (first, last time.Time)
	// Read reads contents, in the order of refs. It fails if any cannot be read.
	Read(ctx context.Context, refs []selection.Ref) ([]selection.Content, error)
	// Forget ends following a placement.
	Forget(key types.NamespacedName)
}

// Placer is the agent. All fields but Now must be set.
type Placer struct {
	// Client reads the cache and sees its own writes; Direct does neither.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	Objects        Objects
	// Windows bound how long changes are gathered before they become a revision.
	Windows snapshot.Windows
	// Workers is how many placements are looked at at once.
	Workers int
	// Namespaced is whether ResourcePlacements are served, too.
	Namespaced bool
	// Now is the clock; nil for the real one.
	Now func() time.Time

	mu    sync.Mutex
	memos map[types.NamespacedName]*memo
}

// memo is what is remembered of a placement to not work it out again. Losing it costs time, and nothing else.
type memo struct {
	// generation is that of the placement when its selection was made; current whether the rest is what came of it.
	generation int64
	current    bool
	items      []item
	content    snapshot.Content
	// large are selected objects that content does not hold as they are.
	large []snapshot.Large
	// restricted is whether the selection was made for an author who may not place privileged objects, and withheld are those.
	restricted bool
	withheld   []v1beta1.ResourceIdentifier
	// kept are what stays on the hub as far as the selection shows, of what the user is to hear of.
	kept []selection.Kept
	// changed is whether the selection was made because objects have changed, and ofChange whether the latest revision came of that.
	changed, ofChange bool
	// made is when this process made the latest revision; took is how long it took to arrive, or the one before if it has not.
	made time.Time
	took time.Duration
	// awaited is whether the latest revision has not arrived yet.
	awaited bool
	// progress is what the metrics say.
	progress progress
	// held is since when a status that only tells of progress has been held back; zero if none is.
	held time.Time
	// decoded are resource snapshots, by the uid of the group's first. They serve placements with an External strategy.
	decoded map[types.UID]report.Snapshot
}

// item is one selected object and its content.
type item struct {
	uid     types.UID
	version string
	// kept is why the object, which is there, is not carried, if the user is to hear of that.
	kept *selection.Kept
	snapshot.Item
}

// seen is a placement with all that belongs to it.
type seen struct {
	key       types.NamespacedName
	placement v1beta1.PlacementObject
	policies  []v1beta1.PolicySnapshotObject
	groups    []snapshot.Group
	bindings  []v1beta1.BindingObject
	memo      *memo
	now       time.Time
}

// Reconcile brings one placement up to date.
func (p *Placer) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	placement, err := scope.Placements.Get(ctx, p.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		p.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, p.finish(ctx, placement)
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
func (p *Placer) observe(ctx context.Context, placement v1beta1.PlacementObject) (*seen, error) {
	s := &seen{key: client.ObjectKeyFromObject(placement), placement: placement, now: p.now()}
	var err error
	// What is listed is not changed below, so that it need not be copied.
	if s.policies, err = scope.PolicySnapshots.List(ctx, p.Client, s.key.Namespace, scope.OfPlacement(s.key),
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	resources, err := scope.ResourceSnapshots.List(ctx, p.Client, s.key.Namespace, scope.OfPlacement(s.key), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	s.groups = snapshot.Groups(resources)
	// Bindings are others' to write: waiting for writes of ours makes no sense, and news of theirs bring us back.
	if s.bindings, err = scope.Bindings.List(ctx, p.Client, s.key.Namespace, scope.OfPlacement(s.key), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency); err != nil {
		return nil, err
	}
	s.bindings = scope.OnlyOf(placement, s.bindings)
	s.memo = p.memo(s.key)
	return s, nil
}

// place writes what is to be written for a placement, and says when to look again although nothing happens (zero: never).
func (p *Placer) place(ctx context.Context, s *seen) (time.Duration, error) {
	if mistake := report.MirrorOf(s.placement, s.placement.GetStatus()).Mistake; mistake != "" {
		return 0, p.refuse(ctx, s, mistake)
	}
	if wrong := validate.PlacementName(s.key.Name); len(wrong) > 0 {
		return 0, p.refuse(ctx, s, wrong[0].Detail)
	}
	selected, wait, err := p.choose(ctx, s)
	var mistake *selection.UserError
	switch {
	case errors.As(err, &mistake):
		return 0, p.refuse(ctx, s, mistake.Error())
	case errors.Is(err, selection.ErrNotListed):
		log.FromContext(ctx).Info("Waiting for the lists of selected kinds", "reason", err.Error())
		return 0, p.addFinalizers(ctx, s.placement)
	case err != nil:
		return p.carryOn(ctx, s, err)
	}
	policy, latest, history, err := p.snapshots(ctx, s, func(ctx context.Context) (report.Snapshot, time.Duration, error) {
		if first, _ := p.Objects.Changes(s.key); s.fresh() && !first.IsZero() {
			again, err := p.pick(ctx, s, p.Objects.Select)
			if err != nil {
				return report.Snapshot{}, 0, err
			}
			selected = &again
		}
		return p.resources(ctx, s, selected)
	})
	if err != nil {
		return 0, err
	}
	progress, err := p.report(ctx, s, policy, latest)
	return soonest(wait, history, progress), err
}

// carryOn does for a placement whose selected objects cannot be read, which is cause, what can be done without them: what was placed
// last stays, and its owner goes on to hear how it fares.
func (p *Placer) carryOn(ctx context.Context, s *seen, cause error) (time.Duration, error) {
	standing, ok := s.standing()
	if !ok {
		return 0, errors.Join(cause, p.addFinalizers(ctx, s.placement))
	}
	policy, latest, _, err := p.snapshots(ctx, s, func(context.Context) (report.Snapshot, time.Duration, error) { return standing, 0, nil })
	if err != nil {
		return 0, errors.Join(cause, err)
	}
	_, err = p.report(ctx, s, policy, latest)
	return 0, errors.Join(cause, err)
}

// standing is the latest revision, if what it holds is remembered.
func (s *seen) standing() (report.Snapshot, bool) {
	if external(s.placement) {
		return report.Snapshot{}, true
	}
	latest, ok := snapshot.Latest(s.groups)
	if !ok || !latest.Complete() || latest.Hash() != s.memo.content.Hash {
		return report.Snapshot{}, false
	}
	return report.Snapshot{Name: latest.Master.GetName(), Index: latest.IndexLabel(), Resources: s.memo.content.Identifiers()}, true
}

// refuse tells the user that the selectors of a placement are wrong. What is placed stays as it is.
func (p *Placer) refuse(ctx context.Context, s *seen, mistake string) error {
	if err := p.addFinalizers(ctx, s.placement); err != nil {
		return err
	}
	return p.tell(ctx, s, report.InvalidPlacement(s.placement, mistake, s.stamp()))
}

// soonest is the least of the durations that are not zero.
func soonest(durations ...time.Duration) time.Duration {
	var out time.Duration
	for _, d := range durations {
		if d > 0 && (out == 0 || d < out) {
			out = d
		}
	}
	return out
}

// fresh says that nothing has been made for a placement yet.
func (s *seen) fresh() bool {
	return len(s.groups) == 0 && !controllerutil.ContainsFinalizer(s.placement, contract.FinalizerPlacement)
}

// external says whether update runs, and not the placer, make and roll out resource snapshots of a placement.
func external(placement v1beta1.PlacementObject) bool {
	return placement.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// choose works out what a placement selects, unless nothing has changed, or changes are still being gathered: then wait is for how
// long. The result is nil if what is remembered still stands.
func (p *Placer) choose(ctx context.Context, s *seen) (selected *selection.Selection, wait time.Duration, err error) {
	m, last := s.memo, s.last()
	if m.awaited && last.Arrived {
		m.awaited, m.took = false, s.now.Sub(m.made)
	}
	stands := m.current && m.generation == s.placement.GetGeneration() && m.restricted == restricted(s.placement)
	if stands {
		first, latest := p.Objects.Changes(s.key)
		if first.IsZero() {
			return nil, 0, nil
		}
		if wait := snapshot.Wait(p.Windows, snapshot.Changes{First: first, Last: latest}, last, s.now); wait > 0 {
			return nil, wait, nil
		}
	}
	m.changed = stands
	m.current, m.generation = false, s.placement.GetGeneration()
	found, err := p.pick(ctx, s, p.Objects.Select)
	if err == nil {
		err = s.holdUnread(found)
	}
	return &found, 0, err
}

// restricted says whether the author of a placement may not place privileged objects.
func restricted(placement v1beta1.PlacementObject) bool {
	return placement.GetAnnotations()[contract.AnnotationAuthor] == contract.AuthorRestricted
}

// pick works out what a placement selects and its author may place.
func (p *Placer) pick(ctx context.Context, s *seen, from selecting) (selection.Selection, error) {
	found, err := from(ctx, s.key, s.placement.GetSpec().ResourceSelectors)
	if err != nil {
		return selection.Selection{}, err
	}
	s.memo.restricted, s.memo.withheld, s.memo.kept = restricted(s.placement), nil, found.Kept
	if !s.memo.restricted {
		return found, nil
	}
	permitted, withheld := found.Permitted()
	for _, ref := range withheld {
		s.memo.withheld = append(s.memo.withheld, ref.Identifier())
	}
	return permitted, nil
}

// selecting is Select or Look of Objects.
type selecting func(context.Context, types.NamespacedName, []v1beta1.ResourceSelectorTerm) (selection.Selection, error)

// last is what the next revision waits for.
func (s *seen) last() snapshot.Last {
	latest, ok := snapshot.Latest(s.groups)
	if !ok {
		return snapshot.Last{}
	}
	last := snapshot.Last{Made: s.memo.made, Arrived: true, Took: s.memo.took, OfChange: s.memo.ofChange}
	// The time on the object knows seconds only.
	if created := latest.Master.GetCreationTimestamp().Time; created.After(last.Made) {
		last.Made = created
	}
	for _, binding := range s.bindings {
		if binding.GetSpec().State == v1beta1.BindingStateBound && binding.GetDeletionTimestamp().IsZero() {
			last.Arrived = last.Arrived && report.Arrived(binding, latest.Master.GetName())
		}
	}
	return last
}

// holdUnread is an error if objects may be missing from a selection only because they could not be read, although the latest revision
// holds such: leaving them out would remove them from the members.
func (s *seen) holdUnread(found selection.Selection) error {
	if len(found.Unread) == 0 {
		return nil
	}
	latest, ok := snapshot.Latest(s.groups)
	if !ok {
		return nil
	}
	items, err := latest.Items()
	if err != nil {
		return err
	}
	for _, item := range items {
		if kind := (schema.GroupKind{Group: item.ID.Group, Kind: item.ID.Kind}); found.Unreads(kind) {
			return fmt.Errorf("%s, which is placed, cannot be read on the hub: %w", kind.String(), found.Cause)
		}
	}
	return nil
}

// snapshots writes finalizers and snapshots, those of resources by the function given, and returns the policy snapshot and the revision
// in force then, and when to look again. All are written at once, but the first of resources last: the hub may have told of a placement
// sooner than of objects that were created before it, and while the scheduler decides they arrive.
func (p *Placer) snapshots(ctx context.Context, s *seen, resources func(context.Context) (report.Snapshot, time.Duration, error)) (
	v1beta1.PolicySnapshotObject, report.Snapshot, time.Duration, error,
) {
	policy, err := snapshot.Policy(s.placement, s.policies)
	if err != nil {
		return nil, report.Snapshot{}, 0, err
	}
	var latest report.Snapshot
	var again time.Duration
	write := func(ctx context.Context) (err error) {
		latest, again, err = resources(ctx)
		return err
	}
	// The others read the placement while this one writes it.
	owned := s.placement.DeepCopyObject().(v1beta1.PlacementObject)
	jobs := []func(context.Context) error{
		func(ctx context.Context) error { return p.writePolicies(ctx, s.key, policy) },
		func(ctx context.Context) error { return p.addFinalizers(ctx, owned) },
	}
	fresh := s.fresh()
	if !fresh {
		jobs = append(jobs, write)
	}
	err = loop.Each(ctx, len(jobs), jobs, func(ctx context.Context, job func(context.Context) error) error { return job(ctx) })
	if fresh && err == nil {
		err = write(ctx)
	}
	s.placement = owned
	inForce := policy.Create
	for _, existing := range s.policies {
		if existing.GetName() == policy.Latest {
			inForce = existing
		}
	}
	return inForce, latest, again, err
}

// report writes the status, or says when to look whether it should be, if it only tells of progress.
func (p *Placer) report(ctx context.Context, s *seen, policy v1beta1.PolicySnapshotObject, latest report.Snapshot) (time.Duration, error) {
	facts := report.PlacementFacts{
		Placement: s.placement, Policy: policy, Bindings: s.bindings, Latest: latest,
		TooLarge: s.memo.tooLarge(), Withheld: s.memo.withheld, Kept: s.memo.leftOut(),
	}
	if latest, ok := snapshot.Latest(s.groups); ok && latest.Master != nil && latest.Master.GetName() == facts.Latest.Name {
		facts.Course = rollout.CourseOf(latest.Master)
	}
	if external(s.placement) {
		var err error
		if facts.Snapshots, err = s.boundSnapshots(); err != nil {
			return 0, err
		}
	}
	verdict := report.Placement(facts, s.stamp())
	status, rest := s.due(verdict)
	return soonest(rest, verdict.Again), p.tell(ctx, s, status)
}

// due is the status that a placement should have now: the one it has if the new one only tells of progress and may be held back for
// a while longer, which is rest.
func (s *seen) due(verdict report.PlacementVerdict) (status v1beta1.PlacementStatus, rest time.Duration) {
	old := s.placement.GetStatus()
	if verdict.Hold == 0 || equality.Semantic.DeepEqual(*old, verdict.Status) {
		s.memo.held = time.Time{}
		return verdict.Status, 0
	}
	if s.memo.held.IsZero() {
		s.memo.held = s.now
	}
	if rest := verdict.Hold - s.now.Sub(s.memo.held); rest > 0 {
		status = *old
		status.Conditions = slices.Clone(old.Conditions)
		return status, rest
	}
	s.memo.held = time.Time{}
	return verdict.Status, 0
}

// tell makes status the placement's, its copy's and the metrics', and tells the placement's owner what is new in it.
func (p *Placer) tell(ctx context.Context, s *seen, status v1beta1.PlacementStatus) error {
	mirrored := p.mirror(ctx, s, &status)
	s.memo.progress.set(s.placement, &status, s.now)
	if equality.Semantic.DeepEqual(*s.placement.GetStatus(), status) {
		return mirrored
	}
	news := report.PlacementNews(s.placement, &status)
	after := s.placement.DeepCopyObject().(v1beta1.PlacementObject)
	// What the API server answers is read into it, and parts of status are the cache's.
	*after.GetStatus() = *status.DeepCopy()
	if _, err := loop.WriteStatus(ctx, p.Client, s.placement, after); err != nil {
		return errors.Join(mirrored, err)
	}
	for _, n := range news {
		kind := corev1.EventTypeNormal
		if n.Warning {
			kind = corev1.EventTypeWarning
		}
		p.Recorder.Event(s.placement, kind, n.Reason, n.Message)
	}
	return mirrored
}

// addFinalizers adds both finalizers of a placement in one write; the other one is the scheduler's to remove.
func (p *Placer) addFinalizers(ctx context.Context, placement v1beta1.PlacementObject) error {
	before := placement.DeepCopyObject().(v1beta1.PlacementObject)
	mine := controllerutil.AddFinalizer(placement, contract.FinalizerPlacement)
	theirs := controllerutil.AddFinalizer(placement, contract.FinalizerScheduler)
	if !mine && !theirs {
		return nil
	}
	if err := p.patch(ctx, before, placement); err != nil {
		return fmt.Errorf("add the finalizers: %w", err)
	}
	return nil
}

// patch writes what differs between two states of an object, unless somebody else has changed it meanwhile.
func (p *Placer) patch(ctx context.Context, before, after client.Object) error {
	return p.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// finish removes what the placer has made for a placement that is being deleted, and lets it go.
func (p *Placer) finish(ctx context.Context, placement v1beta1.PlacementObject) error {
	key := client.ObjectKeyFromObject(placement)
	p.forget(key)
	if !slices.Contains(placement.GetFinalizers(), contract.FinalizerPlacement) {
		return nil
	}
	placement, err := p.abandon(ctx, placement)
	if err != nil || placement == nil {
		return err
	}
	kinds := []client.Object{scope.PolicySnapshots.New(key), scope.ResourceSnapshots.New(key)}
	if len(key.Name) > contract.MostOfName {
		kinds = nil
	}
	err = loop.Each(ctx, len(kinds), kinds, func(ctx context.Context, kind client.Object) error {
		err := p.Direct.DeleteAllOf(ctx, kind, client.InNamespace(key.Namespace), client.MatchingLabels{contract.LabelPlacement: key.Name})
		if err != nil {
			return fmt.Errorf("delete the snapshots of placement %s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	after := placement.DeepCopyObject().(v1beta1.PlacementObject)
	controllerutil.RemoveFinalizer(after, contract.FinalizerPlacement)
	if err := p.patch(ctx, placement, after); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	p.Recorder.Event(placement, corev1.EventTypeNormal, "PlacementCleanupFinalizerRemoved", "The snapshots are deleted")
	return nil
}

// abandon sets the condition of a placement that is being deleted and leaves what it placed on the clusters. It returns the placement as it is
// then; nil if it is gone.
func (p *Placer) abandon(ctx context.Context, placement v1beta1.PlacementObject) (v1beta1.PlacementObject, error) {
	how := placement.GetSpec().Strategy.DeleteStrategy
	if how == nil || how.PropagationPolicy != v1beta1.DeletePropagationPolicyAbandon {
		return placement, nil
	}
	after := placement.DeepCopyObject().(v1beta1.PlacementObject)
	*after.GetStatus() = report.PlacementAbandoned(placement, metav1.NewTime(p.now().Truncate(time.Second)))
	if _, err := loop.WriteStatus(ctx, p.Client, placement, after); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return after, nil
}

func (p *Placer) memo(key types.NamespacedName) *memo {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memos == nil {
		p.memos = map[types.NamespacedName]*memo{}
	}
	if p.memos[key] == nil {
		p.memos[key] = &memo{}
	}
	return p.memos[key]
}

func (p *Placer) forget(key types.NamespacedName) {
	p.Objects.Forget(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.memos[key]; m != nil {
		m.progress.drop()
	}
	delete(p.memos, key)
}

// stamp is the time for what is written; the API server keeps no more of it.
func (s *seen) stamp() metav1.Time { return metav1.NewTime(s.now).Rfc3339Copy() }

func (p *Placer) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}
