package schedule

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FilterNamespace passes the clusters that have the namespace of a ResourcePlacement.
const FilterNamespace Filter = "NamespaceAffinity"

// topicNamespace is followed by the name of a namespace, or by nothing for a change of whether the namespaces are
// known at all.
const topicNamespace = "namespace/"

type namespaceAffinity struct {
	alone
	namespace string
}

func (namespaceAffinity) name() Filter { return FilterNamespace }

func (namespaceAffinity) of(policy *v1beta1.PlacementPolicy, namespace string) filter {
	if isFixed(policy) || namespace == "" {
		return nil
	}
	return namespaceAffinity{namespace: namespace}
}

// check passes a cluster whose agent does not collect namespaces, because the namespace may exist.
func (f namespaceAffinity) check(cluster *clusterv1beta1.MemberCluster, _ time.Time) error {
	if !collectsNamespaces(cluster) {
		return nil
	}
	if cluster.Status.Namespaces == nil {
		return text("there is no namespace information for it")
	}
	if _, ok := cluster.Status.Namespaces[f.namespace]; !ok {
		return &homeless{f.namespace}
	}
	return nil
}

func collectsNamespaces(cluster *clusterv1beta1.MemberCluster) bool {
	return meta.FindStatusCondition(cluster.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) != nil
}

func (f namespaceAffinity) watches() []string {
	return []string{topicNamespace, topicNamespace + f.namespace}
}

// changes uses only the names of the namespaces, not which Work placed them.
func (namespaceAffinity) changes(c ClusterChange) []string {
	was, is := c.was.Status.Namespaces, c.is.Status.Namespaces
	topics := differences(topicNamespace, was, is, func(_, _ string) bool { return true })
	if collectsNamespaces(c.was) != collectsNamespaces(c.is) || (was == nil) != (is == nil) {
		topics = append(topics, topicNamespace)
	}
	return topics
}

func (f namespaceAffinity) repairs(t trial, _ error) []trial {
	return []trial{t.member(fmt.Sprintf("create namespace %s on the cluster", f.namespace), func(c *clusterv1beta1.MemberCluster) {
		if c.Status.Namespaces == nil {
			c.Status.Namespaces = map[string]string{}
		}
		c.Status.Namespaces[f.namespace] = ""
	})}
}

func (namespaceAffinity) exclusions(trial) []trial { return nil }

// homeless is the objection to a cluster without the placement's namespace.
type homeless struct{ namespace string }

func (h *homeless) Error() string {
	return fmt.Sprintf("target namespace %q does not exist on it", h.namespace)
}
