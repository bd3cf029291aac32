package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// UpdateRunObject is a ClusterStagedUpdateRun or a StagedUpdateRun. Its accessors return pointers into the object.
// +kubebuilder:object:generate=false
type UpdateRunObject interface {
	Object
	GetSpec() *UpdateRunSpec
	GetStatus() *UpdateRunStatus
	GetConditions() *[]metav1.Condition
}

// UpdateRunObjectList is a list of either kind of update run.
// +kubebuilder:object:generate=false
type UpdateRunObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []UpdateRunObject
}

// UpdateStrategyObject is a ClusterStagedUpdateStrategy or a StagedUpdateStrategy. Its accessors return pointers into
// the object.
// +kubebuilder:object:generate=false
type UpdateStrategyObject interface {
	Object
	GetSpec() *UpdateStrategySpec
}

// UpdateStrategyObjectList is a list of either kind of update strategy.
// +kubebuilder:object:generate=false
type UpdateStrategyObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []UpdateStrategyObject
}

// ApprovalRequestObject is a ClusterApprovalRequest or an ApprovalRequest. Its accessors return pointers into the
// object.
// +kubebuilder:object:generate=false
type ApprovalRequestObject interface {
	Object
	GetSpec() *ApprovalRequestSpec
	GetStatus() *ApprovalRequestStatus
	GetConditions() *[]metav1.Condition
}

// ApprovalRequestObjectList is a list of either kind of approval request.
// +kubebuilder:object:generate=false
type ApprovalRequestObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []ApprovalRequestObject
}

var (
	_ UpdateRunObject           = &ClusterStagedUpdateRun{}
	_ UpdateRunObject           = &StagedUpdateRun{}
	_ UpdateRunObjectList       = &ClusterStagedUpdateRunList{}
	_ UpdateRunObjectList       = &StagedUpdateRunList{}
	_ UpdateStrategyObject      = &ClusterStagedUpdateStrategy{}
	_ UpdateStrategyObject      = &StagedUpdateStrategy{}
	_ UpdateStrategyObjectList  = &ClusterStagedUpdateStrategyList{}
	_ UpdateStrategyObjectList  = &StagedUpdateStrategyList{}
	_ ApprovalRequestObject     = &ClusterApprovalRequest{}
	_ ApprovalRequestObject     = &ApprovalRequest{}
	_ ApprovalRequestObjectList = &ClusterApprovalRequestList{}
	_ ApprovalRequestObjectList = &ApprovalRequestList{}
)

// GetSpec returns the object's spec.
func (o *ClusterStagedUpdateRun) GetSpec() *UpdateRunSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterStagedUpdateRun) GetStatus() *UpdateRunStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterStagedUpdateRun) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ClusterStagedUpdateRunList) Objects() []UpdateRunObject {
	return pointers(l.Items, func(o *ClusterStagedUpdateRun) UpdateRunObject { return o })
}

// GetSpec returns the object's spec.
func (o *StagedUpdateRun) GetSpec() *UpdateRunSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *StagedUpdateRun) GetStatus() *UpdateRunStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *StagedUpdateRun) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *StagedUpdateRunList) Objects() []UpdateRunObject {
	return pointers(l.Items, func(o *StagedUpdateRun) UpdateRunObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterStagedUpdateStrategy) GetSpec() *UpdateStrategySpec { return &o.Spec }

// Objects returns pointers to the items.
func (l *ClusterStagedUpdateStrategyList) Objects() []UpdateStrategyObject {
	return pointers(l.Items, func(o *ClusterStagedUpdateStrategy) UpdateStrategyObject { return o })
}

// GetSpec returns the object's spec.
func (o *StagedUpdateStrategy) GetSpec() *UpdateStrategySpec { return &o.Spec }

// Objects returns pointers to the items.
func (l *StagedUpdateStrategyList) Objects() []UpdateStrategyObject {
	return pointers(l.Items, func(o *StagedUpdateStrategy) UpdateStrategyObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterApprovalRequest) GetSpec() *ApprovalRequestSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterApprovalRequest) GetStatus() *ApprovalRequestStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterApprovalRequest) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ClusterApprovalRequestList) Objects() []ApprovalRequestObject {
	return pointers(l.Items, func(o *ClusterApprovalRequest) ApprovalRequestObject { return o })
}

// GetSpec returns the object's spec.
func (o *ApprovalRequest) GetSpec() *ApprovalRequestSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ApprovalRequest) GetStatus() *ApprovalRequestStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ApprovalRequest) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ApprovalRequestList) Objects() []ApprovalRequestObject {
	return pointers(l.Items, func(o *ApprovalRequest) ApprovalRequestObject { return o })
}
