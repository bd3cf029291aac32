package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hubs = testworld.SharedHub()

func TestMain(m *testing.M) { hubs.Main(m) }

// hub is a real API server on which one registrar at a time runs. All tests share it: each has clusters with names of
// its own.
type hub struct{ testworld.Hub }

func onHub(t *testing.T) *hub {
	t.Helper()
	return &hub{hubs.Hub(t)}
}

// agent is a running registrar.
type agent struct {
	*testworld.Agent
	registrar *Registrar
	events    testworld.Recorder
}

func (h *hub) startAgent(forceDeleteWait time.Duration) *agent {
	h.Helper()
	return h.startAgentAs(h.Config, forceDeleteWait)
}

// startAgentAs runs a registrar with the access rights of cfg.
func (h *hub) startAgentAs(cfg *rest.Config, forceDeleteWait time.Duration) *agent {
	h.Helper()
	a := &agent{}
	a.Agent = testworld.RunAgent(h.T, cfg, func(mgr ctrl.Manager, direct client.Client) error {
		uid, err := HubUID(h.Context(), direct)
		if err != nil {
			return err
		}
		a.registrar = &Registrar{
			Client: mgr.GetClient(), Direct: direct, Recorder: &a.events, HubUID: uid, Workers: 2, ForceDeleteWait: forceDeleteWait, Now: time.Now,
		}
		return a.registrar.SetupWithManager(mgr)
	})
	return a
}

// besideOneAgent runs parts of a test in parallel, beside one registrar.
func besideOneAgent(t *testing.T, forceDeleteWait time.Duration, parts map[string]func(*hub, *agent)) {
	t.Helper()
	h := onHub(t)
	a := h.startAgent(forceDeleteWait)
	for name, run := range parts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(onHub(t), a)
		})
	}
}

func (h *hub) get(obj client.Object, namespace, name string) error {
	return h.Client.Get(h.Context(), types.NamespacedName{Namespace: namespace, Name: name}, obj)
}

// invite creates a MemberCluster and waits until the cluster can join.
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

// awaitMessage waits until the condition ReadyToJoin of a MemberCluster names all of these parts, and returns the
// cluster.
func (h *hub) awaitMessage(name string, parts ...string) *v1beta1.MemberCluster {
	h.Helper()
	var cluster v1beta1.MemberCluster
	testworld.Await(h, testworld.Workload, fmt.Sprintf("the message of %s to contain %q", name, parts), func(context.Context) error {
		if err := h.get(&cluster, "", name); err != nil {
			return err
		}
		c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin)
		for _, part := range parts {
			if c == nil || !strings.Contains(c.Message, part) {
				return fmt.Errorf("no %q in %+v", part, c)
			}
		}
		return nil
	})
	return &cluster
}

// writesNaming returns an error if the agent wrote about a cluster. Its writes about others do not count: the previous
// agent may have ended before it reported on the clusters of other tests.
func writesNaming(cluster string, a *agent) error {
	for _, write := range a.All() {
		if strings.Contains(write, cluster) {
			return errors.New(write)
		}
	}
	return nil
}

// awaitAbsent waits until there is no MemberCluster of the name.
func (h *hub) awaitAbsent(name string) {
	h.Helper()
	testworld.Await(h, testworld.Workload, name+" to leave", func(context.Context) error {
		var cluster v1beta1.MemberCluster
		if err := h.get(&cluster, "", name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("error %w, conditions %+v", err, cluster.Status.Conditions)
		}
		return nil
	})
}

// awaitGone waits until there is no MemberCluster of the name. Its namespace must have gone before.
func (h *hub) awaitGone(name string) {
	h.Helper()
	h.awaitAbsent(name)
	if err := h.get(&corev1.Namespace{}, "", contract.MemberNamespace(name)); !apierrors.IsNotFound(err) {
		h.Fatalf("the cluster went before its namespace: %v", err)
	}
}

// beat reports as the member's agent, through its own credentials.
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

// as returns a client with the rights of user.
func (h *hub) as(user string) client.Client {
	h.Helper()
	cfg := rest.CopyConfig(h.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := client.New(cfg, client.Options{Scheme: apis.Scheme()})
	h.Must(err)
	return c
}

// work creates a Work, with the member's finalizer, in the member's namespace.
func (h *hub) work(member string) {
	h.Helper()
	h.Must(h.Client.Create(h.Context(), &placementv1beta1.Work{
		ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(member), Name: "web-work", Finalizers: []string{contract.FinalizerWork}},
	}))
}
