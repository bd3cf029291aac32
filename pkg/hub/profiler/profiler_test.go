package profiler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	inventoryv1alpha1 "sigs.k8s.io/cluster-inventory-api/apis/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hub is a real API server on which a profiler runs.
type hub struct {
	testworld.Hub
	profiles client.Client
	// agent is the profiler that was started last.
	agent *testworld.Agent
}

func startHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{Hub: testworld.StartHub(t)}
	scheme := runtime.NewScheme()
	h.Must(inventoryv1alpha1.AddToScheme(scheme))
	var err error
	h.profiles, err = client.New(h.Config, client.Options{Scheme: scheme})
	h.Must(err)
	h.Must(h.Client.Create(t.Context(), testworld.Namespace(contract.NamespaceSystem)))
	return h
}

// start runs a profiler, until it is stopped, for which agents may be silent for silence.
func (h *hub) start(silence time.Duration) {
	h.Helper()
	h.agent = testworld.RunAgent(h.T, h.Config, func(mgr ctrl.Manager, _ client.Client) error {
		p := &Profiler{Client: mgr.GetClient(), Workers: 2, Silence: silence, Now: time.Now}
		return p.SetupWithManager(mgr)
	})
}

func clusterOf(name string) *v1beta1.MemberCluster {
	return &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.MemberClusterSpec{
		Identity: rbacv1.Subject{Kind: "User", Name: "u"},
	}}
}

// join makes a MemberCluster with a report of its agent.
func (h *hub) join(name string) *v1beta1.MemberCluster {
	h.Helper()
	cluster := clusterOf(name)
	h.Must(h.Client.Create(h.Context(), cluster))
	h.beat(name, func(s *v1beta1.MemberClusterStatus, generation int64) {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: v1beta1.ConditionJoined, Status: metav1.ConditionTrue, Reason: "Test",
			ObservedGeneration: generation})
	})
	return cluster
}

// beat reports that a cluster is healthy, with the changes of change.
func (h *hub) beat(name string, change func(*v1beta1.MemberClusterStatus, int64)) {
	h.Helper()
	testworld.Await(h, testworld.Soon, "a report to be written", func(ctx context.Context) error {
		var cluster v1beta1.MemberCluster
		if err := h.Client.Get(ctx, client.ObjectKey{Name: name}, &cluster); err != nil {
			return err
		}
		if cluster.Status.Conditions == nil {
			cluster.Status.Conditions = []metav1.Condition{}
		}
		cluster.Status.AgentStatus = []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.Now(),
			Conditions: []metav1.Condition{{Type: v1beta1.ConditionHealthy, Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: metav1.Now()}}}}
		change(&cluster.Status, cluster.Generation)
		return h.Client.Status().Update(ctx, &cluster)
	})
}

// await waits until the profile of a cluster is not wrong.
func (h *hub) await(what, name string, wrong func(*inventoryv1alpha1.ClusterProfile) error) {
	h.Helper()
	testworld.Await(h, testworld.Soon, what, func(ctx context.Context) error {
		var profile inventoryv1alpha1.ClusterProfile
		if err := h.profiles.Get(ctx, profileOf(name), &profile); err != nil {
			return err
		}
		if err := wrong(&profile); err != nil {
			return fmt.Errorf("%w: %+v", err, profile)
		}
		return nil
	})
}

func healthIs(reason string) func(*inventoryv1alpha1.ClusterProfile) error {
	return func(p *inventoryv1alpha1.ClusterProfile) error {
		if c := meta.FindStatusCondition(p.Status.Conditions, "ControlPlaneHealthy"); c == nil || c.Reason != reason {
			return errors.New("want " + reason)
		}
		return nil
	}
}

// contract:226 — the profiles of members, and their end.
func TestProfiles(t *testing.T) {
	h := startHub(t)
	h.start(time.Hour)
	early := h.join("early")
	// The kind is installed when the hub agent has been running for a while.
	h.Must(h.InstallCRDs("hub-agent/files/inventory/*.yaml"))
	h.await("the profile of a cluster that had joined before", "early", healthIs("MemberClusterAPIServerHealthy"))
	h.join("late")
	h.await("the profile of a cluster that joins", "late", func(p *inventoryv1alpha1.ClusterProfile) error {
		if p.Labels["x-k8s.io/cluster-manager"] != "KubeFleet" || p.Spec.ClusterManager.Name != "KubeFleet" || p.Spec.DisplayName != "late" {
			return errors.New("label, manager or name")
		}
		return healthIs("MemberClusterAPIServerHealthy")(p)
	})
	stranger := clusterOf("stranger")
	h.Must(h.Client.Create(t.Context(), stranger))

	h.beat("late", func(s *v1beta1.MemberClusterStatus, generation int64) {
		s.Properties = map[v1beta1.PropertyName]v1beta1.PropertyValue{contract.PropertyVersion: {Value: "v1.36.3", ObservationTime: metav1.Now()}}
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: v1beta1.ConditionClusterPropertyCollectionSucceeded,
			Status: metav1.ConditionTrue, Reason: "PropertiesCollected", ObservedGeneration: generation})
	})
	h.await("what the agent reports", "late", func(p *inventoryv1alpha1.ClusterProfile) error {
		if p.Status.Version.Kubernetes != "v1.36.3" || len(p.Status.AccessProviders) != 1 {
			return errors.New("version or access")
		}
		return nil
	})

	// A restart, and a heartbeat without changes, write nothing.
	h.agent.Stop()
	h.start(time.Hour)
	h.beat("early", func(*v1beta1.MemberClusterStatus, int64) {})
	// A change of a profile by another client is undone: this is an event that comes after the others.
	var profile inventoryv1alpha1.ClusterProfile
	h.Must(h.profiles.Get(t.Context(), profileOf("late"), &profile))
	before := profile.DeepCopy()
	profile.Spec.DisplayName = "vandal"
	h.Must(h.profiles.Patch(t.Context(), &profile, client.MergeFrom(before)))
	named := func(p *inventoryv1alpha1.ClusterProfile) error {
		if p.Spec.DisplayName != "late" {
			return errors.New("name")
		}
		return nil
	}
	h.await("the name to be repaired", "late", named)
	h.Must(h.profiles.Delete(t.Context(), &profile))
	h.await("a deleted profile to come back", "late", func(p *inventoryv1alpha1.ClusterProfile) error {
		if p.UID == profile.UID || p.Status.Version.Kubernetes == "" {
			return errors.New("it is the old one, or empty")
		}
		return nil
	})
	if writes := h.agent.Take(); len(writes) != 3 {
		t.Errorf("writes %v; want a repair, and a profile with its status", writes)
	}

	// An agent that falls silent is noticed without an event.
	h.agent.Stop()
	h.start(3 * time.Second)
	h.await("the silence to be noticed", "late", healthIs("MemberAgentHeartbeatLost"))
	h.beat("late", func(s *v1beta1.MemberClusterStatus, _ int64) {
		s.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(time.Now().Add(time.Hour)) // so that it is not lost again before it is seen
	})
	h.await("the agent to be heard again", "late", healthIs("MemberClusterAPIServerHealthy"))

	h.Must(h.Client.Delete(t.Context(), early))
	h.Must(h.Client.Delete(t.Context(), stranger))
	testworld.Await(t, testworld.Soon, "a cluster to go with its profile", func(ctx context.Context) error {
		err := h.Client.Get(ctx, client.ObjectKeyFromObject(early), &v1beta1.MemberCluster{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the cluster: %w", err)
		}
		return nil
	})
	if err := h.profiles.Get(t.Context(), profileOf("early"), &profile); !apierrors.IsNotFound(err) {
		t.Errorf("the profile of a cluster that is gone: %v", err)
	}
	if err := h.profiles.Get(t.Context(), profileOf("stranger"), &profile); !apierrors.IsNotFound(err) {
		t.Errorf("the profile of a cluster that never joined: %v", err)
	}
}
