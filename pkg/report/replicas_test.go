package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// share is one of workload, of 10 replicas; moving to another number if there is one.
func share(workload string, replicas int32, moving ...int32) v1beta1.ReplicaShare {
	s := v1beta1.ReplicaShare{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: workload, Replicas: replicas, Of: 10}
	for _, to := range moving {
		s.Target = ptr.To(to)
	}
	return s
}

// dividedOn is the binding to a cluster with shares of the latest revision.
func dividedOn(cluster string, shares ...v1beta1.ReplicaShare) *v1beta1.ClusterResourceBinding {
	b := bound(cluster, complete...)
	b.Spec.Shares = []v1beta1.RevisionShares{{ResourceSnapshotName: "web-2-snapshot", Workloads: shares}}
	return b
}

func TestReplicasAreReported(t *testing.T) {
	const moves = "Replicas move as they become available on other clusters, within maxSurge: "
	lost := dividedOn("c", share("web", 5))
	lost.Spec.Shares[0].Lost = true
	parked := dividedOn("d", share("web", 9))
	parked.Spec.State = v1beta1.BindingStateUnscheduled
	other := share("web", 2, 0)
	other.Kind, other.Field = "HorizontalPodAutoscaler", "maxReplicas"
	pinned := share("web", 20)
	pinned.Pinned = true
	for name, tc := range map[string]struct {
		policy   *v1beta1.ReplicaPolicy
		bindings []v1beta1.BindingObject
		// want is the condition, "" for none, and said its message.
		want, said string
	}{
		"without a policy": {bindings: []v1beta1.BindingObject{dividedOn("a", share("web", 10))}},
		"no workload": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{dividedOn("a"), dividedOn("b")},
			want: "True NoWorkload", said: "The content has no workload of policy.replicas.kinds",
		},
		"divided": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{dividedOn("b", share("web", 6)), dividedOn("a", share("web", 4))},
			want: "True ReplicasDivided", said: "Deployment shop/web: 10 of 10 on 2 clusters",
		},
		"several workloads, sorted": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{
				dividedOn("a", share("z", 10), share("y", 10), share("x", 10), share("w", 10)),
			},
			want: "True ReplicasDivided", said: "Deployment shop/w: 10 of 10 on 1 cluster, Deployment shop/x: 10 of 10 on 1 cluster, Deployment shop/y: 10 of 10 on 1 cluster and 1 more",
		},
		"not decided yet": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{bound("b", complete...), bound("a", complete...), dividedOn("c", share("web", 1, 10))},
			want: "False DivisionPending", said: "The shares of these clusters are not decided yet: a, b",
		},
		"moving": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{dividedOn("b", share("web", 4, 2)), dividedOn("a", share("web", 6, 8))},
			want: "False ReplicasMoving", said: moves + "Deployment shop/web (a 6 to 8, b 4 to 2)",
		},
		"an autoscaler": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{dividedOn("a", other), dividedOn("b", share("web", 10))},
			want: "False ReplicasUnplaced", said: "HorizontalPodAutoscaler shop/web maxReplicas: there is no room for 10 of 10. " +
				"Raise policy.replicas.maxPerCluster, or place on more or larger clusters",
		},
		"no room": {
			policy: &v1beta1.ReplicaPolicy{MaxPerCluster: ptr.To[int32](3)}, bindings: []v1beta1.BindingObject{dividedOn("a", share("web", 3)), dividedOn("b", share("web", 2, 3))},
			want: "False ReplicasUnplaced", said: "Deployment shop/web: there is no room for 4 of 10. Raise policy.replicas.maxPerCluster, or place on more or larger clusters",
		},
		"an override sets more than all": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{dividedOn("a", pinned), dividedOn("b", share("web", 0))},
			want: "True ReplicasDivided", said: "Deployment shop/web: 20 of 10 on 2 clusters",
		},
		"a lost cluster": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{lost, dividedOn("a", share("web", 10))},
			want: "True ReplicasDivided", said: "Deployment shop/web: 10 of 10 on 1 cluster. Other clusters have the replicas of lost clusters: c",
		},
		"a parked cluster": {
			policy: &v1beta1.ReplicaPolicy{}, bindings: []v1beta1.BindingObject{parked, dividedOn("a", share("web", 10))},
			want: "True ReplicasDivided", said: "Deployment shop/web: 10 of 10 on 1 cluster",
		},
		"a policy that cannot be used": {
			policy:   &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](3), MaxPerCluster: ptr.To[int32](2)},
			bindings: []v1beta1.BindingObject{dividedOn("a", share("web", 10))},
			want:     "False NotDividable", said: "spec.policy.replicas.minPerCluster: Invalid value: 3: it must not be greater than maxPerCluster, which is 2",
		},
	} {
		for _, namespaced := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", namespaced), func(t *testing.T) {
				got := dividedStatus(tc.policy, namespaced, tc.bindings...)
				found, message := "", ""
				for i, text := range says(t, got.Conditions) {
					if rest, ok := strings.CutPrefix(text, "ReplicasDivided="); ok {
						found, message = rest, got.Conditions[i].Message
					}
				}
				if found != tc.want || message != tc.said {
					t.Errorf("got %q, %q\nwant %q, %q", found, message, tc.want, tc.said)
				}
				slices.Reverse(tc.bindings)
				again := dividedStatus(tc.policy, namespaced, tc.bindings...)
				if at := slices.IndexFunc(again.Conditions, func(c metav1.Condition) bool { return strings.HasSuffix(c.Type, "ReplicasDivided") }); at >= 0 && again.Conditions[at].Message != message {
					t.Errorf("in another order of the bindings, %q", again.Conditions[at].Message)
				}
			})
		}
	}
}

// dividedStatus is the status of a placement with this policy.
func dividedStatus(policy *v1beta1.ReplicaPolicy, namespaced bool, bindings ...v1beta1.BindingObject) v1beta1.PlacementStatus {
	p := newPlacement(namespaced)
	p.GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll, Replicas: policy}
	var picked []string
	for _, b := range bindings {
		picked = append(picked, b.GetSpec().TargetCluster)
	}
	return Placement(PlacementFacts{
		Placement: p, Policy: decided(metav1.ConditionTrue, picked, nil), Bindings: bindings, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"},
	}, after).Status
}

// The entry of a cluster has the shares of the content that the cluster has, or will get first.
func TestSharesOfAnEntry(t *testing.T) {
	updating := dividedOn("a", share("web", 7))
	updating.Spec.Shares = append([]v1beta1.RevisionShares{{ResourceSnapshotName: "web-1-snapshot", Workloads: []v1beta1.ReplicaShare{share("web", 3)}}}, updating.Spec.Shares...)
	updating.Spec.ResourceSnapshotName = "web-1-snapshot"
	fresh := dividedOn("b", share("web", 4))
	fresh.Spec.State, fresh.Spec.ResourceSnapshotName = v1beta1.BindingStateScheduled, ""
	many := dividedOn("c")
	for i := range 150 {
		many.Spec.Shares[0].Workloads = append(many.Spec.Shares[0].Workloads, share(fmt.Sprint("web-", i), 1))
	}
	got := map[string]string{}
	for _, entry := range dividedStatus(&v1beta1.ReplicaPolicy{}, false, updating, fresh, many).PerClusterPlacementStatuses {
		got[entry.ClusterName] = fmt.Sprint(len(entry.Shares), " of ", entry.Shares[0].Replicas)
	}
	if want := "map[a:1 of 3 b:1 of 4 c:100 of 1]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, entry := range dividedStatus(nil, false, updating).PerClusterPlacementStatuses {
		if entry.Shares != nil {
			t.Errorf("without a policy the entry has %v", entry.Shares)
		}
	}
}

// However many workloads and clusters there are, the status can be stored, and names what to look at.
func TestStatusOfManySharesFits(t *testing.T) {
	long := strings.Repeat("n", 240)
	var bindings []v1beta1.BindingObject
	for i := range 200 {
		b := dividedOn(fmt.Sprintf("cluster-%03d", i))
		for j := range 500 {
			s := share(fmt.Sprint(long, j), int32(j), 7)
			s.Namespace, s.Group = long[:63], long
			b.Spec.Shares[0].Workloads = append(b.Spec.Shares[0].Workloads, s)
		}
		bindings = append(bindings, b)
	}
	status := dividedStatus(&v1beta1.ReplicaPolicy{}, false, bindings...)
	if size := bytesOf(status); size > stored {
		t.Errorf("the status has %d bytes", size)
	}
	for _, c := range status.Conditions {
		if len(c.Message) > 32768 {
			t.Errorf("%s has a message of %d bytes", c.Type, len(c.Message))
		}
	}
	if n := len(status.PerClusterPlacementStatuses); n != 200 {
		t.Fatalf("there are %d entries", n)
	}
	for _, entry := range status.PerClusterPlacementStatuses {
		if len(entry.Shares) != 1 {
			t.Fatalf("%s has %d shares", entry.ClusterName, len(entry.Shares))
		}
	}
}
