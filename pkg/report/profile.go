package report

import (
	"encoding/pem"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	inventoryv1alpha1 "sigs.k8s.io/cluster-inventory-api/apis/v1alpha1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// Profile returns the status of a ClusterProfile, which has been old, from the report of a cluster. silence is the
// maximal age of the agent's last heartbeat. If again is not zero, the status changes then without an event.
func Profile(old inventoryv1alpha1.ClusterProfileStatus, cluster *v1beta1.MemberCluster, silence time.Duration, now time.Time) (
	status inventoryv1alpha1.ClusterProfileStatus, again time.Duration) {
	status = *old.DeepCopy()
	if delivery.IsTrue(cluster.Status.Conditions, v1beta1.ConditionClusterPropertyCollectionSucceeded, cluster.Generation) {
		status.Version.Kubernetes = cluster.Status.Properties[contract.PropertyVersion].Value
		status.AccessProviders = []inventoryv1alpha1.AccessProvider{access(cluster.Status.Properties)}
	}
	health, again := controlPlane(cluster, silence, now)
	rest := slices.DeleteFunc(slices.Clone(old.Conditions), func(c metav1.Condition) bool { return c.Type == health.Type })
	status.Conditions = merge(old.Conditions, append(rest, health), metav1.NewTime(now))
	return status, again
}

// access is how a cluster can be reached, as far as reported. The property holds PEM text, and so does the field,
// which the wire encodes; text that is not PEM is left out.
func access(properties map[v1beta1.PropertyName]v1beta1.PropertyValue) inventoryv1alpha1.AccessProvider {
	out := inventoryv1alpha1.AccessProvider{Name: contract.ClusterManager, Cluster: clientcmdv1.Cluster{Server: properties[contract.PropertyEntrypoint].Value}}
	authority := []byte(properties[contract.PropertyAuthority].Value)
	if block, _ := pem.Decode(authority); block != nil {
		out.Cluster.CertificateAuthorityData = authority
	}
	return out
}

// controlPlane is the condition on the API server of a cluster.
func controlPlane(cluster *v1beta1.MemberCluster, silence time.Duration, now time.Time) (c metav1.Condition, again time.Duration) {
	const kind = inventoryv1alpha1.ClusterConditionControlPlaneHealthy
	agent := liveness.Agent(cluster)
	if agent == nil {
		return unknown(cluster.Generation, kind, "MemberAgentReportedNoStatus", "The member agent has not reported yet"), 0
	}
	health := meta.FindStatusCondition(agent.Conditions, v1beta1.ConditionHealthy)
	if health == nil {
		return unknown(cluster.Generation, kind, "MemberAgentReportedNoHealthInfo", "The member agent has not reported on the cluster's health"), 0
	}
	left := agent.LastReceivedHeartbeat.Add(silence).Sub(now)
	switch {
	case left < 0:
		return no(cluster.Generation, kind, "MemberAgentHeartbeatLost", "The member agent's last heartbeat is older than cluster-unhealthy-threshold"), 0
	case health.Status == metav1.ConditionUnknown:
		c = unknown(cluster.Generation, kind, "MemberAgentReportedNoHealthInfo", "The member agent does not know the cluster's health")
	case health.Status == metav1.ConditionFalse:
		c = no(cluster.Generation, kind, "MemberClusterAPIServerUnhealthy", "The member agent reports that the cluster's API server is not ready")
	default:
		c = yes(cluster.Generation, kind, "MemberClusterAPIServerHealthy", "The member agent reports that the cluster's API server is ready")
	}
	return c, left + time.Millisecond
}
