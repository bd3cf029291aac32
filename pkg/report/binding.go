package report

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// BindingFacts are what is known of a binding's content on its way to the cluster.
type BindingFacts struct {
	Generation int64
	// Bound is whether the binding is bound, and that is the start of its rollout. Any other keeps its RolloutStarted as it is: update
	// runs write it for placements of strategy External.
	Bound bool
	// Overridden is whether the binding lists any override.
	Overridden bool
	// IdleOverrides are overrides made for this placement alone that select nothing it places.
	IdleOverrides []string
	// Content is what the binding asks for.
	Content v1beta1.Revision
	// ReportDiff is whether the content is only compared on the cluster.
	ReportDiff bool
	// OverrideFailure, if any, says why the content could not be worked out for the cluster, and SyncFailure why its Works could
	// not be written. They are for the user: nothing in them changes while the cause stays the same.
	OverrideFailure, SyncFailure string
	// Passing says that the failure is likely to pass without anybody's doing.
	Passing bool
	// Works are the Works the binding wants, as they are. They count only if there is no failure.
	Works []*v1beta1.Work
}

// BindingVerdict is a binding's new status. One that is not Settled only reports progress; see Hold.
type BindingVerdict struct {
	Status  v1beta1.ResourceBindingStatus
	Settled bool
}

// Binding works out the status of a binding whose status has been old. The times of conditions that stay as they are, and speak of
// the same generation, are kept. Those of a new generation start anew, although the status may be the same: rollouts count from
// there how long new content has been up.
func Binding(old v1beta1.ResourceBindingStatus, f BindingFacts, now metav1.Time) BindingVerdict {
	f.Works = slices.SortedFunc(slices.Values(f.Works), func(a, b *v1beta1.Work) int { return cmp.Compare(a.Name, b.Name) })
	s := f.sum()
	told := s.details()
	status := v1beta1.ResourceBindingStatus{
		FailedPlacements: told.failed, DriftedPlacements: told.drifted, DiffedPlacements: told.diffed, LastHealthy: old.LastHealthy,
	}
	if delivery.IsTrue(s.conditions, v1beta1.ConditionAvailable, f.Generation) {
		status.LastHealthy = f.Content.DeepCopy()
	}
	if started := f.rolloutStarted(old.Conditions, now); started != nil {
		status.Conditions = append(status.Conditions, *started)
	}
	status.Conditions = append(status.Conditions, merge(ofGeneration(old.Conditions, f.Generation), s.conditions, now)...)
	for _, c := range old.Conditions {
		past := c.Type == v1beta1.ConditionRolledBack && c.ObservedGeneration < f.Generation
		if !slices.Contains(dispatched, c.Type) && !past && meta.FindStatusCondition(status.Conditions, c.Type) == nil {
			status.Conditions = append(status.Conditions, c)
		}
	}
	return BindingVerdict{Status: status, Settled: !s.progress || f.regressed(old.Conditions, s.conditions)}
}

// dispatched are the conditions that Binding alone decides about.
var dispatched = delivery.Outcome()

// rolloutStarted is the binding's RolloutStarted. A bound binding has been told what to place, and that is the start of its rollout;
// only the rollout itself, speaking of the same generation, may say otherwise.
func (f BindingFacts) rolloutStarted(old []metav1.Condition, now metav1.Time) *metav1.Condition {
	was := meta.FindStatusCondition(old, v1beta1.ConditionRolloutStarted)
	if !f.Bound || was != nil && was.ObservedGeneration >= f.Generation {
		return was
	}
	return &merge(old, []metav1.Condition{RolloutStarted(f.Generation)}, now)[0]
}

// RolloutStarted says that a binding of generation may have the content it names.
func RolloutStarted(generation int64) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"The cluster may have the content that the binding names")
}

// regressed says whether something that was reported as reached, of this generation, is not so any more. Readers may be counting
// on it, so they must know at once.
func (f BindingFacts) regressed(old, wanted []metav1.Condition) bool {
	for _, kind := range dispatched {
		if delivery.IsTrue(old, kind, f.Generation) && !delivery.IsTrue(wanted, kind, f.Generation) {
			return true
		}
	}
	return false
}

// ofGeneration leaves out the conditions that speak of another generation.
func ofGeneration(conditions []metav1.Condition, generation int64) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool { return c.ObservedGeneration != generation })
}

// sum is what the facts come to.
type sum struct {
	conditions []metav1.Condition
	// progress is whether time alone may well change the outcome.
	progress bool
	failed   []v1beta1.FailedResourcePlacement
	drifted  []v1beta1.DriftedResourcePlacement
	diffed   []v1beta1.DiffedResourcePlacement
}

// details are the lists as the status holds them. What is left out is said in the last condition, whose message names the Works that
// hold all of it.
func (s sum) details() details {
	told, shortened := details{
		failed: first(s.failed, compareFailed), drifted: first(s.drifted, compareDrifted), diffed: first(s.diffed, compareDiffed),
	}.fitting(mostDetails)
	last := &s.conditions[len(s.conditions)-1].Message
	for _, list := range []struct {
		name        string
		listed, all int
	}{
		{"failedPlacements", len(told.failed), len(s.failed)}, {"driftedPlacements", len(told.drifted), len(s.drifted)},
		{"diffedPlacements", len(told.diffed), len(s.diffed)},
	} {
		if list.listed < list.all {
			*last += fmt.Sprintf("; %s holds %d of %d objects, the Works all", list.name, list.listed, list.all)
		}
	}
	if shortened {
		*last += "; the lists leave out details that the Works hold"
	}
	return told
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
			"The overrides are worked into the content")
	}
	if len(f.IdleOverrides) > 0 {
		overridden.Message += "; made for this placement, but selecting nothing it places: " + few(f.IdleOverrides)
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

// mostSaid is how many bytes of a cause a message quotes. A condition's message may have 32 KiB, and an API server that refuses many
// manifests names all of them; the first say enough.
const mostSaid = 2048

// quoted cuts text to what a message quotes.
func quoted(text string) string { return cut(text, mostSaid) }

// diffReported sums up Works whose content is only compared.
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
				"Differences could not be found for "+t.names(t.bad)+"; see the manifest conditions there"),
		}}
		if !anyUnread(f.Works) {
			s.diffed = diffedOf(f.Works) // what one object hides must not hide what is known of the others
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
					"Not everything was applied from "+t.names(t.bad)+"; see failedPlacements"),
			},
		}
	}
	s := f.available()
	s.drifted = driftedOf(f.Works)
	everything := yes(f.Generation, kind, v1beta1.ReasonAllWorkHaveBeenApplied, "Everything is applied")
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
					"Not everything is available from "+t.names(t.bad)+"; see failedPlacements"),
			},
		}
	case t.untrackable:
		return sum{conditions: []metav1.Condition{
			yes(f.Generation, kind, v1beta1.ReasonNotAllWorkAreAvailabilityTrackable,
				"Everything is available as far as can be seen; of some kinds it cannot"),
		}}
	}
	return sum{conditions: []metav1.Condition{yes(f.Generation, kind, v1beta1.ReasonAllWorkAreAvailable, "Everything is available")}}
}

// tally says what Works report about one kind of condition. A report on an older generation of a Work is none.
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

// names says which Works, and where they are.
func (t tally) names(works []string) string {
	kind := "Works"
	if len(works) == 1 {
		kind = "Work"
	}
	return fmt.Sprintf("%s %s in namespace %s", kind, few(works), t.namespace)
}

// none says whether no Work has reported.
func (t tally) none() bool { return t.works > 0 && len(t.silent) == t.works }

// onlyReason says whether every failure has the reason of one that usually passes.
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

// failureOf is the first of a manifest's conditions that is False.
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

// anyUnread reports whether a manifest could not be read, or is of a kind that the member does not have: users expect an empty list of
// differences beside it.
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

// isSecret reports whether an object is a Secret: then its contents are left out of what a member's agent reports, whatever agent that is.
func isSecret(id v1beta1.WorkResourceIdentifier) bool {
	return secrecy.Covers(schema.GroupKind{Group: id.Group, Kind: id.Kind})
}

// shown is what a placement shows of an object's differences.
func shown(id v1beta1.WorkResourceIdentifier, details []v1beta1.PatchDetail) []v1beta1.PatchDetail {
	if isSecret(id) {
		return secrecy.Redact(details)
	}
	return slices.Clone(details)
}

// identifierOf names an object of a Work, with the envelope it came in.
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

// first sorts list and cuts it to what a status may hold.
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
