package registrar

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
)

// ensureNamespace makes the cluster's namespace, or marks the one that is there.
func (r *Registrar) ensureNamespace(ctx context.Context, seen *seen) error {
	if seen.namespace != nil {
		return r.label(ctx, seen.Cluster, seen.namespace)
	}
	wanted := membership.NamespaceFor(seen.Cluster)
	err := r.Direct.Create(ctx, wanted)
	if apierrors.IsAlreadyExists(err) {
		// It lacks the label by which the cache would know it, or the cache is behind.
		if err := r.Direct.Get(ctx, client.ObjectKeyFromObject(wanted), wanted); err != nil {
			return fmt.Errorf("get namespace %s: %w", wanted.Name, err)
		}
		return r.label(ctx, seen.Cluster, wanted)
	}
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", wanted.Name, err)
	}
	r.tell(seen.Cluster, "NamespaceCreated", "Created namespace "+wanted.Name)
	return nil
}

// label puts our marks on a namespace that lacks them.
func (r *Registrar) label(ctx context.Context, cluster *v1beta1.MemberCluster, namespace *corev1.Namespace) error {
	before := namespace.DeepCopy()
	if !mark(namespace, membership.NamespaceFor(cluster)) {
		return nil
	}
	if err := r.Direct.Patch(ctx, namespace, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("label namespace %s: %w", namespace.Name, err)
	}
	r.tell(cluster, "NamespacePatched", "Marked namespace "+namespace.Name+" as the cluster's")
	return nil
}

// mark gives obj the labels and the owner of wanted, and says whether it lacked any.
func mark(obj, wanted client.Object) bool {
	labels, changed := obj.GetLabels(), false
	for k, v := range wanted.GetLabels() {
		if labels[k] != v {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[k], changed = v, true
		}
	}
	obj.SetLabels(labels)
	owner := wanted.GetOwnerReferences()[0]
	owners := obj.GetOwnerReferences()
	i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool {
		return o.UID == owner.UID || o.APIVersion == owner.APIVersion && o.Kind == owner.Kind
	})
	switch {
	case i < 0:
		owners, changed = append(owners, owner), true
	case owners[i].UID != owner.UID:
		// A MemberCluster of that name that is gone: the garbage collector would take the object with it.
		owners[i], changed = owner, true
	}
	obj.SetOwnerReferences(owners)
	return changed
}

func (r *Registrar) ensureRole(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	wanted, found := membership.RoleFor(cluster), &rbacv1.Role{}
	made, err := r.findOrCreate(ctx, wanted, found)
	if err != nil {
		return err
	}
	if made {
		r.tell(cluster, "RoleCreated", "Created role "+wanted.Name)
		return nil
	}
	if marked := mark(found, wanted); !marked && equality.Semantic.DeepEqual(found.Rules, wanted.Rules) {
		return nil
	}
	found.Rules = wanted.Rules
	if err := r.Direct.Update(ctx, found); err != nil {
		return fmt.Errorf("update role %s: %w", client.ObjectKeyFromObject(found), err)
	}
	r.tell(cluster, "RoleUpdated", "Updated role "+wanted.Name)
	return nil
}

func (r *Registrar) ensureRoleBinding(ctx context.Context, cluster *v1beta1.MemberCluster) error {
	wanted, found := membership.RoleBindingFor(cluster), &rbacv1.RoleBinding{}
	made, err := r.findOrCreate(ctx, wanted, found)
	if err != nil {
		return err
	}
	if made {
		r.tell(cluster, "RoleBindingCreated", "Created role binding "+wanted.Name)
		return nil
	}
	marked := mark(found, wanted)
	switch {
	case found.RoleRef != wanted.RoleRef:
		// What a binding refers to cannot be changed.
		if err := r.Direct.Delete(ctx, found, client.Preconditions{UID: &found.UID}); err != nil {
			return fmt.Errorf("delete role binding %s: %w", client.ObjectKeyFromObject(found), err)
		}
		if err := r.Direct.Create(ctx, wanted); err != nil {
			return fmt.Errorf("create role binding %s: %w", client.ObjectKeyFromObject(wanted), err)
		}
	case !marked && equality.Semantic.DeepEqual(found.Subjects, wanted.Subjects):
		return nil
	default:
		found.Subjects = wanted.Subjects
		if err := r.Direct.Update(ctx, found); err != nil {
			return fmt.Errorf("update role binding %s: %w", client.ObjectKeyFromObject(found), err)
		}
	}
	r.tell(cluster, "RoleBindingUpdated", "Updated role binding "+wanted.Name)
	return nil
}

// findOrCreate reads the object that has the name of wanted into found, or else creates wanted and says so.
func (r *Registrar) findOrCreate(ctx context.Context, wanted, found client.Object) (made bool, err error) {
	key := client.ObjectKeyFromObject(wanted)
	if err = r.held.Get(ctx, key, found); err == nil {
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
	// It lacks the label by which the cache would know it, or the cache is behind.
	if err := r.Direct.Get(ctx, key, found); err != nil {
		return false, fmt.Errorf("get %T %s: %w", wanted, key, err)
	}
	return false, nil
}

// tellAgents puts state, and the heartbeat period, into the InternalMemberCluster, and makes that if there is none.
func (r *Registrar) tellAgents(ctx context.Context, seen *seen, state v1beta1.ClusterState) error {
	wanted := membership.InternalFor(seen.Cluster, state)
	if seen.Internal == nil {
		if err := r.Client.Create(ctx, wanted); err != nil {
			return fmt.Errorf("create internal member cluster %s: %w", wanted.Name, err)
		}
		r.tell(seen.Cluster, "InternalMemberClusterCreated", "Created internal member cluster "+wanted.Name)
		seen.Internal = wanted
		return nil
	}
	before := seen.Internal.DeepCopy()
	if marked := mark(seen.Internal, wanted); !marked && seen.Internal.Spec == wanted.Spec {
		return nil
	}
	seen.Internal.Spec = wanted.Spec
	// The agents write only the status, so nothing of theirs is overwritten, and a race with their heartbeat is not lost.
	if err := r.Client.Patch(ctx, seen.Internal, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("update internal member cluster %s: %w", wanted.Name, err)
	}
	r.tell(seen.Cluster, "InternalMemberClusterSpecUpdated", fmt.Sprintf("Internal member cluster %s is to %s", wanted.Name, state))
	return nil
}

func (r *Registrar) tell(cluster *v1beta1.MemberCluster, reason, message string) {
	r.Recorder.Event(cluster, corev1.EventTypeNormal, reason, message)
}

// owner is the cluster that an object in a member's namespace, or that namespace, is held for.
func owner(obj client.Object) (string, bool) {
	if obj.GetNamespace() == "" {
		return contract.MemberOf(obj.GetName())
	}
	return contract.MemberOf(obj.GetNamespace())
}
