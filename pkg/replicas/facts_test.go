package replicas

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// heard is a cluster that has just been heard.
func heard(name string) *clusterv1beta1.MemberCluster {
	c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Spec.HeartbeatPeriodSeconds = 60
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon)}}
	return c
}

// bound is a binding of the placement web whose content is available.
func bound(cluster string) *v1beta1.ClusterResourceBinding {
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "web-" + cluster, Generation: 1}}
	b.Spec = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateBound, TargetCluster: cluster, ResourceSnapshotName: contract.MasterSnapshotName("web", 0),
	}
	b.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	return b
}

func TestFacts(t *testing.T) {
	silent := func(f *fleet) {
		f.byName["a"].Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-time.Hour))
	}
	unscheduled := func(b *v1beta1.ClusterResourceBinding) { b.Spec.State = v1beta1.BindingStateUnscheduled }
	replaced := func(b *v1beta1.ClusterResourceBinding) {
		unscheduled(b)
		b.Annotations = map[string]string{contract.AnnotationReplacedBy: `{"with":"b","reason":"Lost"}`}
	}
	for name, tc := range map[string]struct {
		fleet   func(*fleet)
		binding func(*v1beta1.ClusterResourceBinding)
		want    string
	}{
		"well":                {nil, nil, "picked settled heard"},
		"not available":       {nil, func(b *v1beta1.ClusterResourceBinding) { b.Status.Conditions = nil }, "picked heard"},
		"available before":    {nil, func(b *v1beta1.ClusterResourceBinding) { b.Generation = 2 }, "picked heard"},
		"not bound yet":       {nil, func(b *v1beta1.ClusterResourceBinding) { b.Spec.State = v1beta1.BindingStateScheduled }, "picked heard"},
		"not heard":           {silent, nil, "picked"},
		"given up":            {nil, unscheduled, "heard"},
		"replaced":            {silent, replaced, "left"},
		"without its cluster": {func(f *fleet) { f.byName = nil }, nil, ""},
		"its cluster leaves":  {func(f *fleet) { f.byName["a"].DeletionTimestamp = ptr.To(metav1.NewTime(noon)) }, nil, ""},
	} {
		f, b := fleet{byName: map[string]*clusterv1beta1.MemberCluster{"a": heard("a")}}, bound("a")
		f.Now = noon
		if tc.fleet != nil {
			tc.fleet(&f)
		}
		if tc.binding != nil {
			tc.binding(b)
		}
		facts, again := f.facts(b)
		var got []string
		for _, fact := range []struct {
			name string
			is   bool
		}{{"picked", facts.Picked}, {"left", facts.Left}, {"settled", facts.Settled}, {"heard", facts.Heard}, {"lost", facts.Lost}, {"trusted", facts.Trusted}} {
			if fact.is {
				got = append(got, fact.name)
			}
		}
		if strings.Join(got, " ") != tc.want || again != 0 {
			t.Errorf("%s: %v, again after %s; want %s", name, got, again, tc.want)
		}
		if facts.Snapshot != contract.MasterSnapshotName("web", 0) {
			t.Errorf("%s: the revision is %q", name, facts.Snapshot)
		}
	}
}
