package registrar

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A deleted cluster leaves with what its agent applied; an agent that never joined is not waited for.
func TestClusterLeaves(t *testing.T) {
	besideOneAgent(t, time.Hour, map[string]func(*hub, *agent){
		"when its agent has left":        leavesWithItsAgent,
		"at once if it has never joined": leavesWithoutHavingJoined,
	})
}

// A deleted cluster leaves although its agent does not answer, or objects keep its namespace.
func TestClusterLeavesByForce(t *testing.T) {
	besideOneAgent(t, forceDeleteWait, map[string]func(*hub, *agent){
		"when its agent does not answer in time":            leavesAfterTheWait,
		"once its namespace is free":                        leavesOnceItsNamespaceIsFree,
		"although the member holds objects with finalizers": leavesAlthoughTheMemberHoldsObjects,
	})
}

// forceDeleteWait is longer than the seconds in which deletion times are rounded.
const forceDeleteWait = 2 * time.Second

func leavesWithItsAgent(h *hub, a *agent) {
	h.invite("leaver")
	h.beat("leaver", metav1.ConditionTrue, time.Now())
	cluster := h.await("leaver", v1beta1.ConditionJoined, metav1.ConditionTrue)
	h.work("leaver")
	h.Must(h.Client.Delete(h.Context(), cluster))
	testworld.Await(h, testworld.Soon, "the request to leave", func(context.Context) error {
		var internal v1beta1.InternalMemberCluster
		if err := h.get(&internal, "fleet-member-leaver", "leaver"); err != nil {
			return err
		}
		if internal.Spec.State != v1beta1.ClusterStateLeave {
			return fmt.Errorf("%+v", internal.Spec)
		}
		return nil
	})
	if err := h.get(&placementv1beta1.Work{}, "fleet-member-leaver", "web-work"); err != nil {
		h.Fatalf("the work went before the agent has left: %v", err)
	}
	h.beat("leaver", metav1.ConditionFalse, time.Now())
	h.awaitGone("leaver")
	if deleted := slices.Contains(a.All(), "DELETE /apis/placement.kubernetes-fleet.io/v1beta1/namespaces/fleet-member-leaver/works/web-work"); deleted {
		h.Error("a work was deleted before the agent has left")
	}
}

func leavesWithoutHavingJoined(h *hub, _ *agent) {
	h.invite("never")
	h.work("never")
	h.Must(h.Client.Delete(h.Context(), h.await("never", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)))
	h.awaitGone("never")
}

func leavesAfterTheWait(h *hub, _ *agent) {
	h.invite("lost")
	h.beat("lost", metav1.ConditionTrue, time.Now())
	h.await("lost", v1beta1.ConditionJoined, metav1.ConditionTrue)
	h.work("lost")
	cluster := h.await("lost", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
	began := time.Now()
	h.Must(h.Client.Delete(h.Context(), cluster))
	h.awaitGone("lost")
	if took := time.Since(began); took < forceDeleteWait-time.Second { // deletion times are whole seconds
		h.Fatalf("the agent had only %s", took)
	}
}

// The condition of the cluster names the finalizer of another client.
func leavesOnceItsNamespaceIsFree(h *hub, _ *agent) {
	h.invite("held")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-held", Name: "held", Finalizers: []string{"example.com/hold"}}}
	h.Must(h.Client.Create(h.Context(), held))
	var cluster v1beta1.MemberCluster
	h.Must(h.get(&cluster, "", "held"))
	h.Must(h.Client.Delete(h.Context(), &cluster))
	h.awaitMessage("held", "example.com/hold")
	h.Must(h.Client.Patch(h.Context(), held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	h.awaitGone("held")
}
