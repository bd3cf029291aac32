package testworld

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Status is what a placement's status must say, as far as the contract fixes it: types, statuses, reasons and generations of
// conditions, at both levels. Messages and times are free.
type Status struct {
	name string
	// placement and clusters are condition sequences; unnamed are the entries of slots that found no cluster.
	placement []verdict
	clusters  map[string][]verdict
	unnamed   int
	// index, when set, must be the observed resource index of the placement and of every named cluster.
	index string
}

type verdict struct {
	kind   string
	status metav1.ConditionStatus
	reason string
}

// complete are the verdicts of a finished rollout: for the placement, and for each cluster.
var completePlacement = []verdict{
	{v1beta1.ConditionScheduled, metav1.ConditionTrue, v1beta1.ReasonSchedulingPolicyFulfilled},
	{v1beta1.ConditionRolloutStarted, metav1.ConditionTrue, v1beta1.ReasonRolloutStarted},
	{v1beta1.ConditionOverridden, metav1.ConditionTrue, v1beta1.ReasonNoOverrideSpecified},
	{v1beta1.ConditionWorkSynchronized, metav1.ConditionTrue, v1beta1.ReasonWorkSynchronized},
	{v1beta1.ConditionApplied, metav1.ConditionTrue, v1beta1.ReasonApplySucceeded},
	{v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonResourceAvailable},
}

var completeCluster = []verdict{
	{v1beta1.ConditionScheduled, metav1.ConditionTrue, v1beta1.ReasonScheduled},
	{v1beta1.ConditionRolloutStarted, metav1.ConditionTrue, v1beta1.ReasonRolloutStarted},
	{v1beta1.ConditionOverridden, metav1.ConditionTrue, v1beta1.ReasonNoOverrideSpecified},
	{v1beta1.ConditionWorkSynchronized, metav1.ConditionTrue, v1beta1.ReasonAllWorkSynced},
	{v1beta1.ConditionApplied, metav1.ConditionTrue, v1beta1.ReasonAllWorkHaveBeenApplied},
	{v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable},
}

// Complete is a placement that runs on exactly these clusters.
func Complete(clusters ...string) Status {
	s := Status{name: "COMPLETE" + fmt.Sprint(clusters), placement: completePlacement, clusters: map[string][]verdict{}}
	for _, c := range clusters {
		s.clusters[c] = completeCluster
	}
	return s
}

// None is a placement that rightly runs nowhere.
func None() Status { return Status{name: "NONE", placement: completePlacement[:1]} }

// Unfulfilled is a placement that wants clusters and found none: slots is how many nameless entries say so.
func Unfulfilled(slots int) Status {
	return Status{name: fmt.Sprintf("UNFULFILLED[%d]", slots), placement: []verdict{unfulfilled}, unnamed: slots}
}

// Partial runs on clusters and misses slots more.
func Partial(slots int, clusters ...string) Status {
	s := Complete(clusters...)
	s.name = fmt.Sprintf("PARTIAL%v missing %d", clusters, slots)
	s.placement = append([]verdict{unfulfilled}, completePlacement[1:]...)
	s.unnamed = slots
	return s
}

var unfulfilled = verdict{v1beta1.ConditionScheduled, metav1.ConditionFalse, v1beta1.ReasonSchedulingPolicyUnfulfilled}

// Pending is a placement that the scheduler has not decided.
func Pending() Status {
	return Status{name: "PENDING", placement: []verdict{{v1beta1.ConditionScheduled, metav1.ConditionUnknown, v1beta1.ReasonSchedulePending}}}
}

// ApplyFailed runs on clusters and fails to apply on bad.
func ApplyFailed(bad string, clusters ...string) Status {
	s := Complete(clusters...)
	s.name = fmt.Sprintf("APPLYFAILED[%s] of %v", bad, clusters)
	s.placement = append(slices.Clone(completePlacement[:4]), verdict{v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonApplyFailed})
	s.clusters[bad] = append(slices.Clone(completeCluster[:4]), verdict{v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveBeenApplied})
	return s
}

// At adds that the placement and its clusters must be on this resource index.
func (s Status) At(index string) Status {
	s.index = index
	return s
}

// Check compares a placement's status with s and says what differs; nil when it is as it must be. Every condition must speak of
// the placement's current generation.
func (s Status) Check(p v1beta1.PlacementObject) error {
	got := p.GetStatus()
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
		wantUnnamed = append(wantUnnamed, texts([]verdict{{v1beta1.ConditionScheduled, metav1.ConditionFalse, v1beta1.ReasonScheduleFailed}}, bare, p.GetGeneration())...)
	}
	compare("slots without a cluster", wantUnnamed, unnamed)
	if s.index != "" && got.ObservedResourceIndex != s.index {
		diffs = append(diffs, fmt.Sprintf("resource index is %q, want %q", got.ObservedResourceIndex, s.index))
	}
	if len(diffs) > 0 {
		return fmt.Errorf("%s is not %s at generation %d:\n%s", p.GetName(), s.name, p.GetGeneration(), strings.Join(diffs, "\n"))
	}
	return nil
}

func bare(kind string) string { return kind }

func texts(verdicts []verdict, kind func(string) string, generation int64) []string {
	var out []string
	for _, v := range verdicts {
		out = append(out, text(kind(v.kind), v.status, v.reason, generation))
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
