package report

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// BindingFacts describe the delivery of a binding's content to the cluster.
type BindingFacts struct {
	Generation int64
	// Bound is whether the binding is in state Bound, which starts its rollout. Otherwise RolloutStarted is left
	// unchanged: update runs write it for placements of strategy External, except for clusters that replace others.
	Bound bool
	// Resumed is whether an update run has given the binding its content before, and at most its shares of replicas have
	// changed since, or the placement has returned to the cluster: a rollout that has started goes on.
	Resumed bool
	// Overridden is whether the binding lists any override.
	Overridden bool
	// IdleOverrides are overrides made for this placement alone that select none of its objects.
	IdleOverrides []string
	// Content is the revision that the binding requests.
	Content v1beta1.Revision
	// ReportDiff is whether the content is only compared on the cluster.
	ReportDiff bool
	// OverrideFailure, if not empty, is why the content could not be resolved for the cluster, and SyncFailure why its
	// Works could not be written. Users read them, so the texts stay the same while the cause does.
	OverrideFailure, SyncFailure string
	// Passing is whether a retry is likely to end the failure without a user's action.
	Passing bool
	// Works are the current Works of the binding. They count only if there is no failure.
	Works []*v1beta1.Work
	// Shares are the cluster's shares of divided workloads in the content.
	Shares []v1beta1.ReplicaShare
	// Held is what the content would remove from the cluster, and is held; nil for nothing. Kept are the objects that
	// are in Works only because of that: they do not count as content.
	Held *v1beta1.HeldRemoval
	Kept []removal.Object
}

// BindingUpdate is a binding's new status. If not Settled, it only reports progress; see Hold.
type BindingUpdate struct {
	Status  v1beta1.ResourceBindingStatus
	Settled bool
}

// Binding returns the new status of a binding whose status has been old. Transition times are kept for conditions that
// have the same status and the same generation. Conditions of a new generation get a new time even if the status is
// the same: rollouts count from it how long the new content has been available.
func Binding(old v1beta1.ResourceBindingStatus, f BindingFacts, now metav1.Time) BindingUpdate {
	f.Works = slices.SortedFunc(slices.Values(f.Works), func(a, b *v1beta1.Work) int { return cmp.Compare(a.Name, b.Name) })
	f.Works = withoutKept(f.Works, f.Kept)
	s := f.sum()
	lists := s.details()
	status := v1beta1.ResourceBindingStatus{
		FailedPlacements: lists.failed, DriftedPlacements: lists.drifted, DiffedPlacements: lists.diffed, LastHealthy: old.LastHealthy,
		UnavailableSince: f.unavailableSince(old, s, now), UnschedulableReplicas: f.unschedulable(old.UnschedulableReplicas),
		HeldRemoval: f.Held.DeepCopy(),
	}
	if delivery.IsTrue(s.conditions, v1beta1.ConditionAvailable, f.Generation) {
		status.LastHealthy = f.Content.DeepCopy()
	}
	if started := f.rolloutStarted(old.Conditions, now); started != nil {
		status.Conditions = append(status.Conditions, *started)
	}
	status.Conditions = append(status.Conditions, merge(ofGeneration(old.Conditions, f.Generation), s.conditions, now)...)
	if f.Held != nil {
		status.Conditions = append(status.Conditions, merge(old.Conditions, []metav1.Condition{contentHeld(f.Generation, f.Held)}, now)...)
	}
	for _, c := range old.Conditions {
		if c.Type == v1beta1.ConditionRemovalHeld {
			continue
		}
		past := c.Type == v1beta1.ConditionRolledBack && c.ObservedGeneration < f.Generation
		if !slices.Contains(dispatched, c.Type) && !past && meta.FindStatusCondition(status.Conditions, c.Type) == nil {
			status.Conditions = append(status.Conditions, c)
		}
	}
	return BindingUpdate{Status: status, Settled: !s.progress || f.regressed(old.Conditions, s.conditions) || !sameHold(old.HeldRemoval, f.Held)}
}

// unavailableSince is since when the content, which was available on the cluster, has not been. It begins with a report
// of the cluster that says so, and only one that it is available ends it: while the hub knows neither, it goes on.
func (f BindingFacts) unavailableSince(old v1beta1.ResourceBindingStatus, s sum, now metav1.Time) *metav1.Time {
	available := delivery.Current(s.conditions, v1beta1.ConditionAvailable, f.Generation)
	switch {
	case f.ReportDiff || old.LastHealthy == nil || !delivery.Same(*old.LastHealthy, f.Content):
		return nil
	case available != nil && available.Status == metav1.ConditionTrue:
		return nil
	case available == nil || old.UnavailableSince != nil || len(tallyOf(f.Works, v1beta1.ConditionAvailable).bad) == 0:
		return old.UnavailableSince
	default:
		return &now
	}
}

// dispatched are the condition types that only Binding writes.
var dispatched = delivery.Outcome()

// rolloutStarted returns the binding's RolloutStarted. For a bound binding the rollout has started, unless the rollout
// itself has written a condition of the same generation.
func (f BindingFacts) rolloutStarted(old []metav1.Condition, now metav1.Time) *metav1.Condition {
	was := meta.FindStatusCondition(old, v1beta1.ConditionRolloutStarted)
	continues := f.Bound || f.Resumed && was != nil && was.Status == metav1.ConditionTrue
	if !continues || was != nil && was.ObservedGeneration >= f.Generation {
		return was
	}
	return &merge(old, []metav1.Condition{RolloutStarted(f.Generation)}, now)[0]
}

// RolloutStarted is the condition of a binding of generation whose content may go to the cluster.
func RolloutStarted(generation int64) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"Rollout to the cluster has started")
}

// regressed reports whether a condition that was True for this generation no longer is. Readers may rely on it, so the
// change is written at once.
func (f BindingFacts) regressed(old, wanted []metav1.Condition) bool {
	for _, kind := range dispatched {
		if delivery.IsTrue(old, kind, f.Generation) && !delivery.IsTrue(wanted, kind, f.Generation) {
			return true
		}
	}
	return false
}

// ofGeneration leaves out the conditions of other generations.
func ofGeneration(conditions []metav1.Condition, generation int64) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool { return c.ObservedGeneration != generation })
}

// sum is the outcome that follows from the facts.
type sum struct {
	conditions []metav1.Condition
	// progress is whether the outcome may change as time passes.
	progress bool
	failed   []v1beta1.FailedResourcePlacement
	drifted  []v1beta1.DriftedResourcePlacement
	diffed   []v1beta1.DiffedResourcePlacement
}

// details returns the lists as the status holds them. If they are shortened, the last condition's message reports it;
// the message names the Works that hold the full lists.
func (s sum) details() details {
	listed, shortened := details{
		failed: first(s.failed, compareFailed), drifted: first(s.drifted, compareDrifted), diffed: first(s.diffed, compareDiffed),
	}.fitting(mostDetails)
	last := &s.conditions[len(s.conditions)-1].Message
	for _, list := range []struct {
		name        string
		listed, all int
	}{
		{"failedPlacements", len(listed.failed), len(s.failed)}, {"driftedPlacements", len(listed.drifted), len(s.drifted)},
		{"diffedPlacements", len(listed.diffed), len(s.diffed)},
	} {
		if list.listed < list.all {
			*last += fmt.Sprintf("; %s lists %d of %d objects, see the Works for all", list.name, list.listed, list.all)
		}
	}
	if shortened {
		*last += "; the lists are shortened, see the Works for all details"
	}
	return listed
}

func (f BindingFacts) sum() sum {
	if f.OverrideFailure != "" {
		return sum{progress: f.Passing, conditions: []metav1.Condition{
			no(f.Generation, v1beta1.ConditionOverridden, v1beta1.ReasonOverriddenFailed, quoted(f.OverrideFailure)),
		}}
	}
	overridden := yes(f.Generation, v1beta1.ConditionOverridden, v1beta1.ReasonNoOverrideSpecified, "No override applies to the cluster")
	if f.Overridden {
		overridden = yes(f.Generation, v1beta1.ConditionOverridden, v1beta1.ReasonOverriddenSucceeded,
			"The overrides are applied to the content")
	}
	if len(f.IdleOverrides) > 0 {
		overridden.Message += "; overrides made for this placement that select none of its objects: " + brief.List(f.IdleOverrides, mostNamed)
	}
	if f.SyncFailure != "" {
		return sum{progress: f.Passing, conditions: []metav1.Condition{
			overridden, no(f.Generation, v1beta1.ConditionWorkSynchronized, v1beta1.ReasonSyncWorkFailed, quoted(f.SyncFailure)),
		}}
	}
	s := f.applied()
	if f.ReportDiff {
		s = f.diffReported()
	}
	synced := yes(f.Generation, v1beta1.ConditionWorkSynchronized, v1beta1.ReasonAllWorkSynced,
		"The Works in the cluster's namespace hold the content")
	s.conditions = append([]metav1.Condition{overridden, synced}, s.conditions...)
	return s
}

// maxCause is how many bytes of a cause a message quotes. A condition's message may have 32 KiB, and an API server
// that refuses many manifests names all of them; the first are enough.
const maxCause = 2048

// quoted cuts text to maxCause.
func quoted(text string) string { return cut(text, maxCause) }

// diffReported sums up Works of strategy ReportDiff.
func (f BindingFacts) diffReported() sum {
	kind := v1beta1.ConditionDiffReported
	t := tallyOf(f.Works, kind)
	switch {
	case t.none():
		return sum{progress: true, conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonDiffReportInProgress, "The cluster has not reported on the latest content yet"),
		}}
	case len(t.silent) > 0:
		return sum{progress: true, conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonDiffReportInProgress, "The cluster has not reported yet on "+t.names(t.silent)),
		}}
	case len(t.bad) > 0:
		s := sum{conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonNotAllWorkHaveDiffReported,
				"Comparison failed for "+t.names(t.bad)+"; see the manifest conditions there"),
		}}
		if !anyUnread(f.Works) {
			s.diffed = diffedOf(f.Works) // a failure of one object must not hide the differences of the others
		}
		return s
	}
	return sum{diffed: diffedOf(f.Works), conditions: []metav1.Condition{
		yes(f.Generation, kind, v1beta1.ReasonAllWorkHaveDiffReported, "Every object was compared"),
	}}
}

// applied sums up Works whose content is applied.
func (f BindingFacts) applied() sum {
	kind := v1beta1.ConditionApplied
	t := tallyOf(f.Works, kind)
	switch {
	case t.none():
		return sum{progress: true, conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonApplyInProgress, "The cluster has not reported on the latest content yet"),
		}}
	case len(t.silent) > 0:
		return sum{progress: true, conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonNotAllWorkHaveBeenApplied, "The cluster has not reported yet on "+t.names(t.silent)),
		}}
	case len(t.bad) > 0:
		failed := failedOf(f.Works, kind)
		return sum{
			progress: onlyReason(failed, v1beta1.ReasonManifestPreparingToProcess),
			failed:   failed, drifted: driftedOf(f.Works), diffed: diffedOf(f.Works),
			conditions: []metav1.Condition{
				no(f.Generation, kind, v1beta1.ReasonNotAllWorkHaveBeenApplied,
					"Some objects are not applied from "+t.names(t.bad)+"; see failedPlacements"),
			},
		}
	}
	s := f.available()
	s.drifted = driftedOf(f.Works)
	everything := yes(f.Generation, kind, v1beta1.ReasonAllWorkHaveBeenApplied, "All objects are applied")
	s.conditions = append([]metav1.Condition{everything}, s.conditions...)
	return s
}

// available sums up Works that are applied.
func (f BindingFacts) available() sum {
	kind := v1beta1.ConditionAvailable
	t := tallyOf(f.Works, kind)
	switch {
	case len(t.silent) > 0:
		return sum{progress: true, conditions: []metav1.Condition{
			no(f.Generation, kind, v1beta1.ReasonNotAllWorkAreAvailable, "The cluster has not reported yet on "+t.names(t.silent)),
		}}
	case len(t.bad) > 0:
		failed := failedOf(f.Works, kind)
		return sum{
			progress: onlyReason(failed, v1beta1.ReasonManifestNotAvailableYet),
			failed:   failed,
			conditions: []metav1.Condition{
				no(f.Generation, kind, v1beta1.ReasonNotAllWorkAreAvailable,
					"Some objects are not available from "+t.names(t.bad)+"; see failedPlacements"),
			},
		}
	case t.untrackable:
		return sum{conditions: []metav1.Condition{
			yes(f.Generation, kind, v1beta1.ReasonNotAllWorkAreAvailabilityTrackable,
				"All objects are applied; availability is not tracked for some kinds"),
		}}
	}
	return sum{conditions: []metav1.Condition{yes(f.Generation, kind, v1beta1.ReasonAllWorkAreAvailable, "All objects are available")}}
}

// tally counts what Works report for one condition type. Reports on an older generation of a Work do not count.
type tally struct {
	works       int
	silent, bad []string
	untrackable bool
	// namespace is where the Works are.
	namespace string
}

func tallyOf(works []*v1beta1.Work, kind string) tally {
	t := tally{works: len(works)}
	for _, w := range works {
		t.namespace = w.Namespace
		c := delivery.Current(w.Status.Conditions, kind, w.Generation)
		switch {
		case c == nil || c.Status == metav1.ConditionUnknown:
			t.silent = append(t.silent, w.Name)
		case c.Status == metav1.ConditionFalse:
			t.bad = append(t.bad, w.Name)
		case c.Reason == v1beta1.ReasonWorkNotTrackable || c.Reason == v1beta1.ReasonSomeManifestsAreNotAvailabilityTrackable:
			t.untrackable = true
		}
	}
	return t
}

// names lists Works with their namespace.
func (t tally) names(works []string) string {
	kind := "Works"
	if len(works) == 1 {
		kind = "Work"
	}
	return fmt.Sprintf("%s %s in namespace %s", kind, brief.List(works, mostNamed), t.namespace)
}

// none reports whether no Work has reported.
func (t tally) none() bool { return t.works > 0 && len(t.silent) == t.works }

// onlyReason reports whether every failure has this reason, which is one that usually passes.
func onlyReason(failed []v1beta1.FailedResourcePlacement, reason string) bool {
	other := func(f v1beta1.FailedResourcePlacement) bool { return f.Condition.Reason != reason }
	return len(failed) > 0 && !slices.ContainsFunc(failed, other)
}

// failedOf lists the manifests that failed in the Works whose condition of kind is False.
func failedOf(works []*v1beta1.Work, kind string) []v1beta1.FailedResourcePlacement {
	var out []v1beta1.FailedResourcePlacement
	for _, w := range works {
		if c := delivery.Current(w.Status.Conditions, kind, w.Generation); c == nil || c.Status != metav1.ConditionFalse {
			continue
		}
		for i := range w.Status.ManifestConditions {
			m := &w.Status.ManifestConditions[i]
			if c := failureOf(m); c != nil {
				failed := v1beta1.FailedResourcePlacement{ResourceIdentifier: identifierOf(w, m), Condition: *c}
				if isSecret(m.Identifier) {
					failed.Condition.Message = secrecy.WithoutValues(c.Message)
				}
				out = append(out, failed)
			}
		}
	}
	return out
}

// failureOf returns the first condition of a manifest that is False; nil if there is none.
func failureOf(m *v1beta1.ManifestCondition) *metav1.Condition {
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable} {
		if c := meta.FindStatusCondition(m.Conditions, kind); c != nil && c.Status == metav1.ConditionFalse {
			return c
		}
	}
	return nil
}

func driftedOf(works []*v1beta1.Work) []v1beta1.DriftedResourcePlacement {
	var out []v1beta1.DriftedResourcePlacement
	for _, w := range works {
		for i := range w.Status.ManifestConditions {
			m := &w.Status.ManifestConditions[i]
			if d := m.DriftDetails; d != nil {
				out = append(out, v1beta1.DriftedResourcePlacement{
					ResourceIdentifier:              identifierOf(w, m),
					ObservationTime:                 d.ObservationTime,
					TargetClusterObservedGeneration: d.ObservedInMemberClusterGeneration,
					FirstDriftedObservedTime:        d.FirstDriftedObservedTime,
					ObservedDrifts:                  shown(m.Identifier, d.ObservedDrifts),
				})
			}
		}
	}
	return out
}

func diffedOf(works []*v1beta1.Work) []v1beta1.DiffedResourcePlacement {
	var out []v1beta1.DiffedResourcePlacement
	for _, w := range works {
		for i := range w.Status.ManifestConditions {
			m := &w.Status.ManifestConditions[i]
			if d := m.DiffDetails; d != nil {
				out = append(out, v1beta1.DiffedResourcePlacement{
					ResourceIdentifier:              identifierOf(w, m),
					ObservationTime:                 d.ObservationTime,
					TargetClusterObservedGeneration: d.ObservedInMemberClusterGeneration,
					FirstDiffedObservedTime:         d.FirstDiffedObservedTime,
					ObservedDiffs:                   shown(m.Identifier, d.ObservedDiffs),
				})
			}
		}
	}
	return out
}

// anyUnread reports whether a manifest could not be read, or is of a kind that the member does not have: users expect
// an empty list of differences beside it.
func anyUnread(works []*v1beta1.Work) bool {
	for _, w := range works {
		for i := range w.Status.ManifestConditions {
			if w.Status.ManifestConditions[i].Identifier.Resource == "" {
				return true
			}
		}
	}
	return false
}

// isSecret reports whether an object is a Secret. Its values are removed from a member's report, whichever version of
// the agent wrote it.
func isSecret(id v1beta1.WorkResourceIdentifier) bool {
	return secrecy.Covers(schema.GroupKind{Group: id.Group, Kind: id.Kind})
}

// shown returns an object's differences as the placement shows them.
func shown(id v1beta1.WorkResourceIdentifier, details []v1beta1.PatchDetail) []v1beta1.PatchDetail {
	if isSecret(id) {
		return secrecy.Redact(details)
	}
	return slices.Clone(details)
}

// identifierOf identifies an object of a Work, with its envelope.
func identifierOf(w *v1beta1.Work, m *v1beta1.ManifestCondition) v1beta1.ResourceIdentifier {
	id := v1beta1.ResourceIdentifier{
		Group: m.Identifier.Group, Version: m.Identifier.Version, Kind: m.Identifier.Kind,
		Namespace: m.Identifier.Namespace, Name: m.Identifier.Name,
	}
	if kind := w.Labels[contract.LabelEnvelopeKind]; kind != "" {
		id.Envelope = &v1beta1.EnvelopeIdentifier{
			Type: v1beta1.EnvelopeType(kind), Name: w.Labels[contract.LabelEnvelopeName], Namespace: w.Labels[contract.LabelEnvelopeNamespace],
		}
	}
	return id
}

// first sorts list and cuts it to MostListed.
func first[T any](list []T, compare func(a, b T) int) []T {
	slices.SortStableFunc(list, compare)
	return list[:min(len(list), MostListed)]
}

func compareFailed(a, b v1beta1.FailedResourcePlacement) int {
	return compareIdentifiers(a.ResourceIdentifier, b.ResourceIdentifier)
}

func compareDrifted(a, b v1beta1.DriftedResourcePlacement) int {
	return compareIdentifiers(a.ResourceIdentifier, b.ResourceIdentifier)
}

func compareDiffed(a, b v1beta1.DiffedResourcePlacement) int {
	return compareIdentifiers(a.ResourceIdentifier, b.ResourceIdentifier)
}

func compareIdentifiers(a, b v1beta1.ResourceIdentifier) int {
	var ea, eb v1beta1.EnvelopeIdentifier
	if a.Envelope != nil {
		ea = *a.Envelope
	}
	if b.Envelope != nil {
		eb = *b.Envelope
	}
	return cmp.Or(
		cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
		cmp.Compare(ea.Type, eb.Type), cmp.Compare(ea.Namespace, eb.Namespace), cmp.Compare(ea.Name, eb.Name),
	)
}
