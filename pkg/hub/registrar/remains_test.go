package registrar

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// If a MemberCluster is gone although it did not leave, its Works lose their finalizer before Kubernetes looks at the
// namespace for the first time.
func TestWorksOfAVanishedClusterAreFreed(t *testing.T) {
	h := onHub(t)
	h.startAgent(time.Hour)
	// Kubernetes looks after five seconds, for which a busy machine may need longer itself.
	for n := range 3 {
		found := vanishes(h, fmt.Sprintf("vanished-%d", n))
		if len(found) == 0 {
			return
		}
		t.Logf("Kubernetes found content: %v", found)
	}
	t.Error("Kubernetes found content in each of three tries")
}

// vanishes makes a cluster with a Work, and its namespace, go without having left. It returns what Kubernetes found in
// the namespace.
func vanishes(h *hub, name string) []string {
	h.Helper()
	h.invite(name)
	h.beat(name, metav1.ConditionTrue, time.Now())
	cluster := h.await(name, v1beta1.ConditionJoined, metav1.ConditionTrue)
	h.work(name)
	gone := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	h.Must(h.Client.Delete(h.Context(), cluster))
	testworld.Await(h, testworld.Soon, "the cluster to be gone without having left", func(ctx context.Context) error {
		err := h.Client.Patch(ctx, gone.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		if err == nil {
			err = h.get(gone.DeepCopy(), "", name)
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.MemberNamespace(name)}}
	h.Must(client.IgnoreNotFound(h.Client.Delete(h.Context(), namespace))) // as the garbage collector does because of its owner
	testworld.Await(h, testworld.Workload, "the namespace to go", func(context.Context) error {
		if err := h.get(namespace, "", namespace.Name); !apierrors.IsNotFound(err) {
			return errors.Join(fmt.Errorf("conditions %+v", namespace.Status.Conditions), err)
		}
		return nil
	})
	return troublesOf(namespace)
}

// stay are the finalizers with which a member tries to keep its namespace on the hub.
var stay = []string{"rogue.example/stay"}

// Case member-holds-its-removal and similar ones: objects that a member's agent may write always lose their
// finalizers, other objects of the fleet do if the hub's administrator requests it, and the rest stays.
func leavesAlthoughTheMemberHoldsObjects(h *hub, _ *agent) {
	const namespace = "fleet-member-anchor"
	h.invite("anchor")
	own := h.heldByMember("anchor")
	envelope := &placementv1beta1.ResourceEnvelope{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "rg-anchor", Finalizers: stay},
		Data:       map[string]runtime.RawExtension{"a": {Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`)}},
	}
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "foreign", Finalizers: []string{"example.com/hold"}}}
	h.Must(errors.Join(h.Client.Create(h.Context(), envelope), h.Client.Create(h.Context(), foreign)))
	cluster := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "anchor"}}
	h.Must(h.Client.Delete(h.Context(), cluster))
	h.awaitMessage("anchor", "ResourceEnvelope rg-anchor (rogue.example/stay)", "example.com/hold",
		"kubectl annotate membercluster anchor kubernetes-fleet.io/force-leave=true")
	testworld.Await(h, testworld.Workload, "the member's own objects to go", func(context.Context) error {
		for _, obj := range own {
			if err := h.get(obj, namespace, obj.GetName()); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T is still there: %w", obj, err)
			}
		}
		return nil
	})

	h.Must(h.Client.Patch(h.Context(), cluster, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"kubernetes-fleet.io/force-leave":"true"}}}`))))
	h.awaitAbsent("anchor")
	if err := h.get(envelope, namespace, envelope.Name); !apierrors.IsNotFound(err) {
		h.Errorf("the envelope is still there: %v", err)
	}
	h.Must(h.get(foreign, namespace, foreign.Name))
	if err := h.get(&rbacv1.RoleBinding{}, namespace, contract.RoleBindingName("anchor")); !apierrors.IsNotFound(err) {
		h.Errorf("the member can still reach its namespace: %v", err)
	}

	// A new cluster of the name waits for what stayed.
	h.Must(h.Client.Create(h.Context(), testworld.NewMemberCluster("anchor")))
	h.awaitMessage("anchor", "example.com/hold")
	h.Must(h.Client.Patch(h.Context(), foreign, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	h.await("anchor", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
}

// heldByMember returns objects that the agent of a member may write, with finalizers that the member gave them.
func (h *hub) heldByMember(member string) []client.Object {
	h.Helper()
	namespace := contract.MemberNamespace(member)
	internal := &v1beta1.InternalMemberCluster{}
	h.Must(h.get(internal, namespace, member))
	internal.Finalizers = stay
	h.Must(h.Client.Update(h.Context(), internal))
	work := &placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "held", Finalizers: append([]string{contract.FinalizerWork}, stay...)}}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: "held", Finalizers: stay},
		InvolvedObject: corev1.ObjectReference{Namespace: namespace, Name: member},
	}
	h.Must(errors.Join(h.Client.Create(h.Context(), work), h.Client.Create(h.Context(), event)))
	return []client.Object{work, event, internal}
}
