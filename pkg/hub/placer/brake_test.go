package placer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// on does what the scheduler and the dispatcher do for a cluster: it makes the binding of a placement, and a Work with
// a ConfigMap.
func (w *world) on(p v1beta1.PlacementObject, cluster string) {
	w.Helper()
	key := client.ObjectKeyFromObject(p)
	binding := scope.Bindings.New(key)
	binding.SetNamespace(key.Namespace)
	binding.SetName(key.Name + "-" + cluster)
	binding.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
	binding.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: string(p.GetUID())})
	binding.GetSpec().State, binding.GetSpec().TargetCluster = v1beta1.BindingStateBound, cluster
	binding.GetSpec().ClusterDecision = v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "test"}
	w.make(binding)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.MemberNamespace(cluster)}}
	if err := w.Create(w.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns.Name, Name: contract.WorkName(contract.WorkBase(key.Namespace, key.Name), -1),
		Labels:      map[string]string{contract.LabelPlacement: key.Name, contract.LabelBinding: binding.GetName()},
		Annotations: map[string]string{contract.AnnotationBindingUID: string(binding.GetUID())},
	}}
	if key.Namespace != "" {
		work.Labels[contract.LabelPlacementNamespace] = key.Namespace
	}
	work.Spec.Workload.Manifests = []v1beta1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":%q}}`, w.name),
	}}}
	w.make(work)
}

// A placement that is deleted beyond its policy keeps everything until it is released, or leaves its objects behind.
func TestDeletionIsHeld(t *testing.T) {
	for name, tc := range map[string]struct {
		policy  v1beta1.RemovalPolicy
		on      []string
		release func(v1beta1.PlacementObject)
		held    bool
	}{
		"a share until it is released": {
			policy: v1beta1.RemovalPolicy{Max: ptr.To(intstr.FromString("99%"))}, on: []string{"east", "west"}, held: true,
			release: func(p v1beta1.PlacementObject) {
				p.SetAnnotations(map[string]string{contract.AnnotationReleaseRemoval: removal.DigestOfDeletion(p.GetUID(), *p.GetDeletionTimestamp())})
			},
		},
		"a number of clusters until objects are abandoned": {
			policy: v1beta1.RemovalPolicy{Max: ptr.To(intstr.FromInt32(1))}, on: []string{"east", "west"}, held: true,
			release: func(p v1beta1.PlacementObject) {
				p.GetSpec().Strategy.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
			},
		},
		"a protected kind until it is not": {
			policy: v1beta1.RemovalPolicy{Protect: []v1beta1.ProtectedKind{{Kind: "ConfigMap"}}}, on: []string{"east"}, held: true,
			release: func(p v1beta1.PlacementObject) { p.GetSpec().Strategy.Removal = nil },
		},
		"another kind":           {policy: v1beta1.RemovalPolicy{Protect: []v1beta1.ProtectedKind{{Kind: "Namespace"}}}, on: []string{"east"}},
		"nothing on any cluster": {policy: v1beta1.RemovalPolicy{Max: ptr.To(intstr.FromInt32(0))}},
	} {
		for _, scoped := range []string{"cluster", "namespaced"} {
			t.Run(name+" "+scoped, func(t *testing.T) {
				w := newWorld(t)
				agent := start(t, defaults)
				w.make(w.namespace(), w.configMap("cm", "one"))
				var p v1beta1.PlacementObject = w.crp()
				key := w.key()
				if scoped == "namespaced" {
					p, key = w.rp(), types.NamespacedName{Namespace: w.name, Name: "rp"}
				}
				p.GetSpec().Strategy.Removal = tc.policy.DeepCopy()
				w.make(p)
				w.await("snapshot", func() error {
					if len(w.groups(key)) != 1 {
						return fmt.Errorf("no snapshots yet")
					}
					return nil
				})
				for _, cluster := range tc.on {
					w.on(p, cluster)
				}
				w.on(otherOf(t, w, p), "north") // which has nothing to do with it
				if err := w.Delete(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				kind := p.ConditionType(v1beta1.ConditionRemovalHeld)
				if tc.held {
					w.await("condition", func() error {
						c := meta.FindStatusCondition(w.placement(key).GetStatus().Conditions, kind)
						if c == nil || !strings.Contains(c.Message, "would remove 1 objects") || !strings.Contains(c.Message, "kubectl fleet release "+key.Name) {
							return fmt.Errorf("condition %+v", c)
						}
						return nil
					})
					agent.Stop()
					agent = start(t, defaults)
					testworld.Stable(t, 2*time.Second, "nothing is removed or written", func(context.Context) error {
						now := w.placement(key)
						if !slices.Contains(now.GetFinalizers(), contract.FinalizerPlacement) || len(w.groups(key)) != 1 {
							return fmt.Errorf("finalizers %v, %d groups", now.GetFinalizers(), len(w.groups(key)))
						}
						for _, write := range agent.All() {
							if strings.Contains(write+"/", "/"+key.Name+"/") {
								return fmt.Errorf("it writes %s", write)
							}
						}
						return nil
					})
					now := w.placement(key)
					tc.release(now)
					if err := w.Update(t.Context(), now); err != nil {
						t.Fatal(err)
					}
				}
				w.await("finalizer", func() error {
					now := w.placement(key)
					if got := now.GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerScheduler}) {
						return fmt.Errorf("finalizers %v", got)
					}
					if meta.FindStatusCondition(now.GetStatus().Conditions, kind) != nil {
						return fmt.Errorf("it still seems to be held")
					}
					return nil
				})
				w.release(p)
			})
		}
	}
}

// otherOf makes another placement of the same scope, with a similar name.
func otherOf(t *testing.T, w *world, p v1beta1.PlacementObject) v1beta1.PlacementObject {
	t.Helper()
	other := p.DeepCopyObject().(v1beta1.PlacementObject)
	other.SetResourceVersion("")
	other.SetUID("")
	other.SetFinalizers(nil)
	other.SetName(p.GetName() + "-other")
	w.make(other)
	return other
}
