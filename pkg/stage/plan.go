package stage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Abort is why a run cannot be planned or continue. It is final. Any other error of this package is temporary.
type Abort struct {
	Message string
	// User is whether the user can correct it; else it is an internal error.
	User bool
}

// UserError begins the message of an Abort that the user can correct.
const UserError = "client error: "

func (a *Abort) Error() string {
	if a.User {
		return UserError + a.Message
	}
	return a.Message
}

// AbortOf returns the Abort in err, nil if there is none.
func AbortOf(err error) *Abort {
	var abort *Abort
	if errors.As(err, &abort) {
		return abort
	}
	return nil
}

func mistake(format string, args ...any) error {
	return &Abort{Message: fmt.Sprintf(format, args...), User: true}
}

func defect(format string, args ...any) error { return &Abort{Message: fmt.Sprintf(format, args...)} }

// ErrUnsettled means that the scheduler has not finished; that it has is an event.
var ErrUnsettled = errors.New("the scheduler has not finished with the placement")

// Fleet is what a run is planned from.
type Fleet struct {
	// Placement is nil if there is none.
	Placement v1beta1.PlacementObject
	Policies  []v1beta1.PolicySnapshotObject
	Bindings  []v1beta1.BindingObject
	// Labels are those of the MemberClusters, by name.
	Labels map[string]map[string]string
	// Unheard are the MemberClusters whose next heartbeat is late, but for those that leave.
	Unheard map[string]bool
}

// Plan is what a run does. It is computed once, and again only to see whether it is still valid.
type Plan struct {
	// Placement is the UID of the placement.
	Placement types.UID
	// PolicyIndex is the index of the placement's latest policy snapshot, Count how many clusters the scheduler has
	// picked for it.
	PolicyIndex string
	Count       int
	Apply       v1beta1.ApplyStrategy
	// Stages are the clusters of each stage, in their order; Deletions those from which the placement is removed.
	Stages    [][]string
	Deletions []string
}

// NewPlan plans a run. An error that is no Abort is temporary.
func NewPlan(fleet Fleet, strategy v1beta1.UpdateStrategySpec) (Plan, error) {
	now, err := picked(fleet)
	if err == nil {
		err = now.short
	}
	if err != nil {
		return Plan{}, err
	}
	plan := now.Plan
	if len(now.selected)+len(plan.Deletions) == 0 {
		return Plan{}, mistake("the placement is on no cluster: there is nothing to change")
	}
	if wrong := validate.UpdateStrategy(&strategy); len(wrong) > 0 {
		return Plan{}, mistake("%s", wrong[0].Detail)
	}
	plan.Stages, err = stages(strategy, now.selected, fleet.Labels)
	return plan, err
}

// picks are the decisions of the scheduler about a placement: the part of a plan that does not depend on the stages.
type picks struct {
	Plan
	selected []string
	// short is the Abort for a policy that is not fulfilled; nil if it is.
	short error
}

func picked(fleet Fleet) (picks, error) {
	if fleet.Placement == nil || !fleet.Placement.GetDeletionTimestamp().IsZero() {
		return picks{}, mistake("the parent placement is not found: spec.placementName must name a placement that exists and is not being deleted")
	}
	strategy := fleet.Placement.GetSpec().Strategy
	if strategy.Type != v1beta1.RolloutStrategyTypeExternal {
		return picks{}, mistake("the placement's spec.strategy.type is %q: update runs change only placements of type External",
			cmp.Or(strategy.Type, v1beta1.RolloutStrategyTypeRollingUpdate))
	}
	latest, err := latestPolicy(fleet.Policies)
	if err != nil {
		return picks{}, err
	}
	out := picks{Plan: Plan{
		Placement: fleet.Placement.GetUID(), PolicyIndex: latest.GetLabels()[contract.LabelPolicyIndex], Apply: strategy.ApplyStrategy.WithDefaults(),
	}}
	if out.PolicyIndex == "" {
		return picks{}, defect("policy snapshot %s has no label %s", latest.GetName(), contract.LabelPolicyIndex)
	}
	expected, err := expectedCount(latest)
	if err != nil {
		return picks{}, err
	}
	scheduled := meta.FindStatusCondition(*latest.GetConditions(), v1beta1.ConditionScheduled)
	if scheduled == nil || scheduled.Status == metav1.ConditionUnknown || scheduled.ObservedGeneration != latest.GetGeneration() || behind(latest) {
		return picks{}, fmt.Errorf("policy snapshot %s is not scheduled yet: %w", latest.GetName(), ErrUnsettled)
	}
	if out.selected, out.Deletions, err = split(fleet.Bindings, latest.GetName()); err != nil {
		return picks{}, err
	}
	if out.Count = len(out.selected); expected >= 0 && out.Count > expected {
		if err := exchanging(fleet.Bindings); err != nil {
			return picks{}, err
		}
	}
	switch {
	case scheduled.Status == metav1.ConditionFalse:
		out.short = mistake("the placement is not fully scheduled: %s", scheduled.Message)
	case expected >= 0 && expected != out.Count && (latest.GetStatus().HeldRemoval == nil || out.Count < expected): // held clusters stay picked
		out.short = mistake("the placement asks for %d clusters and %d are picked: %s", expected, out.Count, brief.List(out.selected, mostNamed))
	}
	return out, nil
}

// behind returns whether the scheduler has not read a policy since the placement was changed: another number of
// clusters does not change the generation of the policy snapshot.
func behind(policy v1beta1.PolicySnapshotObject) bool {
	placement, err := strconv.ParseInt(policy.GetAnnotations()[contract.AnnotationGeneration], 10, 64)
	return err == nil && policy.GetStatus().ObservedCRPGeneration < placement
}

func latestPolicy(policies []v1beta1.PolicySnapshotObject) (v1beta1.PolicySnapshotObject, error) {
	var found []v1beta1.PolicySnapshotObject
	for _, p := range policies {
		if p.GetLabels()[contract.LabelLatest] == strconv.FormatBool(true) {
			found = append(found, p)
		}
	}
	if len(policies) == 0 {
		return nil, fmt.Errorf("the placement has no policy snapshot yet: %w", ErrUnsettled)
	}
	if len(found) != 1 {
		return nil, defect("the placement has %d latest policy snapshots; one is expected", len(found))
	}
	return found[0], nil
}

// expectedCount is how many clusters a policy asks for, -1 if it asks for no number.
func expectedCount(policy v1beta1.PolicySnapshotObject) (int, error) {
	spec := policy.GetSpec().Policy
	switch {
	case spec == nil || spec.PlacementType == "" || spec.PlacementType == v1beta1.PlacementTypePickAll:
		return -1, nil
	case spec.PlacementType == v1beta1.PlacementTypePickFixed:
		return len(spec.ClusterNames), nil
	}
	text := policy.GetAnnotations()[contract.AnnotationNumberOfClusters]
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, defect("annotation %s of policy snapshot %s is %q, not a number from 0", contract.AnnotationNumberOfClusters, policy.GetName(), text)
	}
	return n, nil
}

// exchanging returns ErrUnsettled if the scheduler has picked a cluster that replaces another one, and is about to give
// up that one.
func exchanging(bindings []v1beta1.BindingObject) error {
	living := map[string]bool{}
	for _, b := range bindings {
		if b.GetSpec().State != v1beta1.BindingStateUnscheduled && b.GetDeletionTimestamp().IsZero() {
			living[b.GetSpec().TargetCluster] = true
		}
	}
	for _, b := range bindings {
		if e := failover.Replaces(b); e != nil && living[e.With] && living[b.GetSpec().TargetCluster] {
			return fmt.Errorf("cluster %s is about to replace %s: %w", b.GetSpec().TargetCluster, e.With, ErrUnsettled)
		}
	}
	return nil
}

// split names the clusters that the latest policy picks and those that the scheduler gave up, both sorted. Those that
// were given up in an exchange of clusters are not among them: the roller removes the placement there, and a run must
// not wait until a lost cluster is heard.
func split(bindings []v1beta1.BindingObject, policy string) (selected, deleted []string, err error) {
	for _, b := range bindings {
		spec := b.GetSpec()
		switch {
		case failover.Exchanged(b, bindings):
		case spec.State == v1beta1.BindingStateUnscheduled:
			deleted = append(deleted, spec.TargetCluster)
		case !b.GetDeletionTimestamp().IsZero():
			// Another client deletes it; the scheduler picks again.
		case spec.SchedulingPolicySnapshotName == policy:
			selected = append(selected, spec.TargetCluster)
		default:
			return nil, nil, fmt.Errorf("binding %s is of policy snapshot %s: %w", b.GetName(), spec.SchedulingPolicySnapshotName, ErrUnsettled)
		}
	}
	slices.Sort(selected)
	slices.Sort(deleted)
	return selected, slices.Compact(deleted), nil
}

// stages assigns the selected clusters to stages.
func stages(strategy v1beta1.UpdateStrategySpec, selected []string, labelsOf map[string]map[string]string) ([][]string, error) {
	in := map[string]string{}
	out := make([][]string, 0, len(strategy.Stages))
	for _, config := range strategy.Stages {
		selector, err := metav1.LabelSelectorAsSelector(config.LabelSelector)
		if err != nil {
			return nil, mistake("labelSelector of stage %s: %v", config.Name, err)
		}
		members := []string{}
		for _, cluster := range selected {
			set, known := labelsOf[cluster]
			if !known || !selector.Matches(labels.Set(set)) {
				continue
			}
			if other, taken := in[cluster]; taken {
				return nil, mistake("cluster %s appears in more than one stage: %s and %s; their labelSelectors must not overlap", cluster, other, config.Name)
			}
			in[cluster] = config.Name
			members = append(members, cluster)
		}
		if err := order(config, members, labelsOf); err != nil {
			return nil, err
		}
		out = append(out, members)
	}
	var missing []string
	for _, cluster := range selected {
		if _, ok := in[cluster]; !ok {
			missing = append(missing, cluster)
		}
	}
	if len(missing) > 0 {
		return nil, mistake("%d selected clusters are in no stage of the strategy: %s", len(missing), brief.List(missing, mostNamed))
	}
	return out, nil
}

// order sorts the clusters of a stage: by the number in the label sortingLabelKey, if it is set, then by name.
func order(config v1beta1.StageConfig, members []string, labelsOf map[string]map[string]string) error {
	key := ptr.Deref(config.SortingLabelKey, "")
	numbers := map[string]int{}
	if key != "" {
		for _, cluster := range members {
			text, ok := labelsOf[cluster][key]
			n, err := strconv.Atoi(text)
			if !ok || err != nil {
				return mistake("sortingLabelKey of stage %s: label %s of cluster %s is %q, not a whole number", config.Name, key, cluster, text)
			}
			numbers[cluster] = n
		}
	}
	slices.SortFunc(members, func(a, b string) int { return cmp.Or(cmp.Compare(numbers[a], numbers[b]), cmp.Compare(a, b)) })
	return nil
}

// Status is the status of a run that starts with this plan.
func (p Plan) Status(run string, resourceIndex string, strategy v1beta1.UpdateStrategySpec, overrides map[string]delivery.Overrides) v1beta1.UpdateRunStatus {
	status := v1beta1.UpdateRunStatus{
		PlacementUID: p.Placement, PolicySnapshotIndexUsed: p.PolicyIndex, PolicyObservedClusterCount: p.Count, ResourceSnapshotIndexUsed: resourceIndex,
		ApplyStrategy: p.Apply.DeepCopy(), UpdateStrategySnapshot: strategy.DeepCopy(),
		DeletionStageStatus: &v1beta1.StageUpdatingStatus{StageName: contract.DeletionStage, Clusters: members(p.Deletions, nil)},
	}
	for i, config := range strategy.Stages {
		status.StagesStatus = append(status.StagesStatus, v1beta1.StageUpdatingStatus{
			StageName: config.Name, Clusters: members(p.Stages[i], overrides),
			BeforeStageTaskStatus: tasks(config.BeforeStageTasks, contract.BeforeStageApproval(run, config.Name)),
			AfterStageTaskStatus:  tasks(config.AfterStageTasks, contract.AfterStageApproval(run, config.Name)),
		})
	}
	return status
}

func members(clusters []string, overrides map[string]delivery.Overrides) []v1beta1.ClusterUpdatingStatus {
	out := make([]v1beta1.ClusterUpdatingStatus, 0, len(clusters))
	for _, name := range clusters {
		out = append(out, v1beta1.ClusterUpdatingStatus{
			ClusterName: name, ClusterResourceOverrideSnapshots: overrides[name].Cluster, ResourceOverrideSnapshots: overrides[name].Namespaced,
		})
	}
	return out
}

func tasks(configs []v1beta1.StageTask, request string) []v1beta1.StageTaskStatus {
	var out []v1beta1.StageTaskStatus
	for _, t := range configs {
		status := v1beta1.StageTaskStatus{Type: t.Type}
		if t.Type == v1beta1.StageTaskApproval {
			status.ApprovalRequestName = request
		}
		out = append(out, status)
	}
	return out
}

// mostNamed is how many clusters a message names.
const mostNamed = 10
