package placer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// world is what a test has of the hub: a client, and a name of its own for everything.
type world struct {
	*testing.T
	client.Client
	name string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.NewReplacer("/", "-", "_", "-").Replace(name)
	if len(name) > 40 {
		name = name[:40]
	}
	name += "-" + rand.String(5)
	return &world{T: t, Client: hub.Get(t)[0].Client, name: name}
}

func (w *world) make(objs ...client.Object) {
	w.Helper()
	for _, obj := range objs {
		if err := w.Create(w.Context(), obj); err != nil {
			w.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
		w.Cleanup(func() { _ = w.Delete(context.Background(), obj) })
	}
}

func (w *world) namespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name, Labels: map[string]string{"app": w.name}}}
}

func (w *world) configMap(name, data string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: name}, Data: map[string]string{"data": data}}
}

// crp is a placement of the test's namespace.
func (w *world) crp(terms ...v1beta1.ResourceSelectorTerm) *v1beta1.ClusterResourcePlacement {
	if terms == nil {
		terms = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: w.name}}
	}
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: v1beta1.PlacementSpec{ResourceSelectors: terms}}
}

func (w *world) key() types.NamespacedName { return types.NamespacedName{Name: w.name} }

// await waits until check is content.
func (w *world) await(what string, check func() error) {
	w.Helper()
	testworld.Await(w, testworld.Soon, what, func(context.Context) error { return check() })
}

func (w *world) groups(key types.NamespacedName) []snapshot.Group {
	w.Helper()
	all, err := scope.ResourceSnapshots.List(w.Context(), w.Client, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		w.Fatal(err)
	}
	return snapshot.Groups(all)
}

func (w *world) policies(key types.NamespacedName) []v1beta1.PolicySnapshotObject {
	w.Helper()
	all, err := scope.PolicySnapshots.List(w.Context(), w.Client, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

func (w *world) placement(key types.NamespacedName) v1beta1.PlacementObject {
	w.Helper()
	p, err := scope.Placements.Get(w.Context(), w.Client, key)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// awaitSelected waits until the latest revision is index (any if that is negative), whole, the only one labelled
// latest, and holds names in order.
func (w *world) awaitSelected(key types.NamespacedName, index int, names ...string) snapshot.Group {
	w.Helper()
	var latest snapshot.Group
	w.await("selected", func() error {
		groups := w.groups(key)
		var ok bool
		if latest, ok = snapshot.Latest(groups); !ok {
			return fmt.Errorf("no snapshot")
		}
		labelled := 0
		for _, g := range groups {
			if g.Master != nil && g.Master.GetLabels()[contract.LabelLatest] == "true" {
				labelled++
			}
		}
		items, err := latest.Items()
		if err != nil {
			return err
		}
		var got []string
		for _, i := range items {
			got = append(got, i.ID.Kind+" "+i.ID.Name)
		}
		if !slices.Equal(got, names) || index >= 0 && latest.Index != index || labelled != 1 {
			return fmt.Errorf("index %d (want %d) holds %v; want %v; %d labelled latest", latest.Index, index, got, names, labelled)
		}
		return nil
	})
	return latest
}

// schedule plays the scheduler: it decides about the latest policy snapshot and makes bindings for clusters.
func (w *world) schedule(key types.NamespacedName, clusters ...string) {
	w.Helper()
	w.await("schedule", func() error {
		latest := snapshot.LatestPolicy(w.policies(key))
		if latest == nil {
			return fmt.Errorf("no policy snapshot")
		}
		generation := w.placement(key).GetGeneration()
		if latest.GetAnnotations()[contract.AnnotationGeneration] != fmt.Sprint(generation) {
			return fmt.Errorf("the policy snapshot is of another generation")
		}
		status := latest.GetStatus()
		status.ObservedCRPGeneration = generation
		status.ClusterDecisions = nil
		for _, cluster := range clusters {
			status.ClusterDecisions = append(status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"})
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: v1beta1.ConditionScheduled, Status: metav1.ConditionTrue,
			Reason: v1beta1.ReasonSchedulingPolicyFulfilled, ObservedGeneration: latest.GetGeneration(), Message: "found"})
		for _, cluster := range clusters {
			binding := scope.Bindings.New(key)
			binding.SetNamespace(key.Namespace)
			binding.SetName(key.Name + "-" + cluster)
			binding.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
			*binding.GetSpec() = v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateScheduled, TargetCluster: cluster,
				SchedulingPolicySnapshotName: latest.GetName(), ClusterDecision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"}}
			if err := w.Create(w.Context(), binding); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
			w.Cleanup(func() { _ = w.Delete(context.Background(), binding) })
		}
		return w.Status().Update(w.Context(), latest)
	})
}

// roll plays everybody behind the placer: bindings get the latest revision, and report that it is available.
func (w *world) roll(key types.NamespacedName) {
	w.Helper()
	latest, _ := snapshot.Latest(w.groups(key))
	bindings, err := scope.Bindings.List(w.Context(), w.Client, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bindings {
		b.GetSpec().State, b.GetSpec().ResourceSnapshotName = v1beta1.BindingStateBound, latest.Master.GetName()
		if err := w.Update(w.Context(), b); err != nil {
			w.Fatal(err)
		}
		for kind, reason := range map[string]string{
			v1beta1.ConditionRolloutStarted: v1beta1.ReasonRolloutStarted, v1beta1.ConditionOverridden: v1beta1.ReasonNoOverrideSpecified,
			v1beta1.ConditionWorkSynchronized: v1beta1.ReasonAllWorkSynced, v1beta1.ConditionApplied: v1beta1.ReasonAllWorkHaveBeenApplied,
			v1beta1.ConditionAvailable: v1beta1.ReasonAllWorkAreAvailable,
		} {
			meta.SetStatusCondition(&b.GetStatus().Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: b.GetGeneration()})
		}
		if err := w.Status().Update(w.Context(), b); err != nil {
			w.Fatal(err)
		}
	}
}

// awaitAvailable waits until the placement is available everywhere at the revision.
func (w *world) awaitAvailable(key types.NamespacedName, index string) v1beta1.PlacementObject {
	w.Helper()
	var p v1beta1.PlacementObject
	w.await("available", func() error {
		p = w.placement(key)
		c := meta.FindStatusCondition(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionAvailable))
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.GetGeneration() || p.GetStatus().ObservedResourceIndex != index {
			return fmt.Errorf("status %+v", *p.GetStatus())
		}
		return nil
	})
	return p
}

func TestCarriesANamespace(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{})
	w.make(w.namespace(), w.configMap("cm", "one"),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "s"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		w.crp())
	latest := w.awaitSelected(w.key(), 0, "Namespace "+w.name, "Secret s", "ConfigMap cm", "Service web")

	w.await("finalizers", func() error {
		got := w.placement(w.key()).GetFinalizers()
		slices.Sort(got)
		if !slices.Equal(got, []string{contract.FinalizerPlacement, contract.FinalizerScheduler}) {
			return fmt.Errorf("finalizers %v", got)
		}
		return nil
	})
	w.await("policy snapshot", func() error {
		policies := w.policies(w.key())
		if len(policies) != 1 || policies[0].GetName() != w.name+"-0" || policies[0].GetLabels()[contract.LabelLatest] != "true" ||
			policies[0].GetAnnotations()[contract.AnnotationGeneration] != "1" {
			return fmt.Errorf("policy snapshots %+v", policies)
		}
		return nil
	})
	// What the wire fixes about hashes is taken over what is really stored.
	if hash, err := contract.Hash(latest.Master.GetSpec()); err != nil || hash != latest.Hash() {
		t.Errorf("hash %s, %v; want %s", latest.Hash(), err, hash)
	}
	if owner := metav1.GetControllerOf(latest.Master); owner == nil || owner.Kind != "ClusterResourcePlacement" || owner.UID != w.placement(w.key()).GetUID() {
		t.Errorf("owner %+v", owner)
	}
	var service corev1.Service
	if err := json.Unmarshal(latest.Master.GetSpec().SelectedResources[3].Raw, &service); err != nil || service.Spec.ClusterIP != "" || service.UID != "" {
		t.Errorf("the service is carried with what is this cluster's: %+v, %v", service, err)
	}

	w.schedule(w.key(), "a", "b")
	w.roll(w.key())
	status := w.awaitAvailable(w.key(), "0").GetStatus()
	if len(status.SelectedResources) != 4 || len(status.PerClusterPlacementStatuses) != 2 {
		t.Errorf("status %+v", status)
	}
}

// The hub may tell of a placement sooner than of what was created before it.
func TestFirstRevisionHoldsWhatCameBefore(t *testing.T) {
	w := newWorld(t)
	faults := &faulty{unheard: func() bool {
		p, err := scope.Placements.Get(t.Context(), w.Client, w.key())
		return err == nil && len(p.GetFinalizers()) == 0
	}}
	start(t, defaults, faults)
	other := newWorld(t) // by the time its own are selected, the agent watches
	other.make(other.namespace(), other.crp())
	other.awaitSelected(other.key(), 0, "Namespace "+other.name)
	w.make(w.namespace(), w.configMap("cm", "one"))
	heard := w.crp() // its revision shows when the source really knows them
	heard.Name += "-heard"
	w.make(heard)
	w.awaitSelected(client.ObjectKeyFromObject(heard), -1, "Namespace "+w.name, "ConfigMap cm")
	w.make(w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name, "ConfigMap cm")
}

// An object may have been made anew since the watch last showed it: a revision names the origin of what it carries.
func TestOriginOfWhatWasRead(t *testing.T) {
	w := newWorld(t)
	start(t, defaults, &faulty{former: true})
	namespace := w.namespace()
	w.make(namespace, w.crp())
	latest := w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	if got, want := latest.Master.GetAnnotations()[contract.AnnotationOrigins], contract.Origin(string(namespace.UID)); got != want {
		t.Errorf("the origin is %q, want %q", got, want)
	}
}

// rests sees no revision after index for as long as counts as quiet.
func (w *world) rests(index int) {
	w.Helper()
	testworld.Stable(w, 1500*time.Millisecond, "quiet", func(context.Context) error {
		if latest, _ := snapshot.Latest(w.groups(w.key())); latest.Index != index {
			return fmt.Errorf("there is revision %d", latest.Index)
		}
		return nil
	})
}

func TestFollowsChangesAtOnce(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{Interval: time.Hour, Collection: time.Hour}) // which nothing here waits for
	w.make(w.namespace(), w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)

	cm := w.configMap("cm", "one")
	w.make(cm)
	w.awaitSelected(w.key(), 1, "Namespace "+w.name, "ConfigMap cm")

	w.rests(1)
	cm.Data["data"] = "two"
	if err := w.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 2, "Namespace "+w.name, "ConfigMap cm")
	if err := w.Delete(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 3, "Namespace "+w.name)
}

func TestGathersAStreamOfChanges(t *testing.T) {
	const many = 300
	w := newWorld(t)
	start(t, defaults)
	w.make(w.namespace())
	names := []string{"Namespace " + w.name}
	for i := range many {
		w.make(w.configMap(fmt.Sprintf("cm-%03d", i), "one"))
		names = append(names, fmt.Sprintf("ConfigMap cm-%03d", i))
	}
	w.make(w.crp())
	w.awaitSelected(w.key(), 0, names...)
	w.rests(0)
	begin := time.Now()
	for i := range many {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"data":"two"}}`))
		if err := w.Patch(t.Context(), w.configMap(fmt.Sprintf("cm-%03d", i), ""), patch); err != nil {
			t.Fatal(err)
		}
	}
	edited := time.Since(begin)
	w.await("edits", func() error {
		latest, _ := snapshot.Latest(w.groups(w.key()))
		for _, object := range latest.Master.GetSpec().SelectedResources[1:] {
			if !bytes.Contains(object.Raw, []byte(`"two"`)) {
				return fmt.Errorf("old content in %s", object.Raw)
			}
		}
		return nil
	})
	seen := time.Since(begin) // the agent may have heard of the edits later than they were made
	latest, _ := snapshot.Latest(w.groups(w.key()))
	t.Logf("%d edits in %s: %d revisions, the last %s after the last edit", many, edited, latest.Index, time.Since(begin)-edited)
	const quiet = 150 * time.Millisecond // a stream that pauses for so long has ended, and another begins
	if most := 4 + int(seen/quiet); latest.Index > most {
		t.Errorf("%d revisions; want at most %d", latest.Index, most)
	}
}

func TestRestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	first := start(t, defaults)
	w.make(w.namespace(), w.configMap("cm", "one"), w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name, "ConfigMap cm")
	w.schedule(w.key(), "a")
	w.roll(w.key())
	w.awaitAvailable(w.key(), "0")
	first.Stop()
	before := w.state()
	start(t, defaults)
	// Something later that goes the same way shows that everything before has been looked at.
	other := w.crp(v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: w.name, SelectionScope: v1beta1.SelectionScopeNamespaceOnly})
	other.Name += "-other"
	w.make(other)
	w.awaitSelected(client.ObjectKeyFromObject(other), 0, "Namespace "+w.name)
	testworld.Stable(t, 2*time.Second, "silence", func(context.Context) error {
		if after := w.state(); before != after {
			return fmt.Errorf("something was written:\n%s\nbefore:\n%s", after, before)
		}
		return nil
	})
}

// state is every object of the test's placement with its version.
func (w *world) state() string {
	var out []string
	add := func(o client.Object) {
		out = append(out, fmt.Sprintf("%T %s %s", o, o.GetName(), o.GetResourceVersion()))
	}
	add(w.placement(w.key()))
	for _, s := range w.policies(w.key()) {
		add(s)
	}
	for _, g := range w.groups(w.key()) {
		add(g.Master)
	}
	return strings.Join(out, "\n")
}

func TestDeletion(t *testing.T) {
	for _, scoped := range []string{"cluster", "namespaced"} {
		t.Run(scoped, func(t *testing.T) {
			w := newWorld(t)
			start(t, defaults)
			w.make(w.namespace(), w.configMap("cm", "one"))
			var p client.Object = w.crp()
			key := w.key()
			if scoped == "namespaced" {
				p, key = w.rp(), types.NamespacedName{Namespace: w.name, Name: "rp"}
			}
			other := w.crp()
			other.Name += "-other"
			w.make(p, other)
			w.await("snapshot", func() error {
				if len(w.groups(key)) != 1 || len(w.groups(client.ObjectKeyFromObject(other))) != 1 {
					return fmt.Errorf("no snapshots yet")
				}
				return nil
			})
			if err := w.Delete(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			w.await("finalizer", func() error {
				if got := w.placement(key).GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerScheduler}) {
					return fmt.Errorf("finalizers %v", got)
				}
				return nil
			})
			if n := len(w.groups(key)) + len(w.policies(key)); n > 0 {
				t.Errorf("%d snapshots are left", n)
			}
			if n := len(w.groups(client.ObjectKeyFromObject(other))); n != 1 {
				t.Errorf("another placement has %d groups; want its own", n)
			}
			w.release(p)
			w.release(other)
		})
	}
}

// A placement that leaves its objects on the clusters has a condition while it is deleted.
func TestDeletionThatAbandons(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	w.make(w.namespace(), w.configMap("cm", "one"))
	p, key := w.rp(), types.NamespacedName{Namespace: w.name, Name: "rp"}
	p.Spec.Strategy.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
	w.make(p)
	w.await("snapshot", func() error {
		if len(w.groups(key)) != 1 {
			return fmt.Errorf("no snapshots yet")
		}
		return nil
	})
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.await("finalizer and condition", func() error {
		now := w.placement(key)
		if finalizers := now.GetFinalizers(); !slices.Equal(finalizers, []string{contract.FinalizerScheduler}) ||
			!meta.IsStatusConditionTrue(now.GetStatus().Conditions, "ResourcePlacementAbandoned") {
			return fmt.Errorf("finalizers %v, conditions %+v", finalizers, now.GetStatus().Conditions)
		}
		return nil
	})
	w.release(p)
}

// release lets an object go that a finalizer of an agent that does not run here holds.
func (w *world) release(obj client.Object) {
	_ = w.Patch(context.Background(), obj, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
}

func (w *world) rp(terms ...v1beta1.ResourceSelectorTerm) *v1beta1.ResourcePlacement {
	if terms == nil {
		terms = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "ConfigMap"}}
	}
	return &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "rp"}, Spec: v1beta1.PlacementSpec{ResourceSelectors: terms}}
}

func TestResourcePlacement(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	key := types.NamespacedName{Namespace: w.name, Name: "rp"}
	w.make(w.namespace(), w.configMap("cm", "one"), w.rp())
	w.awaitSelected(key, 0, "ConfigMap cm")
	w.make(w.configMap("cm2", "two"))
	w.awaitSelected(key, 1, "ConfigMap cm", "ConfigMap cm2")
	w.schedule(key, "a")
	w.roll(key)
	w.awaitAvailable(key, "1")
}

// Nothing can be made for a placement whose name is too long for a label. It says so, and can be deleted.
func TestNameTooLong(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	p := w.crp()
	p.Name += strings.Repeat("x", 64-len(p.Name))
	w.make(p)
	w.await("refused", func() error {
		conditions := *w.placement(client.ObjectKeyFromObject(p)).GetConditions()
		if len(conditions) != 1 || conditions[0].Status != metav1.ConditionFalse || !strings.Contains(conditions[0].Message, "longer than the 63 characters") {
			return fmt.Errorf("conditions %+v", conditions)
		}
		return nil
	})
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.await("only the scheduler's finalizer left", func() error {
		got := w.placement(client.ObjectKeyFromObject(p))
		if finalizers := got.GetFinalizers(); !slices.Equal(finalizers, []string{contract.FinalizerScheduler}) {
			return fmt.Errorf("finalizers are %v", finalizers)
		}
		got.SetFinalizers(nil)
		return w.Update(t.Context(), got)
	})
}

func TestInvalidSelectorsHold(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	twice := v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: w.name}
	p := w.crp(twice, twice)
	w.make(w.namespace(), p)
	w.await("invalid", func() error {
		status := w.placement(w.key()).GetStatus()
		if len(status.Conditions) != 1 || status.Conditions[0].Reason != v1beta1.ReasonInvalidResourceSelectors || len(w.policies(w.key())) > 0 {
			return fmt.Errorf("status %+v", status)
		}
		if message := status.Conditions[0].Message; !strings.HasPrefix(message, "The resource selectors are invalid:") {
			t.Errorf("message %q", message)
		}
		return nil
	})
	latest := w.placement(w.key())
	latest.GetSpec().ResourceSelectors = latest.GetSpec().ResourceSelectors[:1]
	if err := w.Update(t.Context(), latest); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.schedule(w.key(), "a")
	w.roll(w.key())
	w.awaitAvailable(w.key(), "0")
}

// A kind that appears while the agent runs is carried, and one that goes is not; nothing is asked on a timer.
func TestFollowsCustomKinds(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	group := w.name + ".example.com"
	w.make(w.namespace(), w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)

	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "things." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names": map[string]any{"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"schema":       map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
				"subresources": map[string]any{"status": map[string]any{}}}},
		},
	}}
	thing := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "Thing", "metadata": map[string]any{"namespace": w.name, "name": "t"}, "spec": map[string]any{"size": int64(1)},
	}}
	w.make(crd)
	w.await("thing", func() error { return w.Create(t.Context(), thing.DeepCopy()) })
	begin := time.Now()
	w.awaitSelected(w.key(), 1, "Namespace "+w.name, "Thing t")
	t.Logf("a new kind was carried after %s", time.Since(begin))

	// A status is nobody's business but this cluster's.
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(thing), thing); err != nil {
		t.Fatal(err)
	}
	thing.Object["status"] = map[string]any{"ready": true}
	if err := w.Status().Update(t.Context(), thing); err != nil {
		t.Fatal(err)
	}
	thing.Object["spec"] = map[string]any{"size": int64(2)}
	if err := w.Update(t.Context(), thing); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 2, "Namespace "+w.name, "Thing t")

	if err := w.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 3, "Namespace "+w.name)
}

func TestUnknownKindIsAMistakeUntilItIsServed(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	group := w.name + ".example.com"
	w.make(w.crp(v1beta1.ResourceSelectorTerm{Group: group, Version: "v1", Kind: "Wide"}))
	w.await("invalid", func() error {
		status := w.placement(w.key()).GetStatus()
		if len(status.Conditions) != 1 || status.Conditions[0].Reason != v1beta1.ReasonInvalidResourceSelectors {
			return fmt.Errorf("status %+v", status)
		}
		return nil
	})
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "wides." + group},
		"spec": map[string]any{
			"group": group, "scope": "Cluster", "names": map[string]any{"plural": "wides", "singular": "wide", "kind": "Wide", "listKind": "WideList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
		},
	}}
	w.make(crd)
	w.awaitSelected(w.key(), 0)
	wide := &unstructured.Unstructured{}
	wide.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Wide"})
	wide.SetName("w")
	w.await("wide", func() error { return w.Create(t.Context(), wide.DeepCopy()) })
	w.awaitSelected(w.key(), 1, "Wide w")
}

func TestSplitsLargeSelections(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	w.make(w.namespace())
	names := []string{"Namespace " + w.name}
	for i := range 3 {
		w.make(w.configMap(fmt.Sprintf("large-%d", i), strings.Repeat("x", 500_000)))
		names = append(names, fmt.Sprintf("ConfigMap large-%d", i))
	}
	p := w.crp()
	one := int32(1)
	p.Spec.RevisionHistoryLimit = &one
	w.make(p)
	if latest := w.awaitSelected(w.key(), 0, names...); latest.Count() != 3 {
		t.Errorf("%d parts; want 3", latest.Count())
	}
	// With a history of one, all parts of the revision before go.
	w.make(w.configMap("small", "x"))
	w.awaitSelected(w.key(), 1, append(names, "ConfigMap small")...)
	w.await("prune", func() error {
		if groups := w.groups(w.key()); len(groups) != 1 {
			return fmt.Errorf("%d groups", len(groups))
		}
		return nil
	})
}

// From creation to the end a placement's status is written once, or twice when it takes long; progress in between is
// not told.
func TestProgressIsGathered(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	watching, err := client.NewWithWatch(hub.Get(t)[0].Config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := watching.Watch(t.Context(), &v1beta1.ClusterResourcePlacementList{}, client.MatchingFields{"metadata.name": w.name})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	begin := time.Now()
	w.make(w.namespace(), w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.schedule(w.key(), "a", "b", "c")
	w.roll(w.key())
	w.awaitAvailable(w.key(), "0")
	seconds := int(time.Since(begin).Seconds())
	statuses := map[string]bool{}
	for done := false; !done; {
		e := <-changes.ResultChan()
		p := e.Object.(*v1beta1.ClusterResourcePlacement)
		text, _ := json.Marshal(p.Status)
		statuses[string(text)] = true
		done = meta.IsStatusConditionTrue(p.Status.Conditions, p.ConditionType(v1beta1.ConditionAvailable))
	}
	if most := 2 + seconds; len(statuses) > most { // the first is that of a new placement: none
		t.Errorf("%d statuses in %d s; want at most %d", len(statuses), seconds, most)
	}
	w.await("event", func() error {
		var events corev1.EventList
		if err := w.List(t.Context(), &events, client.InNamespace("default")); err != nil {
			return err
		}
		var got []string
		for _, e := range events.Items {
			if e.InvolvedObject.Name == w.name {
				got = append(got, e.Reason)
			}
		}
		if !slices.Contains(got, "PlacementRolloutCompleted") {
			return fmt.Errorf("events %v", got)
		}
		return nil
	})
}

// What cannot be read is not absent: what was placed stays as it was until it can be read again.
func TestWhatCannotBeReadHolds(t *testing.T) {
	w := newWorld(t)
	faults := &faulty{}
	start(t, snapshot.Windows{}, faults)
	cm := w.configMap("cm", "one")
	namespace := w.namespace()
	w.make(namespace, cm, w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name, "ConfigMap cm")
	touch := func(value string) {
		t.Helper()
		if err := w.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"`+value+`"}}}`))); err != nil {
			t.Fatal(err)
		}
	}
	for name, fault := range map[string]func(){
		"a kind is not listed":     func() { faults.set([]schema.GroupKind{{Kind: "ConfigMap"}}, nil) },
		"an object cannot be read": func() { faults.set(nil, errors.New("connection reset")) },
		"a whole group is silent":  func() { faults.set([]schema.GroupKind{{}}, nil) },
	} {
		index := w.groups(w.key())[0].Index
		if latest, ok := snapshot.Latest(w.groups(w.key())); ok {
			index = latest.Index
		}
		fault()
		touch(strings.ReplaceAll(name, " ", "-"))
		testworld.Stable(t, time.Second, name, func(context.Context) error {
			if latest, _ := snapshot.Latest(w.groups(w.key())); latest.Index != index {
				return errors.New("a revision was made")
			}
			return nil
		})
		faults.set(nil, nil)
		w.awaitSelected(w.key(), index+1, "Namespace "+w.name, "ConfigMap cm")
	}
	// A kind that cannot be listed, and of which nothing is placed, stops nobody.
	faults.set([]schema.GroupKind{{Group: "apps", Kind: "Deployment"}}, nil)
	touch("another")
	w.awaitSelected(w.key(), 4, "Namespace "+w.name, "ConfigMap cm")
}

func TestExternalRolloutMakesNoRevision(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{})
	p := w.crp()
	p.Spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	w.make(w.namespace(), p)
	w.schedule(w.key(), "a")
	w.await("status", func() error {
		status := w.placement(w.key()).GetStatus()
		c := meta.FindStatusCondition(status.Conditions, "ClusterResourcePlacementRolloutStarted")
		if c == nil || c.Reason != v1beta1.ReasonRolloutControlledByExternalController {
			return fmt.Errorf("status %+v", status)
		}
		return nil
	})
	if n := len(w.groups(w.key())); n > 0 {
		t.Errorf("%d groups", n)
	}
}

func TestDeletionEndsInATerminatingNamespace(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	namespace, rp := w.namespace(), w.rp()
	key := types.NamespacedName{Namespace: w.name, Name: "rp"}
	w.make(namespace, w.configMap("cm", "one"), rp)
	w.awaitSelected(key, 0, "ConfigMap cm")
	if err := w.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.await("finalizer", func() error {
		if got := w.placement(key).GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerScheduler}) {
			return fmt.Errorf("finalizers %v", got)
		}
		return nil
	})
	w.release(rp)
}

func TestBurst(t *testing.T) {
	const many = 100
	w := newWorld(t)
	start(t, defaults)
	var keys []types.NamespacedName
	begin := time.Now()
	for i := range many {
		name := fmt.Sprintf("%s-%d", w.name, i)
		w.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "cm"}},
			&v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.PlacementSpec{ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: name}}}})
		keys = append(keys, types.NamespacedName{Name: name})
	}
	made := time.Since(begin)
	for _, key := range keys {
		w.await("snapshot", func() error {
			if len(w.groups(key)) == 0 {
				return fmt.Errorf("none")
			}
			return nil
		})
	}
	t.Logf("made in %s, snapshots in %s", made, time.Since(begin))
}
