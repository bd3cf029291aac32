package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contents are ConfigMaps of these names, or other objects as JSON, in a revision.
type contents []string

func (c contents) raw(value int) []v1beta1.ResourceContent {
	var out []v1beta1.ResourceContent
	for _, o := range c {
		if !strings.HasPrefix(o, "{") {
			o = fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"shop"},"data":{"index":"%d"}}`, o, value)
		}
		out = append(out, v1beta1.ResourceContent{RawExtension: runtime.RawExtension{Raw: []byte(o)}})
	}
	return out
}

// braking is a hub whose placement web has a removal policy and the revisions 0 and on, each in parts.
func braking(t *testing.T, most, protect string, revisions ...[]contents) *world {
	t.Helper()
	web := placement()
	web.Spec.Strategy.Removal = removalPolicy(t, most, protect)
	objects := []client.Object{member(), web, bound(0)}
	for i, parts := range revisions {
		var subs []int
		for n := range parts[1:] {
			subs = append(subs, n)
		}
		for n, s := range group(i, len(parts), subs...) {
			s.(v1beta1.ResourceSnapshotObject).GetSpec().SelectedResources = parts[n].raw(i)
			objects = append(objects, s)
		}
	}
	w := newWorld(t, objects...)
	w.dispatcher.Client = stripped(w.client)
	w.settled()
	return w
}

// stripped reads Works like the cache of the agent, without their manifests.
func stripped(c client.Client) client.Client {
	return interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			if works, ok := list.(*v1beta1.WorkList); ok {
				for i := range works.Items {
					works.Items[i].Spec.Workload.Manifests = nil
				}
			}
			return err
		},
	})
}

func removalPolicy(t testing.TB, most, protect string) *v1beta1.RemovalPolicy {
	t.Helper()
	policy, err := removal.Parse(most, protect)
	if err != nil {
		t.Fatal(err)
	}
	out := &v1beta1.RemovalPolicy{Max: policy.Max}
	for _, kind := range policy.Protect {
		out.Protect = append(out.Protect, v1beta1.ProtectedKind{Group: kind.Group, Kind: kind.Kind})
	}
	return out
}

// settled passes until nothing is left to do, and the member has everything.
func (w *world) settled() {
	w.Helper()
	for range 5 {
		if _, writes, err := w.pass(); err != nil {
			w.Fatal(err)
		} else if len(writes) == 0 {
			return
		}
		w.reports(applied, available)
		w.removed()
		w.now = w.now.Add(time.Minute)
	}
	w.Fatal("the agent does not stop writing")
}

// give makes the binding request a revision.
func (w *world) give(index int) {
	w.Helper()
	w.change(func(b *v1beta1.ClusterResourceBinding) {
		b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", index)
		b.Generation++
	})
	w.settled()
}

// removed lets the member finish with the Works that are deleted.
func (w *world) removed() {
	w.Helper()
	var list v1beta1.WorkList
	if err := w.client.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	for _, work := range list.Items {
		if work.DeletionTimestamp.IsZero() {
			continue
		}
		work.Finalizers = nil
		if err := w.client.Update(w.Context(), &work); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) works() []v1beta1.Work {
	w.Helper()
	var list v1beta1.WorkList
	if err := w.client.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(work v1beta1.Work) bool { return !work.DeletionTimestamp.IsZero() })
}

// names are the objects in the Works of the cluster. Each Work must have the number of manifests that it claims.
func (w *world) names() (out []string) {
	w.Helper()
	for _, work := range w.works() {
		if n := len(work.Spec.Workload.Manifests); work.Annotations[contract.AnnotationManifests] != fmt.Sprint(n) {
			w.Errorf("work %s has %d manifests and claims %s", work.Name, n, work.Annotations[contract.AnnotationManifests])
		}
		for _, m := range work.Spec.Workload.Manifests {
			out = append(out, removal.Identify(m.Raw).Name)
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) has(names ...string) {
	w.Helper()
	if diff := cmp.Diff(names, w.names()); diff != "" {
		w.Fatalf("on the cluster: %s", diff)
	}
}

// held requires that so many of total objects are held, and returns what the binding reports.
func (w *world) held(removed, total int32) *v1beta1.HeldRemoval {
	w.Helper()
	held := w.binding().Status.HeldRemoval
	if held == nil || held.Removed != removed || held.Total != total {
		w.Fatalf("held: %+v", held)
	}
	if got := w.condition(v1beta1.ConditionRemovalHeld); !strings.HasPrefix(got, "True/BeyondRemovalPolicy") {
		w.Fatalf("condition %q", got)
	}
	w.wants() // a restart, or another event, writes nothing
	return held
}

func (w *world) holdsNothing() {
	w.Helper()
	if held, c := w.binding().Status.HeldRemoval, w.condition(v1beta1.ConditionRemovalHeld); held != nil || c != "" {
		w.Fatalf("held: %+v, condition %q", held, c)
	}
}

// release lets removals through, as a user does.
func (w *world) release(held ...*v1beta1.HeldRemoval) {
	w.Helper()
	var all []v1beta1.HeldRemoval
	for _, h := range held {
		all = append(all, *h)
	}
	w.place(func(p *v1beta1.ClusterResourcePlacement) {
		text, _ := removal.Release(all)
		p.Annotations = map[string]string{contract.AnnotationReleaseRemoval: text}
	})
}

func (w *world) place(change func(*v1beta1.ClusterResourcePlacement)) {
	w.Helper()
	var p v1beta1.ClusterResourcePlacement
	if err := w.client.Get(w.Context(), types.NamespacedName{Name: "web"}, &p); err != nil {
		w.Fatal(err)
	}
	change(&p)
	if err := w.client.Update(w.Context(), &p); err != nil {
		w.Fatal(err)
	}
	w.settled()
}

var five = contents{"a", "b", "c", "d", "e"}

// A selector that matches less removes nothing beyond the policy; what it adds and changes goes on.
func TestContentThatLeavesIsHeld(t *testing.T) {
	w := braking(t, "20%", "", []contents{five}, []contents{{"a", "new"}}, []contents{{"a", "b", "c", "d", "new"}})
	w.holdsNothing()
	w.give(1)
	w.has("a", "b", "c", "d", "e", "new")
	held := w.held(4, 6)
	if diff := cmp.Diff([]string{"ConfigMap shop/b", "ConfigMap shop/c", "ConfigMap shop/d", "ConfigMap shop/e"}, held.First); diff != "" {
		t.Error(diff)
	}
	for _, m := range w.works()[0].Spec.Workload.Manifests {
		changed := strings.Contains(string(m.Raw), `"index":"1"`)
		if name := removal.Identify(m.Raw).Name; changed != (name == "a" || name == "new") {
			t.Errorf("%s: %s", name, m.Raw)
		}
	}
	if got := w.condition(v1beta1.ConditionAvailable); !strings.HasPrefix(got, "True") {
		t.Errorf("what is wanted is there, and still: %s", got)
	}
	w.give(2) // one of six is within the policy
	w.has("a", "b", "c", "d", "new")
	w.holdsNothing()
}

func TestRevertEndsTheHold(t *testing.T) {
	w := braking(t, "0", "", []contents{five}, []contents{{"a"}})
	w.give(1)
	w.held(4, 5)
	w.give(0)
	w.has(five...)
	w.holdsNothing()
	if works := w.works(); len(works) != 1 || len(works[0].Spec.Workload.Manifests) != 5 {
		t.Errorf("works %+v", works)
	}
}

// A release lets exactly the change through that was shown. A later one is held again, also the same one that is made
// again after it was reverted.
func TestReleaseLetsExactlyThatChangeThrough(t *testing.T) {
	w := braking(t, "1", "", []contents{five}, []contents{{"a", "b"}}, []contents{{"a"}})
	w.give(1)
	shown := w.held(3, 5)
	w.give(2) // one object more than shown
	more := w.held(4, 5)
	w.release(shown)
	w.has(five...)
	if w.held(4, 5).Digest != more.Digest {
		t.Error("a release of another change changes this one")
	}
	w.give(1)
	again := w.held(3, 5) // the same as shown at first, but held since another time
	w.has(five...)
	w.release(again)
	w.has("a", "b")
	w.holdsNothing()
	w.give(0)
	w.has(five...)
	w.give(1)
	w.has(five...)
	if w.held(3, 5).Digest == again.Digest {
		t.Error("last month's release is still valid")
	}
}

// A release that a user gives for several clusters contains the digests of all.
func TestReleaseOfSeveral(t *testing.T) {
	w := braking(t, "0", "", []contents{five}, []contents{{"a"}})
	w.give(1)
	w.release(&v1beta1.HeldRemoval{Digest: strings.Repeat("0", 20)}, w.held(4, 5), &v1beta1.HeldRemoval{Digest: strings.Repeat("f", 20)})
	w.has("a")
	w.holdsNothing()
}

func TestTwoChangesAtOnce(t *testing.T) {
	w := braking(t, "1", "", []contents{five}, []contents{{"a", "b", "c"}}, []contents{{"a", "b", "d", "e"}})
	w.give(1)
	first := w.held(2, 5)
	w.give(2) // reverts that, and removes c, which is within the policy
	w.has("a", "b", "d", "e")
	w.holdsNothing()
	w.release(first)
	w.has("a", "b", "d", "e")
}

func TestProtectedKinds(t *testing.T) {
	namespace := `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`
	w := braking(t, "", "Namespace", []contents{{namespace, "a", "b"}}, []contents{{namespace, "a"}}, []contents{{"a"}})
	w.give(1)
	w.has("a", "shop")
	w.holdsNothing()
	w.give(2)
	w.has("a", "shop")
	if held := w.held(1, 2); held.Protected != 1 || held.First[0] != "Namespace shop" {
		t.Errorf("held %+v", held)
	}
}

// A part of a revision that is gone, and an envelope that is gone or emptied, would delete their Work, or everything
// in it.
func TestWholeWorksAreHeld(t *testing.T) {
	envelope := func(data string) string {
		return `{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceEnvelope","metadata":{"name":"e","namespace":"shop"},"data":{` + data + `}}`
	}
	inner := `"k1":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"shop"}},"k2":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"y","namespace":"shop"}}`
	for name, tc := range map[string]struct {
		before, after []contents
		held          int32
		has, released []string
	}{
		"an envelope that is gone":           {before: []contents{{"a", envelope(inner)}}, after: []contents{{"a"}}, held: 2, has: []string{"a", "x", "y"}, released: []string{"a"}},
		"an envelope that is emptied":        {before: []contents{{"a", envelope(inner)}}, after: []contents{{"a", envelope("")}}, held: 2, has: []string{"a", "x", "y"}, released: []string{"a"}},
		"a part":                             {before: []contents{{"a", "b"}, {"c", "d"}}, after: []contents{{"a", "b"}}, held: 2, has: []string{"a", "b", "c", "d"}, released: []string{"a", "b"}},
		"a part with one object that moves":  {before: []contents{{"a"}, {"b", "c", "d"}}, after: []contents{{"a", "b"}}, held: 2, has: []string{"a", "b", "c", "d"}, released: []string{"a", "b"}},
		"parts that change places":           {before: []contents{{"a"}, {"b"}}, after: []contents{{"b"}, {"a"}}, has: []string{"a", "b"}},
		"everything":                         {before: []contents{five}, after: []contents{{}}, held: 5, has: five},
		"everything of a part, others moved": {before: []contents{{"a"}, {"b"}, {"c"}}, after: []contents{{"c"}, {"a"}}, held: 1, has: []string{"a", "b", "c"}, released: []string{"a", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := braking(t, "0", "", tc.before, tc.after)
			before := w.names()
			w.give(1)
			w.has(tc.has...)
			if tc.held == 0 {
				w.holdsNothing()
				return
			}
			held := w.held(tc.held, int32(len(before))) //nolint:gosec // a few
			w.give(0)
			w.has(before...)
			w.holdsNothing()
			for _, work := range w.works() {
				if mark, ok := work.Annotations[contract.AnnotationHeldRemoval]; ok {
					t.Errorf("work %s is marked %q and wanted", work.Name, mark)
				}
			}
			w.give(1)
			held = w.held(tc.held, held.Total)
			w.release(held)
			w.has(tc.released...)
			w.holdsNothing()
		})
	}
}

// The Works of an order count as having its content, also if its snapshot was deleted meanwhile and others are held.
func TestAHeldWorkDoesNotCountAsContent(t *testing.T) {
	w := braking(t, "0", "", []contents{{"a"}, {"b"}}, []contents{{"a"}})
	w.give(1)
	w.held(1, 2)
	for _, s := range group(1, 1) {
		if err := w.client.Delete(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	w.settled()
	w.has("a", "b")
	w.held(1, 2)
	if got := w.condition(v1beta1.ConditionOverridden); !strings.HasPrefix(got, "True") {
		t.Errorf("the content is there and still: %s", got)
	}
}

// An override that leaves an object out removes it.
func TestAnOverrideThatDeletesIsHeld(t *testing.T) {
	w := braking(t, "0", "", []contents{{"a", "c"}})
	o := overriding(0)
	o.Spec.OverrideSpec.Policy.OverrideRules = []v1beta1.OverrideRule{testworld.LeavingOut(testworld.Everywhere()...)}
	if err := w.client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	w.name(0)
	w.settled()
	w.has("a", "c")
	w.release(w.held(1, 2))
	w.has("a")
}

// A manifest that is kept may fail on the member. That is no failure of what is wanted.
func TestWhatIsKeptDoesNotCountAsWanted(t *testing.T) {
	w := braking(t, "0", "", []contents{{"a", "b"}}, []contents{{"a"}})
	w.give(1)
	w.held(1, 2)
	report := func(name, kind string, status metav1.ConditionStatus, reason string) v1beta1.ManifestCondition {
		return v1beta1.ManifestCondition{
			Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: name},
			Conditions: []metav1.Condition{{Type: kind, Status: status, Reason: reason}},
		}
	}
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable} {
		for wanted, status := range map[metav1.ConditionStatus]string{metav1.ConditionTrue: "True", metav1.ConditionFalse: "False"} {
			work := w.works()[0]
			failed := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: "SomeFail", ObservedGeneration: work.Generation}
			work.Status.Conditions = []metav1.Condition{failed}
			if kind == v1beta1.ConditionAvailable {
				work.Status.Conditions = append(work.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, Reason: "All", ObservedGeneration: work.Generation})
			}
			a := report("a", v1beta1.ConditionApplied, metav1.ConditionTrue, v1beta1.ReasonManifestApplied)
			for i := range a.Conditions {
				if a.Conditions[i].Type == kind {
					a.Conditions[i].Status = wanted
				}
			}
			if kind == v1beta1.ConditionAvailable {
				reason := v1beta1.ReasonManifestAvailable
				if wanted == metav1.ConditionFalse {
					reason = v1beta1.ReasonManifestNotAvailableYet
				}
				a.Conditions = append(a.Conditions, metav1.Condition{Type: kind, Status: wanted, Reason: reason})
			} else {
				a.Conditions = append(a.Conditions, metav1.Condition{Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonManifestAvailable})
			}
			work.Status.ManifestConditions = []v1beta1.ManifestCondition{a, report("b", kind, metav1.ConditionFalse, "Fails")}
			if err := w.client.Status().Update(t.Context(), &work); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, _, err := w.pass(); err != nil {
					t.Fatal(err)
				}
				w.now = w.now.Add(time.Minute)
			}
			if got := w.condition(kind); !strings.HasPrefix(got, status) {
				t.Errorf("%s is %s on a, and reported as %s", kind, status, got)
			}
			for _, f := range w.binding().Status.FailedPlacements {
				if f.Name == "b" {
					t.Errorf("b is not wanted, and counts as failed for %s", kind)
				}
			}
		}
	}
}

// Nothing is written while a Work's manifests cannot be read: they are not assumed absent.
func TestAFailedReadHolds(t *testing.T) {
	w := braking(t, "20%", "", []contents{five}, []contents{{"a"}})
	down := errors.New("down")
	w.dispatcher.Direct = interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		},
	})
	w.change(func(b *v1beta1.ClusterResourceBinding) {
		b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 1)
		b.Generation++
	})
	if _, writes, err := w.pass(); !errors.Is(err, down) || len(writes) > 0 {
		t.Fatalf("writes %q, error %v", writes, err)
	}
	w.has(five...)
	w.dispatcher.Direct = w.client
	w.settled()
	w.held(4, 5)
}

// Manifests that another client removed while their removal is held are not known any more: the Work stays as it is,
// so that the member, which keeps their objects, does not get a Work that seems to be complete.
func TestAHeldWorkThatIsEdited(t *testing.T) {
	w := braking(t, "0", "", []contents{five}, []contents{{"a"}})
	w.give(1)
	w.held(4, 5)
	work := w.works()[0]
	work.Spec.Workload.Manifests = work.Spec.Workload.Manifests[:1]
	work.Generation++
	if err := w.client.Update(t.Context(), &work); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := w.pass(); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
	}
	if got := w.works()[0].Annotations[contract.AnnotationManifests]; got != "5" {
		t.Fatalf("the Work claims %s manifests, so the member removes objects", got)
	}
	if got := w.condition(v1beta1.ConditionWorkSynchronized); !strings.HasPrefix(got, "False") || !strings.Contains(got, "Another client") {
		t.Errorf("condition %s", got)
	}
	w.release(w.binding().Status.HeldRemoval)
	w.has("a")
	w.holdsNothing()
}

// A Work that another client edits while nothing is held is restored at once, although the policy allows no removal.
func TestAnEditedWorkIsRestoredBesideTheBrake(t *testing.T) {
	w := braking(t, "0", "", []contents{five})
	work := w.works()[0]
	work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests[:2], v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"z"}}`)}})
	work.Generation++
	if err := w.client.Update(t.Context(), &work); err != nil {
		t.Fatal(err)
	}
	w.settled()
	w.has(five...)
	w.holdsNothing()
}

// The hub's defaults apply to placements without a policy, and a policy that is relaxed ends the hold.
func TestDefaultsAndARelaxedPolicy(t *testing.T) {
	w := braking(t, "0", "", []contents{five}, []contents{{"a"}})
	w.place(func(p *v1beta1.ClusterResourcePlacement) { p.Spec.Strategy.Removal = nil })
	w.dispatcher.Removal = removal.Policy{Max: &intstr.IntOrString{IntVal: 3}}
	w.give(1)
	w.held(4, 5)
	w.place(func(p *v1beta1.ClusterResourcePlacement) {
		p.Spec.Strategy.Removal = &v1beta1.RemovalPolicy{Max: &intstr.IntOrString{IntVal: 4}}
	})
	w.has("a")
	w.holdsNothing()
}

// A removal that was released and that the API server refuses stays released.
func TestAReleasedRemovalThatFails(t *testing.T) {
	w := braking(t, "0", "", []contents{five}, []contents{{"a"}})
	w.give(1)
	held := w.held(4, 5)
	w.refuse = func(verb string, _ *v1beta1.Work) error {
		if verb != "patch" {
			return nil
		}
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Work"}, "web-work", nil)
	}
	var p v1beta1.ClusterResourcePlacement
	if err := w.client.Get(t.Context(), types.NamespacedName{Name: "web"}, &p); err != nil {
		t.Fatal(err)
	}
	p.Annotations = map[string]string{contract.AnnotationReleaseRemoval: held.Digest}
	if err := w.client.Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := w.pass(); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
	}
	w.has(five...)
	w.refuse = nil
	w.settled()
	w.has("a")
	w.holdsNothing()
}

// The Works of a deleted binding stay while the deletion of the placement is held, even if others deleted the binding: if a
// namespace is deleted, Kubernetes does. They go when the placer has decided.
func TestTheDeletionOfAPlacementIsHeld(t *testing.T) {
	w := braking(t, "99%", "", []contents{five})
	var p v1beta1.ClusterResourcePlacement
	if err := w.client.Get(t.Context(), types.NamespacedName{Name: "web"}, &p); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{&p, w.binding()} {
		if err := w.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.wants()
	w.has(five...)
	if err := w.client.Get(t.Context(), types.NamespacedName{Name: "web"}, &p); err != nil {
		t.Fatal(err)
	}
	decided := p.DeepCopy()
	decided.Finalizers = nil
	passes := w.dispatcher.placements()
	if !passes.Update(event.UpdateEvent{ObjectOld: &p, ObjectNew: decided}) || !passes.Delete(event.DeleteEvent{Object: &p}) {
		t.Error("nothing requeues the binding when it is decided")
	}
	if passes.Update(event.UpdateEvent{ObjectOld: &p, ObjectNew: p.DeepCopy()}) || passes.Delete(event.DeleteEvent{Object: decided}) {
		t.Error("events that change nothing requeue the binding")
	}
	if err := w.client.Update(t.Context(), decided); err != nil {
		t.Fatal(err)
	}
	if _, writes, err := w.pass(); err != nil || !slices.Contains(writes, "delete Work web-work") {
		t.Errorf("writes %q, error %v", writes, err)
	}
}

// On a real API server: what is held stays over a restart, which writes nothing, and the release reaches the binding.
func TestHeldOverARestart(t *testing.T) {
	for _, of := range scopesOfScenes {
		t.Run(of.name, func(t *testing.T) {
			s := newScene(onHub(t), of.namespace, "held", of.cluster)
			s.placementWith(func(p v1beta1.PlacementObject) { p.GetSpec().Strategy.Removal = removalPolicy(t, "0", "") })
			first := s.startAgent()
			s.snapshot(0, 2)
			s.dropOne(1)
			s.bind(0)
			s.awaitWorks(2, 0)
			s.bind(1)
			var held *v1beta1.HeldRemoval
			testworld.Await(s, testworld.Soon, "a held removal", func(ctx context.Context) error {
				binding, err := scope.Bindings.Get(ctx, s.Client, s.binding)
				if err != nil {
					return err
				}
				if held = binding.GetStatus().HeldRemoval; held == nil || held.Removed != 1 {
					return fmt.Errorf("held %+v", held)
				}
				return nil
			})
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			first.Stop()
			second := s.startAgent()
			testworld.Stable(t, 2*time.Second, "quiet", func(context.Context) error {
				if diff := cmp.Diff(map[string]int{}, counts(second)); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
			s.placementWith(func(p v1beta1.PlacementObject) {
				text, _ := removal.Release([]v1beta1.HeldRemoval{*held})
				p.SetAnnotations(map[string]string{contract.AnnotationReleaseRemoval: text})
			})
			testworld.Await(s, testworld.Soon, "the removal", func(ctx context.Context) error {
				binding, err := scope.Bindings.Get(ctx, s.Client, s.binding)
				if err != nil {
					return err
				}
				for _, w := range s.works() {
					for _, m := range w.Spec.Workload.Manifests {
						if w.DeletionTimestamp.IsZero() && removal.Identify(m.Raw).Name == "c" {
							return fmt.Errorf("work %s still has it", w.Name)
						}
					}
				}
				if h := binding.GetStatus().HeldRemoval; h != nil {
					return fmt.Errorf("held %+v", h)
				}
				return nil
			})
			s.freeWorks()
			s.deletePlacementAndBinding()
		})
	}
}

func (s *scene) placementWith(change func(v1beta1.PlacementObject)) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "a change of the placement", func(ctx context.Context) error {
		placement, err := scope.Placements.Get(ctx, s.Client, s.placement)
		if err != nil {
			return err
		}
		change(placement)
		return s.Client.Update(ctx, placement)
	})
}

// dropOne creates the group of index, which has one ConfigMap of another name.
func (s *scene) dropOne(index int) {
	s.Helper()
	snapshot := scope.ResourceSnapshots.New(s.placement)
	snapshot.SetNamespace(s.placement.Namespace)
	snapshot.SetLabels(map[string]string{contract.LabelPlacement: s.placement.Name, contract.LabelResourceIndex: fmt.Sprint(index)})
	snapshot.SetName(contract.MasterSnapshotName(s.placement.Name, index))
	snapshot.SetAnnotations(map[string]string{contract.AnnotationSnapshotCount: "1"})
	snapshot.GetSpec().SelectedResources = contents{"other"}.raw(index)
	testworld.OwnedOn(s, s.Client, s.placement, snapshot)
	s.ensure(snapshot)
}
