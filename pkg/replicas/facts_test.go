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

// The first division waits for all clusters that are picked, and later ones do not.
func TestTheFirstDivisionIsOverAllClusters(t *testing.T) {
	policy := func(generation int64, picked ...string) v1beta1.PolicySnapshotObject {
		s := &v1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: metav1.ObjectMeta{
			Name: "web-0", Labels: map[string]string{contract.LabelLatest: "true", contract.LabelPolicyIndex: "0"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ClusterResourcePlacement", Name: "web", UID: "uid", Controller: ptr.To(true)}},
		}}
		s.Status.ObservedCRPGeneration = generation
		for _, name := range picked {
			s.Status.ClusterDecisions = append(s.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: name, Selected: true})
		}
		s.Status.ClusterDecisions = append(s.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: "refused"})
		return s
	}
	shared := bound("a")
	shared.Spec.Shares = []v1beta1.RevisionShares{{}}
	for name, tc := range map[string]struct {
		policy   v1beta1.PolicySnapshotObject
		bindings []v1beta1.BindingObject
		want     bool
	}{
		"not decided yet":         {policy(0), []v1beta1.BindingObject{bound("a")}, false},
		"one has no binding yet":  {policy(1, "a", "b"), []v1beta1.BindingObject{bound("a")}, false},
		"all have bindings":       {policy(1, "a", "b"), []v1beta1.BindingObject{bound("a"), bound("b")}, true},
		"none is picked":          {policy(1), nil, true},
		"another one joins later": {policy(1, "a", "b"), []v1beta1.BindingObject{shared}, true},
	} {
		p := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "uid"}}
		o := Observed{Placement: p, Policies: []v1beta1.PolicySnapshotObject{tc.policy}, Bindings: tc.bindings}
		if got := o.isPicked(); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
