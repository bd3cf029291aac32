// Package give writes into bindings what their clusters are given, and looks whether that still exists. Rolling updates and update runs
// give in the same way; what and when is for the roller and the stager, which use it.
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
	// Mark is noted with it, nil for nothing.
	Mark *delivery.Mark
}

// Give binds b to content, in one update: the mark must never be there without what it is about, nor be missing beside it.
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
