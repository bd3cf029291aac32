package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// world is a hub in memory that can be made to fail, and counts writes.
type world struct {
	*testing.T
	client     client.Client
	dispatcher *Dispatcher
	now        time.Time
	mu         sync.Mutex
	writes     []string
	// events are those on cluster-wide objects.
	events *testworld.Recorder
	// refuse, if set, answers writes of Works, and fail reads.
	refuse func(verb string, w *v1beta1.Work) error
	fail   error
}

// indexes lets scope register its indexes with a fake client.
type indexes struct{ *fake.ClientBuilder }

func (i indexes) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(obj, field, values)
	return nil
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, clusterv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{T: t, events: &testworld.Recorder{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(objects, testworld.Picked(placement(), "east"))...).
		WithStatusSubresource(&v1beta1.ClusterResourceBinding{}, &v1beta1.ResourceBinding{}, &v1beta1.Work{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				return w.write("create", obj, func() error { return c.Create(ctx, obj, opts...) })
			},
			Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
				return w.write("update", obj, func() error { return c.Update(ctx, obj, opts...) })
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				return w.write("patch", obj, func() error { return c.Patch(ctx, obj, patch, opts...) })
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				return w.write("delete", obj, func() error { return c.Delete(ctx, obj, opts...) })
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
				return w.write(sub, obj, func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if w.fail != nil {
					return w.fail
				}
				return c.List(ctx, list, opts...)
			},
		})
	if err := scope.Index(t.Context(), indexes{builder}); err != nil {
		t.Fatal(err)
	}
	w.client = builder.Build()
	w.dispatcher = &Dispatcher{
		Client: w.client, Direct: w.client, Recorder: w.events, NamespacedRecorder: &testworld.Recorder{}, Namespaced: true,
		Now: func() time.Time { return w.now },
	}
	return w
}

func (w *world) write(verb string, obj client.Object, do func() error) error {
	w.mu.Lock()
	w.writes = append(w.writes, fmt.Sprintf("%s %T %s", verb, obj, obj.GetName()))
	w.mu.Unlock()
	if work, ok := obj.(*v1beta1.Work); ok && w.refuse != nil {
		if err := w.refuse(verb, work); err != nil {
			return err
		}
	}
	return do()
}

var web = types.NamespacedName{Name: "web-east"}

// pass reconciles the binding once and returns what was written.
func (w *world) pass() (ctrl.Result, []string, error) {
	w.Helper()
	w.writes = nil
	result, err := w.dispatcher.Reconcile(w.Context(), ctrl.Request{NamespacedName: web})
	for i, s := range w.writes {
		w.writes[i] = strings.ReplaceAll(s, "*v1beta1.", "")
	}
	slices.Sort(w.writes)
	return result, w.writes, err
}

// wants reconciles once and fails unless exactly writes were written, without an error.
func (w *world) wants(writes ...string) ctrl.Result {
	w.Helper()
	result, got, err := w.pass()
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(writes, got); diff != "" {
		w.Fatalf("writes: %s", diff)
	}
	return result
}

func (w *world) binding() *v1beta1.ClusterResourceBinding {
	w.Helper()
	var b v1beta1.ClusterResourceBinding
	if err := w.client.Get(w.Context(), web, &b); err != nil {
		w.Fatal(err)
	}
	return &b
}

func (w *world) condition(kind string) string {
	w.Helper()
	for _, c := range w.binding().Status.Conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s/%s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

// reports lets the member report on every Work.
func (w *world) reports(conditions ...metav1.Condition) {
	w.Helper()
	var works v1beta1.WorkList
	if err := w.client.List(w.Context(), &works); err != nil {
		w.Fatal(err)
	}
	for i := range works.Items {
		work := &works.Items[i]
		work.Status.Conditions = conditions
		for j := range work.Status.Conditions {
			work.Status.Conditions[j].ObservedGeneration = work.Generation
		}
		if err := w.client.Status().Update(w.Context(), work); err != nil {
			w.Fatal(err)
		}
	}
}

func member() *clusterv1beta1.MemberCluster {
	return &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "east"}}
}

func placement() *v1beta1.ClusterResourcePlacement {
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "uid-of-web", Finalizers: []string{contract.FinalizerPlacement}}}
}

// bound is the binding of placement web to cluster east, bound to the group of index.
func bound(index int) *v1beta1.ClusterResourceBinding {
	return &v1beta1.ClusterResourceBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: web.Name, Generation: 2, Labels: map[string]string{contract.LabelPlacement: "web"},
			Finalizers: []string{contract.FinalizerBinding, contract.FinalizerWork},
		},
		Spec: v1beta1.ResourceBindingSpec{
			State: v1beta1.BindingStateBound, TargetCluster: "east", ResourceSnapshotName: contract.MasterSnapshotName("web", index),
		},
	}
}

// group is the first snapshot of index, whose annotation claims that it is one of count, and further ones with the
// given numbers.
func group(index, count int, subs ...int) []client.Object {
	snapshot := func(name string, annotations map[string]string) *v1beta1.ClusterResourceSnapshot {
		s := &v1beta1.ClusterResourceSnapshot{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Annotations: annotations,
				Labels: map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: fmt.Sprint(index)},
			},
			Spec: v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{
				Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"}}`),
			}}}},
		}
		testworld.Owned(s, placement())
		return s
	}
	out := []client.Object{snapshot(contract.MasterSnapshotName("web", index), map[string]string{contract.AnnotationSnapshotCount: fmt.Sprint(count)})}
	for _, sub := range subs {
		out = append(out, snapshot(contract.SubSnapshotName("web", index, sub), map[string]string{contract.AnnotationSubindex: fmt.Sprint(sub)}))
	}
	return out
}

var (
	applied   = metav1.Condition{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAllManifestsApplied}
	available = metav1.Condition{Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAllManifestsAvailable}
)

const (
	createFirst, createSecond = "create Work web-work", "create Work web-0"
	writeStatus               = "status ClusterResourceBinding web-east"
	patchBinding              = "patch ClusterResourceBinding web-east"
	freeFirst                 = "patch *v1.PartialObjectMetadata web-work"
)

func TestDispatchWritesWorksAndOneStatus(t *testing.T) {
	w := newWorld(t, append(group(0, 2, 0), member(), placement(), bound(0))...)
	if result := w.wants(createSecond, createFirst); result.RequeueAfter != report.Patience {
		t.Fatalf("look again after %s", result.RequeueAfter)
	}
	w.reports(applied, available)
	w.wants(writeStatus)
	if got := w.condition(v1beta1.ConditionAvailable); !strings.HasPrefix(got, "True/AllWorkAreAvailable") {
		t.Fatal(got)
	}
	if got := w.condition(v1beta1.ConditionRolloutStarted); !strings.HasPrefix(got, "True/RolloutStarted") {
		t.Fatal(got)
	}
	w.now = w.now.Add(time.Hour)
	if result := w.wants(); result.RequeueAfter != 0 {
		t.Fatalf("nothing to wait for, and still looks again after %s", result.RequeueAfter)
	}
}

func TestProgressIsWrittenOnceItLasts(t *testing.T) {
	w := newWorld(t, append(group(0, 1), member(), placement(), bound(0))...)
	w.wants(createFirst)
	w.now = w.now.Add(report.Patience / 2)
	if result := w.wants(); result.RequeueAfter != report.Patience/2 {
		t.Fatalf("look again after %s", result.RequeueAfter)
	}
	w.now = w.now.Add(report.Patience / 2)
	w.wants(writeStatus)
	if got := w.condition(v1beta1.ConditionApplied); !strings.HasPrefix(got, "False/ApplyInProgress") {
		t.Fatal(got)
	}
	w.wants()
}

func TestNewContentIsPatchedAndDroppedContentDeleted(t *testing.T) {
	w := newWorld(t, append(append(group(0, 2, 0), group(1, 1)...), member(), placement(), bound(0))...)
	w.wants(createSecond, createFirst)
	b := w.binding()
	b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 1)
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.wants("delete Work web-0", "patch Work web-work")
	var work v1beta1.Work
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
		t.Fatal(err)
	}
	if work.Labels[contract.LabelWorkResourceIndex] != "1" || work.Annotations[contract.AnnotationWorkSnapshot] != "web-1-snapshot" || len(work.Spec.Workload.Manifests) != 1 {
		t.Fatalf("%+v", work)
	}
	w.wants() // web-0 waits for the member, and is not deleted again
}

func TestAStrategyAloneIsPatchedEvenWithoutTheSnapshot(t *testing.T) {
	snapshots := group(0, 1)
	w := newWorld(t, append(snapshots, member(), placement(), bound(0))...)
	w.wants(createFirst)
	if err := w.client.Delete(t.Context(), snapshots[0]); err != nil {
		t.Fatal(err)
	}
	b := w.binding()
	b.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.wants("patch Work web-work")
	var work v1beta1.Work
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
		t.Fatal(err)
	}
	if work.Spec.ApplyStrategy == nil || work.Spec.ApplyStrategy.Type != v1beta1.ApplyStrategyTypeReportDiff || len(work.Spec.Workload.Manifests) != 1 {
		t.Fatalf("%+v", work.Spec)
	}
	w.now = w.now.Add(report.Patience)
	w.wants(writeStatus)
	if got := w.condition(v1beta1.ConditionOverridden); !strings.HasPrefix(got, "True") {
		t.Fatalf("the content is there and still: %s", got)
	}
}

// The patch of a strategy leaves an edit of the manifests that came just before it, and must not make it the
// dispatcher's own.
func TestAnEditJustBeforeAStrategyIsUndone(t *testing.T) {
	w := newWorld(t, fleet()...)
	w.wants(createFirst)
	want := w.manifest()
	b := w.binding()
	b.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.refuse = func(string, *v1beta1.Work) error {
		w.refuse = nil
		var work v1beta1.Work
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
			return err
		}
		work.Spec.Workload.Manifests[0].Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`)
		work.Generation += 2 // the fake client counts neither the edit nor the patch
		return w.client.Update(t.Context(), &work)
	}
	if _, writes, err := w.pass(); err != nil || w.manifest() == want {
		t.Fatalf("after %q, %v the manifest is %s", writes, err, w.manifest())
	}
	w.wants("patch Work web-work")
	if got := w.manifest(); got != want {
		t.Fatalf("the edited manifest is %s", got)
	}
	w.now = w.now.Add(restoreEvery)
	w.wants(writeStatus)
}

// Promise 1: what cannot be read whole is no reason to change anything.
func TestAbsenceIsNeverIntent(t *testing.T) {
	two := func(t *testing.T) *world {
		w := newWorld(t, append(append(group(0, 2, 0), group(1, 3, 1)...), member(), placement(), bound(0))...)
		w.wants(createSecond, createFirst)
		w.reports(applied, available)
		w.wants(writeStatus)
		return w
	}
	t.Run("a group that is not complete", func(t *testing.T) {
		w := two(t)
		b := w.binding()
		b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 1)
		b.Generation++
		if err := w.client.Update(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		w.wants()
		w.now = w.now.Add(report.Patience)
		w.wants(writeStatus)
		if got := w.condition(v1beta1.ConditionOverridden); !strings.Contains(got, "OverriddenFailed") || !strings.Contains(got, "2 of 3 parts") {
			t.Fatal(got)
		}
	})
	t.Run("a group that does not exist", func(t *testing.T) {
		w := two(t)
		b := w.binding()
		b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 7)
		b.Generation++
		if err := w.client.Update(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		w.wants()
	})
	t.Run("a read that fails", func(t *testing.T) {
		w := two(t)
		w.fail = errors.New("no route to host")
		if _, writes, err := w.pass(); !errors.Is(err, w.fail) || len(writes) > 0 {
			t.Fatalf("error %v, writes %v", err, writes)
		}
	})
	t.Run("a failed read while the binding is deleted", func(t *testing.T) {
		w := two(t)
		if err := w.client.Delete(t.Context(), w.binding()); err != nil {
			t.Fatal(err)
		}
		w.fail = errors.New("no route to host")
		if _, writes, err := w.pass(); !errors.Is(err, w.fail) || len(writes) > 0 {
			t.Fatalf("error %v, writes %v", err, writes)
		}
	})
	t.Run("a cluster that is not there", func(t *testing.T) {
		w := two(t)
		if err := w.client.Delete(t.Context(), member()); err != nil {
			t.Fatal(err)
		}
		w.wants()
	})
}

func TestAWorkThatIsRefusedStopsOnlyItself(t *testing.T) {
	w := newWorld(t, append(group(0, 2, 0), member(), placement(), bound(0))...)
	w.refuse = func(_ string, work *v1beta1.Work) error {
		if work.Name == "web-0" {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "Work"}, work.Name, nil)
		}
		return nil
	}
	if result := w.wants(createSecond, createFirst, writeStatus); result.RequeueAfter != rejectedWait {
		t.Fatalf("look again after %s", result.RequeueAfter)
	}
	if got := w.condition(v1beta1.ConditionWorkSynchronized); !strings.Contains(got, "SyncWorkFailed") || !strings.Contains(got, "web-0") {
		t.Fatal(got)
	}
}

func TestAMissingNamespaceIsWaitedFor(t *testing.T) {
	for name, refusal := range map[string]error{
		"missing": apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "fleet-member-east"),
		"terminating": &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonForbidden, Code: 403, Details: &metav1.StatusDetails{
			Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(group(0, 1), member(), placement(), bound(0))...)
			w.refuse = func(string, *v1beta1.Work) error { return refusal }
			w.wants(createFirst)
			w.now = w.now.Add(report.Patience)
			w.wants(createFirst, writeStatus)
			if got := w.condition(v1beta1.ConditionWorkSynchronized); !strings.Contains(got, "namespace fleet-member-east") {
				t.Fatal(got)
			}
			if result := w.wants(createFirst); result.RequeueAfter != 0 {
				t.Fatalf("polls every %s", result.RequeueAfter)
			}
		})
	}
}

func TestABindingWithoutOurFinalizerGetsItBeforeAnyWork(t *testing.T) {
	b := bound(0)
	b.Finalizers = []string{"someone/else"}
	w := newWorld(t, append(group(0, 1), member(), placement(), b)...)
	w.refuse = func(verb string, _ *v1beta1.Work) error {
		if verb == "create" && !slices.Contains(w.binding().Finalizers, contract.FinalizerWork) {
			w.Error("a work is made for a binding that may vanish without it")
		}
		return nil
	}
	w.wants(createFirst, patchBinding)
}

func TestADeletedBindingWaitsForItsWorks(t *testing.T) {
	w := newWorld(t, append(group(0, 2, 0), member(), placement(), bound(0))...)
	w.wants(createSecond, createFirst)
	if err := w.client.Delete(t.Context(), w.binding()); err != nil {
		t.Fatal(err)
	}
	w.wants("delete Work web-0", "delete Work web-work")
	w.wants()
	w.free("web-0")
	w.wants()
	w.free("web-work")
	w.wants(patchBinding)
	if diff := cmp.Diff([]string{contract.FinalizerBinding}, w.binding().Finalizers); diff != "" {
		t.Fatalf("the placement lives, so the scheduler has yet to see the deletion: %s", diff)
	}
	w.wants()
}

// free lets the member finish with a Work.
func (w *world) free(name string) {
	w.Helper()
	var work v1beta1.Work
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: name}, &work); err != nil {
		w.Fatal(err)
	}
	work.Finalizers = nil
	if err := w.client.Update(w.Context(), &work); err != nil {
		w.Fatal(err)
	}
}

func TestADeletedBindingOfADeletedPlacementGoesInOneWrite(t *testing.T) {
	w := newWorld(t, append(group(0, 1), member(), placement(), bound(0))...)
	w.wants(createFirst)
	for _, o := range []client.Object{w.binding(), placement()} {
		if err := w.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.wants("delete Work web-work")
	w.free("web-work")
	w.wants(patchBinding)
	if err := w.client.Get(t.Context(), web, &v1beta1.ClusterResourceBinding{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the binding is still there: %v", err)
	}
}

func TestADeletedBindingDoesNotWaitForAMemberThatIsGone(t *testing.T) {
	w := newWorld(t, append(group(0, 1), member(), placement(), bound(0))...)
	w.wants(createFirst)
	for _, o := range []client.Object{w.binding(), member()} {
		if err := w.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.wants("delete Work web-work", freeFirst, patchBinding)
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &v1beta1.Work{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the Work is still there: %v", err)
	}
}

// Works that no agent has ever seen are not waited for. Whether an agent has is what the API server has of its
// reports.
func TestADeletedBindingDoesNotWaitForAnAgentThatNeverWas(t *testing.T) {
	reported := clusterv1beta1.InternalMemberClusterStatus{AgentStatus: []clusterv1beta1.AgentStatus{{Type: clusterv1beta1.AgentTypeMemberAgent}}}
	internal := func(status clusterv1beta1.InternalMemberClusterStatus) client.Object {
		return &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-east", Name: "east"}, Status: status}
	}
	for name, tc := range map[string]struct {
		objects  []client.Object
		reported bool
		waits    bool
	}{
		"no agent has reported":                 {objects: []client.Object{internal(clusterv1beta1.InternalMemberClusterStatus{})}},
		"an agent has":                          {objects: []client.Object{internal(reported)}, waits: true},
		"an agent has reported on a Work":       {objects: []client.Object{internal(clusterv1beta1.InternalMemberClusterStatus{})}, reported: true, waits: true},
		"there is no trace of what it reported": {waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(append(group(0, 1), member(), placement(), bound(0)), tc.objects...)...)
			w.wants(createFirst)
			if tc.reported {
				w.reports(applied)
			}
			if err := w.client.Delete(t.Context(), w.binding()); err != nil {
				t.Fatal(err)
			}
			if tc.waits {
				w.wants("delete Work web-work")
				w.wants()
				return
			}
			w.wants("delete Work web-work", freeFirst, patchBinding)
		})
	}
}

// abandoning is the placement with a delete strategy that keeps what was placed.
func abandoning() *v1beta1.ClusterResourcePlacement {
	p := placement()
	p.Spec.Strategy.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
	return p
}

// What leaves a placement goes with the Work that it leaves empty: Abandon is not for that.
func TestContentThatIsDroppedIsNotAbandoned(t *testing.T) {
	w := newWorld(t, append(append(group(0, 2, 0), group(1, 1)...), member(), abandoning(), bound(0))...)
	w.wants(createSecond, createFirst)
	b := w.binding()
	b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 1)
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.wants("delete Work web-0", "patch Work web-0", "patch Work web-work")
	for name, want := range map[string]v1beta1.DeletePropagationPolicy{
		"web-0": v1beta1.DeletePropagationPolicyDelete, "web-work": v1beta1.DeletePropagationPolicyAbandon,
	} {
		var work v1beta1.Work
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: name}, &work); err != nil {
			t.Fatal(err)
		}
		if got := work.Spec.DeleteStrategy; got == nil || got.PropagationPolicy != want {
			t.Errorf("%s: %+v; want %s", name, got, want)
		}
	}
	w.wants()
}

// A cluster that the placement no longer has keeps the placed objects; an event on the placement reports it, whether
// or not the placement is deleted as well.
func TestAbandonedObjectsAreRecordedInAnEvent(t *testing.T) {
	for name, doomed := range map[string]bool{"the cluster is no longer picked": false, "the placement is deleted": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(group(0, 1), member(), abandoning(), bound(0))...)
			w.wants(createFirst)
			w.reports(applied, available)
			w.wants(writeStatus)
			going := []client.Object{w.binding()}
			if doomed {
				going = append(going, placement())
			}
			for _, o := range going {
				if err := w.client.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			w.wants("delete Work web-work")
			if events := w.events.All(); len(events) > 0 {
				t.Errorf("events before the member is done: %v", events)
			}
			w.free("web-work")
			w.wants(patchBinding)
			events := w.events.All()
			if len(events) != 1 || events[0].Reason != report.ReasonObjectsAbandoned || !strings.Contains(events[0].Message, "east") {
				t.Fatalf("events %v; want one that names the cluster", events)
			}
			if about, ok := events[0].About.(*v1beta1.ClusterResourcePlacement); !ok || about.Name != "web" {
				t.Errorf("the event is about %v; want the placement", events[0].About)
			}
		})
	}
}

func TestAWorkOfADeletedTwinIsWaitedFor(t *testing.T) {
	old := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{
		Namespace: "fleet-member-east", Name: "web-work", Finalizers: []string{contract.FinalizerWork},
		Labels: map[string]string{contract.LabelPlacement: "web", contract.LabelBinding: "web-east-old"},
	}}
	w := newWorld(t, append(group(0, 1), member(), placement(), bound(0), old)...)
	if err := w.client.Delete(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	w.wants()
	requests := w.dispatcher.forGoneWork(t.Context(), old)
	if !slices.Contains(requests, ctrl.Request{NamespacedName: web}) {
		t.Fatalf("the work's end leads to %v", requests)
	}
	w.free("web-work")
	w.wants(createFirst)
}
