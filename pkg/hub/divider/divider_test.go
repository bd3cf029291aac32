package divider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// world is a hub in memory with the placement web, of 12 replicas on the clusters a, b and c, and refuses some writes.
type world struct {
	*testing.T
	client  client.Client
	divider *Divider
	mu      sync.Mutex
	writes  []string
	refuse  func(name string) error
}

// indexes lets scope register its indexes with a fake client.
type indexes struct{ *fake.ClientBuilder }

func (i indexes) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(obj, field, values)
	return nil
}

func placement() *v1beta1.ClusterResourcePlacement {
	return &v1beta1.ClusterResourcePlacement{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "uid-of-web", Generation: 1},
		Spec:       v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll, Replicas: &v1beta1.ReplicaPolicy{}}},
	}
}

func snapshotOf(index int, total int) *v1beta1.ClusterResourceSnapshot {
	s := &v1beta1.ClusterResourceSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Name: contract.MasterSnapshotName("web", index), UID: types.UID(fmt.Sprint("uid-", index)),
			Annotations: map[string]string{contract.AnnotationSnapshotCount: "1", contract.AnnotationResourceHash: fmt.Sprint("hash-", index)},
			Labels:      map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: fmt.Sprint(index), contract.LabelLatest: "true"},
		},
		Spec: v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{Raw: fmt.Appendf(nil,
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"},"spec":{"replicas":%d}}`, total)}}}},
	}
	testworld.Owned(s, placement())
	return s
}

func cluster(name string) *clusterv1beta1.MemberCluster {
	return &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
		Status: clusterv1beta1.MemberClusterStatus{AgentStatus: []clusterv1beta1.AgentStatus{{
			Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon),
		}}},
	}
}

func bindingTo(cluster string) *v1beta1.ClusterResourceBinding {
	return &v1beta1.ClusterResourceBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-" + cluster, Generation: 1, Labels: map[string]string{contract.LabelPlacement: "web"},
			Annotations: map[string]string{contract.AnnotationPlacementUID: "uid-of-web"},
		},
		Spec: v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateBound, TargetCluster: cluster, ResourceSnapshotName: contract.MasterSnapshotName("web", 0)},
		Status: v1beta1.ResourceBindingStatus{Conditions: []metav1.Condition{
			{Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: "Test", ObservedGeneration: 1},
		}},
	}
}

func newWorld(t *testing.T) *world {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, clusterv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := []client.Object{placement(), snapshotOf(0, 12)}
	for _, name := range []string{"a", "b", "c"} {
		objects = append(objects, cluster(name), bindingTo(name))
	}
	w := &world{T: t}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1beta1.ClusterResourceBinding{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				w.mu.Lock()
				w.writes = append(w.writes, obj.GetName())
				w.mu.Unlock()
				if w.refuse != nil {
					if err := w.refuse(obj.GetName()); err != nil {
						return err
					}
				}
				return c.Patch(ctx, obj, patch, opts...)
			},
		})
	if err := scope.Index(t.Context(), indexes{builder}); err != nil {
		t.Fatal(err)
	}
	w.client = builder.Build()
	w.divider = &Divider{Client: w.client, Recorder: &testworld.Recorder{}, Now: func() time.Time { return noon }}
	return w
}

// pass reconciles the placement once, and returns the bindings that were written, in order.
func (w *world) pass() (string, error) {
	w.Helper()
	w.writes = nil
	_, err := w.divider.Reconcile(w.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "web"}})
	return strings.Join(w.writes, " "), err
}

// settle reconciles until nothing is written, and compares the shares of the newest revision.
func (w *world) settle(want string) {
	w.Helper()
	for n := 0; ; n++ {
		written, err := w.pass()
		if err != nil || n > 20 {
			w.Fatalf("pass %d: %v", n, err)
		}
		if written == "" {
			break
		}
	}
	if got := w.shares(); got != want {
		w.Errorf("the shares are %s, want %s", got, want)
	}
}

func (w *world) shares() string {
	w.Helper()
	var out []string
	for _, name := range []string{"a", "b", "c"} {
		b := bindingTo(name)
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			continue
		}
		text := name + "="
		if shares := replicas.Newest(b); len(shares.Workloads) > 0 {
			text += fmt.Sprint(shares.Workloads[0].Replicas)
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// update changes a stored object.
func update[O client.Object](w *world, o O, change func(O)) {
	w.Helper()
	if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	change(o)
	if err := w.client.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func TestSharesAreWrittenAndRemoved(t *testing.T) {
	w := newWorld(t)
	w.settle("a=4 b=4 c=4")
	update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) { p.Spec.Policy.Replicas = nil })
	w.settle("a= b= c=")
	update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) {
		p.Spec.Policy.Replicas = &v1beta1.ReplicaPolicy{Kinds: []v1beta1.ReplicaKind{{Group: "apps", Kind: "StatefulSet"}}}
	})
	w.settle("a= b= c=")
	for _, name := range []string{"a", "b", "c"} {
		b := bindingTo(name)
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil || len(b.Spec.Shares) != 1 {
			t.Errorf("%s: shares %v, %v; want those of a revision without workloads", name, b.Spec.Shares, err)
		}
	}
	update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) { p.Spec.Policy.Replicas.Kinds = nil })
	w.settle("a=4 b=4 c=4")
	if err := w.client.Create(t.Context(), snapshotOf(1, 15)); err != nil {
		t.Fatal(err)
	}
	w.settle("a=5 b=5 c=5")
}

// Replicas are added before others are taken, and a write that fails stops the later ones.
func TestWritesAreInTurn(t *testing.T) {
	w := newWorld(t)
	w.settle("a=4 b=4 c=4")
	update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) {
		p.Spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: time.Minute}}
	})
	update(w, cluster("c"), func(c *clusterv1beta1.MemberCluster) {
		c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-time.Hour))
		c.Status.Silence = &clusterv1beta1.ClusterSilence{State: clusterv1beta1.SilenceLost, Since: metav1.NewTime(noon.Add(-time.Hour))}
	})
	refused := errors.New("no")
	w.refuse = func(name string) error {
		if name == "web-c" {
			return refused
		}
		return nil
	}
	if written, err := w.pass(); written != "web-c" || !errors.Is(err, refused) {
		t.Fatalf("wrote %s, %v; want c, which is lost, first and alone", written, err)
	}
	w.refuse = nil
	written, err := w.pass()
	if first, rest, _ := strings.Cut(written, " "); err != nil || first != "web-c" || len(strings.Fields(rest)) != 2 {
		t.Fatalf("wrote %s, %v", written, err)
	}
	w.settle("a=6 b=6 c=4")
	update(w, cluster("c"), func(c *clusterv1beta1.MemberCluster) {
		c.Status.AgentStatus[0].LastReceivedHeartbeat, c.Status.Silence = metav1.NewTime(noon), nil
	})
	w.settle("a=6 b=6 c=0")
}

func TestNothingIsDividedWithoutContentOrPolicy(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"no snapshot": func(w *world) {
			if err := w.client.Delete(w.Context(), snapshotOf(0, 0)); err != nil {
				w.Fatal(err)
			}
		},
		"an incomplete snapshot": func(w *world) {
			update(w, snapshotOf(0, 0), func(s *v1beta1.ClusterResourceSnapshot) { s.Annotations[contract.AnnotationSnapshotCount] = "2" })
		},
		"a snapshot of another placement of this name": func(w *world) {
			update(w, snapshotOf(0, 0), func(s *v1beta1.ClusterResourceSnapshot) { s.OwnerReferences[0].UID = "other" })
		},
		"an invalid policy": func(w *world) {
			update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) {
				p.Spec.Policy.Replicas = &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](2), MaxPerCluster: ptr.To[int32](1)}
			})
		},
		"no placement": func(w *world) {
			if err := w.client.Delete(w.Context(), placement()); err != nil {
				w.Fatal(err)
			}
		},
		"a placement that is being deleted": func(w *world) {
			update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) { p.Finalizers = []string{"example.com/test"} })
			if err := w.client.Delete(w.Context(), placement()); err != nil {
				w.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			w.settle("a= b= c=")
		})
	}
}

// A brake holds all moves; when it ends, all placements that divide replicas are divided again, also without failover.
func TestABrakeHoldsMoves(t *testing.T) {
	w := newWorld(t)
	w.settle("a=4 b=4 c=4")
	stranger := cluster("x")
	stranger.Status.Silence = &clusterv1beta1.ClusterSilence{State: clusterv1beta1.SilenceBraked, Since: metav1.NewTime(noon)}
	if err := w.client.Create(t.Context(), stranger); err != nil {
		t.Fatal(err)
	}
	update(w, placement(), func(p *v1beta1.ClusterResourcePlacement) {
		p.Spec.Policy.Replicas.Weights = []v1beta1.ClusterWeight{
			{ClusterSelector: metav1.LabelSelector{}, Weight: 1},
			{ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"name": "a"}}, Weight: 2},
		}
	})
	w.settle("a=4 b=4 c=4")
	before := stranger.DeepCopy()
	update(w, stranger, func(c *clusterv1beta1.MemberCluster) { c.Status.Silence = nil })
	if !brakes().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: stranger}) {
		t.Error("the end of the brake is no event")
	}
	if requests := w.divider.onBrake(t.Context(), stranger); len(requests) != 1 || requests[0].Name != "web" {
		t.Errorf("the end of the brake enqueues %v", requests)
	}
	w.settle("a=6 b=3 c=3")
}
