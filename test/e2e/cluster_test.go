package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// onCluster has what a scenario does and checks on one cluster of the fleet.
type onCluster struct {
	*scene
	cluster cluster
}

// on returns what the scenario does and checks on a cluster.
func (s *scene) on(c cluster) onCluster { return onCluster{s, c} }

// createHere creates an object on the cluster, and removes it when the scenario ends.
func (s onCluster) createHere(obj client.Object) {
	s.Helper()
	testworld.Create(s.T, s.cluster, s.cluster.name, obj)
	s.Cleanup(func() {
		s.Helper()
		remove(s.T, s.cluster, obj)
	})
}

// remove deletes obj if it is still there, lets go of the scenario's own blocker, and waits until it is gone. Only
// namespaces are not waited for: Kubernetes takes five seconds to begin with one, and no other scenario uses the name.
func remove(t *testing.T, c cluster, obj client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.IgnoreNotFound(c.Delete(ctx, obj)); err != nil {
		t.Errorf("delete %T %s: %v", obj, obj.GetName(), err)
		return
	}
	if _, slow := obj.(*corev1.Namespace); slow {
		return
	}
	testworld.AwaitGone(t, c, obj, func(live client.Object) error {
		if !controllerutil.RemoveFinalizer(live, testworld.Blocker) {
			return nil
		}
		return c.Update(ctx, live)
	})
}

// placed waits until the namespace and cm with this value are on exactly these members, and on no other.
func (s *scene) placed(value string, on ...cluster) {
	s.Helper()
	for _, m := range members() {
		there := false
		for _, want := range on {
			there = there || want.name == m.name
		}
		if !there {
			s.on(m).clean()
			continue
		}
		s.on(m).holds(value)
	}
}

// holds waits until a member has cm with this value.
func (s onCluster) holds(value string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "cm on "+s.cluster.name, s.holding(value))
}

func (s onCluster) holding(value string) func(context.Context) error {
	return func(ctx context.Context) error {
		var cm corev1.ConfigMap
		if err := s.cluster.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "cm"}, &cm); err != nil {
			return err
		}
		if cm.Data["data"] != value {
			return fmt.Errorf("cm holds %q, want %q", cm.Data["data"], value)
		}
		return nil
	}
}

// clean waits until cm is not on a member.
func (s onCluster) clean() {
	s.Helper()
	s.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "cm"}})
}

// gone waits until obj is not on a cluster.
func (s onCluster) gone(obj client.Object) {
	s.Helper()
	limit := testworld.Soon
	if _, ok := obj.(*corev1.Namespace); ok {
		limit = testworld.Workload // Kubernetes goes through all kinds there are first
	}
	testworld.Await(s.T, limit, fmt.Sprintf("%T %s to leave %s", obj, obj.GetName(), s.cluster.name), func(ctx context.Context) error {
		err := s.cluster.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("still there, deletion time %v", obj.GetDeletionTimestamp())
	})
}

// leaving waits until the scenario's namespace is not on a member, or on its way out: Kubernetes takes seconds to
// begin with that.
func (s onCluster) leaving() {
	s.Helper()
	testworld.Await(s.T, testworld.Workload, "namespace "+s.app+" to leave "+s.cluster.name, func(ctx context.Context) error {
		var n corev1.Namespace
		if err := s.cluster.Get(ctx, client.ObjectKey{Name: s.app}, &n); err != nil {
			return client.IgnoreNotFound(err)
		}
		if n.DeletionTimestamp == nil {
			return errors.New("it is not being deleted")
		}
		return nil
	})
}
