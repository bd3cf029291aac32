package rollout

import (
	"encoding/json"
	"fmt"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// BindingOf reads a binding; what is known of its cluster alone is left to the reader.
func BindingOf(b v1beta1.BindingObject) Binding {
	spec := b.GetSpec()
	return Binding{
		Name:        b.GetName(),
		Cluster:     spec.TargetCluster,
		State:       spec.State,
		Previous:    delivery.Previous(b),
		Deleting:    !b.GetDeletionTimestamp().IsZero(),
		Snapshot:    spec.ResourceSnapshotName,
		Overrides:   delivery.OverridesOf(b),
		Strategy:    spec.ApplyStrategy,
		Status:      delivery.StatusOf(b),
		LastHealthy: b.GetStatus().LastHealthy,
		Mark:        delivery.RolloutMark(b),
	}
}

// CourseOf is what is remembered of the rollout of the group with this master; empty if nothing is that can be read.
func CourseOf(master v1beta1.ResourceSnapshotObject) Course {
	var c Course
	text := master.GetAnnotations()[contract.AnnotationRolloutCourse]
	if text == "" || decode.JSON([]byte(text), &c) != nil {
		return Course{}
	}
	return c
}

// Patch is the merge patch that has the master of a group remember this, unless somebody else has changed it meanwhile.
func (c Course) Patch(master v1beta1.ResourceSnapshotObject) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("remember the rollout of resource snapshot %s: %w", master.GetName(), err)
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": master.GetResourceVersion(), "annotations": map[string]string{contract.AnnotationRolloutCourse: string(text)},
	}})
}
