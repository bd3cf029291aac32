package report

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// replaced is the binding to a cluster that by replaces.
func replaced(cluster, by string) *v1beta1.ClusterResourceBinding {
	b := bound(cluster, complete...)
	b.Spec.State = v1beta1.BindingStateUnscheduled
	e := failover.Exchange{With: by, Reason: failover.Lost, Since: metav1.NewTime(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC))}
	b.Annotations = map[string]string{contract.AnnotationReplacedBy: e.String()}
	return b
}

// because is the binding with another reason for the exchange.
func because(b *v1beta1.ClusterResourceBinding, reason failover.Reason) *v1beta1.ClusterResourceBinding {
	e := *failover.ReplacedBy(b)
	e.Reason = reason
	b.Annotations[contract.AnnotationReplacedBy] = e.String()
	return b
}

// awaiting reports that the placement has to leave a picked cluster after an update run.
func awaiting(policy v1beta1.PolicySnapshotObject) v1beta1.PolicySnapshotObject {
	*policy.GetConditions() = append(*policy.GetConditions(), metav1.Condition{
		Type: v1beta1.ConditionFailoverComplete, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonAwaitingUpdateRun, Message: "c waits", ObservedGeneration: 1,
	})
	return policy
}

func TestFailoverIsReported(t *testing.T) {
	const lost = "cluster c (Lost since 2030-01-01T12:00:00Z) is replaced by d, which is "
	const tainted = "cluster c (Tainted since 2030-01-01T12:00:00Z) is replaced by d, which is "
	for name, tc := range map[string]struct {
		policy   *v1beta1.Failover
		decided  v1beta1.PolicySnapshotObject
		bindings []v1beta1.BindingObject
		// want is the condition, "" for none, and said a part of its message.
		want, said string
	}{
		"without a policy": {decided: decided(metav1.ConditionTrue, []string{"a"}, nil)},
		"nothing is lost": {
			policy: &v1beta1.Failover{}, decided: decided(metav1.ConditionTrue, []string{"a"}, nil),
			bindings: []v1beta1.BindingObject{bound("a", complete...)}, want: "FailoverComplete=True NoClusterReplaced", said: "No cluster",
		},
		"a replacement is available": {
			policy: &v1beta1.Failover{}, decided: decided(metav1.ConditionTrue, []string{"d"}, []string{"c"}),
			bindings: []v1beta1.BindingObject{replaced("c", "d"), bound("d", complete...)},
			want:     "FailoverComplete=True ClustersReplaced", said: lost + "available; its objects may still run until it is heard, and are removed then",
		},
		"a replacement is available, and nothing is purged": {
			policy: &v1beta1.Failover{Purge: v1beta1.FailoverPurgeNever}, decided: decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{replaced("c", "d"), bound("d", complete...)},
			want:     "FailoverComplete=True ClustersReplaced", said: "left there without an owner",
		},
		"a replacement is not available": {
			policy: &v1beta1.Failover{}, decided: decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{replaced("c", "d"), bound("d", synced...)},
			want:     "FailoverComplete=False ReplacementPending", said: lost + "not available yet",
		},
		"there is no replacement": {
			policy: &v1beta1.Failover{}, decided: decided(metav1.ConditionFalse, []string{"a"}, []string{"c", "x"}),
			bindings: []v1beta1.BindingObject{bound("a", complete...), bound("c", complete...)},
			want:     "FailoverComplete=False NoReplacement", said: "not c",
		},
		"a taint is the reason": {
			policy: &v1beta1.Failover{Purge: v1beta1.FailoverPurgeNever}, decided: decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{because(replaced("c", "d"), failover.Tainted), bound("d", complete...)},
			want:     "FailoverComplete=True ClustersReplaced", said: tainted + "available; its objects are removed",
		},
		"a taint is the reason, without a policy": {
			decided:  decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{because(replaced("c", "d"), failover.Tainted), bound("d", synced...)},
			want:     "FailoverComplete=False ReplacementPending", said: tainted + "not available yet",
		},
		"a taint is the reason, and the replacement is available, without a policy": {
			decided:  decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{because(replaced("c", "d"), failover.Tainted), bound("d", complete...)},
			want:     "FailoverComplete=True ClustersReplaced", said: tainted + "available; its objects are removed",
		},
		"a cluster waits for an update run": {
			policy: &v1beta1.Failover{}, decided: awaiting(decided(metav1.ConditionTrue, []string{"a", "c"}, []string{"x"})),
			bindings: []v1beta1.BindingObject{bound("a", complete...), bound("c", complete...)},
			want:     "FailoverComplete=False AwaitingUpdateRun", said: "c waits",
		},
		"a cluster waits for an update run, without a policy": {
			decided:  awaiting(decided(metav1.ConditionTrue, []string{"a", "c"}, nil)),
			bindings: []v1beta1.BindingObject{bound("a", complete...), bound("c", complete...)},
			want:     "FailoverComplete=False AwaitingUpdateRun", said: "c waits",
		},
		"a policy is gone": {
			decided:  decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{replaced("c", "d"), bound("d", synced...)},
		},
		"there is no replacement, without a policy": {
			decided:  decided(metav1.ConditionFalse, []string{"a"}, []string{"c"}),
			bindings: []v1beta1.BindingObject{bound("a", complete...), bound("c", complete...)},
		},
		"the record cannot be read": {
			policy: &v1beta1.Failover{}, decided: decided(metav1.ConditionTrue, []string{"d"}, nil),
			bindings: []v1beta1.BindingObject{func() v1beta1.BindingObject {
				b := replaced("c", "d")
				b.Annotations[contract.AnnotationReplacedBy] = "{"
				return b
			}(), bound("d", complete...)},
			want: "FailoverComplete=True NoClusterReplaced",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlacement(false)
			p.GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(2)), Failover: tc.policy}
			got := Placement(PlacementFacts{Placement: p, Policy: tc.decided, Bindings: tc.bindings, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"}}, after)
			found, message := "", ""
			for i, text := range says(t, got.Status.Conditions) {
				if strings.HasPrefix(text, "FailoverComplete") {
					found, message = text, got.Status.Conditions[i].Message
				}
			}
			if found != tc.want || !strings.Contains(message, tc.said) {
				t.Errorf("got %q, %q\nwant %q, %q", found, message, tc.want, tc.said)
			}
		})
	}
}
