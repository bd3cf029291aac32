package membership

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The marker of a member cluster is this ConfigMap.
const (
	MarkerNamespace = metav1.NamespaceSystem
	MarkerName      = "fleet-membership"
)

// Keys of the marker's data.
const (
	markerHub       = "hubUID"
	markerNamespace = "memberNamespace"
	markerSince     = "since"
)

// Marker is what a cluster records about its membership: at most one hub, and one member of that hub, may place objects on it.
type Marker struct {
	// Hub is the UID of the hub's namespace kube-system; empty if the hub does not report it.
	Hub types.UID
	// Namespace is the member's namespace on the hub.
	Namespace string
	// Since is when the cluster joined, RFC 3339.
	Since string
}

// MarkerOf reads a marker.
func MarkerOf(cm *corev1.ConfigMap) Marker {
	return Marker{Hub: types.UID(cm.Data[markerHub]), Namespace: cm.Data[markerNamespace], Since: cm.Data[markerSince]}
}

// ConfigMap writes a marker.
func (m Marker) ConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: MarkerNamespace, Name: MarkerName},
		Data:       map[string]string{markerHub: string(m.Hub), markerNamespace: m.Namespace, markerSince: m.Since},
	}
}

// Admits says whether an agent that acts for a hub and a member may use the cluster. An unknown hub agrees with every other; a marker that
// names no member, because it was spoiled by hand, admits none.
func (m Marker) Admits(hub types.UID, namespace string) bool {
	return m.Namespace == namespace && (m.Hub == "" || hub == "" || m.Hub == hub)
}

// Refusal is the message for an agent that the marker does not admit.
func (m Marker) Refusal() string {
	return fmt.Sprintf("This cluster is already the member of namespace %q of the hub with UID %s, since %s. The agent applies and removes nothing. "+
		"Take the cluster off that hub, or delete ConfigMap %s in namespace %s of the cluster if that hub is gone",
		m.Namespace, cmp.Or(string(m.Hub), "unknown"), cmp.Or(m.Since, "an unknown time"), MarkerName, MarkerNamespace)
}
