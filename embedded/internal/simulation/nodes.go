package simulation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/version"

	"github.com/flagship-fleet/flagship/embedded/internal/config"
)

// registerNodes creates the nodes that are not there yet, ready from the start. Names count from zero within a prefix.
func registerNodes(ctx context.Context, client kubernetes.Interface, sets []config.NodeSet) error {
	next := map[string]int{}
	for _, set := range sets {
		for range set.Count {
			node := newNode(set, fmt.Sprintf("%s-%d", set.NamePrefix, next[set.NamePrefix]))
			next[set.NamePrefix]++
			if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("register node %s: %w", node.Name, err)
			}
		}
	}
	return nil
}

func newNode(set config.NodeSet, name string) *corev1.Node {
	capacity := corev1.ResourceList{}
	for resourceName, quantity := range set.Capacity {
		capacity[corev1.ResourceName(resourceName)] = resource.MustParse(quantity) // the config was checked
	}
	labels := map[string]string{
		corev1.LabelHostname:   name,
		corev1.LabelOSStable:   set.OS,
		corev1.LabelArchStable: set.Arch,
	}
	for key, value := range set.Labels {
		labels[key] = value
	}
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: set.Taints},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses:   []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "simulated node",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: set.OS, Architecture: set.Arch,
				KubeletVersion: version.Get().GitVersion, ContainerRuntimeVersion: "simulated://0",
			},
		},
	}
}

// nodeAddress is every node's: one of a documentation network, as simulated nodes cannot be reached.
const nodeAddress = "198.51.100.1"
