// Package give gives revisions to bindings, and looks whether a revision still exists. The roller and the stager use
// it, and decide which binding gets which revision when; the scheduler uses it for a cluster that replaces another one
// while no update run is active.
package give

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// Content is what a binding is given.
type Content struct {
	Revision v1beta1.Revision
	// Fingerprint is that of the revision's overrides; see delivery.Overrides.
	Fingerprint string
	// Mark is written in the same update; nil for none.
	Mark *delivery.Mark
}

// Give binds b to content in one update: a binding must never have the mark without the content, or the content
// without the mark. The binding carries the trace that ctx belongs to.
func Give(ctx context.Context, c client.Client, b v1beta1.BindingObject, content Content) error {
	if err := content.Put(b); err != nil {
		return err
	}
	trace.Put(ctx, b)
	if err := c.Update(ctx, b); err != nil {
		return fmt.Errorf("give binding %s resource snapshot %s: %w", client.ObjectKeyFromObject(b), content.Revision.ResourceSnapshotName, err)
	}
	return nil
}

// Put binds b to content in memory.
func (content Content) Put(b v1beta1.BindingObject) error {
	spec, to := b.GetSpec(), content.Revision.DeepCopy()
	spec.State = v1beta1.BindingStateBound
	spec.ResourceSnapshotName, spec.ApplyStrategy = to.ResourceSnapshotName, to.ApplyStrategy
	spec.ClusterResourceOverrideSnapshots, spec.ResourceOverrideSnapshots = to.ClusterResourceOverrideSnapshots, to.ResourceOverrideSnapshots
	spec.OverrideFingerprint = content.Fingerprint
	controllerutil.AddFinalizer(b, contract.FinalizerWork)
	if content.Mark != nil {
		return content.Mark.Put(b)
	}
	return nil
}

// Fingerprint computes the fingerprint of overrides for a cluster; empty if one of them does not exist.
func Fingerprint(ctx context.Context, c client.Reader, lists delivery.Overrides, cluster override.Cluster) (string, error) {
	var found []v1beta1.OverrideSnapshotObject
	for _, key := range lists.Keys() {
		snapshot := scope.OverrideSnapshots.New(key)
		err := c.Get(ctx, key, snapshot, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("get override snapshot %s: %w", key, err)
		}
		found = append(found, snapshot)
	}
	return override.Fingerprint(found, cluster), nil
}
