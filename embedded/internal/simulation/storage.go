package simulation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	storageClass = "standard"
	provisioner  = "flagship.dev/simulated"
	// Annotations of the protocol between Kubernetes' volume binder and external provisioners.
	annotationDefaultClass  = "storageclass.kubernetes.io/is-default-class"
	annotationProvisionedBy = "pv.kubernetes.io/provisioned-by"
)

// startProvisioner makes the default storage class and from then on a volume for every claim of it, until ctx ends. A
// volume whose claim is gone is removed.
func startProvisioner(ctx context.Context, client kubernetes.Interface) error {
	now := storagev1.VolumeBindingImmediate
	class := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: storageClass, Annotations: map[string]string{annotationDefaultClass: "true"}},
		Provisioner:       provisioner,
		VolumeBindingMode: &now,
	}
	if _, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make storage class %s: %w", storageClass, err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	log := klog.FromContext(ctx).WithName("storage")
	if _, err := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(onChange(func(claim *corev1.PersistentVolumeClaim) {
		if err := provision(ctx, client, claim); err != nil {
			log.Error(err, "cannot make a volume", "claim", klog.KObj(claim))
		}
	})); err != nil {
		return fmt.Errorf("watch claims: %w", err)
	}
	if _, err := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(onChange(func(volume *corev1.PersistentVolume) {
		if err := release(ctx, client, volume); err != nil {
			log.Error(err, "cannot remove a volume", "volume", klog.KObj(volume))
		}
	})); err != nil {
		return fmt.Errorf("watch volumes: %w", err)
	}
	factory.Start(ctx.Done())
	return nil
}

func onChange[T any](do func(T)) cache.ResourceEventHandlerFuncs {
	handle := func(obj any) {
		if typed, ok := obj.(T); ok {
			do(typed)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: handle, UpdateFunc: func(_, obj any) { handle(obj) }}
}

// provision makes the volume of a pending claim; the volume binder of the controller manager does the rest. The
// volume's name comes from the claim's, so that doing it twice is harmless.
func provision(ctx context.Context, client kubernetes.Interface, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != storageClass {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationProvisionedBy: provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              storageClass,
			VolumeMode:                    claim.Spec.VolumeMode,
			// No pod ever mounts it; the path only has to be one.
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/simulated/" + name}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}
	_, err := client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func release(ctx context.Context, client kubernetes.Interface, volume *corev1.PersistentVolume) error {
	if volume.Annotations[annotationProvisionedBy] != provisioner || volume.Status.Phase != corev1.VolumeReleased || volume.DeletionTimestamp != nil {
		return nil
	}
	err := client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(volume.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
