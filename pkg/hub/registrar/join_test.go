package registrar

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A cluster is admitted and joins; a report that changes its status is one write.
func TestClusterJoins(t *testing.T) {
	h := onHub(t)
	a := h.startAgent(time.Hour)
	h.invite("east")
	cluster := h.await("east", v1beta1.ConditionJoined, metav1.ConditionUnknown)
	if cluster.Labels[contract.LabelMemberName] != "east" || !slices.Contains(cluster.Finalizers, contract.FinalizerMemberCluster) {
		t.Fatalf("%+v", cluster.ObjectMeta)
	}
	h.beat("east", metav1.ConditionTrue, time.Now())
	h.await("east", v1beta1.ConditionJoined, metav1.ConditionTrue)
	want := []string{
		"PATCH /apis/cluster.kubernetes-fleet.io/v1beta1/memberclusters/east",
		"POST /api/v1/namespaces",
		"POST /api/v1/namespaces/fleet-member-east/resourcequotas",
		"POST /apis/rbac.authorization.k8s.io/v1/namespaces/fleet-member-east/roles",
		"POST /apis/rbac.authorization.k8s.io/v1/namespaces/fleet-member-east/rolebindings",
		"POST /apis/cluster.kubernetes-fleet.io/v1beta1/namespaces/fleet-member-east/internalmemberclusters",
		"PUT /apis/cluster.kubernetes-fleet.io/v1beta1/memberclusters/east/status",
		"PUT /apis/cluster.kubernetes-fleet.io/v1beta1/memberclusters/east/status",
	}
	// The registrar may create again what its cache does not have yet; the API server then writes nothing.
	writes := func() (out []string) {
		for _, w := range a.All() {
			if w != "POST /api/v1/namespaces" && !strings.Contains(w, "east") {
				continue // about a cluster of another test
			}
			if !strings.HasPrefix(w, "POST ") || !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
		return out
	}
	if diff := cmp.Diff(want, writes()); diff != "" {
		t.Fatal(diff)
	}
	a.events.Await(t, "MemberClusterJoined")
	h.beat("east", metav1.ConditionTrue, time.Now().Add(time.Minute))
	testworld.Await(t, testworld.Soon, "the heartbeat", func(context.Context) error {
		if n := len(writes()); n != len(want)+1 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
}

// The credentials of a member give access to its own namespace and to nothing else.
func TestMemberReachesOnlyItsNamespace(t *testing.T) {
	h := onHub(t)
	h.startAgent(time.Hour)
	h.invite("north")
	h.invite("south")
	agent := h.as("agent-of-north")
	testworld.Await(t, testworld.Soon, "access to its own namespace", func(ctx context.Context) error {
		return agent.List(ctx, &placementv1beta1.WorkList{}, client.InNamespace("fleet-member-north"))
	})
	h.work("north")
	work := &placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "web-work"}}
	h.Must(agent.Status().Patch(t.Context(), work, client.RawPatch(types.MergePatchType, []byte(`{"status":{"conditions":[]}}`))))
	h.Must(agent.Patch(t.Context(), work, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	h.Must(agent.Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "joined"},
		InvolvedObject: corev1.ObjectReference{Namespace: "fleet-member-north", Name: "north"},
	}))
	for what, try := range map[string]func(context.Context) error{
		"another member's works": func(ctx context.Context) error {
			return agent.List(ctx, &placementv1beta1.WorkList{}, client.InNamespace("fleet-member-south"))
		},
		"all works": func(ctx context.Context) error { return agent.List(ctx, &placementv1beta1.WorkList{}) },
		"another member's report": func(ctx context.Context) error {
			return agent.Get(ctx, types.NamespacedName{Namespace: "fleet-member-south", Name: "south"}, &v1beta1.InternalMemberCluster{})
		},
		"member clusters": func(ctx context.Context) error { return agent.List(ctx, &v1beta1.MemberClusterList{}) },
		"secrets in its own": func(ctx context.Context) error {
			return agent.List(ctx, &corev1.SecretList{}, client.InNamespace("fleet-member-north"))
		},
		"its own access rights": func(ctx context.Context) error {
			return agent.List(ctx, &rbacv1.RoleList{}, client.InNamespace("fleet-member-north"))
		},
		"placements of the hub": func(ctx context.Context) error {
			return agent.List(ctx, &placementv1beta1.ClusterResourcePlacementList{})
		},
		"other namespaces": func(ctx context.Context) error { return agent.List(ctx, &corev1.NamespaceList{}) },
		"a binding in its own": func(ctx context.Context) error {
			return agent.Create(ctx, &placementv1beta1.ResourceBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "forged"}})
		},
		"an envelope in its own": func(ctx context.Context) error {
			return agent.Create(ctx, &placementv1beta1.ResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "forged"}})
		},
		"a work of its own making": func(ctx context.Context) error {
			return agent.Create(ctx, &placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "forged"}})
		},
		"the end of its works": func(ctx context.Context) error {
			return agent.DeleteAllOf(ctx, &placementv1beta1.Work{}, client.InNamespace("fleet-member-north"))
		},
		"what the hub asks of it": func(ctx context.Context) error {
			return agent.Patch(ctx, &v1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-north", Name: "north"}},
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/stay"]}}`)))
		},
		"events of other places": func(ctx context.Context) error {
			return agent.List(ctx, &corev1.EventList{}, client.InNamespace("default"))
		},
	} {
		if err := try(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v; want it forbidden", what, err)
		}
	}
}

// The name of a MemberCluster may be too long for its namespace: its condition reports that, and it can be deleted.
func TestNameThatNoNamespaceCanHave(t *testing.T) {
	h := onHub(t)
	h.startAgent(time.Hour)
	name := strings.Repeat("n", 60)
	h.Must(h.Client.Create(t.Context(), &v1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: "x"}},
	}))
	cluster := h.await(name, v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
	h.Must(h.Client.Delete(t.Context(), cluster))
	h.awaitGone(name)
}
