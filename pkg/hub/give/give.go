// Package give gives revisions to bindings, and looks whether a revision still exists. The roller and the stager use it, and decide which
// binding gets which revision when.
package give

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Content is what a binding is given.
type Content struct {
	Revision v1beta1.Revision
	// Fingerprint is that of the revision's overrides; see delivery.Overrides.
	Fingerprint string
	// Mark is written in the same update; nil for none.
	Mark *delivery.Mark
}

// Give binds b to content in one update: a binding must never have the mark without the content, or the content without the mark.
func Give(ctx context.Context, c client.Client, b v1beta1.BindingObject, content Content) error {
	spec, to := b.GetSpec(), content.Revision.DeepCopy()
	spec.State = v1beta1.BindingStateBound
	spec.ResourceSnapshotName, spec.ApplyStrategy = to.ResourceSnapshotName, to.ApplyStrategy
	spec.ClusterResourceOverrideSnapshots, spec.ResourceOverrideSnapshots = to.ClusterResourceOverrideSnapshots, to.ResourceOverrideSnapshots
	spec.OverrideFingerprint = content.Fingerprint
	controllerutil.AddFinalizer(b, contract.FinalizerWork)
	if content.Mark != nil {
		if err := content.Mark.Put(b); err != nil {
			return err
		}
	}
	if err := c.Update(ctx, b); err != nil {
		return fmt.Errorf("give binding %s resource snapshot %s: %w", client.ObjectKeyFromObject(b), to.ResourceSnapshotName, err)
	}
	return nil
}
