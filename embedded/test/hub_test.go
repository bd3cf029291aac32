package test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A hub has controllers, so that a Deployment makes its pods, but nothing that would run them.
func TestHubHasNoNodesAndRunsNoPods(t *testing.T) {
	t.Parallel()
	c := start(t, t.TempDir(), "name: hub\nscheduler: false")
	checkQuiet(t, c.log.String())

	nodes, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) > 0 {
		t.Errorf("%d nodes, want none", len(nodes.Items))
	}
	namespace := c.namespace(t)
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), deployment(2, corev1.PodSpec{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The ReplicaSet's status counts the pods, which is the last thing to happen to a Deployment here.
	eventually(t, func() error {
		got, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && got.Status.UnavailableReplicas != 2 {
			return fmt.Errorf("deployment: %+v", got.Status)
		}
		return err
	})
	list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName != "" {
			t.Errorf("pod %s is %s on %q, want it pending", pod.Name, pod.Status.Phase, pod.Spec.NodeName)
		}
	}
}

// checkQuiet: on a healthy start only the program itself speaks. A start on a machine so busy that things took too
// long is not judged.
func checkQuiet(t *testing.T, log string) {
	t.Helper()
	if strings.Contains(log, "took too long") {
		return
	}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "hub: ") {
			t.Errorf("in the log: %s", line)
		}
	}
}
