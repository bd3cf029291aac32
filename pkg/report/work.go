package report

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// mostWork is how many bytes of JSON a Work may have; beyond it, details are removed from its status. It is below
// etcd's limit on requests.
const mostWork = 1415578

const (
	// ConditionRemoved is on Works whose deletion takes long: False with the objects on the member that it waits for.
	ConditionRemoved = "Removed"
	// ReasonObjectsRemain means that objects of the Work are still on the member.
	ReasonObjectsRemain = "ObjectsRemain"
)

// Finding is the reason and message of a condition; the reason decides the status. An empty one means that the
// condition is absent.
type Finding struct {
	Reason, Message string
}

// Manifest is the outcome of one manifest on the member.
type Manifest struct {
	Identifier v1beta1.WorkResourceIdentifier
	// Generation is that of the object on the member; 0 if there is none.
	Generation int64
	// Applied, Available and Diffed are the findings of this pass.
	Applied, Available, Diffed Finding
	// Passing is whether Applied, or Diffed, is expected to change by itself, such as the wait for a kind to be
	// served.
	Passing bool
	// Drifts and Diffs are the results of a comparison; nil for none.
	Drifts, Diffs *Comparison
	// Mirror is the object's status to report back, as an object of apiVersion, kind and status; nil if there is none.
	Mirror []byte
	// Unschedulable is how many replicas of a divided workload have had no node for some time. If it is Uncounted, the
	// number is not known at present, and the one reported last stays, up to this one.
	Unschedulable int32
	Uncounted     bool
}

// Comparison is the outcome of comparing an object with its manifest.
type Comparison struct {
	// Absent is whether the member has no such object. Otherwise Generation is the object's.
	Absent     bool
	Generation int64
	Details    []v1beta1.PatchDetail
}

// Pass is the outcome of one pass over a Work.
type Pass struct {
	// Manifests are in the order of the Work.
	Manifests []Manifest
	// Remaining names each object that left the Work and could not be removed, with the cause.
	Remaining []string
	// Held are objects that left the Work and are kept, because a later state of it placed them.
	Held []string
	// Braked, if not empty, is why nothing that left the Work is removed.
	Braked string
	// Occupied are namespaces that left the Work and hold objects that the fleet did not place, with those objects.
	Occupied []string
	// Contested, if not empty, is why nothing was applied: the AppliedWork belongs to another hub or member.
	Contested string
	// Unserved are objects that stay because the member does not serve their kind.
	Unserved []string
	// Incomplete is whether the number of manifests differs from the number that the hub agent wrote.
	Incomplete bool
	// DiffOnly is whether the strategy is ReportDiff.
	DiffOnly bool
}

// Work turns a pass over the Work's generation into its new status. old is the previous status: times of unchanged
// conditions are kept. settled is whether to write the status at once: nothing is in progress, or a failure is not
// reported yet. Otherwise the status only reports progress.
func Work(old v1beta1.WorkStatus, generation int64, pass Pass, now metav1.Time) (status v1beta1.WorkStatus, settled bool) {
	previous := byIdentity(old.ManifestConditions)
	kind := v1beta1.ConditionApplied
	if pass.DiffOnly {
		kind = v1beta1.ConditionDiffReported
	}
	unreported := delivery.Current(old.Conditions, kind, generation) == nil
	seen := register{}
	progress, unreportedFailure := false, len(pass.Remaining) > 0
	for _, m := range pass.Manifests {
		was := previous[seen.next(m.Identifier)]
		status.ManifestConditions = append(status.ManifestConditions, manifest(was, m, pass.DiffOnly, now))
		progress = progress || m.Passing || m.Available.Reason == v1beta1.ReasonManifestNotAvailableYet
		finding := m.Applied
		if pass.DiffOnly {
			finding = m.Diffed
		}
		failed := !m.Passing && finding.Reason != "" && manifestStatus(finding.Reason) != metav1.ConditionTrue
		unreportedFailure = unreportedFailure || failed && (unreported || was == nil || !reportedAs(was, kind, finding.Reason))
	}
	status.Conditions = merge(old.Conditions, summary(generation, pass), now)
	return status, unreportedFailure || !progress
}

func reportedAs(was *v1beta1.ManifestCondition, kind, reason string) bool {
	c := meta.FindStatusCondition(was.Conditions, kind)
	return c != nil && c.Reason == reason
}

// known identifies a manifest across passes: by the object it names and, among manifests that name the same one, by
// its rank; or by its position in the list, if it names none. The version does not count: it is the same object.
type known struct {
	group, kind, namespace, name string
	nth                          int
}

// register assigns identities in the order of a list.
type register map[known]int

func (r register) next(id v1beta1.WorkResourceIdentifier) known {
	if id.Name == "" {
		return known{nth: id.Ordinal}
	}
	k := known{group: id.Group, kind: id.Kind, namespace: id.Namespace, name: id.Name}
	n := r[k]
	r[k]++
	k.nth = n
	return k
}

func byIdentity(list []v1beta1.ManifestCondition) map[known]*v1beta1.ManifestCondition {
	out := make(map[known]*v1beta1.ManifestCondition, len(list))
	seen := register{}
	for i := range list {
		out[seen.next(list[i].Identifier)] = &list[i]
	}
	return out
}

func manifest(old *v1beta1.ManifestCondition, m Manifest, diffOnly bool, now metav1.Time) v1beta1.ManifestCondition {
	if old == nil {
		old = &v1beta1.ManifestCondition{}
	}
	var wanted []metav1.Condition
	add := func(kind string, v Finding) {
		if v.Reason != "" {
			wanted = append(wanted, condition(m.Generation, kind, manifestStatus(v.Reason), v.Reason, v.Message))
		}
	}
	if diffOnly {
		add(v1beta1.ConditionDiffReported, m.Diffed)
	} else {
		add(v1beta1.ConditionApplied, m.Applied)
		add(v1beta1.ConditionAvailable, m.Available)
	}
	unschedulable := m.Unschedulable
	if m.Uncounted {
		unschedulable = min(old.UnschedulableReplicas, m.Unschedulable)
	}
	return v1beta1.ManifestCondition{
		Identifier:            m.Identifier,
		Conditions:            merge(old.Conditions, wanted, now),
		DriftDetails:          drifts(old.DriftDetails, m.Drifts, now),
		DiffDetails:           diffs(old.DiffDetails, m.Diffs, now),
		BackReportedStatus:    mirrored(old.BackReportedStatus, m.Mirror, now),
		UnschedulableReplicas: unschedulable,
	}
}

// manifestStatus is the status that belongs to a manifest's reason; an unknown reason is a failure.
func manifestStatus(reason string) metav1.ConditionStatus {
	switch reason {
	case v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestAppliedWithFailedDriftDetection,
		v1beta1.ReasonManifestAvailable, v1beta1.ReasonManifestNotTrackable,
		v1beta1.ReasonManifestNoDiffFound, v1beta1.ReasonManifestFoundDiff, v1beta1.ReasonManifestFoundDiffInDegradedMode:
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// drifts keeps the observation times while the findings are the same: a new time alone must not cause a write.
func drifts(old *v1beta1.DriftDetails, found *Comparison, now metav1.Time) *v1beta1.DriftDetails {
	if found == nil {
		return nil
	}
	out := &v1beta1.DriftDetails{
		ObservationTime: now, FirstDriftedObservedTime: now,
		ObservedInMemberClusterGeneration: found.Generation, ObservedDrifts: found.Details,
	}
	if old != nil {
		out.FirstDriftedObservedTime = old.FirstDriftedObservedTime
		if old.ObservedInMemberClusterGeneration == out.ObservedInMemberClusterGeneration && equality.Semantic.DeepEqual(old.ObservedDrifts, out.ObservedDrifts) {
			out.ObservationTime = old.ObservationTime
		}
	}
	return out
}

func diffs(old *v1beta1.DiffDetails, found *Comparison, now metav1.Time) *v1beta1.DiffDetails {
	if found == nil {
		return nil
	}
	out := &v1beta1.DiffDetails{ObservationTime: now, FirstDiffedObservedTime: now, ObservedDiffs: found.Details}
	if !found.Absent {
		out.ObservedInMemberClusterGeneration = &found.Generation
	}
	if old != nil {
		out.FirstDiffedObservedTime = old.FirstDiffedObservedTime
		if equality.Semantic.DeepEqual(old.ObservedInMemberClusterGeneration, out.ObservedInMemberClusterGeneration) &&
			equality.Semantic.DeepEqual(old.ObservedDiffs, out.ObservedDiffs) {
			out.ObservationTime = old.ObservationTime
		}
	}
	return out
}

func mirrored(old *v1beta1.BackReportedStatus, status []byte, now metav1.Time) *v1beta1.BackReportedStatus {
	if status == nil {
		return nil
	}
	if old != nil && sameJSON(old.ObservedStatus.Raw, status) {
		return old.DeepCopy()
	}
	return &v1beta1.BackReportedStatus{ObservedStatus: runtime.RawExtension{Raw: status}, ObservationTime: now}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return decode.JSON(a, &x) == nil && decode.JSON(b, &y) == nil && reflect.DeepEqual(x, y)
}

// summary is the Work's own conditions.
func summary(generation int64, pass Pass) []metav1.Condition {
	if pass.DiffOnly {
		return []metav1.Condition{diffReported(generation, pass.Manifests)}
	}
	out := []metav1.Condition{workApplied(generation, pass)}
	if out[0].Status == metav1.ConditionTrue {
		out = append(out, workAvailable(generation, pass.Manifests))
	}
	return append(out, staying(generation, pass)...)
}

func workApplied(generation int64, pass Pass) metav1.Condition {
	var failed []Manifest
	for _, m := range pass.Manifests {
		if manifestStatus(m.Applied.Reason) != metav1.ConditionTrue {
			failed = append(failed, m)
		}
	}
	total := len(pass.Manifests)
	switch {
	case len(failed) > 0:
		return no(generation, v1beta1.ConditionApplied, v1beta1.ReasonSomeManifestsAreNotApplied,
			fmt.Sprintf("%d of %d manifests are applied; not applied: %s", total-len(failed), total, named(failed)))
	case len(pass.Remaining) > 0:
		return no(generation, v1beta1.ConditionApplied, v1beta1.ReasonSomeManifestsAreNotApplied,
			"All manifests are applied, but objects that left the Work could not be removed: "+brief.List(pass.Remaining, mostNamed))
	}
	return yes(generation, v1beta1.ConditionApplied, v1beta1.ReasonAllManifestsApplied, "All manifests are applied")
}

func workAvailable(generation int64, manifests []Manifest) metav1.Condition {
	var missing, untracked []Manifest
	for _, m := range manifests {
		switch {
		case m.Available.Reason == v1beta1.ReasonManifestNotTrackable:
			untracked = append(untracked, m)
		case manifestStatus(m.Available.Reason) != metav1.ConditionTrue:
			missing = append(missing, m)
		}
	}
	total := len(manifests)
	switch {
	case len(missing) > 0:
		return no(generation, v1beta1.ConditionAvailable, v1beta1.ReasonSomeManifestsAreNotAvailable,
			fmt.Sprintf("%d of %d manifests are available; not available: %s", total-len(missing), total, named(missing)))
	case len(untracked) > 0:
		return yes(generation, v1beta1.ConditionAvailable, v1beta1.ReasonWorkNotTrackable,
			"All manifests whose availability is tracked are available; not tracked: "+named(untracked))
	}
	return yes(generation, v1beta1.ConditionAvailable, v1beta1.ReasonAllManifestsAvailable, "All manifests are available")
}

// diffReported counts a degraded comparison as not reported: it may list differences that applying would not change.
func diffReported(generation int64, manifests []Manifest) metav1.Condition {
	var missing []Manifest
	for _, m := range manifests {
		if m.Diffed.Reason != v1beta1.ReasonManifestNoDiffFound && m.Diffed.Reason != v1beta1.ReasonManifestFoundDiff {
			missing = append(missing, m)
		}
	}
	if len(missing) > 0 {
		return no(generation, v1beta1.ConditionDiffReported, v1beta1.ReasonSomeManifestsHaveNotReportedDiff,
			fmt.Sprintf("%d of %d manifests are compared; not compared: %s", len(manifests)-len(missing), len(manifests), named(missing)))
	}
	return yes(generation, v1beta1.ConditionDiffReported, v1beta1.ReasonAllManifestsDiffReported, "All manifests are compared")
}

// named lists manifests in their order, by kind and name.
func named(manifests []Manifest) string {
	names := make([]string, len(manifests))
	for i, m := range manifests {
		names[i] = objectName(m.Identifier)
	}
	return brief.List(names, mostNamed)
}

func objectName(id v1beta1.WorkResourceIdentifier) string {
	switch {
	case id.Name == "":
		return fmt.Sprintf("manifest %d", id.Ordinal)
	case id.Namespace == "":
		return id.Kind + " " + id.Name
	}
	return id.Kind + " " + id.Namespace + "/" + id.Name
}

// Fit removes details from work's status, all or none, if the Work would be too large to be stored. old is the
// previous status.
func Fit(work *v1beta1.Work, old v1beta1.WorkStatus, now metav1.Time) error {
	detailed := false
	for _, m := range work.Status.ManifestConditions {
		detailed = detailed || m.DriftDetails != nil || m.DiffDetails != nil || m.BackReportedStatus != nil
	}
	if !detailed {
		return nil
	}
	data, err := json.Marshal(work)
	if err != nil {
		return fmt.Errorf("measure work %s: %w", work.Name, err)
	}
	if len(data) <= mostWork {
		return nil
	}
	previous, seen := byIdentity(old.ManifestConditions), register{}
	for i := range work.Status.ManifestConditions {
		m := &work.Status.ManifestConditions[i]
		was := previous[seen.next(m.Identifier)]
		if was == nil {
			was = &v1beta1.ManifestCondition{}
		}
		if d := m.DriftDetails; d != nil {
			m.DriftDetails = drifts(was.DriftDetails, &Comparison{Generation: d.ObservedInMemberClusterGeneration, Details: trimmed(d.ObservedDrifts)}, now)
		}
		if d := m.DiffDetails; d != nil {
			found := &Comparison{Absent: d.ObservedInMemberClusterGeneration == nil, Details: trimmed(d.ObservedDiffs)}
			if !found.Absent {
				found.Generation = *d.ObservedInMemberClusterGeneration
			}
			m.DiffDetails = diffs(was.DiffDetails, found, now)
		}
		m.BackReportedStatus = nil
	}
	note := yes(work.Generation, v1beta1.ConditionStatusTrimmed, v1beta1.ReasonOversized,
		"Details of drifts and differences, and back-reported statuses, are left out, because the Work would be too large")
	work.Status.Conditions = append(work.Status.Conditions, merge(old.Conditions, []metav1.Condition{note}, now)...)
	return nil
}

func trimmed(details []v1beta1.PatchDetail) []v1beta1.PatchDetail {
	if len(details) == 0 {
		return nil
	}
	path := details[0].Path
	if more := len(details) - 1; more > 0 {
		path = fmt.Sprintf("%s and %d more path(s)", path, more)
	}
	return []v1beta1.PatchDetail{{Path: path, ValueInMember: contract.TextOmitted, ValueInHub: contract.TextOmitted}}
}

// Unremoved returns the status of a Work that is being deleted, with the objects on the member that its deletion waits
// for. since is when the removal began, so the message stays the same while nothing else changes.
func Unremoved(old v1beta1.WorkStatus, generation int64, since metav1.Time, waiting []string, now metav1.Time) v1beta1.WorkStatus {
	message := fmt.Sprintf("Since %s these objects are waiting for removal from the member cluster: %s. The controllers that set their finalizers have to remove them",
		since.UTC().Format("2006-01-02T15:04:05Z"), brief.List(waiting, mostNamed))
	if len(waiting) == 0 {
		message = fmt.Sprintf("Since %s the member cluster has not finished the removal, although the agent finds none of the applied objects; "+
			"see the AppliedWork of the same name there", since.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return unremoved(old, no(generation, ConditionRemoved, ReasonObjectsRemain, message), now)
}

// Braked returns the status of a deleted Work whose removal is held, with the reason for users.
func Braked(old v1beta1.WorkStatus, generation int64, why string, now metav1.Time) v1beta1.WorkStatus {
	return unremoved(old, no(generation, ConditionRemoved, ReasonBeyondRemovalLimit, why), now)
}

func unremoved(old v1beta1.WorkStatus, removed metav1.Condition, now metav1.Time) v1beta1.WorkStatus {
	status := *old.DeepCopy()
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool { return c.Type == ConditionRemoved })
	status.Conditions = append(status.Conditions, merge(old.Conditions, []metav1.Condition{removed}, now)...)
	return status
}
