package dispatcher

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// With purge Never the objects on a replaced cluster stay there; the Works are given the strategy before they are
// deleted, and no earlier, because the cluster may be picked again.
func TestObjectsOnAReplacedClusterStay(t *testing.T) {
	replaced := func(b *v1beta1.ClusterResourceBinding) {
		b.Spec.State = v1beta1.BindingStateUnscheduled
		b.Annotations = map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "west", Reason: failover.Lost}.String()}
	}
	for name, tc := range map[string]struct {
		purge  v1beta1.FailoverPurge
		change func(*v1beta1.ClusterResourceBinding)
		delete *v1beta1.DeleteStrategy
		want   *v1beta1.DeleteStrategy
		event  string
		doomed bool
	}{
		"Never": {
			purge: v1beta1.FailoverPurgeNever, change: replaced,
			want: &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}, event: "purge is Never",
		},
		"Never, with a strategy": {
			purge: v1beta1.FailoverPurgeNever, change: replaced,
			delete: &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyDelete, ForeignContent: v1beta1.ForeignContentPolicyDelete},
			want:   &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon, ForeignContent: v1beta1.ForeignContentPolicyDelete},
			event:  "purge is Never",
		},
		"Never, with Abandon": {
			purge: v1beta1.FailoverPurgeNever, change: replaced,
			delete: &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon},
			want:   &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon},
			event:  "propagationPolicy is Abandon",
		},
		"Graceful": {purge: v1beta1.FailoverPurgeGraceful, change: replaced},
		"given up without a replacement": {purge: v1beta1.FailoverPurgeNever, change: func(b *v1beta1.ClusterResourceBinding) {
			b.Spec.State = v1beta1.BindingStateUnscheduled
		}},
		"restored": {purge: v1beta1.FailoverPurgeNever, change: func(b *v1beta1.ClusterResourceBinding) {
			replaced(b)
			b.Spec.State = v1beta1.BindingStateBound
		}},
		"no failover": {change: replaced},
		"the placement returns": {purge: v1beta1.FailoverPurgeNever, change: func(b *v1beta1.ClusterResourceBinding) {
			replaced(b)
			b.Annotations[contract.AnnotationReplacedBy] = failover.Exchange{With: "west", Reason: failover.Failback}.String()
		}},
		"a taint is the reason": {purge: v1beta1.FailoverPurgeNever, change: func(b *v1beta1.ClusterResourceBinding) {
			replaced(b)
			b.Annotations[contract.AnnotationReplacedBy] = failover.Exchange{With: "west", Reason: failover.Tainted}.String()
		}},
		"the placement is deleted": {purge: v1beta1.FailoverPurgeNever, change: replaced, doomed: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := placement()
			p.Spec.Strategy.DeleteStrategy = tc.delete
			if tc.doomed {
				p.Finalizers = []string{"example.com/test"}
			}
			if tc.purge != "" {
				p.Spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Failover: &v1beta1.Failover{Purge: tc.purge}}
			}
			w := newWorld(t, append(group(0, 1), member(), p, bound(0))...)
			w.wants(createFirst)
			w.reports(applied, available)
			w.wants(writeStatus)
			b := w.binding()
			tc.change(b)
			if err := w.client.Update(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.pass(); err != nil {
				t.Fatal(err)
			}
			if got := w.deleteStrategy(); !sameStrategy(got, tc.delete) {
				t.Errorf("the Work of a binding that may be restored has %+v; want %+v", got, tc.delete)
			}
			if tc.doomed {
				if err := w.client.Delete(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.client.Delete(t.Context(), w.binding()); err != nil {
				t.Fatal(err)
			}
			w.refuse = func(verb string, _ *v1beta1.Work) error {
				if got := w.deleteStrategy(); verb == "delete" && !sameStrategy(got, tc.want) {
					t.Errorf("the Work is deleted with %+v; want %+v", got, tc.want)
				}
				return nil
			}
			if _, wrote, err := w.pass(); err != nil || wrote[0] != "delete Work web-work" {
				t.Fatalf("writes %q, %v", wrote, err)
			}
			w.free("web-work")
			w.wants(patchBinding)
			switch events := w.events.All(); {
			case tc.event == "" && len(events) > 0:
				t.Errorf("events %v; want none", events)
			case tc.event != "" && (len(events) != 1 || !strings.Contains(events[0].Message, "east") || !strings.Contains(events[0].Message, tc.event)):
				t.Errorf("events %v; want one with %q", events, tc.event)
			}
		})
	}
}

func (w *world) deleteStrategy() *v1beta1.DeleteStrategy {
	w.Helper()
	var work v1beta1.Work
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
		w.Fatal(err)
	}
	return work.Spec.DeleteStrategy
}

func sameStrategy(a, b *v1beta1.DeleteStrategy) bool {
	return a == b || a != nil && b != nil && *a == *b
}
