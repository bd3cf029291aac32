package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func init() {
	register(
		&ClusterStagedUpdateRun{}, &ClusterStagedUpdateRunList{},
		&StagedUpdateRun{}, &StagedUpdateRunList{},
		&ClusterStagedUpdateStrategy{}, &ClusterStagedUpdateStrategyList{},
		&StagedUpdateStrategy{}, &StagedUpdateStrategyList{},
		&ClusterApprovalRequest{}, &ClusterApprovalRequestList{},
		&ApprovalRequest{}, &ApprovalRequestList{},
	)
}

// ClusterStagedUpdateRun releases one version of the resources of a ClusterResourcePlacement, stage by stage. The
// placement must have a rollout strategy of type External.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=csur,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.placementName`,name="Placement",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.resourceSnapshotIndex`,name="Resource-Snapshot-Index",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.policySnapshotIndexUsed`,name="Policy-Snapshot-Index",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Initialized")].status`,name="Initialized",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Progressing")].status`,name="Progressing",type=string
// +flagship:previous-not-in=v1alpha1
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Succeeded")].status`,name="Succeeded",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
// +kubebuilder:printcolumn:JSONPath=`.spec.stagedRolloutStrategyName`,name="Strategy",type=string,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) < 64",message="metadata.name max length is 63"
// +flagship:previous-not-in=v1alpha1
// +flagship:only-in=v1alpha1 +kubebuilder:validation:XValidation:rule="size(self.metadata.name) < 128",message="metadata.name max length is 127"
type ClusterStagedUpdateRun struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name has at most 63 characters.
	// +flagship:previous-not-in=v1alpha1
	// +flagship:only-in=v1alpha1 Standard object metadata. The name has at most 127 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines what to release and how. The user writes it.
	// +required
	Spec UpdateRunSpec `json:"spec"`

	// Status contains the plan and its progress. The hub agent writes it.
	// +optional
	Status UpdateRunStatus `json:"status,omitempty"`
}

// ClusterStagedUpdateRunList is a list of ClusterStagedUpdateRuns.
// +kubebuilder:object:root=true
type ClusterStagedUpdateRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterStagedUpdateRun `json:"items"`
}

// StagedUpdateRun releases one version of the resources of a ResourcePlacement of its namespace, stage by stage. The
// placement must have a rollout strategy of type External.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=sur,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.placementName`,name="Placement",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.resourceSnapshotIndex`,name="Resource-Snapshot-Index",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.policySnapshotIndexUsed`,name="Policy-Snapshot-Index",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Initialized")].status`,name="Initialized",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Progressing")].status`,name="Progressing",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Succeeded")].status`,name="Succeeded",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
// +kubebuilder:printcolumn:JSONPath=`.spec.stagedRolloutStrategyName`,name="Strategy",type=string,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) < 64",message="metadata.name max length is 63"
type StagedUpdateRun struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name has at most 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines what to release and how. The user writes it.
	// +required
	Spec UpdateRunSpec `json:"spec"`

	// Status contains the plan and its progress. The hub agent writes it.
	// +optional
	Status UpdateRunStatus `json:"status,omitempty"`
}

// StagedUpdateRunList is a list of StagedUpdateRuns.
// +kubebuilder:object:root=true
type StagedUpdateRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []StagedUpdateRun `json:"items"`
}

// UpdateRunSpec defines what to release and how.
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.state) && oldSelf.state == 'Initialize' && self.state == 'Stop')",message="invalid state transition: cannot transition from Initialize to Stop"
// +flagship:previous-not-in=v1alpha1
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.state) && oldSelf.state == 'Run' && self.state == 'Initialize')",message="invalid state transition: cannot transition from Run to Initialize"
// +flagship:previous-not-in=v1alpha1
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.state) && oldSelf.state == 'Stop' && self.state == 'Initialize')",message="invalid state transition: cannot transition from Stop to Initialize"
// +flagship:previous-not-in=v1alpha1
// +kubebuilder:validation:XValidation:rule="has(self.resumeFrom) == has(oldSelf.resumeFrom) && (!has(self.resumeFrom) || self.resumeFrom == oldSelf.resumeFrom)",message="resumeFrom is immutable"
// +flagship:previous-not-in=v1alpha1
// +flagship:only-in=v1alpha1 +kubebuilder:validation:XValidation:rule="self == oldSelf",message="The spec field is immutable"
type UpdateRunSpec struct {
	// PlacementName is the placement to release, at most 255 characters: a ClusterResourcePlacement for a cluster-scoped
	// run, a ResourcePlacement of the run's namespace for a namespaced one. It cannot be changed.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="placementName is immutable"
	// +flagship:previous-not-in=v1alpha1
	PlacementName string `json:"placementName"`

	// ResourceSnapshotIndex is the index, a decimal number from 0, of the resource snapshot to release. An older index
	// rolls the placement back. When it is empty the run releases the resources as they are when it is initialised. It
	// cannot be changed.
	// +optional
	// +flagship:previous-not-in=v1alpha1
	// +flagship:only-in=v1alpha1 +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="resourceSnapshotIndex is immutable"
	// +flagship:previous-not-in=v1alpha1
	ResourceSnapshotIndex string `json:"resourceSnapshotIndex"`

	// StagedUpdateStrategyName is the update strategy to follow, a ClusterStagedUpdateStrategy for a cluster-scoped run, a
	// StagedUpdateStrategy of the run's namespace for a namespaced one. It cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="stagedRolloutStrategyName is immutable"
	// +flagship:previous-not-in=v1alpha1
	StagedUpdateStrategyName string `json:"stagedRolloutStrategyName"`

	// State is the desired state of the run. Initialize computes the plan and waits; Run executes it; Stop finishes
	// the clusters in progress and starts no others. You can alternate between Run and Stop; you can neither return to
	// Initialize, nor change from Initialize to Stop. Defaults to Initialize.
	// +optional
	// +kubebuilder:default=Initialize
	// +flagship:not-in=v1alpha1
	State UpdateRunState `json:"state,omitempty"`

	// ResumeFrom is the name of an earlier run of the same placement, in the same namespace, that ended without
	// success: this run continues where that one ended. It releases the same resource snapshot, so
	// resourceSnapshotIndex must be empty or the same. It does not repeat tasks that the earlier run passed: approvals
	// before a stage that had started, and approvals and waits after a stage that had ended. If the earlier run rolled
	// its clusters back, none of its tasks count as passed. The run goes through every stage, so clusters that have
	// joined since are updated too. The field cannot be changed.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +flagship:not-in=v1alpha1
	ResumeFrom string `json:"resumeFrom,omitempty"`
}

// UpdateRunState is the desired state of an update run.
// +kubebuilder:validation:Enum=Initialize;Run;Stop
type UpdateRunState string

const (
	// UpdateRunInitialize computes stages, clusters and overrides, records them in the status, and waits.
	UpdateRunInitialize UpdateRunState = "Initialize"
	// UpdateRunRun executes the plan.
	UpdateRunRun UpdateRunState = "Run"
	// UpdateRunStop finishes the clusters in progress and starts no others; the run can be set to Run again.
	UpdateRunStop UpdateRunState = "Stop"
)

// UpdateRunStatus contains the plan of a run, which does not change after initialization, and its progress.
type UpdateRunStatus struct {
	// PlacementUID is the metadata.uid of the placement for which the run was planned. The run fails if that placement
	// is deleted and another one with its name is created.
	// +optional
	// +flagship:not-in=v1alpha1
	PlacementUID types.UID `json:"placementUID,omitempty"`

	// PolicySnapshotIndexUsed is the index of the scheduling policy snapshot that the run was planned from. A run fails when
	// the placement moves on to another one.
	// +optional
	PolicySnapshotIndexUsed string `json:"policySnapshotIndexUsed,omitempty"`

	// PolicyObservedClusterCount is the number of clusters the placement had picked when the run was initialised.
	// +optional
	PolicyObservedClusterCount int `json:"policyObservedClusterCount,omitempty"`

	// ResourceSnapshotIndexUsed is the index of the resource snapshot that is released.
	// +optional
	// +flagship:not-in=v1alpha1
	ResourceSnapshotIndexUsed string `json:"resourceSnapshotIndexUsed,omitempty"`

	// ApplyStrategy is the placement's apply strategy, defaults filled in, when the run was initialised. A run fails when
	// the placement's changes.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"appliedStrategy,omitempty"`

	// UpdateStrategySnapshot is the update strategy when the run was initialised.
	// +optional
	UpdateStrategySnapshot *UpdateStrategySpec `json:"stagedUpdateStrategySnapshot,omitempty"`

	// StagesStatus is the progress of each stage, in the order of the strategy.
	// +optional
	StagesStatus []StageUpdatingStatus `json:"stagesStatus,omitempty"`

	// DeletionStageStatus is the progress of the last stage, which removes the placement from clusters that are no
	// longer picked. It is present even if there are no such clusters.
	// +optional
	DeletionStageStatus *StageUpdatingStatus `json:"deletionStageStatus,omitempty"`

	// Conditions are Initialized, Progressing and Succeeded; with a failurePolicy also WithinFailureBudget, and
	// RolledBack if the run rolls clusters back.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClusterStagedUpdateStrategy is a list of stages that ClusterStagedUpdateRuns follow.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=csus,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
type ClusterStagedUpdateStrategy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec lists the stages. The user writes it; an initialized run uses its own copy.
	// +required
	Spec UpdateStrategySpec `json:"spec"`
}

// ClusterStagedUpdateStrategyList is a list of ClusterStagedUpdateStrategys.
// +kubebuilder:object:root=true
type ClusterStagedUpdateStrategyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterStagedUpdateStrategy `json:"items"`
}

// StagedUpdateStrategy is a list of stages that StagedUpdateRuns of the same namespace follow.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=sus,categories={fleet,fleet-placement}
type StagedUpdateStrategy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec lists the stages. The user writes it; an initialized run uses its own copy.
	// +required
	Spec UpdateStrategySpec `json:"spec"`
}

// StagedUpdateStrategyList is a list of StagedUpdateStrategys.
// +kubebuilder:object:root=true
type StagedUpdateStrategyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []StagedUpdateStrategy `json:"items"`
}

// UpdateStrategySpec is a list of stages.
type UpdateStrategySpec struct {
	// Stages are passed in order, at most 31 of them. Every cluster the placement has picked must belong to exactly one.
	// +required
	// +kubebuilder:validation:MaxItems=31
	Stages []StageConfig `json:"stages"`

	// FailurePolicy defines when a cluster has failed, how many clusters may fail, and what happens when more fail.
	// Without it, a run waits for every cluster without a time limit.
	// +optional
	// +flagship:not-in=v1alpha1
	FailurePolicy *FailurePolicy `json:"failurePolicy,omitempty"`
}

// FailurePolicy defines when a cluster of an update run or of a rolling update has failed, how many clusters may fail,
// and what happens when more fail.
type FailurePolicy struct {
	// HealthWindow is how long a cluster may be unhealthy before it has failed. It starts when the cluster gets the
	// release, and ends when everything in it is available. While the cluster's stage or the rolling update lasts, it
	// starts again if the cluster becomes unhealthy. Use numbers with the units h, m and s, as in 1m30s; it must be
	// more than zero. Defaults to 5m.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^(?:(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="healthWindow must be more than 0"
	HealthWindow *metav1.Duration `json:"healthWindow,omitempty"`

	// FailureBudget is the number of clusters of each stage of an update run, or of a rolling update, that may fail: a
	// number from 0, or a percentage from 0% to 100% of the clusters of the stage, or of the desired number of
	// clusters of the placement, rounded down. The rollout continues while no more clusters than that have failed;
	// with the next one, the budget is spent. A stage may have its own budget. Defaults to 0: the first failure ends
	// the rollout.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self >= 0",message="failureBudget must not be negative"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self <= 2147483647",message="failureBudget must be at most 2147483647"
	FailureBudget *intstr.IntOrString `json:"failureBudget,omitempty"`

	// OnFailure defines what happens when the budget is spent. Stop ends the update run, or stops the rolling update
	// of this revision, and does not change the clusters. Rollback returns each changed cluster to the revision that
	// was last healthy there: a run starts with the cluster that it changed last, within the maxConcurrency of its
	// stages; a rolling update starts with the failed clusters, within its maxUnavailable. A cluster that has never
	// been healthy is not rolled back, nor is content that is only compared (ReportDiff). Defaults to Stop.
	// +optional
	// +kubebuilder:default=Stop
	OnFailure FailureAction `json:"onFailure,omitempty"`
}

// FailureAction defines what happens when a failure budget is spent.
// +kubebuilder:validation:Enum=Stop;Rollback
type FailureAction string

const (
	// FailureActionStop ends the rollout and leaves every cluster as it is.
	FailureActionStop FailureAction = "Stop"
	// FailureActionRollback returns the changed clusters to the revision that was last healthy there.
	FailureActionRollback FailureAction = "Rollback"
)

// Revision is everything that determines the content of a placement on a cluster: the resources, the overrides, and
// the apply strategy.
type Revision struct {
	// ResourceSnapshotName is the name of the resource snapshot; of the first, if there are several of one index.
	// +required
	ResourceSnapshotName string `json:"resourceSnapshotName"`

	// ClusterResourceOverrideSnapshots are the names of the snapshots of ClusterResourceOverrides, in the order they apply.
	// +optional
	ClusterResourceOverrideSnapshots []string `json:"clusterResourceOverrideSnapshots,omitempty"`

	// ResourceOverrideSnapshots are the snapshots of ResourceOverrides, in the order they apply.
	// +optional
	ResourceOverrideSnapshots []NamespacedName `json:"resourceOverrideSnapshots,omitempty"`

	// ApplyStrategy is how the resources are applied.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"applyStrategy,omitempty"`
}

// StageConfig is one stage: its clusters, their order, and the tasks before and after it.
type StageConfig struct {
	// Name of the stage, at most 63 lower-case letters and digits. No two stages of a strategy should share one.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+$`
	Name string `json:"name"`

	// LabelSelector selects the clusters of the stage by the labels of their MemberCluster, among the clusters that
	// the placement has picked. Without it, the stage has no clusters; an empty selector selects all of them.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// SortingLabelKey is a label that every cluster of the stage must have, with a whole number as its value; smaller
	// numbers go first, and equal ones by cluster name. Without it clusters go by name.
	// +optional
	SortingLabelKey *string `json:"sortingLabelKey,omitempty"`

	// MaxConcurrency is the number of clusters of the stage that may be in progress at the same time: a number from 1,
	// or a percentage from 1% to 100% of the clusters of the stage, rounded down but at least 1. Defaults to 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9][0-9]?)%$`
	// +kubebuilder:validation:XValidation:rule="self == null || type(self) != int || self >= 1",message="maxConcurrency must be at least 1"
	// +kubebuilder:validation:XValidation:rule="self == null || type(self) != int || self <= 2147483647",message="maxConcurrency must be at most 2147483647"
	// +flagship:not-in=v1alpha1
	MaxConcurrency *intstr.IntOrString `json:"maxConcurrency,omitempty"`

	// FailureBudget is the number of clusters of the stage that may fail. It replaces the budget in the failurePolicy
	// for this stage, and has no effect without a failurePolicy.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self >= 0",message="failureBudget must not be negative"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self <= 2147483647",message="failureBudget must be at most 2147483647"
	// +flagship:not-in=v1alpha1
	FailureBudget *intstr.IntOrString `json:"failureBudget,omitempty"`

	// AfterStageTasks must all be done before the stage ends, once its clusters are updated: at most two, no two of one
	// type. Their order has no meaning.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="!self.exists(e, e.type == 'Approval' && has(e.waitTime))",message="AfterStageTaskType is Approval, waitTime is not allowed"
	// +flagship:previous-not-in=v1alpha1
	// +kubebuilder:validation:XValidation:rule="!self.exists(e, e.type == 'TimedWait' && !has(e.waitTime))",message="AfterStageTaskType is TimedWait, waitTime is required"
	// +flagship:previous-not-in=v1alpha1
	AfterStageTasks []StageTask `json:"afterStageTasks,omitempty"`

	// BeforeStageTasks must be done before the first cluster of the stage is updated: at most one, of type Approval.
	// +optional
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:XValidation:rule="!self.exists(e, e.type == 'Approval' && has(e.waitTime))",message="AfterStageTaskType is Approval, waitTime is not allowed"
	// +kubebuilder:validation:XValidation:rule="!self.exists(e, e.type == 'TimedWait')",message="BeforeStageTaskType cannot be TimedWait"
	// +flagship:not-in=v1alpha1
	BeforeStageTasks []StageTask `json:"beforeStageTasks,omitempty"`
}

// StageTask is something to wait for before a stage begins or ends.
type StageTask struct {
	// Type is TimedWait, which waits for a period, or Approval, which waits for a user's approval.
	// +required
	Type StageTaskType `json:"type"`

	// WaitTime is how long a TimedWait lasts, counted from the moment all clusters of the stage are updated: numbers
	// with the units h, m and s, as in 1h30m, more than zero. Approval takes none.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="waitTime must be a time of at most 2562047h"
	// +kubebuilder:validation:Pattern=`^(?:(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:s|m|h))+$`
	// +flagship:previous-not-in=v1alpha1
	// +flagship:only-in=v1alpha1 +kubebuilder:validation:Pattern=`^(?:0|(?:(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:s|m|h))+)$`
	// +flagship:type-in=v1alpha1 metav1.Duration
	WaitTime *metav1.Duration `json:"waitTime,omitempty"`
}

// StageTaskType defines what a stage task waits for.
// +kubebuilder:validation:Enum=TimedWait;Approval
type StageTaskType string

const (
	// StageTaskTimedWait waits for a period.
	StageTaskTimedWait StageTaskType = "TimedWait"
	// StageTaskApproval waits until an approval request is approved.
	StageTaskApproval StageTaskType = "Approval"
)

// StageUpdatingStatus is the progress of one stage.
type StageUpdatingStatus struct {
	// StageName is the name of the stage. The one that removes clusters is called kubernetes-fleet.io/deleteStage.
	// +required
	StageName string `json:"stageName"`

	// Clusters are the clusters of the stage, in the order in which they are updated, fixed when the run is initialised.
	// The list may be empty but is never null.
	// +required
	Clusters []ClusterUpdatingStatus `json:"clusters"`

	// AfterStageTaskStatus is the progress of the tasks at the end of the stage, at most two.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	AfterStageTaskStatus []StageTaskStatus `json:"afterStageTaskStatus,omitempty"`

	// BeforeStageTaskStatus is the progress of the tasks at the beginning of the stage, at most one.
	// +optional
	// +kubebuilder:validation:MaxItems=1
	// +flagship:not-in=v1alpha1
	BeforeStageTaskStatus []StageTaskStatus `json:"beforeStageTaskStatus,omitempty"`

	// StartTime is when the first cluster of the stage was started, or the stage was skipped. It is absent before.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// EndTime is when the stage succeeded, failed or was skipped. It is absent before.
	// +optional
	EndTime *metav1.Time `json:"endTime,omitempty"`

	// Conditions are Progressing and Succeeded.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClusterUpdatingStatus is the progress on one cluster.
type ClusterUpdatingStatus struct {
	// ClusterName is the name of the MemberCluster.
	// +required
	ClusterName string `json:"clusterName"`

	// ResourceOverrideSnapshots are the ResourceOverrideSnapshots this cluster gets, fixed when the run is initialised.
	// +optional
	ResourceOverrideSnapshots []NamespacedName `json:"resourceOverrideSnapshots,omitempty"`

	// ClusterResourceOverrideSnapshots are the names of the ClusterResourceOverrideSnapshots this cluster gets, fixed
	// when the run is initialised.
	// +optional
	ClusterResourceOverrideSnapshots []string `json:"clusterResourceOverrideSnapshots,omitempty"`

	// LastHealthy is the revision that was last healthy on the cluster before this run changed it, and to which the
	// run rolls the cluster back if the failure budget is spent. A run whose failurePolicy requires Rollback records
	// it when it starts the cluster. It is absent if the run did not change the cluster, or if the cluster has never
	// been healthy.
	// +optional
	// +flagship:not-in=v1alpha1
	LastHealthy *Revision `json:"lastHealthy,omitempty"`

	// Conditions are Started and Succeeded, and RolledBack if the cluster is rolled back.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StageTaskStatus is the progress of one task of a stage.
type StageTaskStatus struct {
	// Type is the type of the task.
	// +required
	Type StageTaskType `json:"type"`

	// ApprovalRequestName is the approval request the task waits for; only tasks of type Approval have one. It has the scope
	// and namespace of the run.
	// +optional
	ApprovalRequestName string `json:"approvalRequestName,omitempty"`

	// Conditions are WaitTimeElapsed for TimedWait, and ApprovalRequestCreated and ApprovalRequestApproved for Approval.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClusterApprovalRequest requests approval for a ClusterStagedUpdateRun to begin or end a stage. The hub agent creates
// it. The user approves it by setting the condition Approved, and cannot revoke the approval once it is accepted.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=careq,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.parentStageRollout`,name="Update-Run",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.targetStage`,name="Stage",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Approved")].status`,name="Approved",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterApprovalRequest struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is <run>-before-<stage> or <run>-after-<stage>.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the run and the stage that wait. The hub agent writes it, and it never changes.
	// +required
	Spec ApprovalRequestSpec `json:"spec"`

	// Status contains the approval, which the user writes, and its acceptance, which the hub agent writes.
	// +optional
	Status ApprovalRequestStatus `json:"status,omitempty"`
}

// ClusterApprovalRequestList is a list of ClusterApprovalRequests.
// +kubebuilder:object:root=true
type ClusterApprovalRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterApprovalRequest `json:"items"`
}

// ApprovalRequest requests approval for a StagedUpdateRun of its namespace to begin or end a stage. The hub agent
// creates it. The user approves it by setting the condition Approved, and cannot revoke the approval once it is
// accepted.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=areq,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.parentStageRollout`,name="Update-Run",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.targetStage`,name="Stage",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Approved")].status`,name="Approved",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ApprovalRequest struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is <run>-before-<stage> or <run>-after-<stage>.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the run and the stage that wait. The hub agent writes it, and it never changes.
	// +required
	Spec ApprovalRequestSpec `json:"spec"`

	// Status contains the approval, which the user writes, and its acceptance, which the hub agent writes.
	// +optional
	Status ApprovalRequestStatus `json:"status,omitempty"`
}

// ApprovalRequestList is a list of ApprovalRequests.
// +kubebuilder:object:root=true
type ApprovalRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ApprovalRequest `json:"items"`
}

// ApprovalRequestSpec names the run and the stage that wait.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="The spec field is immutable"
type ApprovalRequestSpec struct {
	// UpdateRunName is the name of the update run that waits.
	// +required
	UpdateRunName string `json:"parentStageRollout"`

	// TargetStage is the name of the stage it waits at.
	// +required
	TargetStage string `json:"targetStage"`
}

// ApprovalRequestStatus contains the approval and its acceptance.
type ApprovalRequestStatus struct {
	// Conditions are Approved, which the user sets to True with any reason and with observedGeneration equal to the
	// generation of the request, and ApprovalAccepted, which the hub agent sets to True when the approval has taken effect.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
