package placer

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// indexCopy is the index of status copies by their name, which is the placement's.
const indexCopy = "flagship.statuscopy"

// syncCopy writes the copy of a placement's new status, if the placement requests one, and sets the condition about
// the copy in the status. The copy is written first, so that it is up to date when a client reads the status. A
// permanent refusal by the API server is reported in the status; an error is returned if a retry may help.
func (p *Placer) syncCopy(ctx context.Context, s *observed, status *v1beta1.PlacementStatus) error {
	to := report.StatusCopyOf(s.Placement, status)
	if to.Namespace == "" || !report.Copyable(s.Placement, status) {
		return nil
	}
	failure := fmt.Sprintf("Namespace %s does not exist on the hub; the status is copied once it exists", to.Namespace)
	var err error
	if !to.Absent {
		failure, err = p.copyStatus(ctx, s, to.Namespace, status)
	}
	if failure == "" && err != nil {
		return err
	}
	if to.Mistake == "" {
		report.StatusSynced(s.Placement, status, to.Namespace, failure, s.stamp())
	}
	return err
}

// copyStatus updates the copy. failure is why the API server refuses it, for the user. err is nil if an event will
// requeue the placement when the cause of the failure is gone.
func (p *Placer) copyStatus(ctx context.Context, s *observed, namespace string, status *v1beta1.PlacementStatus) (failure string, err error) {
	existing, err := p.onlyCopy(ctx, s.Placement, namespace)
	if err != nil {
		return "", err
	}
	err = p.writeCopy(ctx, s, existing, status)
	name := fmt.Sprintf("ClusterResourcePlacementStatus %s/%s", namespace, s.key.Name)
	switch {
	case err == nil:
		return "", nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Sprintf("Namespace %s is being deleted on the hub", namespace), nil
	case apierrors.IsNotFound(err) && existing.UID == "":
		return fmt.Sprintf("Namespace %s does not exist on the hub; the status is copied once it exists", namespace), nil
	case loop.Refused(err):
		return fmt.Sprintf("The hub's API server rejects %s: %v", name, err), fmt.Errorf("write %s: %w", name, err)
	}
	return "", fmt.Errorf("write %s: %w", name, err)
}

// onlyCopy returns the existing copy in namespace, or a new one, and deletes the placement's copies in other
// namespaces.
func (p *Placer) onlyCopy(ctx context.Context, placement v1beta1.PlacementObject, namespace string) (
	*v1beta1.ClusterResourcePlacementStatus, error,
) {
	var list v1beta1.ClusterResourcePlacementStatusList
	if err := p.Client.List(ctx, &list, client.MatchingFields{indexCopy: placement.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list status copies: %w", err)
	}
	out := &v1beta1.ClusterResourcePlacementStatus{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: placement.GetName()}}
	for i := range list.Items {
		found := &list.Items[i]
		switch {
		case found.Namespace == namespace:
			out = found
		case metav1.IsControlledBy(found, placement):
			err := p.Client.Delete(ctx, found.DeepCopy(), client.Preconditions{UID: &found.UID})
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("delete status copy in namespace %s, which is no longer placed: %w", found.Namespace, err)
			}
			log.FromContext(ctx).Info("Deleted status copy", "namespace", found.Namespace)
		}
	}
	return out, nil
}

// writeCopy writes the copy if it differs from existing, which belongs to the cache and is not modified.
func (p *Placer) writeCopy(
	ctx context.Context, s *observed, existing *v1beta1.ClusterResourcePlacementStatus, status *v1beta1.PlacementStatus,
) error {
	wanted := existing.DeepCopy()
	wanted.SourceStatus = report.CopiedStatus(s.Placement, status)
	if owner := metav1.GetControllerOf(wanted); owner != nil && owner.UID != s.Placement.GetUID() {
		wanted.OwnerReferences = nil // an earlier placement of this name, or another client that claims the copy
	}
	if err := controllerutil.SetControllerReference(s.Placement, wanted, p.Client.Scheme()); err != nil {
		return err
	}
	if existing.UID != "" && equality.Semantic.DeepEqual(existing, wanted) {
		return nil
	}
	wanted.LastUpdatedTime = s.stamp()
	var err error
	if existing.UID == "" {
		err = p.Client.Create(ctx, wanted)
	} else {
		err = p.Client.Update(ctx, wanted)
	}
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("Copied status", "namespace", wanted.Namespace)
	return nil
}

// copyName is the value of indexCopy.
func copyName(obj client.Object) []string { return []string{obj.GetName()} }

// placementOfCopy maps a copy to a request for the placement whose status it holds.
func placementOfCopy(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
}

// edited passes deletions of copies and changes of their content. The placer's own writes pass, too, and cause no
// further write.
var edited = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1beta1.ClusterResourcePlacementStatus)
		after, same := e.ObjectNew.(*v1beta1.ClusterResourcePlacementStatus)
		return ok && same && (!equality.Semantic.DeepEqual(before.SourceStatus, after.SourceStatus) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences))
	},
}
