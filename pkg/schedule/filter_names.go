package schedule

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FilterNames passes the clusters that a PickFixed policy names.
const FilterNames Filter = "ClusterNames"

const (
	unknown = text("there is no MemberCluster of this name")
	unnamed = text("clusterNames of the policy does not name it")
)

type clusterNames struct {
	alone
	names []string
}

func (clusterNames) name() Filter { return FilterNames }

func (clusterNames) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	if !isFixed(policy) {
		return nil
	}
	return clusterNames{names: policy.ClusterNames}
}

func (f clusterNames) check(cluster *clusterv1beta1.MemberCluster, _ time.Time) error {
	if !slices.Contains(f.names, cluster.Name) {
		return unnamed
	}
	return nil
}

func (f clusterNames) watches() []string { return nameTopics(f.names) }

// changes returns none: names do not change, and every added or deleted cluster has its name as a topic.
func (clusterNames) changes(ClusterChange) []string { return nil }

func (clusterNames) repairs(t trial, _ error) []trial {
	if t.find() == nil {
		return []trial{t.join()}
	}
	return []trial{t.policy("add "+t.cluster+" to clusterNames", func(p *v1beta1.PlacementPolicy) {
		p.ClusterNames = append(p.ClusterNames, t.cluster)
	})}
}

func (clusterNames) exclusions(t trial) []trial {
	return []trial{t.policy("remove "+t.cluster+" from clusterNames", func(p *v1beta1.PlacementPolicy) {
		p.ClusterNames = slices.DeleteFunc(p.ClusterNames, func(name string) bool { return name == t.cluster })
	})}
}

// join adds the cluster to the fleet.
func (t trial) join() trial {
	t = t.with("fleet", "join a cluster by the name "+t.cluster)
	c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: t.cluster}}
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{wellAgent(metav1.NewTime(t.Now))}
	t.Clusters = append(slices.Clone(t.Clusters), c)
	return t
}
