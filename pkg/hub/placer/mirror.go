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
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// indexMirror finds the copies of a placement's status by the placement's name, which is theirs.
const indexMirror = "flagship.mirror"

// mirror copies the status that a placement is about to have, if it asks for that, and puts into it whether that worked. The copy is
// written first, so that whoever reads that it is up to date finds it so. What the API server refuses is in the status; the error is
// for what only another try can mend.
func (p *Placer) mirror(ctx context.Context, s *seen, status *v1beta1.PlacementStatus) error {
	to := report.MirrorOf(s.Placement, status)
	if to.Namespace == "" || !report.Mirrorable(s.Placement, status) {
		return nil
	}
	failure := fmt.Sprintf("Namespace %s does not exist on the hub; once it is there, the status is copied into it", to.Namespace)
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

// copyStatus makes the copy right, and says why the API server refuses it. There is no error if an event will tell of the end of that.
func (p *Placer) copyStatus(ctx context.Context, s *seen, namespace string, status *v1beta1.PlacementStatus) (failure string, err error) {
	mirror, err := p.onlyMirror(ctx, s.Placement, namespace)
	if err != nil {
		return "", err
	}
	err = p.writeMirror(ctx, s, mirror, status)
	name := fmt.Sprintf("ClusterResourcePlacementStatus %s/%s", namespace, s.key.Name)
	switch {
	case err == nil:
		return "", nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Sprintf("Namespace %s is being deleted on the hub", namespace), nil
	case apierrors.IsNotFound(err) && mirror.UID == "":
		return fmt.Sprintf("Namespace %s does not exist on the hub; once it is there, the status is copied into it", namespace), nil
	case loop.Refused(err):
		return fmt.Sprintf("The hub's API server refuses %s: %v", name, err), fmt.Errorf("write %s: %w", name, err)
	}
	return "", fmt.Errorf("write %s: %w", name, err)
}

// onlyMirror is the copy in namespace as it is, or a new one, and deletes copies that a placement has in other namespaces.
func (p *Placer) onlyMirror(ctx context.Context, placement v1beta1.PlacementObject, namespace string) (
	*v1beta1.ClusterResourcePlacementStatus, error,
) {
	var list v1beta1.ClusterResourcePlacementStatusList
	if err := p.Client.List(ctx, &list, client.MatchingFields{indexMirror: placement.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the copies of the status: %w", err)
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
				return nil, fmt.Errorf("delete the copy of the status in namespace %s, which is not placed any more: %w", found.Namespace, err)
			}
		}
	}
	return out, nil
}

// writeMirror writes a copy if it does not say what it should. mirror, which is the cache's, is not changed.
func (p *Placer) writeMirror(
	ctx context.Context, s *seen, mirror *v1beta1.ClusterResourcePlacementStatus, status *v1beta1.PlacementStatus,
) error {
	wanted := mirror.DeepCopy()
	wanted.SourceStatus = report.Mirror(s.Placement, status)
	if owner := metav1.GetControllerOf(wanted); owner != nil && owner.UID != s.Placement.GetUID() {
		wanted.OwnerReferences = nil // an earlier placement of this name, or somebody who thinks the copy is theirs
	}
	if err := controllerutil.SetControllerReference(s.Placement, wanted, p.Client.Scheme()); err != nil {
		return err
	}
	if mirror.UID == "" {
		wanted.LastUpdatedTime = s.stamp()
		return p.Client.Create(ctx, wanted)
	}
	if equality.Semantic.DeepEqual(mirror, wanted) {
		return nil
	}
	wanted.LastUpdatedTime = s.stamp()
	return p.Client.Update(ctx, wanted)
}

// mirrorName is what indexMirror holds.
func mirrorName(obj client.Object) []string { return []string{obj.GetName()} }

// placementOfMirror leads from a copy to the placement whose status it holds.
func placementOfMirror(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
}

// meddled lets pass that a copy was deleted or holds something else. The placer's own writes pass, too, and find nothing to do.
var meddled = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1beta1.ClusterResourcePlacementStatus)
		after, same := e.ObjectNew.(*v1beta1.ClusterResourcePlacementStatus)
		return ok && same && (!equality.Semantic.DeepEqual(before.SourceStatus, after.SourceStatus) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences))
	},
}
