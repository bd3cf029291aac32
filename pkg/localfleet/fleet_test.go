package localfleet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// oneMember is the smallest fleet that does something.
func oneMember() localfleet.Config {
	hub := localfleet.Hub{Cluster: localfleet.Cluster{Agent: localfleet.Agent{Values: map[string]any{"enableWorkload": true}}}, Nodes: []localfleet.NodeSet{{Count: 1}}}
	agent := localfleet.Agent{Flags: map[string]string{"v": "1"}, Values: map[string]any{
		"propertyProvider": "azure", "prices": map[string]any{"prices": map[string]any{"small": 4}}, "enableNamespaceCollectionInPropertyProvider": true,
	}}
	return localfleet.Config{Hub: hub, Members: []localfleet.Member{{
		Cluster:                localfleet.Cluster{Name: "spoke", Agent: agent},
		Labels:                 map[string]string{"region": "north"},
		Nodes:                  []localfleet.NodeSet{{Count: 2, Labels: map[string]string{"node.kubernetes.io/instance-type": "small"}}},
		HeartbeatPeriodSeconds: 1,
	}}}
}

// A fleet is started, used as tests use it, stopped, and started again from its folder by another command.
func TestFleet(t *testing.T) {
	ctx := t.Context() // each step has its own limit
	dir := filepath.Join(t.TempDir(), "fleet")
	options := localfleet.Options{
		Config: oneMember(), Dir: dir, Patience: testworld.Patience,
		Progress: func(e localfleet.Event) { t.Logf("%s %s: %s", time.Now().Format("05.0"), e.Cluster, e.Text) },
	}
	fleet, err := localfleet.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})

	t.Run("the kubeconfig has a context for each cluster", func(t *testing.T) {
		config, err := clientcmd.LoadFromFile(fleet.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		if len(config.Contexts) != 2 || config.Contexts["hub"] == nil || config.Contexts["spoke"] == nil || config.CurrentContext != "hub" {
			t.Errorf("contexts %v, current %s", config.Contexts, config.CurrentContext)
		}
	})
	t.Run("agents have their charts' rights and no others", func(t *testing.T) {
		for _, c := range []struct {
			cluster, verb, group, resource string
			want                           bool
		}{
			{"hub", "list", "", "secrets", true},
			{"hub", "create", "placement.kubernetes-fleet.io", "works", true},
			{"hub", "create", "", "configmaps", false},
			{"hub", "delete", "apps", "deployments", false},
			{"spoke", "create", "", "configmaps", true},
			{"spoke", "impersonate", "", "users", false},
		} {
			config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, c.cluster, "agent.kubeconfig"))
			if err != nil {
				t.Fatal(err)
			}
			if got := may(t, config, c.verb, c.group, c.resource); got != c.want {
				t.Errorf("the agent of %s may %s %s.%s: %v, want %v", c.cluster, c.verb, c.resource, c.group, got, c.want)
			}
		}
	})
	t.Run("metrics and readiness are where the fleet says", func(t *testing.T) {
		for _, name := range []string{"hub", "spoke"} {
			testworld.Await(t, testworld.Soon, "metrics of "+name, func(ctx context.Context) error {
				body, err := fleet.Metrics(ctx, name)
				if err == nil && !strings.Contains(body, "rest_client_requests_total") {
					return fmt.Errorf("they are %.200s", body)
				}
				return err
			})
			if len(fleet.AgentReadyURLs(name)) == 0 {
				t.Errorf("%s has no readiness", name)
			}
		}
	})
	t.Run("the hub has nodes and runs pods", func(t *testing.T) {
		hub := adminOf(t, fleet, "hub")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hubs-own"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.invalid/c:1"}}}}
		if _, err := hub.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		testworld.Await(t, testworld.Workload, "the pod to run on the hub", func(ctx context.Context) error {
			got, err := hub.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{})
			if err == nil && got.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("it is %+v", got.Status)
			}
			return err
		})
	})
	t.Run("files that the chart mounts reach the agent", func(t *testing.T) {
		config, err := fleet.RestConfig("hub")
		if err != nil {
			t.Fatal(err)
		}
		hub, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		members := hub.Resource(schema.GroupVersionResource{Group: "cluster.kubernetes-fleet.io", Version: "v1beta1", Resource: "memberclusters"})
		testworld.Await(t, testworld.Workload, "the price of a core", func(ctx context.Context) error {
			spoke, err := members.Get(ctx, "spoke", metav1.GetOptions{})
			if err != nil {
				return err
			}
			// Two nodes for 4 an hour have 16 cores.
			got, _, err := unstructured.NestedString(spoke.Object, "status", "properties", "kubernetes.azure.com/per-cpu-core-cost", "value")
			if err == nil && got != "0.500" {
				return fmt.Errorf("it is %q: %v", got, spoke.Object["status"])
			}
			return err
		})
	})
	t.Run("an agent is killed and started again", func(t *testing.T) {
		before := fleet.AgentPID("spoke")
		if err := fleet.KillAgent("spoke"); err != nil {
			t.Fatal(err)
		}
		if fleet.AgentRunning("spoke") {
			t.Error("runs after it was killed")
		}
		if err := fleet.StartAgent(ctx, "spoke"); err != nil {
			t.Fatal(err)
		}
		if !fleet.AgentRunning("spoke") || fleet.AgentPID("spoke") == before {
			t.Error("does not run again")
		}
	})
	t.Run("a cluster is killed and has its state when it is started again", func(t *testing.T) {
		if err := fleet.KillCluster("hub"); err != nil {
			t.Fatal(err)
		}
		if err := fleet.StartCluster(ctx, "hub"); err != nil {
			t.Fatal(err)
		}
		hub := adminOf(t, fleet, "hub")
		if _, err := hub.CoreV1().ServiceAccounts("fleet-system").Get(ctx, "fleet-member-agent-spoke", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
	if err := fleet.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	t.Run("kept state is gone on with, by processes that stay", func(t *testing.T) {
		options.Detached, options.Progress = true, nil // Down ends its processes, maybe after the test, and this fleet would log that
		if fleet, err = localfleet.Start(ctx, options); err != nil {
			t.Fatal(err)
		}
		var running *localfleet.RunningError
		if _, err := localfleet.Start(ctx, options); !errors.As(err, &running) || running.Changed {
			t.Errorf("second start: %v, want that it runs already", err)
		}
		other := options
		other.Config.Members[0].Labels = map[string]string{"region": "south"}
		if _, err := localfleet.Start(ctx, other); !errors.As(err, &running) || !running.Changed {
			t.Errorf("start of another description: %v, want that it runs and differs", err)
		}
		if err := localfleet.Down(ctx, dir, false, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the folder is left: %v", err)
		}
		if err := localfleet.Down(ctx, dir, false, nil); !errors.Is(err, localfleet.ErrNoFleet) {
			t.Errorf("second down: %v", err)
		}
	})
}

func may(t *testing.T, config *rest.Config, verb, group, resource string) bool {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: verb, Group: group, Resource: resource},
	}}
	review, err = client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func adminOf(t *testing.T, fleet *localfleet.Fleet, cluster string) *kubernetes.Clientset {
	t.Helper()
	config, err := fleet.RestConfig(cluster)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
