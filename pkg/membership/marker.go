package membership

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The ConfigMap that records the membership of a member cluster.
const (
	MarkerNamespace = metav1.NamespaceSystem
	MarkerName      = "fleet-membership"
)

// Keys of the ConfigMap's data.
const (
	markerHub       = "hubUID"
	markerNamespace = "memberNamespace"
	markerSince     = "since"
)

// Marker records the membership of a cluster: at most one hub, and one member of that hub, may place objects on it.
type Marker struct {
	// Hub is the UID of the hub's namespace kube-system; empty if the hub does not report it.
	Hub types.UID
	// Namespace is the member's namespace on the hub.
	Namespace string
	// Since is when the cluster joined, RFC 3339.
	Since string
}

// MarkerOf reads a Marker from its ConfigMap.
func MarkerOf(cm *corev1.ConfigMap) Marker {
	return Marker{Hub: types.UID(cm.Data[markerHub]), Namespace: cm.Data[markerNamespace], Since: cm.Data[markerSince]}
}

// ConfigMap returns the ConfigMap of a Marker.
func (m Marker) ConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: MarkerNamespace, Name: MarkerName},
		Data:       map[string]string{markerHub: string(m.Hub), markerNamespace: m.Namespace, markerSince: m.Since},
	}
}

// Admits reports whether an agent of a hub and a member may use the cluster. An unknown hub matches every hub. A
// Marker without a member, which another client has damaged, admits no agent.
func (m Marker) Admits(hub types.UID, namespace string) bool {
	return m.Namespace == namespace && (m.Hub == "" || hub == "" || m.Hub == hub)
}

// Refusal returns the message for an agent that the Marker does not admit.
func (m Marker) Refusal() string {
	return fmt.Sprintf("This cluster is already the member of namespace %q of the hub with UID %s, since %s. The agent applies and removes nothing. "+
		"Remove the cluster from that hub, or, if that hub is gone, delete ConfigMap %s in namespace %s of the cluster",
		m.Namespace, cmp.Or(string(m.Hub), "unknown"), cmp.Or(m.Since, "an unknown time"), MarkerName, MarkerNamespace)
}
