package registrar

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/process"
)

// ensureNamespace creates the cluster's namespace, or restores our marks on the one that was created for it. If one
// appears meanwhile, it returns an error, so that the next pass checks it first.
func (r *Registrar) ensureNamespace(ctx context.Context, seen *observed) error {
	if seen.namespace != nil {
		return r.label(ctx, seen.Cluster, seen.namespace)
	}
	wanted := membership.NamespaceFor(seen.Cluster)
	if err := r.Direct.Create(ctx, wanted); err != nil {
		return fmt.Errorf("create namespace %s: %w", wanted.Name, err)
	}
	r.recordEvent(ctx, seen.Cluster, "NamespaceCreated", "Created namespace "+wanted.Name)
	return nil
}

// label adds our marks to a namespace that lacks them.
func (r *Registrar) label(ctx context.Context, cluster *v1beta1.MemberCluster, namespace *corev1.Namespace) error {
	before := namespace.DeepCopy()
	if !mark(namespace, membership.NamespaceFor(cluster)) {
		return nil
	}
	if err := r.Direct.Patch(ctx, namespace, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("label namespace %s: %w", namespace.Name, err)
	}
	r.recordEvent(ctx, cluster, "NamespacePatched", "Set the cluster's labels and owner on namespace "+namespace.Name)
	return nil
}

// mark sets the labels, the annotations and the owner of wanted on obj, and reports whether any was missing.
func mark(obj, wanted client.Object) bool {
	labels, labelled := withAll(obj.GetLabels(), wanted.GetLabels())
	obj.SetLabels(labels)
	annotations, annotated := withAll(obj.GetAnnotations(), wanted.GetAnnotations())
	obj.SetAnnotations(annotations)
	changed := labelled || annotated
	owner := wanted.GetOwnerReferences()[0]
	owners := obj.GetOwnerReferences()
	i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool {
		return o.UID == owner.UID || o.APIVersion == owner.APIVersion && o.Kind == owner.Kind
	})
	switch {
	case i < 0:
		owners, changed = append(owners, owner), true
	case owners[i].UID != owner.UID:
		// The owner is a deleted MemberCluster of that name: the garbage collector would delete the object.
		owners[i], changed = owner, true
	}
	obj.SetOwnerReferences(owners)
	return changed
}

// withAll adds every entry of wanted to have, and reports whether any was missing.
func withAll(have, wanted map[string]string) (map[string]string, bool) {
	changed := false
	for k, v := range wanted {
		if is, ok := have[k]; !ok || is != v {
			if have == nil {
				have = map[string]string{}
			}
			have[k], changed = v, true
		}
	}
	return have, changed
}

// ensureRole creates the cluster's Role, or restores it. The namespace is ours, so any Role with that name in it is
// overwritten: its rules matter. The same holds for the RoleBinding and the InternalMemberCluster.
func (r *Registrar) ensureRole(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	wanted, found := membership.RoleFor(cluster, r.Networking), &rbacv1.Role{}
	made, err := r.findOrCreate(ctx, wanted, found)
	if err != nil {
		return err
	}
	if made {
		r.recordEvent(ctx, cluster, "RoleCreated", "Created role "+wanted.Name)
		return nil
	}
	if marked := mark(found, wanted); !marked && equality.Semantic.DeepEqual(found.Rules, wanted.Rules) {
		return nil
	}
	found.Rules = wanted.Rules
	if err := r.Direct.Update(ctx, found); err != nil {
		return fmt.Errorf("update role %s: %w", client.ObjectKeyFromObject(found), err)
	}
	r.recordEvent(ctx, cluster, "RoleUpdated", "Updated role "+wanted.Name)
	return nil
}

// quotaRetry is how long until the hub agent retries to write a quota that it lacks the permission for. A granted
// permission sends no event.
const quotaRetry = 10 * time.Minute

// ensureQuota creates the cluster's ResourceQuota, or restores it. A hub agent with the permissions of an older chart
// may not write quotas: the cluster joins without one.
func (r *Registrar) ensureQuota(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	if since, ok := r.quotaRefused.Load(cluster.UID); ok && r.Now().Sub(since.(time.Time)) < quotaRetry { //nolint:forcetypeassert // stored below
		return nil
	}
	err := r.writeQuota(ctx, cluster)
	if !apierrors.IsForbidden(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		r.quotaRefused.Delete(cluster.UID)
		return err
	}
	if _, known := r.quotaRefused.Swap(cluster.UID, r.Now()); !known {
		ctrl.LoggerFrom(ctx).Info("Failed to write the quota of the member's namespace", "cluster", cluster.Name, "reason", err.Error())
		r.Recorder.Event(cluster, corev1.EventTypeWarning, "ResourceQuotaRefused",
			"The hub agent may not write the ResourceQuota of the cluster's namespace; upgrade the hub-agent chart, which grants the permission: "+err.Error())
	}
	return nil
}

func (r *Registrar) writeQuota(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	wanted, found := membership.QuotaFor(cluster), &corev1.ResourceQuota{}
	made, err := r.findOrCreate(ctx, wanted, found)
	if err != nil {
		return err
	}
	if made {
		r.recordEvent(ctx, cluster, "ResourceQuotaCreated", "Created resource quota "+wanted.Name)
		return nil
	}
	if marked := mark(found, wanted); !marked && equality.Semantic.DeepEqual(found.Spec, wanted.Spec) {
		return r.recount(ctx, cluster, found)
	}
	if len(found.Spec.Scopes) > 0 || found.Spec.ScopeSelector != nil {
		// The scopes of a quota are immutable.
		err = r.replace(ctx, found, wanted)
	} else {
		found.Spec = wanted.Spec
		err = r.Direct.Update(ctx, found)
	}
	if err != nil {
		return fmt.Errorf("update resource quota %s: %w", client.ObjectKeyFromObject(wanted), err)
	}
	r.recordEvent(ctx, cluster, "ResourceQuotaUpdated", "Updated resource quota "+wanted.Name)
	return nil
}

// recountGap and recountMost bound the wait between two requests to count a quota again. Kubernetes looks for new kinds
// twice a minute.
const (
	recountGap  = 10 * time.Second
	recountMost = 10 * time.Minute
)

// recounting is the wait of one cluster for Kubernetes to count all kinds of its quota.
type recounting struct {
	since time.Time
	wait  time.Duration
}

// recount makes Kubernetes count a quota again that lacks a kind which the hub serves. Kubernetes counted it before it
// knew the kind, and refuses all objects of the kind. It counts an unchanged quota again only after minutes, but at
// once if a limit changes.
func (r *Registrar) recount(ctx context.Context, cluster *v1beta1.MemberCluster, found *corev1.ResourceQuota) error {
	missing, err := r.uncounted(ctx, found)
	if err != nil || missing == "" {
		r.recounted.Delete(cluster.UID)
		return err
	}
	last := r.recountingOf(cluster)
	if r.Now().Sub(last.since) < last.wait {
		return nil // Reconcile looks again
	}
	if _, taken := found.Status.Hard[missing]; !taken { // Kubernetes has not counted it for the first time
		r.recounted.Store(cluster.UID, recounting{since: r.Now(), wait: recountGap})
		return nil
	}
	r.recounted.Store(cluster.UID, recounting{since: r.Now(), wait: min(max(recountGap, 2*last.wait), recountMost)})
	if err := r.touch(ctx, found, missing); err != nil {
		return fmt.Errorf("change resource quota %s, which lacks %s: %w", client.ObjectKeyFromObject(found), missing, err)
	}
	return nil
}

// recountingOf is the wait of a cluster; zero if there is none.
func (r *Registrar) recountingOf(cluster *v1beta1.MemberCluster) recounting {
	last, _ := r.recounted.Load(cluster.UID)
	is, _ := last.(recounting)
	return is
}

// touch raises a limit of a quota by one, and restores it. The quota bounds the member all the time.
func (r *Registrar) touch(ctx context.Context, quota *corev1.ResourceQuota, name corev1.ResourceName) error {
	changed, limit := quota.DeepCopy(), quota.Spec.Hard[name]
	raised := limit.DeepCopy()
	raised.Add(*resource.NewQuantity(1, resource.DecimalSI))
	changed.Spec.Hard[name] = raised
	if err := r.Direct.Update(ctx, changed); err != nil {
		return fmt.Errorf("raise a limit: %w", err)
	}
	changed.Spec.Hard[name] = limit
	changed.ResourceVersion = "" // Kubernetes may write the status meanwhile
	if err := r.Direct.Update(ctx, changed); err != nil {
		return fmt.Errorf("restore the limit: %w", err)
	}
	return nil
}

// uncounted is the name of a count, of a kind of fleet networking that the hub serves, which a quota does not have yet;
// empty if there is none.
func (r *Registrar) uncounted(ctx context.Context, quota *corev1.ResourceQuota) (corev1.ResourceName, error) {
	for _, kind := range membership.NetworkingResources() {
		name := kind.GroupResource().String()
		count := corev1.ResourceName("count/" + name)
		if _, counted := quota.Status.Used[count]; counted {
			continue
		}
		switch served, err := r.servesCRD(ctx, name); {
		case err != nil:
			return "", fmt.Errorf("get CustomResourceDefinition %s: %w", name, err)
		case served:
			return count, nil
		}
	}
	return "", nil
}

// crdState is whether the hub serves a CustomResourceDefinition of one resourceVersion.
type crdState struct {
	resourceVersion string
	served          bool
}

// servesCRD reports whether the hub has a CustomResourceDefinition and serves its kind. The cache has only its metadata,
// so servesCRD reads it once for each resourceVersion.
func (r *Registrar) servesCRD(ctx context.Context, name string) (bool, error) {
	key, cached := types.NamespacedName{Name: name}, definition()
	if err := r.members.Get(ctx, key, cached); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	known, _ := r.crds.Load(name)
	if state, ok := known.(crdState); ok && state.resourceVersion == cached.ResourceVersion {
		return state.served, nil
	}
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(cached.GroupVersionKind())
	if err := r.Direct.Get(ctx, key, crd); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	state := crdState{resourceVersion: cached.ResourceVersion, served: serves(crd)}
	r.crds.Store(name, state)
	return state.served, nil
}

// serves reports whether a CustomResourceDefinition is established and has a served version.
func serves(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	established := slices.ContainsFunc(conditions, func(item any) bool {
		condition, ok := item.(map[string]any)
		return ok && condition["type"] == "Established" && condition["status"] == string(metav1.ConditionTrue)
	})
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	return established && slices.ContainsFunc(versions, func(item any) bool {
		version, ok := item.(map[string]any)
		return ok && version["served"] == true
	})
}

// definition is a CustomResourceDefinition without its contents.
func definition() *metav1.PartialObjectMetadata {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: process.CRDs.Group, Version: process.CRDs.Version, Kind: "CustomResourceDefinition"})
	return crd
}

func (r *Registrar) ensureRoleBinding(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	wanted, found := membership.RoleBindingFor(cluster), &rbacv1.RoleBinding{}
	made, err := r.findOrCreate(ctx, wanted, found)
	if err != nil {
		return err
	}
	if made {
		r.recordEvent(ctx, cluster, "RoleBindingCreated", "Created role binding "+wanted.Name)
		return nil
	}
	marked := mark(found, wanted)
	switch {
	case found.RoleRef != wanted.RoleRef:
		// The roleRef of a binding is immutable.
		if err := r.replace(ctx, found, wanted); err != nil {
			return fmt.Errorf("update role binding %s: %w", client.ObjectKeyFromObject(wanted), err)
		}
	case !marked && equality.Semantic.DeepEqual(found.Subjects, wanted.Subjects):
		return nil
	default:
		found.Subjects = wanted.Subjects
		if err := r.Direct.Update(ctx, found); err != nil {
			return fmt.Errorf("update role binding %s: %w", client.ObjectKeyFromObject(found), err)
		}
	}
	r.recordEvent(ctx, cluster, "RoleBindingUpdated", "Updated role binding "+wanted.Name)
	return nil
}

// replace deletes found and creates wanted, of the same name.
func (r *Registrar) replace(ctx context.Context, found, wanted client.Object) error {
	if err := r.Direct.Delete(ctx, found, client.Preconditions{UID: ptr.To(found.GetUID())}); err != nil {
		return fmt.Errorf("delete it: %w", err)
	}
	if err := r.Direct.Create(ctx, wanted); err != nil {
		return fmt.Errorf("create it again: %w", err)
	}
	return nil
}

// findOrCreate reads the object with the name of wanted into found, or else creates wanted and returns true.
func (r *Registrar) findOrCreate(ctx context.Context, wanted, found client.Object) (made bool, err error) {
	key := client.ObjectKeyFromObject(wanted)
	if err = r.members.Get(ctx, key, found); err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("get %T %s: %w", wanted, key, err)
	}
	err = r.Direct.Create(ctx, wanted)
	if err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("create %T %s: %w", wanted, key, err)
	}
	// It lacks the label that selects it for the cache, or the cache is behind.
	if err := r.Direct.Get(ctx, key, found); err != nil {
		return false, fmt.Errorf("get %T %s: %w", wanted, key, err)
	}
	return false, nil
}

// request sets state, and the heartbeat period, in the InternalMemberCluster, and creates a missing one.
func (r *Registrar) request(ctx context.Context, seen *observed, state v1beta1.ClusterState) error {
	wanted := membership.InternalFor(seen.Cluster, state, r.HubUID)
	if seen.Internal == nil {
		if err := r.Client.Create(ctx, wanted); err != nil {
			return fmt.Errorf("create internal member cluster %s: %w", wanted.Name, err)
		}
		r.recordEvent(ctx, seen.Cluster, "InternalMemberClusterCreated", "Created internal member cluster "+wanted.Name)
		seen.Internal = wanted
		return nil
	}
	if !seen.Internal.DeletionTimestamp.IsZero() {
		// A deleted one carries no request to the agents, and no client has a reason to keep it.
		return r.letGo(ctx, seen.Internal)
	}
	before := seen.Internal.DeepCopy()
	if marked := mark(seen.Internal, wanted); !marked && seen.Internal.Spec == wanted.Spec {
		return nil
	}
	seen.Internal.Spec = wanted.Spec
	// The agents write only the status, so nothing of theirs is overwritten, and a race with their heartbeat is not
	// lost.
	if err := r.Client.Patch(ctx, seen.Internal, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("update internal member cluster %s: %w", wanted.Name, err)
	}
	r.recordEvent(ctx, seen.Cluster, "InternalMemberClusterSpecUpdated", fmt.Sprintf("Set the state of internal member cluster %s to %s", wanted.Name, state))
	return nil
}

// letGo removes the finalizers from an InternalMemberCluster that is being deleted; a new one is created once it is
// gone.
func (r *Registrar) letGo(ctx context.Context, internal *v1beta1.InternalMemberCluster) error {
	if len(internal.Finalizers) == 0 {
		return nil
	}
	before := internal.DeepCopy()
	internal.Finalizers = nil
	if err := r.Client.Patch(ctx, internal, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("free internal member cluster %s of its finalizers: %w", internal.Name, err)
	}
	return nil
}

func (r *Registrar) recordEvent(ctx context.Context, cluster *v1beta1.MemberCluster, reason, message string) {
	ctrl.LoggerFrom(ctx).Info("Changed the hub's objects for the member", "cluster", cluster.Name, "reason", reason)
	r.Recorder.Event(cluster, corev1.EventTypeNormal, reason, message)
}

// owner is the cluster of an object in a member's namespace, or of that namespace.
func owner(obj client.Object) (string, bool) {
	if obj.GetNamespace() == "" {
		return contract.MemberOf(obj.GetName())
	}
	return contract.MemberOf(obj.GetNamespace())
}
