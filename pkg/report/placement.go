package report

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// Snapshot describes a group of resource snapshots in the status of a placement.
type Snapshot struct {
	// Name is the first snapshot of the group, as bindings name it; Index its index, decimal.
	Name, Index string
	Resources   []v1beta1.ResourceIdentifier
}

// PlacementFacts describe the delivery of a placement to its clusters.
type PlacementFacts struct {
	// Placement has the status written last.
	Placement v1beta1.PlacementObject
	// Policy is the current policy snapshot; nil if there is none yet.
	Policy v1beta1.PolicySnapshotObject
	// Bindings are the placement's, in any order.
	Bindings []v1beta1.BindingObject
	// Latest is the current group of resource snapshots. It is not used with strategy External.
	Latest Snapshot
	// Snapshots are, with strategy External only, the existing groups that bindings name, by the name of the first
	// snapshot.
	Snapshots map[string]Snapshot
	// TooLarge are selected objects that Latest does not hold in their current state.
	TooLarge []TooLarge
	// Withheld are selected objects that the placement's author may not place.
	Withheld []v1beta1.ResourceIdentifier
	// LeftOut are selected objects that stay on the hub, in any order.
	LeftOut []selection.LeftOut
	// Course is the recorded state of the rollout of Latest. It counts only for a placement with a failure policy.
	Course rollout.Course
}

// PlacementUpdate is a placement's new status.
type PlacementUpdate struct {
	Status v1beta1.PlacementStatus
	// Delay is how long the write may be delayed because the status only reports progress; zero for a status to write
	// at once.
	Delay time.Duration
	// Again is when the status changes without an event; zero for never.
	Again time.Duration
}

// removalPatience is how long a cluster may take to remove objects before the placement's status reports it.
const removalPatience = 30 * time.Second

// schedulePatience is how long the write of a status is delayed if it only reports that the scheduler has not decided
// yet, for a placement on which it decided before: until then every condition carries its generation, and a write
// would only make conditions disappear and reappear.
const schedulePatience = 5 * time.Second

// milestone is a condition type that a placement passes through, with its texts for the placement and for a cluster.
type milestone struct {
	name string
	// pending is the reason while a cluster has not reported, both in the cluster's entry and for the placement.
	pending string
	// bad and good are reasons of the placement; entries of clusters copy their bindings'.
	bad, good string
	// event is the reason of the event when the milestone is reached; empty for none.
	event string
	// is and isNot start messages: "<is> 3 of 3 clusters".
	is, isNot string
}

// milestoneOf has the milestone of each condition of delivery.Sequence.
var milestoneOf = map[string]milestone{
	v1beta1.ConditionRolloutStarted: {
		pending: v1beta1.ReasonRolloutStartedUnknown,
		bad:     v1beta1.ReasonRolloutNotStartedYet, good: v1beta1.ReasonRolloutStarted, event: "PlacementRolloutStarted",
		is: "Rollout started on", isNot: "Rollout not started on",
	},
	v1beta1.ConditionOverridden: {
		pending: v1beta1.ReasonOverriddenPending,
		bad:     v1beta1.ReasonOverriddenFailed, good: v1beta1.ReasonOverriddenSucceeded, event: "PlacementOverriddenSucceeded",
		is: "Overrides applied for", isNot: "Overrides failed for",
	},
	v1beta1.ConditionWorkSynchronized: {
		pending: v1beta1.ReasonWorkSynchronizedUnknown,
		bad:     v1beta1.ReasonWorkNotSynchronizedYet, good: v1beta1.ReasonWorkSynchronized, event: "PlacementWorkSynchronized",
		is: "Works written for", isNot: "Works not written for",
	},
	v1beta1.ConditionApplied: {
		pending: v1beta1.ReasonApplyPending,
		bad:     v1beta1.ReasonApplyFailed, good: v1beta1.ReasonApplySucceeded, event: "PlacementApplied",
		is: "Applied on", isNot: "Not applied on",
	},
	v1beta1.ConditionAvailable: {
		pending: v1beta1.ReasonResourceAvailableUnknown,
		bad:     v1beta1.ReasonResourceNotAvailableYet, good: v1beta1.ReasonResourceAvailable, event: "PlacementAvailable",
		is: "Available on", isNot: "Not available on",
	},
	// There is no event: the contract defines none.
	v1beta1.ConditionDiffReported: {
		pending: v1beta1.ReasonDiffReportingPending,
		bad:     v1beta1.ReasonDiffReportingIncompleteOrFailed, good: v1beta1.ReasonDiffReportingCompleted,
		is: "Differences reported by", isNot: "Differences not reported by",
	},
}

// milestones returns those of a placement with this spec, in order.
func milestones(spec *v1beta1.PlacementSpec) []milestone {
	var out []milestone
	for _, kind := range delivery.Sequence(spec.Strategy.ApplyStrategy) {
		m := milestoneOf[kind]
		m.name = kind
		out = append(out, m)
	}
	return out
}

// InvalidPlacement returns the status of a placement with invalid selectors: the conditions reported before, and why
// the placement makes no progress.
func InvalidPlacement(placement v1beta1.PlacementObject, cause string, now metav1.Time) v1beta1.PlacementStatus {
	status := *placement.GetStatus().DeepCopy()
	scheduled := no(placement.GetGeneration(), placement.ConditionType(v1beta1.ConditionScheduled), v1beta1.ReasonInvalidResourceSelectors,
		"The resource selectors are invalid: "+cause)
	merged := merge(status.Conditions, []metav1.Condition{scheduled}, now)
	for _, c := range status.Conditions {
		if c.Type != scheduled.Type {
			merged = append(merged, c)
		}
	}
	status.Conditions = merged
	return status
}

// Placement returns the new status of a placement.
func Placement(f PlacementFacts, now metav1.Time) PlacementUpdate {
	p := placementReport{
		PlacementFacts: f, spec: f.Placement.GetSpec(), old: f.Placement.GetStatus(), generation: f.Placement.GetGeneration(), now: now,
		milestones: milestones(f.Placement.GetSpec()),
	}
	p.index()
	return p.update()
}

type placementReport struct {
	PlacementFacts
	spec       *v1beta1.PlacementSpec
	old        *v1beta1.PlacementStatus
	generation int64
	now        metav1.Time
	milestones []milestone

	// bindings are the active ones by cluster, was the previous entries by cluster, and unfilled those without a
	// cluster.
	bindings map[string]v1beta1.BindingObject
	was      map[string]*v1beta1.PerClusterPlacementStatus
	unfilled []*v1beta1.PerClusterPlacementStatus
}

// index finds the active bindings: those of the current policy that are not being deleted. If a cluster has two, the
// first by name is used.
func (p *placementReport) index() {
	p.bindings = make(map[string]v1beta1.BindingObject, len(p.Bindings))
	for _, b := range p.Bindings {
		spec := b.GetSpec()
		if p.Policy == nil || !b.GetDeletionTimestamp().IsZero() || spec.SchedulingPolicySnapshotName != p.Policy.GetName() {
			continue
		}
		if other := p.bindings[spec.TargetCluster]; other == nil || b.GetName() < other.GetName() {
			p.bindings[spec.TargetCluster] = b
		}
	}
	p.was = make(map[string]*v1beta1.PerClusterPlacementStatus, len(p.old.PerClusterPlacementStatuses))
	for i := range p.old.PerClusterPlacementStatuses {
		entry := &p.old.PerClusterPlacementStatuses[i]
		if entry.ClusterName == "" {
			p.unfilled = append(p.unfilled, entry)
			continue
		}
		p.was[entry.ClusterName] = entry
	}
}

func (p *placementReport) update() PlacementUpdate {
	status := v1beta1.PlacementStatus{SelectedResources: p.Latest.Resources, ObservedResourceIndex: p.Latest.Index}
	if p.external() {
		status.SelectedResources, status.ObservedResourceIndex = p.old.SelectedResources, p.old.ObservedResourceIndex
	}
	scheduled := p.scheduled()
	scheduled.Message += leftOutNote(p.LeftOut)
	if scheduled.Status == metav1.ConditionUnknown {
		status.Conditions = p.conditions(scheduled)
		return PlacementUpdate{Status: status, Delay: p.patience()}
	}
	selected, failed := p.decisions()
	settled, failsNewly := true, false
	var bindings []string
	for _, d := range selected {
		entry, binding := p.entry(d)
		settled = settled && !p.progress(&entry)
		failsNewly = failsNewly || p.newFailure(&entry)
		status.PerClusterPlacementStatuses, bindings = append(status.PerClusterPlacementStatuses, entry), append(bindings, binding)
	}
	note, again := p.removals()
	scheduled.Message += note
	wanted := []metav1.Condition{scheduled}
	if len(selected) > 0 {
		wanted = append(wanted, p.rollUp(&status)...)
	}
	for i, d := range failed {
		status.PerClusterPlacementStatuses, bindings = append(status.PerClusterPlacementStatuses, p.unfilledEntry(i, d)), append(bindings, "")
	}
	status.Conditions = p.conditions(wanted...)
	fit(&status, bindings)
	update := PlacementUpdate{Status: status, Delay: Patience, Again: again}
	if settled || failsNewly || p.troubleChanged(status.Conditions) {
		update.Delay = 0
	}
	return update
}

// removals returns a note on clusters whose objects have been awaiting removal for long, and when the note may change.
func (p *placementReport) removals() (note string, again time.Duration) {
	var slow []string
	for _, b := range p.Bindings {
		since := b.GetDeletionTimestamp()
		if since.IsZero() {
			continue
		}
		if rest := removalPatience - p.now.Sub(since.Time); rest <= 0 {
			slow = append(slow, b.GetSpec().TargetCluster)
		} else if again == 0 || rest < again {
			again = rest
		}
	}
	if len(slow) == 0 {
		return "", again
	}
	slices.Sort(slow)
	return fmt.Sprintf("; objects are not removed yet from %s: see the Works of this placement in namespace %s",
		brief.List(slices.Compact(slow), mostNamed), contract.MemberNamespace(slow[0])), again
}

// patience is how long the report that the scheduler has not decided is delayed.
func (p *placementReport) patience() time.Duration {
	before := meta.FindStatusCondition(p.old.Conditions, p.Placement.ConditionType(v1beta1.ConditionScheduled))
	if before != nil && before.Status != metav1.ConditionUnknown {
		return schedulePatience
	}
	return Patience
}

func (p *placementReport) external() bool {
	return p.spec.Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// conditions adds the conditions that other agents report on the placement.
func (p *placementReport) conditions(wanted ...metav1.Condition) []metav1.Condition {
	if fit := ResourcesFit(p.Placement, p.TooLarge); fit != nil {
		wanted = append(wanted, *fit)
	}
	if permitted := ResourcesPermitted(p.Placement, p.Withheld); permitted != nil {
		wanted = append(wanted, *permitted)
	}
	if held := RemovalHeld(p.Placement, HoldsOf(p.Bindings, p.Policy)); held != nil {
		wanted = append(wanted, *held)
	}
	if failover := p.failover(); failover != nil {
		wanted = append(wanted, *failover)
	}
	if replicas := p.replicas(); replicas != nil {
		wanted = append(wanted, *replicas)
	}
	wanted = append(wanted, p.rejection()...)
	out := merge(p.old.Conditions, wanted, p.now)
	if c := meta.FindStatusCondition(p.old.Conditions, p.Placement.ConditionType(v1beta1.ConditionStatusSynced)); c != nil {
		out = append(out, *c)
	}
	return out
}

// scheduled is the scheduler's decision, if it is about the current generation of the placement.
func (p *placementReport) scheduled() metav1.Condition {
	kind := p.Placement.ConditionType(v1beta1.ConditionScheduled)
	if p.Policy != nil && p.Policy.GetStatus().ObservedCRPGeneration >= p.generation {
		c := delivery.Current(p.Policy.GetStatus().Conditions, v1beta1.ConditionScheduled, p.Policy.GetGeneration())
		if c != nil && c.Status == metav1.ConditionFalse {
			return no(p.generation, kind, c.Reason, c.Message+"; to see why, run: "+p.explain())
		}
		if c != nil && c.Status == metav1.ConditionTrue {
			return yes(p.generation, kind, c.Reason, c.Message)
		}
	}
	return unknown(p.generation, kind, v1beta1.ReasonSchedulePending,
		"The scheduler has not decided about this generation of the placement yet")
}

// explain is the command that shows why clusters were picked or not.
func (p *placementReport) explain() string {
	command := "kubectl fleet explain placement " + p.Placement.GetName()
	if namespace := p.Placement.GetNamespace(); namespace != "" {
		command += " -n " + namespace
	}
	return command
}

// decisions returns the selected clusters and, for each place that no cluster fills, the decision on a cluster that
// was not selected.
func (p *placementReport) decisions() (selected, failed []v1beta1.ClusterDecision) {
	for _, d := range p.Policy.GetStatus().ClusterDecisions {
		if d.Selected {
			selected = append(selected, d)
		} else {
			failed = append(failed, d)
		}
	}
	missing := 0
	if policy := p.spec.Policy; policy != nil {
		switch policy.PlacementType {
		case v1beta1.PlacementTypePickN:
			if policy.NumberOfClusters != nil {
				missing = int(*policy.NumberOfClusters) - len(selected)
			}
		case v1beta1.PlacementTypePickFixed:
			missing = len(policy.ClusterNames) - len(selected)
		}
	}
	return selected, failed[:min(len(failed), max(0, missing))]
}

// unfilledEntry is the i-th entry for a place that no cluster fills.
func (p *placementReport) unfilledEntry(i int, d v1beta1.ClusterDecision) v1beta1.PerClusterPlacementStatus {
	var old []metav1.Condition
	if i < len(p.unfilled) {
		old = p.unfilled[i].Conditions
	}
	return v1beta1.PerClusterPlacementStatus{Conditions: merge(old, []metav1.Condition{
		no(p.generation, v1beta1.ConditionScheduled, v1beta1.ReasonScheduleFailed, d.Reason),
	}, p.now)}
}

// entry returns the entry of a selected cluster, and the name of its binding; empty if there is none.
func (p *placementReport) entry(d v1beta1.ClusterDecision) (entry v1beta1.PerClusterPlacementStatus, binding string) {
	entry.ClusterName = d.ClusterName
	entry.Conditions = []metav1.Condition{yes(p.generation, v1beta1.ConditionScheduled, v1beta1.ReasonScheduled, d.Reason)}
	if b := p.bindings[d.ClusterName]; b == nil {
		entry.Conditions = append(entry.Conditions, p.pending(v1beta1.ConditionRolloutStarted, "The cluster has no binding yet"))
	} else {
		binding = b.GetName()
		entry.ObservedResourceIndex = p.indexOf(b)
		entry.Shares = p.sharesOf(b)
		p.walk(&entry, b)
	}
	var old []metav1.Condition
	if was := p.was[d.ClusterName]; was != nil {
		old = was.Conditions
	}
	entry.Conditions = merge(old, entry.Conditions, p.now)
	return entry, binding
}

// indexOf is the reported revision of a cluster. With a rolling update it is the latest even while the cluster waits
// for it: users of this API expect that.
func (p *placementReport) indexOf(b v1beta1.BindingObject) string {
	if !p.external() {
		return p.Latest.Index
	}
	name := b.GetSpec().ResourceSnapshotName
	if r, ok := p.Snapshots[name]; ok {
		return r.Index
	}
	if index, ok := contract.MasterIndex(p.Placement.GetName(), name); ok {
		return strconv.Itoa(index) // its snapshot is lost; the content is still on the cluster
	}
	return ""
}

// walk adds the conditions of one cluster up to the first milestone that is not reached.
func (p *placementReport) walk(entry *v1beta1.PerClusterPlacementStatus, b v1beta1.BindingObject) {
	status := delivery.StatusOf(b)
	if wait := p.waiting(b); wait != nil {
		entry.Conditions = append(entry.Conditions, *wait)
		return
	}
	for _, s := range p.milestones {
		c := status.Current(s.name)
		if c == nil || c.Status == metav1.ConditionUnknown {
			entry.Conditions = append(entry.Conditions, p.pending(s.name, "The cluster has not reported on the current content yet"))
			return
		}
		entry.Conditions = append(entry.Conditions, condition(p.generation, s.name, c.Status, c.Reason, c.Message))
		p.detail(entry, b, s, c.Status == metav1.ConditionTrue)
		if c.Status != metav1.ConditionTrue {
			return
		}
	}
}

// waiting returns the RolloutStarted of a cluster that is not on its target revision; nil for any other cluster.
func (p *placementReport) waiting(b v1beta1.BindingObject) *metav1.Condition {
	spec := b.GetSpec()
	blocked := delivery.StatusOf(b).Current(v1beta1.ConditionRolloutStarted)
	if blocked != nil && blocked.Status != metav1.ConditionFalse {
		blocked = nil
	}
	if p.external() {
		// A cluster that a rolling update blocked before the strategy became External now waits for an update run.
		if spec.State == v1beta1.BindingStateBound && blocked == nil {
			return nil
		}
		c := p.pending(v1beta1.ConditionRolloutStarted, "The cluster waits for an update run")
		return &c
	}
	if spec.ResourceSnapshotName == p.Latest.Name && p.Latest.Name != "" {
		return nil
	}
	c := p.pending(v1beta1.ConditionRolloutStarted, "The rollout has not reached the cluster yet")
	if blocked != nil {
		c = no(p.generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet, blocked.Message)
	}
	return &c
}

func (p *placementReport) pending(kind, message string) metav1.Condition {
	return unknown(p.generation, kind, milestoneOf[kind].pending, message)
}

// detail copies the lists that belong to a milestone.
func (p *placementReport) detail(entry *v1beta1.PerClusterPlacementStatus, b v1beta1.BindingObject, s milestone, reached bool) {
	status := b.GetStatus()
	switch s.name {
	case v1beta1.ConditionRolloutStarted:
		if reached {
			entry.ApplicableResourceOverrides = b.GetSpec().ResourceOverrideSnapshots
			entry.ApplicableClusterResourceOverrides = b.GetSpec().ClusterResourceOverrideSnapshots
		}
	case v1beta1.ConditionApplied, v1beta1.ConditionAvailable:
		entry.DriftedPlacements = status.DriftedPlacements
		if !reached {
			entry.FailedPlacements, entry.DiffedPlacements = status.FailedPlacements, status.DiffedPlacements
		}
	case v1beta1.ConditionDiffReported:
		entry.DiffedPlacements = status.DiffedPlacements
	}
}

// rollUp sums up the entries of status, which are those of the selected clusters. With strategy External it also sets
// the revision that the status reports.
func (p *placementReport) rollUp(status *v1beta1.PlacementStatus) []metav1.Condition {
	first := milestoneOf[v1beta1.ConditionRolloutStarted].pending
	if p.external() {
		first = v1beta1.ReasonRolloutControlledByExternalController
		if c := p.oneRevision(status); c != nil {
			return []metav1.Condition{*c}
		}
	}
	var out []metav1.Condition
	for i, s := range p.milestones {
		if i == 0 {
			s.pending = first
		}
		c := p.sum(s, status.PerClusterPlacementStatuses)
		out = append(out, c)
		if c.Status != metav1.ConditionTrue {
			break
		}
	}
	return out
}

// oneRevision sets the revision of status if all clusters are on the same one. Otherwise it returns the condition that
// reports it.
func (p *placementReport) oneRevision(status *v1beta1.PlacementStatus) *metav1.Condition {
	status.ObservedResourceIndex, status.SelectedResources = "", nil
	index := status.PerClusterPlacementStatuses[0].ObservedResourceIndex
	same, some := true, false
	for _, entry := range status.PerClusterPlacementStatuses {
		same = same && entry.ObservedResourceIndex == index
		some = some || entry.ObservedResourceIndex != ""
	}
	kind := p.Placement.ConditionType(v1beta1.ConditionRolloutStarted)
	if !some {
		c := unknown(p.generation, kind, v1beta1.ReasonRolloutControlledByExternalController,
			fmt.Sprintf("No cluster has any content yet: start an update run; see the %s objects for this placement", p.updateRunKind()))
		return &c
	}
	if !same {
		c := unknown(p.generation, kind, v1beta1.ReasonRolloutControlledByExternalController,
			fmt.Sprintf("The clusters are not all on the same resource index; see the %s objects for this placement", p.updateRunKind()))
		return &c
	}
	status.ObservedResourceIndex = index
	for _, r := range p.Snapshots {
		if r.Index == index {
			status.SelectedResources = r.Resources
		}
	}
	return nil
}

func (p *placementReport) updateRunKind() string {
	if p.Placement.GetNamespace() == "" {
		return "ClusterStagedUpdateRun"
	}
	return "StagedUpdateRun"
}

// sum is the placement's condition for one milestone. No entry has stopped before it.
func (p *placementReport) sum(s milestone, entries []v1beta1.PerClusterPlacementStatus) metav1.Condition {
	var pending, bad []string
	overrides := false
	for _, entry := range entries {
		c := meta.FindStatusCondition(entry.Conditions, s.name)
		switch {
		case c == nil || c.Status == metav1.ConditionUnknown:
			pending = append(pending, entry.ClusterName)
		case c.Status == metav1.ConditionFalse:
			bad = append(bad, entry.ClusterName)
		}
		overrides = overrides || len(entry.ApplicableResourceOverrides) > 0 || len(entry.ApplicableClusterResourceOverrides) > 0
	}
	kind := p.Placement.ConditionType(s.name)
	switch {
	case len(pending) > 0:
		return unknown(p.generation, kind, s.pending,
			fmt.Sprintf("%s: %s", ofClusters("No report yet from", len(pending), len(entries)), brief.List(pending, mostNamed)))
	case len(bad) > 0:
		return no(p.generation, kind, s.bad, fmt.Sprintf("%s: %s; see placementStatuses", ofClusters(s.isNot, len(bad), len(entries)), brief.List(bad, mostNamed)))
	case s.name == v1beta1.ConditionOverridden && !overrides:
		return yes(p.generation, kind, v1beta1.ReasonNoOverrideSpecified, "No override applies to any cluster")
	}
	return yes(p.generation, kind, s.good, ofClusters(s.is, len(entries), len(entries)))
}

// ofClusters writes "<what> 2 of 3 clusters".
func ofClusters(what string, n, all int) string {
	if all == 1 {
		return fmt.Sprintf("%s %d of 1 cluster", what, n)
	}
	return fmt.Sprintf("%s %d of %d clusters", what, n, all)
}

// progress reports whether the entry of a cluster may change as time passes.
func (p *placementReport) progress(entry *v1beta1.PerClusterPlacementStatus) bool {
	last := entry.Conditions[len(entry.Conditions)-1]
	return !failing(entry) && (last.Status != metav1.ConditionTrue || last.Type != p.milestones[len(p.milestones)-1].name)
}

// failing reports whether a cluster has failed in a way that does not pass by itself.
func failing(entry *v1beta1.PerClusterPlacementStatus) bool {
	if len(entry.Conditions) == 0 {
		return false
	}
	last := entry.Conditions[len(entry.Conditions)-1]
	return last.Status == metav1.ConditionFalse && delivery.MeaningOf(last, len(entry.FailedPlacements)) == delivery.Failed
}

// newFailure reports whether a cluster fails in a way that was not reported before.
func (p *placementReport) newFailure(entry *v1beta1.PerClusterPlacementStatus) bool {
	was := p.was[entry.ClusterName]
	same := was != nil && was.ObservedResourceIndex == entry.ObservedResourceIndex
	if same && lost(was.Conditions, entry.Conditions, v1beta1.ConditionAvailable) {
		return true
	}
	if !failing(entry) {
		return false
	}
	if was == nil {
		return true
	}
	last := entry.Conditions[len(entry.Conditions)-1]
	old := meta.FindStatusCondition(was.Conditions, last.Type)
	return old == nil || old.Status != last.Status || old.Reason != last.Reason
}

// lost reports whether a condition is False that was True for the same generation. Content may take time to become
// available, but content that no longer is available is reported at once.
func lost(old, conditions []metav1.Condition, kind string) bool {
	c := meta.FindStatusCondition(conditions, kind)
	return c != nil && c.Status == metav1.ConditionFalse && delivery.IsTrue(old, kind, c.ObservedGeneration)
}
