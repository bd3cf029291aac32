package rollout

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Course is the state of the rollout of a revision under a failure policy: contract.AnnotationRolloutCourse on the revision's master
// snapshot, JSON.
type Course struct {
	// Done is when the rollout ended: every cluster had been given its content, and was healthy with it or had failed within the budget.
	// Clusters are not judged by what they were given until then.
	Done time.Time `json:"done,omitzero"`
	// Again is when the rollout was resumed after a rejection. Health windows begin anew there.
	Again time.Time `json:"again,omitzero"`
	// Spent is the rejection of a revision that failed on more clusters than the budget allows. It stands even if these clusters are healthy
	// again with what they had before: without it the rollout would begin again.
	Spent *Rejection `json:"spent,omitempty"`
}

// Rejection is the decision that a revision has spent its failure budget.
type Rejection struct {
	At time.Time `json:"at"`
	// Budget is how many of Of clusters could fail, Setting the placement's value for it, Count how many failed.
	Budget  int    `json:"budget"`
	Setting string `json:"said"`
	Of      int    `json:"of"`
	Count   int    `json:"count"`
	// Strategy is the apply strategy with which they failed.
	Strategy v1beta1.ApplyStrategy `json:"applyStrategy"`
	// Failed are the failed clusters, sorted; of very many the first.
	Failed []Failure `json:"failed"`
	// Dismissed is set by a user to have the revision tried again.
	Dismissed bool `json:"dismissed,omitempty"`
}

// Failure is a failed cluster and its overrides.
type Failure struct {
	Cluster   string             `json:"cluster"`
	Overrides delivery.Overrides `json:"overrides,omitzero"`
}

// mostFailures is how many clusters a rejection lists if the budget does not need more of them. An object's annotations may have 256 KiB.
const mostFailures = 100

// Message describes the rejection of the revision with this index.
func (r Rejection) Message(index string) string {
	names := make([]string, 0, len(r.Failed))
	for _, f := range r.Failed {
		names = append(names, f.Cluster)
	}
	return delivery.BudgetSpent("Revision "+index, r.Budget, r.Of, r.Count, names)
}

// CourseOf reads the course of the group with this master. It is empty if there is none, or none that can be read.
func CourseOf(master v1beta1.ResourceSnapshotObject) Course {
	var c Course
	text := master.GetAnnotations()[contract.AnnotationRolloutCourse]
	if text == "" || decode.JSON([]byte(text), &c) != nil {
		return Course{}
	}
	return c
}

// Patch is the merge patch that stores the course on the master of a group. It conflicts if the master was written since it was read.
func (c Course) Patch(master v1beta1.ResourceSnapshotObject) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("store the rollout course of resource snapshot %s: %w", master.GetName(), err)
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": master.GetResourceVersion(), "annotations": map[string]string{contract.AnnotationRolloutCourse: string(text)},
	}})
}
