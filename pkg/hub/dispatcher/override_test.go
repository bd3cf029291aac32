package dispatcher

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// overriding is an override snapshot of config map c of namespace shop, which a world's snapshots hold.
func overriding(index int, patches ...v1beta1.JSONPatchOverride) *v1beta1.ResourceOverrideSnapshot {
	o := testworld.Override("shop", "o", testworld.Patching(testworld.Everywhere(), patches...))
	o.Spec.ResourceSelectors[0].Name = "c"
	s := &v1beta1.ResourceOverrideSnapshot{Spec: v1beta1.ResourceOverrideSnapshotSpec{OverrideSpec: o.Spec}}
	s.Namespace, s.Name = "shop", contract.OverrideSnapshotName("o", index)
	s.Labels = map[string]string{contract.LabelOverride: "o", contract.LabelOverrideIndex: fmt.Sprint(index), contract.LabelLatest: "true"}
	return s
}

// name makes the binding name an override snapshot, as the roller does.
func (w *world) name(index int) {
	w.Helper()
	w.change(func(b *v1beta1.ClusterResourceBinding) {
		b.Spec.ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "shop", Name: contract.OverrideSnapshotName("o", index)}}
		b.Generation++
	})
}

func (w *world) change(change func(*v1beta1.ClusterResourceBinding)) {
	w.Helper()
	b := w.binding()
	change(b)
	if err := w.client.Update(w.Context(), b); err != nil {
		w.Fatal(err)
	}
}

// overridden is the binding's condition on its overrides.
func (w *world) overridden() (reason, message string) {
	w.Helper()
	b := w.binding()
	if c := delivery.Current(b.Status.Conditions, v1beta1.ConditionOverridden, b.Generation); c != nil {
		return c.Reason, c.Message
	}
	return "", ""
}

// fleet is a placement with content 0 that is bound to a member.
func fleet() []client.Object { return append(group(0, 1), member(), placement(), bound(0)) }

// manifest is what the Work holds.
func (w *world) manifest() string {
	w.Helper()
	var work v1beta1.Work
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
		w.Fatal(err)
	}
	return string(work.Spec.Workload.Manifests[0].Raw)
}

// settle makes the member report that all objects are available, and the binding report it.
func (w *world) settle() {
	w.Helper()
	w.reports(applied, available)
	w.wants(writeStatus)
}

func (w *world) label(key, value string) {
	w.Helper()
	var mc clusterv1beta1.MemberCluster
	if err := w.client.Get(w.Context(), types.NamespacedName{Name: "east"}, &mc); err != nil {
		w.Fatal(err)
	}
	mc.Labels = map[string]string{key: value}
	if err := w.client.Update(w.Context(), &mc); err != nil {
		w.Fatal(err)
	}
}

func TestOverridesAreWorkedIn(t *testing.T) {
	w := newWorld(t, append(fleet(), overriding(0, testworld.Annotating("k", "${MEMBER-CLUSTER-NAME}")))...)
	w.name(0)
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if got := w.manifest(); !strings.Contains(got, `"annotations":{"k":"east"}`) {
		t.Errorf("the work holds %s", got)
	}
	w.settle()
	if reason, _ := w.overridden(); reason != v1beta1.ReasonOverriddenSucceeded {
		t.Errorf("reason is %s", reason)
	}
}

// An override that is deleted and created again has a snapshot of the same name. The binding need not have lost the
// name in between, and if it had, another override may have kept the Works as they were: they are written again
// because the snapshot has other content.
func TestAnOverrideMadeAgain(t *testing.T) {
	first, second := overriding(0, testworld.Annotating("k", "old")), overriding(0, testworld.Annotating("k", "new"))
	first.Spec.OverrideHash, second.Spec.OverrideHash = []byte("a"), []byte("b")
	w := newWorld(t, append(fleet(), first)...)
	w.name(0)
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if err := w.client.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.wants() // the content of its snapshot is in the Work
	if err := w.client.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if got := w.manifest(); !strings.Contains(got, `"annotations":{"k":"new"}`) {
		t.Errorf("the work holds %s", got)
	}
}

// An override that fails stops the binding before anything is written, reports where it fails, and is retried when the
// label that it needs exists. Works written then stay when the label is removed.
func TestAnOverrideThatFails(t *testing.T) {
	w := newWorld(t, append(fleet(), overriding(0, testworld.Annotating("k", "${MEMBER-CLUSTER-LABEL-KEY-zone}")))...)
	w.name(0)
	for range 2 {
		if _, writes, err := w.pass(); err != nil || strings.Contains(fmt.Sprint(writes), "create Work") {
			t.Fatalf("writes %v, error %v", writes, err)
		}
	}
	reason, message := w.overridden()
	if reason != v1beta1.ReasonOverriddenFailed || !strings.Contains(message, "ConfigMap shop/c") || !strings.Contains(message, "shop/o (snapshot o-0), rule 1") || !strings.Contains(message, `"zone"`) {
		t.Errorf("it says %s: %s", reason, message)
	}
	events := w.events.Take()
	if len(events) != 1 || !strings.Contains(events[0].String(), "OverriddenFailed") || !strings.Contains(events[0].String(), "Cluster east") {
		t.Errorf("events on the override are %q; want one for two passes", events)
	}
	w.label("zone", "z1")
	if got := w.dispatcher.forRelabelled(t.Context(), testworld.NewMemberCluster("east")); len(got) != 1 || got[0].NamespacedName != web {
		t.Errorf("a label brings up %v", got)
	}
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if got := w.manifest(); !strings.Contains(got, `"k":"z1"`) {
		t.Errorf("the work holds %s", got)
	}
	w.settle()
	w.label("other", "x")
	if _, writes, err := w.pass(); err != nil || len(writes) > 0 {
		t.Errorf("writes %v, error %v after the label went", writes, err)
	}
	if reason, _ := w.overridden(); reason != v1beta1.ReasonOverriddenSucceeded {
		t.Errorf("reason is %s", reason)
	}
}

// A binding that waits for its turn names the snapshot of an override that has been deleted meanwhile: what it has
// stays.
func TestAnOverrideThatIsGone(t *testing.T) {
	gone := overriding(0, testworld.Annotating("k", "v"))
	w := newWorld(t, append(fleet(), gone)...)
	w.name(0)
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if err := w.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if _, writes, err := w.pass(); err != nil || len(writes) > 0 {
		t.Errorf("writes %v, error %v", writes, err)
	}
	w.name(1) // another leader has bound to what is not here yet
	for range 3 {
		if _, writes, err := w.pass(); err != nil || strings.Contains(fmt.Sprint(writes), "patch Work") {
			t.Errorf("writes %v, error %v", writes, err)
		}
		w.now = w.now.Add(report.Patience)
	}
	if reason, message := w.overridden(); reason != v1beta1.ReasonOverriddenFailed || !strings.Contains(message, "shop/o-1") {
		t.Errorf("it says %s: %s", reason, message)
	}
	next := overriding(1, testworld.Annotating("k", "w"))
	if err := w.client.Create(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if got := w.dispatcher.forOverride(t.Context(), next); len(got) != 1 || got[0].NamespacedName != web {
		t.Errorf("its arrival brings up %v", got)
	}
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if got := w.manifest(); !strings.Contains(got, `"k":"w"`) {
		t.Errorf("the work holds %s", got)
	}
}

// An override for this placement alone that selects nothing is named in the status, and reported by one event.
func TestAnOverrideThatSelectsNothing(t *testing.T) {
	idle := overriding(0, testworld.Annotating("k", "v"))
	idle.UID = "idle"
	idle.Spec.OverrideSpec.ResourceSelectors[0].Name = "typo"
	idle.Spec.OverrideSpec.Placement = &v1beta1.PlacementRef{Name: "web"}
	w := newWorld(t, append(fleet(), client.Object(idle))...)
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if reason, message := w.overridden(); reason != v1beta1.ReasonNoOverrideSpecified || !strings.Contains(message, "ResourceOverride shop/o") {
		t.Errorf("it says %s: %s", reason, message)
	}
	if events := w.events.Take(); len(events) != 1 {
		t.Errorf("events %q; want one", events)
	}
}

// A label that has changed since a binding was given its overrides changes what is on the cluster when the binding is
// given them again, and not by itself: not even if it makes a rule take an object away.
func TestALabelWaitsForItsTurn(t *testing.T) {
	o := overriding(0, testworld.Annotating("k", "v"))
	o.Spec.OverrideSpec.Policy.OverrideRules = append(o.Spec.OverrideSpec.Policy.OverrideRules,
		testworld.LeavingOut(testworld.Labelled(map[string]string{"zone": "z2"})))
	w := newWorld(t, append(fleet(), o)...)
	give := func() {
		fingerprint := override.Fingerprint([]v1beta1.OverrideSnapshotObject{o}, override.Cluster{Name: "east", Labels: w.labels()})
		w.name(0)
		w.change(func(b *v1beta1.ClusterResourceBinding) { b.Spec.OverrideFingerprint = fingerprint })
	}
	w.label("zone", "z1")
	give()
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.holds(1)
	w.settle()
	w.label("zone", "z2")
	w.wants()
	w.holds(1)
	give()
	if _, _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.holds(0)
}

// holds checks how many manifests the Work has.
func (w *world) holds(want int) {
	w.Helper()
	var work v1beta1.Work
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: "fleet-member-east", Name: "web-work"}, &work); err != nil {
		w.Fatal(err)
	}
	if got := len(work.Spec.Workload.Manifests); got != want {
		w.Errorf("the work holds %d manifests, want %d", got, want)
	}
}

func (w *world) labels() map[string]string {
	w.Helper()
	var mc clusterv1beta1.MemberCluster
	if err := w.client.Get(w.Context(), types.NamespacedName{Name: "east"}, &mc); err != nil {
		w.Fatal(err)
	}
	return mc.Labels
}
