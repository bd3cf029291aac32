package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// fleet calls the plugin, which must succeed.
func (s *scene) fleet(args ...string) {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), "../../bin/kubectl-fleet", append(args, "--hub-cluster-context", theHub.name)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfigFile)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("kubectl fleet %v: %v: %s", args, err, out)
	}
	search.Text(fmt.Sprintf("kubectl fleet %v", args), string(out))
}

// drain drains a member, which must be cordoned then. The end of the scenario takes all taints off it.
func (s onCluster) drain() {
	s.Helper()
	s.taintMember()
	s.fleet("draincluster", "--cluster-name", s.cluster.name)
	s.cordoned(true)
}

func (s onCluster) uncordon() {
	s.Helper()
	s.fleet("uncordoncluster", "--cluster-name", s.cluster.name)
	s.cordoned(false)
}

func (s onCluster) cordoned(want bool) {
	s.Helper()
	member := testworld.NewMemberCluster(s.cluster.name)
	if err := theHub.Get(s.Context(), client.ObjectKeyFromObject(member), member); err != nil {
		s.Fatal(err)
	}
	taint := clusterv1beta1.Taint{Key: "cordon-key", Value: "cordon-value", Effect: "NoSchedule"}
	if got := slices.Contains(member.Spec.Taints, taint); got != want {
		s.Fatalf("%s has taints %v; want the cordon taint: %t", s.cluster.name, member.Spec.Taints, want)
	}
}

// drained compares the outcome of the one eviction of the scenario's placement from a member, and deletes it.
func (s onCluster) drained(executed bool, message string) {
	s.Helper()
	var found []v1beta1.EvictionObject
	for _, e := range must(scope.Evictions.List(s.Context(), theHub, s.at("").Namespace)) {
		if scope.EvictedBy(e) == s.at(s.name) && e.GetSpec().ClusterName == s.cluster.name {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		s.Fatalf("there are %d evictions from %s, want one", len(found), s.cluster.name)
	}
	c := meta.FindStatusCondition(*found[0].GetConditions(), v1beta1.ConditionEvictionExecuted)
	if c == nil || (c.Status == "True") != executed || c.Message != message {
		s.Errorf("the eviction from %s is %+v; want executed %t, %q", s.cluster.name, *found[0].GetConditions(), executed, message)
	}
	remove(s.T, theHub, found[0])
}

// Drains of placements of both scopes. Not beside others: the taints keep their placements off too.
//
// contract:216
func TestDrain(t *testing.T) {
	wide, narrow := bare(t), bare(t)
	for _, s := range []*scene{wide, narrow} {
		s.open()
	}
	narrow.carry(c1.name, c2.name, c3.name)
	all := []*scene{wide, narrow}
	var placements []v1beta1.PlacementObject
	for _, s := range all {
		placements = append(placements, s.place(testworld.PickAll()))
	}
	for i, s := range all {
		s.of(placements[i]).expect(complete())
	}
	wide.on(c1).drain()
	for i, s := range all {
		s.on(c1).drained(true, s.free())
		s.of(placements[i]).expectWithin(testworld.Workload, testworld.Complete(c2.name, c3.name))
		s.placed("test", c2, c3)
		s.of(placements[i]).stays(testworld.Complete(c2.name, c3.name))
	}
	// Again finds nothing to do but for the one that brings the namespace, which names its clusters and so stays.
	wide.fleet("drain", c1.name)
	wide.on(c1).uncordon()
	wide.fleet("uncordon", c1.name)
	for i, s := range all {
		s.of(placements[i]).expectWithin(testworld.Workload, complete())
	}
}

// contract:217
func TestDrainThatTheBudgetRefuses(t *testing.T) {
	s := bare(t)
	s.open()
	p := s.place(testworld.PickAll())
	s.of(p).expect(complete())
	s.guard(minAvailable("3"))
	s.on(c1).drain()
	s.on(c1).drained(false, s.byBudget("blocked", 3, 3))
	s.of(p).stays(complete())
	s.placed("test", members()...)
	s.on(c1).uncordon()
}

// contract:218
func TestDrainOfASecondMember(t *testing.T) {
	s := bare(t)
	s.open()
	p := s.place(testworld.PickAll())
	s.of(p).expect(complete())
	s.guard(minAvailable("2"))
	s.on(c1).drain()
	s.on(c1).drained(true, s.byBudget("allowed", 3, 3))
	two := testworld.Complete(c2.name, c3.name)
	s.of(p).expectWithin(testworld.Workload, two)
	s.of(p).stays(two)
	s.placed("test", c2, c3)
	testworld.Await(t, testworld.Workload, "the binding to go", func(context.Context) error {
		if b := s.on(c1).bindingTo(); b != nil {
			return fmt.Errorf("%s is still there", b.GetName())
		}
		return nil
	})
	s.on(c2).drain()
	s.on(c2).drained(false, s.byBudget("blocked", 2, 2))
	s.of(p).stays(two)
	s.on(c1).uncordon()
	s.on(c2).uncordon()
	s.of(p).expectWithin(testworld.Workload, complete())
}
