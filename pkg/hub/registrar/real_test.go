package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func (h *hub) get(obj client.Object, namespace, name string) error {
	return h.Client.Get(h.Context(), types.NamespacedName{Namespace: namespace, Name: name}, obj)
}

// invite creates a MemberCluster and waits until everything is there for it.
func (h *hub) invite(name string) {
	h.Helper()
	h.Must(h.Client.Create(h.Context(), &v1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: "agent-of-" + name}},
	}))
	h.await(name, v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
}

// await waits for a condition of a MemberCluster and returns the cluster.
func (h *hub) await(name, kind string, status metav1.ConditionStatus) *v1beta1.MemberCluster {
	h.Helper()
	var cluster v1beta1.MemberCluster
	testworld.Await(h, testworld.Soon, fmt.Sprintf("%s of %s to be %s", kind, name, status), func(context.Context) error {
		if err := h.get(&cluster, "", name); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(cluster.Status.Conditions, kind); c == nil || c.Status != status || c.ObservedGeneration != cluster.Generation {
			return fmt.Errorf("generation %d, conditions %+v", cluster.Generation, cluster.Status.Conditions)
		}
		return nil
	})
	return &cluster
}

// beat lets the member's agent report, through its own credentials.
func (h *hub) beat(name string, joined metav1.ConditionStatus, at time.Time) {
	h.Helper()
	agent := h.as("agent-of-" + name)
	var internal v1beta1.InternalMemberCluster
	testworld.Await(h, testworld.Soon, "the agent's report", func(ctx context.Context) error {
		if err := agent.Get(ctx, types.NamespacedName{Namespace: contract.MemberNamespace(name), Name: name}, &internal); err != nil {
			return err
		}
		internal.Status.AgentStatus = []v1beta1.AgentStatus{{
			Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(at),
			Conditions: []metav1.Condition{{
				Type: v1beta1.ConditionJoined, Status: joined, Reason: "Test", LastTransitionTime: metav1.NewTime(at), ObservedGeneration: internal.Generation,
			}},
		}}
		return agent.Status().Update(ctx, &internal)
	})
}

// as is a client with the rights of user.
func (h *hub) as(user string) client.Client {
	h.Helper()
	cfg := rest.CopyConfig(h.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := client.New(cfg, client.Options{Scheme: apis.Scheme()})
	h.Must(err)
	return c
}

// work makes a Work, with the member's finalizer, in the member's namespace.
func (h *hub) work(member string) {
	h.Helper()
	h.Must(h.Client.Create(h.Context(), &placementv1beta1.Work{
		ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(member), Name: "web-work", Finalizers: []string{contract.FinalizerWork}},
	}))
}

func (h *hub) awaitGone(name string) {
	h.Helper()
	testworld.Await(h, testworld.Workload, name+" to leave", func(context.Context) error {
		var cluster v1beta1.MemberCluster
		if err := h.get(&cluster, "", name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("error %w, conditions %+v", err, cluster.Status.Conditions)
		}
		return nil
	})
	if err := h.get(&corev1.Namespace{}, "", contract.MemberNamespace(name)); !apierrors.IsNotFound(err) {
		h.Fatalf("the cluster went before its namespace: %v", err)
	}
}

func TestOnARealHub(t *testing.T) {
	h := startHub(t)
	run := func(name string, play func(t *testing.T, h *hub)) {
		t.Run(name, func(t *testing.T) {
			here := *h
			here.T = t
			play(t, &here)
		})
	}

	run("a cluster is admitted, joins, and is copied when it reports something new", func(t *testing.T, h *hub) {
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
		// What the cache has not seen yet is made again, and is there already: that is no further write.
		writes := func() (out []string) {
			for _, w := range a.All() {
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
	})

	run("a member's credentials reach its own namespace and nothing else", func(t *testing.T, h *hub) {
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
	})

	run("what is damaged is repaired", func(t *testing.T, h *hub) {
		a := h.startAgent(time.Hour)
		h.invite("west")
		namespace := contract.MemberNamespace("west")
		repaired := func(what string, check func() error) {
			t.Helper()
			testworld.Await(t, testworld.Workload, what, func(context.Context) error { return check() })
		}
		roleIs := func() error {
			var role rbacv1.Role
			if err := h.get(&role, namespace, contract.RoleName("west")); err != nil {
				return err
			}
			if diff := cmp.Diff(membership.RoleFor(&v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "west"}}, false).Rules, role.Rules); diff != "" {
				return errors.New(diff)
			}
			return nil
		}
		bindingIs := func(user string) func() error {
			return func() error {
				var binding rbacv1.RoleBinding
				if err := h.get(&binding, namespace, contract.RoleBindingName("west")); err != nil {
					return err
				}
				if len(binding.Subjects) != 1 || binding.Subjects[0].Name != user || binding.RoleRef.Name != contract.RoleName("west") {
					return fmt.Errorf("%+v to %+v", binding.Subjects, binding.RoleRef)
				}
				return nil
			}
		}
		var role rbacv1.Role
		h.Must(h.get(&role, namespace, contract.RoleName("west")))
		role.Rules[0].APIGroups = []string{"*"}
		h.Must(h.Client.Update(t.Context(), &role))
		repaired("a role that says too much", roleIs)
		h.Must(h.Client.Delete(t.Context(), &role))
		repaired("a role that is gone", roleIs)
		h.Must(h.get(&role, namespace, contract.RoleName("west")))
		role.Labels, role.Rules = nil, nil
		h.Must(h.Client.Update(t.Context(), &role))
		repaired("a role that is out of sight", roleIs)

		var cluster v1beta1.MemberCluster
		h.Must(h.get(&cluster, "", "west"))
		cluster.Spec.Identity.Name = "new-agent-of-west"
		h.Must(h.Client.Update(t.Context(), &cluster))
		repaired("another identity", bindingIs("new-agent-of-west"))
		a.events.Await(t, "RoleBindingUpdated")
		binding := &rbacv1.RoleBinding{}
		h.Must(h.get(binding, namespace, contract.RoleBindingName("west")))
		h.Must(h.Client.Delete(t.Context(), binding))
		repaired("a role binding that is gone", bindingIs("new-agent-of-west"))
		other := membership.RoleBindingFor(&cluster)
		h.Must(h.Client.Delete(t.Context(), other.DeepCopy()))
		other.RoleRef.Name = "another"
		if err := h.Client.Create(t.Context(), other); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		repaired("a role binding to another role", bindingIs("new-agent-of-west"))

		internal := &v1beta1.InternalMemberCluster{}
		h.Must(h.get(internal, namespace, "west"))
		internal.Spec.State = v1beta1.ClusterStateLeave
		h.Must(h.Client.Update(t.Context(), internal))
		repaired("an order to leave that nobody gave", func() error {
			if err := h.get(internal, namespace, "west"); err != nil {
				return err
			}
			if internal.Spec.State != v1beta1.ClusterStateJoin {
				return fmt.Errorf("%+v", internal.Spec)
			}
			return nil
		})
		internal.Annotations[contract.AnnotationHubUID] = "of-another-hub"
		h.Must(h.Client.Update(t.Context(), internal))
		repaired("another hub's identity", func() error {
			var system corev1.Namespace
			if err := errors.Join(h.get(internal, namespace, "west"), h.get(&system, "", "kube-system")); err != nil {
				return err
			}
			if got := internal.Annotations[contract.AnnotationHubUID]; got != string(system.UID) {
				return fmt.Errorf("%q, want %q", got, system.UID)
			}
			return nil
		})
		h.Must(h.Client.Delete(t.Context(), internal))
		repaired("an internal member cluster that is gone", func() error { return h.get(internal, namespace, "west") })

		var ns corev1.Namespace
		h.Must(h.get(&ns, "", namespace))
		h.work("west")
		was := ns.UID
		h.Must(h.Client.Delete(t.Context(), &ns))
		repaired("a namespace that is gone, with a work that its member can no longer reach", func() error {
			if err := h.get(&ns, "", namespace); err != nil {
				return err
			}
			if ns.UID == was {
				return errors.New("it is still there")
			}
			return errors.Join(roleIs(), bindingIs("new-agent-of-west")(), h.get(internal, namespace, "west"))
		})
		h.await("west", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
		ns.Labels = nil
		h.Must(h.Client.Update(t.Context(), &ns))
		repaired("a namespace without its label", func() error {
			if err := h.get(&ns, "", namespace); err != nil {
				return err
			}
			if ns.Labels[contract.LabelFleetResource] != "true" {
				return fmt.Errorf("%v", ns.Labels)
			}
			return nil
		})
	})

	run("a namespace that was not made for the cluster is left alone until an admin lets the cluster have it", func(t *testing.T, h *hub) {
		there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-member-old", Labels: map[string]string{contract.LabelFleetResource: "true"}}}
		h.Must(h.Client.Create(t.Context(), there))
		a := h.startAgent(time.Hour)
		h.Must(h.Client.Create(t.Context(), testworld.NewMemberCluster("old")))
		cluster := h.await("old", v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
		message := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin).Message
		if !strings.Contains(message, "kubectl annotate namespace fleet-member-old kubernetes-fleet.io/adopt-for="+string(cluster.UID)) {
			t.Errorf("%q does not name what to do", message)
		}
		if err := h.get(&rbacv1.RoleBinding{}, "fleet-member-old", contract.RoleBindingName("old")); !apierrors.IsNotFound(err) {
			t.Errorf("the member is let into a namespace that is not its own: %v", err)
		}
		there.Annotations = map[string]string{contract.AnnotationAdoptFor: string(cluster.UID)}
		h.Must(h.Client.Update(t.Context(), there))
		h.await("old", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
		a.events.Await(t, "NamespacePatched")
	})

	run("a cluster goes and leaves a namespace that was not made for it", func(t *testing.T, h *hub) {
		there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-member-theirs"}}
		h.Must(h.Client.Create(t.Context(), there))
		h.startAgent(time.Hour)
		h.Must(h.Client.Create(t.Context(), testworld.NewMemberCluster("theirs")))
		cluster := h.await("theirs", v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
		h.Must(h.Client.Delete(t.Context(), cluster))
		testworld.Await(t, testworld.Workload, "the cluster to go", func(context.Context) error {
			if err := h.get(cluster, "", "theirs"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("error %w, conditions %+v", err, cluster.Status.Conditions)
			}
			return nil
		})
		if err := h.get(there, "", there.Name); err != nil || !there.DeletionTimestamp.IsZero() {
			t.Fatalf("the namespace went with it: %v", err)
		}
	})

	run("a name that no namespace can have is the owner's to change", func(t *testing.T, h *hub) {
		h.startAgent(time.Hour)
		name := strings.Repeat("n", 60)
		h.Must(h.Client.Create(t.Context(), &v1beta1.MemberCluster{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: "x"}},
		}))
		cluster := h.await(name, v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
		h.Must(h.Client.Delete(t.Context(), cluster))
		h.awaitGone(name)
	})

	run("an agent that answers leaves at once, and its works do not hold it", func(t *testing.T, h *hub) {
		a := h.startAgent(time.Hour)
		h.invite("leaver")
		h.beat("leaver", metav1.ConditionTrue, time.Now())
		cluster := h.await("leaver", v1beta1.ConditionJoined, metav1.ConditionTrue)
		h.work("leaver")
		h.Must(h.Client.Delete(t.Context(), cluster))
		testworld.Await(t, testworld.Soon, "the order to leave", func(context.Context) error {
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
			t.Fatalf("the work went before the agent had answered: %v", err)
		}
		h.beat("leaver", metav1.ConditionFalse, time.Now())
		h.awaitGone("leaver")
		if deleted := slices.Contains(a.All(), "DELETE /apis/placement.kubernetes-fleet.io/v1beta1/namespaces/fleet-member-leaver/works/web-work"); deleted {
			t.Error("a work was deleted before it was freed")
		}
	})

	run("an agent that is gone is waited for no longer than agreed", func(t *testing.T, h *hub) {
		wait := 2 * time.Second
		h.startAgent(wait)
		h.invite("lost")
		h.beat("lost", metav1.ConditionTrue, time.Now())
		h.await("lost", v1beta1.ConditionJoined, metav1.ConditionTrue)
		h.work("lost")
		cluster := h.await("lost", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
		began := time.Now()
		h.Must(h.Client.Delete(t.Context(), cluster))
		h.awaitGone("lost")
		if took := time.Since(began); took < wait-time.Second { // deletion times are whole seconds
			t.Fatalf("it had only %s", took)
		}
	})

	run("an agent that never was is not waited for", func(_ *testing.T, h *hub) {
		h.startAgent(time.Hour)
		h.invite("never")
		h.work("never")
		h.Must(h.Client.Delete(h.Context(), h.await("never", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)))
		h.awaitGone("never")
	})

	run("works of a cluster that is gone lose their finalizer before Kubernetes looks at their namespace", func(t *testing.T, h *hub) {
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
	})

	run("a namespace that something else holds is waited for, and the cluster says by what", func(t *testing.T, h *hub) {
		h.startAgent(time.Second)
		h.invite("held")
		held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-held", Name: "held", Finalizers: []string{"example.com/hold"}}}
		h.Must(h.Client.Create(t.Context(), held))
		var cluster v1beta1.MemberCluster
		h.Must(h.get(&cluster, "", "held"))
		h.Must(h.Client.Delete(t.Context(), &cluster))
		testworld.Await(t, testworld.Workload, "a word about the finalizer", func(context.Context) error {
			if err := h.get(&cluster, "", "held"); err != nil {
				return err
			}
			if c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin); c == nil || !strings.Contains(c.Message, "example.com/hold") {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		h.Must(h.Client.Patch(t.Context(), held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
		h.awaitGone("held")
	})

	// Case member-holds-its-removal and similar ones: objects that a member's agent may write always lose their
	// finalizers, other objects of the fleet do if the hub's admin requests it, and the rest is left behind then.
	run("member-holds-its-removal", func(t *testing.T, h *hub) {
		h.startAgent(time.Second)
		h.invite("anchor")
		const namespace = "fleet-member-anchor"
		stay := []string{"rogue.example/stay"}
		internal := &v1beta1.InternalMemberCluster{}
		h.Must(h.get(internal, namespace, "anchor"))
		internal.Finalizers = stay
		h.Must(h.Client.Update(t.Context(), internal))
		own := []client.Object{
			&placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "held", Finalizers: append([]string{contract.FinalizerWork}, stay...)}},
			&corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: "held", Finalizers: stay},
				InvolvedObject: corev1.ObjectReference{Namespace: namespace, Name: "anchor"},
			},
		}
		envelope := &placementv1beta1.ResourceEnvelope{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "rg-anchor", Finalizers: stay},
			Data:       map[string]runtime.RawExtension{"a": {Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`)}},
		}
		foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "foreign", Finalizers: []string{"example.com/hold"}}}
		for _, obj := range append(own, envelope, foreign) {
			h.Must(h.Client.Create(t.Context(), obj))
		}
		var cluster v1beta1.MemberCluster
		h.Must(h.get(&cluster, "", "anchor"))
		h.Must(h.Client.Delete(t.Context(), &cluster))
		testworld.Await(t, testworld.Workload, "the objects that hold it, and the way out", func(context.Context) error {
			if err := h.get(&cluster, "", "anchor"); err != nil {
				return err
			}
			c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin)
			for _, part := range []string{
				"ResourceEnvelope rg-anchor (rogue.example/stay)", "example.com/hold", "kubectl annotate membercluster anchor kubernetes-fleet.io/force-leave=true",
			} {
				if c == nil || !strings.Contains(c.Message, part) {
					return fmt.Errorf("no %q in %+v", part, c)
				}
			}
			return nil
		})
		testworld.Await(t, testworld.Workload, "the member's own objects to go", func(context.Context) error {
			for _, obj := range append(own, internal) {
				if err := h.get(obj, namespace, obj.GetName()); !apierrors.IsNotFound(err) {
					return fmt.Errorf("%T is still there: %w", obj, err)
				}
			}
			return nil
		})
		h.Must(h.Client.Patch(t.Context(), &cluster, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"kubernetes-fleet.io/force-leave":"true"}}}`))))
		testworld.Await(t, testworld.Workload, "the cluster to go", func(context.Context) error {
			if err := h.get(&cluster, "", "anchor"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("error %w, conditions %+v", err, cluster.Status.Conditions)
			}
			return nil
		})
		if err := h.get(envelope, namespace, envelope.Name); !apierrors.IsNotFound(err) {
			t.Errorf("the envelope is still there: %v", err)
		}
		h.Must(h.get(foreign, namespace, foreign.Name))
		if err := h.get(&rbacv1.RoleBinding{}, namespace, contract.RoleBindingName("anchor")); !apierrors.IsNotFound(err) {
			t.Errorf("the member can still reach its namespace: %v", err)
		}

		h.Must(h.Client.Create(t.Context(), testworld.NewMemberCluster("anchor")))
		testworld.Await(t, testworld.Workload, "a new cluster of the name to wait", func(context.Context) error {
			if err := h.get(&cluster, "", "anchor"); err != nil {
				return err
			}
			if c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin); c == nil || !strings.Contains(c.Message, "example.com/hold") {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		h.Must(h.Client.Patch(t.Context(), foreign, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
		h.await("anchor", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
	})

	run("a heartbeat counts by the hub's clock, and one in the future only once", func(t *testing.T, h *hub) {
		first := h.startAgent(time.Hour)
		h.invite("ahead")
		began := time.Now().Truncate(time.Second)
		h.beat("ahead", metav1.ConditionTrue, time.Now().Add(1000*time.Hour))
		cluster := h.await("ahead", v1beta1.ConditionClocksInStep, metav1.ConditionFalse)
		received := cluster.Status.AgentStatus[0].LastReceivedHeartbeat
		if received.Time.Before(began) || received.After(time.Now()) {
			t.Fatalf("received at %s; it is %s", received, time.Now())
		}
		first.Stop()
		second := h.startAgent(time.Hour)
		testworld.Await(t, testworld.Soon, "the second agent to have looked", func(context.Context) error {
			if _, looked := second.registrar.known.Load(cluster.UID); !looked {
				return errors.New("it has not")
			}
			return nil
		})
		testworld.Stable(t, 2*time.Second, "quiet", func(context.Context) error {
			return writesNaming("ahead", second)
		})
		h.beat("ahead", metav1.ConditionTrue, time.Now())
		testworld.Await(t, testworld.Soon, "the clocks to be in step", func(context.Context) error {
			h.Must(h.get(cluster, "", "ahead"))
			if c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionClocksInStep); c != nil {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
	})

	run("what a cluster reports is bounded, and what its admin says counts", func(t *testing.T, h *hub) {
		h.startAgent(time.Hour)
		h.invite("boastful")
		const cost = v1beta1.PropertyName(contract.PropertyCoreCost)
		agent, internal := h.as("agent-of-boastful"), &v1beta1.InternalMemberCluster{}
		testworld.Await(t, testworld.Soon, "the agent's report", func(ctx context.Context) error {
			if err := agent.Get(ctx, types.NamespacedName{Namespace: "fleet-member-boastful", Name: "boastful"}, internal); err != nil {
				return err
			}
			internal.Status = v1beta1.InternalMemberClusterStatus{
				Conditions: []metav1.Condition{},
				Properties: map[v1beta1.PropertyName]v1beta1.PropertyValue{
					cost:                       {Value: "0.0001", ObservationTime: metav1.Now()},
					contract.PropertyNodeCount: {Value: "1e12", ObservationTime: metav1.Now()},
				},
			}
			return agent.Status().Update(ctx, internal)
		})
		cluster := h.await("boastful", v1beta1.ConditionReportAccepted, metav1.ConditionFalse)
		if _, ok := cluster.Status.Properties[contract.PropertyNodeCount]; ok || cluster.Status.Properties[cost].Value != "0.0001" {
			t.Fatalf("%+v", cluster.Status.Properties)
		}
		cluster.Annotations = map[string]string{contract.AnnotationBelieved: string(cost) + ">=0.1 kubernetes-fleet.io/node-count=3"}
		h.Must(h.Client.Update(t.Context(), cluster))
		testworld.Await(t, testworld.Soon, "what the admin says", func(context.Context) error {
			h.Must(h.get(cluster, "", "boastful"))
			if p := cluster.Status.Properties; p[cost].Value != "0.1" || p[contract.PropertyNodeCount].Value != "3" {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
	})

	run("the counts of what a member may create are bounded", quotaBoundsWhatAMemberCreates)

	run("a hub agent that may not write quotas lets clusters join without", joinsWithoutTheRightToQuotas)

	run("a restart writes nothing", func(t *testing.T, h *hub) {
		first := h.startAgent(time.Hour)
		h.invite("again")
		h.beat("again", metav1.ConditionTrue, time.Now())
		h.await("again", v1beta1.ConditionJoined, metav1.ConditionTrue)
		first.Stop()
		second := h.startAgent(time.Hour)
		testworld.Stable(t, 2*time.Second, "quiet", func(context.Context) error {
			return writesNaming("again", second)
		})
	})
}

// writesNaming is an error if an agent wrote about a cluster. Its writes about others do not count: the previous agent
// may have ended before it reported on what other tests left.
func writesNaming(cluster string, a *agent) error {
	for _, write := range a.All() {
		if strings.Contains(write, cluster) {
			return errors.New(write)
		}
	}
	return nil
}

// vanishes makes a cluster with a Work go without having left, its namespace with it, and returns what Kubernetes
// found in that.
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
