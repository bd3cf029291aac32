package testworld

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Status is what a placement's status must say, as far as the contract fixes it: types, statuses, reasons and
// generations of conditions, at both levels. Messages and times are free.
type Status struct {
	name string
	// placement and clusters are condition sequences; unnamed are the entries of slots that found no cluster.
	placement []expected
	clusters  map[string][]expected
	unnamed   int
	// index, when set, must be the observed resource index of the placement and of every named cluster. With orNext it
	// counts from the index that the placement began with: see AtOrNext.
	index  string
	orNext bool
	// selected, when not nil, must be the selected resources, in this order.
	selected []v1beta1.ResourceIdentifier
}

// expected is one condition. It must be of the placement's generation, or of the generation since, if that is set.
type expected struct {
	kind   string
	status metav1.ConditionStatus
	reason string
	since  int64
}

// completePlacement and completeCluster are the conditions of a finished rollout: for the placement, and for each
// cluster.
var (
	completePlacement = complete(map[string]string{
		v1beta1.ConditionScheduled:        v1beta1.ReasonSchedulingPolicyFulfilled,
		v1beta1.ConditionRolloutStarted:   v1beta1.ReasonRolloutStarted,
		v1beta1.ConditionOverridden:       v1beta1.ReasonNoOverrideSpecified,
		v1beta1.ConditionWorkSynchronized: v1beta1.ReasonWorkSynchronized,
		v1beta1.ConditionApplied:          v1beta1.ReasonApplySucceeded,
		v1beta1.ConditionAvailable:        v1beta1.ReasonResourceAvailable,
	})
	completeCluster = complete(map[string]string{
		v1beta1.ConditionScheduled:        v1beta1.ReasonScheduled,
		v1beta1.ConditionRolloutStarted:   v1beta1.ReasonRolloutStarted,
		v1beta1.ConditionOverridden:       v1beta1.ReasonNoOverrideSpecified,
		v1beta1.ConditionWorkSynchronized: v1beta1.ReasonAllWorkSynced,
		v1beta1.ConditionApplied:          v1beta1.ReasonAllWorkHaveBeenApplied,
		v1beta1.ConditionAvailable:        v1beta1.ReasonAllWorkAreAvailable,
	})
)

// complete puts Scheduled before the conditions of a delivery, all True for these reasons.
func complete(reasons map[string]string) []expected {
	out := []expected{yes(v1beta1.ConditionScheduled, reasons[v1beta1.ConditionScheduled])}
	for _, kind := range delivery.Sequence(nil) {
		out = append(out, yes(kind, reasons[kind]))
	}
	return out
}

func yes(kind, reason string) expected {
	return expected{kind: kind, status: metav1.ConditionTrue, reason: reason}
}

func no(kind, reason string) expected {
	return expected{kind: kind, status: metav1.ConditionFalse, reason: reason}
}

// Complete is a placement that runs on exactly these clusters.
func Complete(clusters ...string) Status {
	s := Status{name: "COMPLETE" + fmt.Sprint(clusters), placement: completePlacement, clusters: map[string][]expected{}}
	for _, c := range clusters {
		s.clusters[c] = completeCluster
	}
	return s
}

// None is a placement that rightly runs nowhere.
func None() Status { return Status{name: "NONE", placement: completePlacement[:1]} }

// Unfulfilled is a placement that wants clusters and found none: slots is how many nameless entries say so.
func Unfulfilled(slots int) Status {
	return Status{name: fmt.Sprintf("UNFULFILLED[%d]", slots), placement: []expected{unfulfilled}, unnamed: slots}
}

// Partial runs on clusters and misses slots more.
func Partial(slots int, clusters ...string) Status {
	s := Complete(clusters...)
	s.name = fmt.Sprintf("PARTIAL%v missing %d", clusters, slots)
	s.placement = append([]expected{unfulfilled}, completePlacement[1:]...)
	s.unnamed = slots
	return s
}

var unfulfilled = no(v1beta1.ConditionScheduled, v1beta1.ReasonSchedulingPolicyUnfulfilled)

// Refused is a placement whose selectors were never right.
func Refused() Status { return Status{name: "REFUSED", placement: []expected{refused}} }

var refused = no(v1beta1.ConditionScheduled, v1beta1.ReasonInvalidResourceSelectors)

// Pending is a placement that the scheduler has not decided.
func Pending() Status {
	pending := expected{kind: v1beta1.ConditionScheduled, status: metav1.ConditionUnknown, reason: v1beta1.ReasonSchedulePending}
	return Status{name: "PENDING", placement: []expected{pending}}
}

// ApplyFailed runs on clusters and fails to apply on bad.
func ApplyFailed(bad string, clusters ...string) Status {
	s := Complete(clusters...)
	s.name = fmt.Sprintf("APPLYFAILED[%s] of %v", bad, clusters)
	s.placement = append(slices.Clone(completePlacement[:4]), no(v1beta1.ConditionApplied, v1beta1.ReasonApplyFailed))
	s.clusters[bad] = append(slices.Clone(completeCluster[:4]), no(v1beta1.ConditionApplied, v1beta1.ReasonNotAllWorkHaveBeenApplied))
	return s
}

// At adds that the placement and its clusters must be on this resource index.
func (s Status) At(index string) Status {
	s.index, s.orNext = index, false
	return s
}

// AtOrNext is At for a placement whose content was created just before it. The hub agent watches each kind of content
// separately: when it selects for the first time it may lack an object, and then it makes one more revision. So 0 also
// accepts 1, and if the placement was first as expected at 1, all other indexes are 1 higher too. Later indexes of a
// placement need AtOrNext if its first one does.
func (s Status) AtOrNext(index string) Status {
	s.index, s.orNext = index, true
	return s
}

// Selecting adds what must be selected, in this order.
func (s Status) Selecting(objects ...v1beta1.ResourceIdentifier) Status {
	s.selected = append([]v1beta1.ResourceIdentifier{}, objects...)
	return s
}

// Untrackable adds that of some of what runs on the clusters one cannot see whether it is available.
func (s Status) Untrackable() Status {
	clusters := map[string][]expected{}
	for c, conditions := range s.clusters {
		last := len(conditions) - 1
		clusters[c] = append(slices.Clone(conditions[:last]), yes(v1beta1.ConditionAvailable, v1beta1.ReasonNotAllWorkAreAvailabilityTrackable))
	}
	s.clusters = clusters
	return s
}

// Copied adds whether the status has a copy in the placement's namespace.
func (s Status) Copied(synced bool) Status {
	v := no(v1beta1.ConditionStatusSynced, v1beta1.ReasonStatusSyncFailed)
	if synced {
		v = yes(v1beta1.ConditionStatusSynced, v1beta1.ReasonStatusSyncSucceeded)
	}
	s.placement = append(slices.Clone(s.placement), v)
	return s
}

// RefusedSince is s once the selectors were made wrong: all but Scheduled still speaks of an earlier generation.
func (s Status) RefusedSince(generation int64) Status {
	s.name += " before its selectors were wrong"
	earlier := func(conditions []expected) []expected {
		conditions = slices.Clone(conditions)
		for i := range conditions {
			conditions[i].since = generation
		}
		return conditions
	}
	s.placement = append([]expected{refused}, earlier(s.placement[1:])...)
	clusters := map[string][]expected{}
	for c, conditions := range s.clusters {
		clusters[c] = earlier(conditions)
	}
	s.clusters = clusters
	return s
}

// Check compares a placement's status with s and says what differs; nil when it is as it must be. Unless s says
// otherwise, every condition must speak of the placement's current generation.
func (s Status) Check(p v1beta1.PlacementObject) error {
	got := p.GetStatus()
	first := 0
	if s.orNext {
		first, s.index = firstIndex(p, s.index)
	}
	var diffs []string
	compare := func(what string, want, have []string) {
		if d := cmp.Diff(want, have); d != "" {
			diffs = append(diffs, what+" (-want +got):\n"+d)
		}
	}
	compare("placement conditions", texts(s.placement, p.ConditionType, p.GetGeneration()), conditionTexts(got.Conditions))

	var unnamed, named []string
	for _, entry := range got.PerClusterPlacementStatuses {
		if entry.ClusterName == "" {
			unnamed = append(unnamed, strings.Join(conditionTexts(entry.Conditions), "; "))
			continue
		}
		named = append(named, entry.ClusterName)
		want, ok := s.clusters[entry.ClusterName]
		if !ok {
			continue // reported below, by name
		}
		compare("conditions of "+entry.ClusterName, texts(want, bare, p.GetGeneration()), conditionTexts(entry.Conditions))
		if s.index != "" && entry.ObservedResourceIndex != s.index {
			diffs = append(diffs, fmt.Sprintf("resource index of %s is %q, want %q", entry.ClusterName, entry.ObservedResourceIndex, s.index))
		}
	}
	var wantNamed []string
	for c := range s.clusters {
		wantNamed = append(wantNamed, c)
	}
	slices.Sort(named)
	slices.Sort(wantNamed)
	compare("clusters", wantNamed, named)
	var wantUnnamed []string
	for range s.unnamed {
		wantUnnamed = append(wantUnnamed, texts([]expected{no(v1beta1.ConditionScheduled, v1beta1.ReasonScheduleFailed)}, bare, p.GetGeneration())...)
	}
	compare("slots without a cluster", wantUnnamed, unnamed)
	if s.index != "" && got.ObservedResourceIndex != s.index {
		diffs = append(diffs, fmt.Sprintf("resource index is %q, want %q", got.ObservedResourceIndex, s.index))
	}
	if s.selected != nil {
		compare("selected", identities(s.selected), identities(got.SelectedResources))
	}
	if len(diffs) == 0 && s.orNext {
		firstIndices.LoadOrStore(p.GetUID(), first)
	}
	if len(diffs) > 0 {
		return fmt.Errorf("%s is not %s at generation %d:\n%s", p.GetName(), s.name, p.GetGeneration(), strings.Join(diffs, "\n"))
	}
	return nil
}

// firstIndices are the indexes that the placements of AtOrNext began with, by their UIDs.
var firstIndices sync.Map

// firstIndex returns the index that a placement began with, or may have begun with, and wanted counted from there.
func firstIndex(p v1beta1.PlacementObject, wanted string) (first int, index string) {
	n, err := strconv.Atoi(wanted)
	if err != nil {
		return 0, wanted
	}
	if known, ok := firstIndices.Load(p.GetUID()); ok {
		first = known.(int)
	} else if wanted == "0" && p.GetStatus().ObservedResourceIndex == "1" {
		first = 1
	}
	return first, strconv.Itoa(n + first)
}

func bare(kind string) string { return kind }

func texts(conditions []expected, kind func(string) string, generation int64) []string {
	var out []string
	for _, v := range conditions {
		of := generation
		if v.since != 0 {
			of = v.since
		}
		out = append(out, text(kind(v.kind), v.status, v.reason, of))
	}
	slices.Sort(out)
	return out
}

func conditionTexts(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, text(c.Type, c.Status, c.Reason, c.ObservedGeneration))
	}
	slices.Sort(out)
	return out
}

func text(kind string, status metav1.ConditionStatus, reason string, generation int64) string {
	return fmt.Sprintf("%s %s %s @%d", kind, status, reason, generation)
}

// identities shows objects in their order.
func identities(objects []v1beta1.ResourceIdentifier) []string {
	out := []string{}
	for _, o := range objects {
		out = append(out, fmt.Sprintf("%s/%s %s %s/%s", o.Group, o.Version, o.Kind, o.Namespace, o.Name))
	}
	return out
}
