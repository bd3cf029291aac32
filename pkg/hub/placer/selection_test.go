package placer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// thingCRD defines a namespaced kind Thing, which exists in v1 and v2 and is served in some of them.
func (w *world) thingCRD(served ...string) *unstructured.Unstructured {
	group := w.name + ".example.com"
	var versions []any
	for _, version := range []string{"v1", "v2"} {
		versions = append(versions, map[string]any{
			"name": version, "served": slices.Contains(served, version), "storage": version == "v1",
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "things." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "versions": versions,
			"names": map[string]any{"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
		},
	}}
}

func (w *world) thing(size int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": w.name + ".example.com/v1", "kind": "Thing", "metadata": map[string]any{"namespace": w.name, "name": "t"},
		"spec": map[string]any{"data": strings.Repeat("x", size)},
	}}
}

// serve changes in which versions Thing is served.
func (w *world) serve(versions ...string) {
	w.Helper()
	crd := w.thingCRD(versions...)
	if err := w.Patch(w.Context(), crd, client.Apply, client.FieldOwner("test"), client.ForceOwnership); err != nil { //nolint:staticcheck // an unstructured object
		w.Fatalf("serve %v: %v", versions, err)
	}
}

// carried is the latest revision, each object with its version, as far as it is whole.
func (w *world) carried(key types.NamespacedName) []string {
	latest, _ := snapshot.Latest(w.groups(key))
	items, _ := latest.Items()
	var out []string
	for _, item := range items {
		out = append(out, item.ID.Version+" "+item.ID.Kind+" "+item.ID.Name)
	}
	return out
}

// awaitCarried waits until the latest revision holds exactly what is named.
func (w *world) awaitCarried(key types.NamespacedName, what string, names ...string) {
	w.Helper()
	w.await(what, func() error {
		if got := w.carried(key); !slices.Equal(got, names) {
			return fmt.Errorf("%v; want %v", got, names)
		}
		return nil
	})
}

// awaitInvalid waits until a placement's selectors are said to be wrong, for the given cause.
func (w *world) awaitInvalid(key types.NamespacedName, cause string) {
	w.Helper()
	w.await("invalid: "+cause, func() error {
		p := w.placement(key)
		c := meta.FindStatusCondition(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionScheduled))
		if c == nil || c.Reason != v1beta1.ReasonInvalidResourceSelectors || !strings.Contains(c.Message, cause) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// Which versions of a kind are served may change at any time. Placements follow at once, whatever version they name;
// and an object that cannot be seen because no version of its kind is served is not gone.
func TestFollowsVersionsOfCustomKinds(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	named := w.rp(v1beta1.ResourceSelectorTerm{Group: w.name + ".example.com", Version: "v2", Kind: "Thing"})
	all, rp := w.key(), client.ObjectKeyFromObject(named)
	w.make(w.namespace(), w.thingCRD("v1"), w.crp())
	w.await("thing", func() error { return w.Create(t.Context(), w.thing(1)) })
	w.awaitCarried(all, "the kind is new", "v1 Namespace "+w.name, "v1 Thing t")
	w.make(named)
	w.awaitInvalid(rp, "it serves the kind in version v1")

	w.serve("v1", "v2")
	w.awaitCarried(rp, "v2 is served", "v2 Thing t")
	w.awaitCarried(all, "v2 is preferred", "v1 Namespace "+w.name, "v2 Thing t")

	w.serve("v1")
	w.awaitInvalid(rp, "it serves the kind in version v1")
	w.awaitCarried(all, "v1 is preferred again", "v1 Namespace "+w.name, "v1 Thing t")

	w.serve()
	w.awaitInvalid(rp, "the hub does not serve this kind")
	w.make(w.configMap("cm", "one"))
	other := w.crp()
	other.Name += "-other"
	w.make(other)
	w.awaitCarried(client.ObjectKeyFromObject(other), "who has never placed the hidden object goes on", "v1 Namespace "+w.name, "v1 ConfigMap cm")
	if got := w.carried(all); !slices.Contains(got, "v1 Thing t") {
		t.Errorf("an object that cannot be read was dropped: %v", got)
	}
	if got := w.carried(rp); !slices.Equal(got, []string{"v2 Thing t"}) {
		t.Errorf("an invalid placement was changed: %v", got)
	}

	w.serve("v1", "v2")
	w.awaitCarried(all, "it is served again", "v1 Namespace "+w.name, "v1 ConfigMap cm", "v2 Thing t")
	w.awaitCarried(rp, "so is v2", "v2 Thing t")
}

// A CRD that comes and goes takes its objects with it each time, and nothing of what is there in the end is missing.
func TestFollowsACRDThatComesAndGoes(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	w.make(w.namespace(), w.configMap("cm", "one"), w.crp())
	for range 3 {
		crd := w.thingCRD("v1")
		w.await("define", func() error { return w.Create(t.Context(), crd.DeepCopy()) })
		w.await("thing", func() error { return w.Create(t.Context(), w.thing(1)) })
		if err := w.Delete(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		w.await("gone", func() error {
			if err := w.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("it is there"), err)
			}
			return nil
		})
	}
	w.awaitCarried(w.key(), "the kind is gone", "v1 Namespace "+w.name, "v1 ConfigMap cm")
	w.make(w.thingCRD("v1"))
	w.await("thing", func() error { return w.Create(t.Context(), w.thing(1)) })
	w.awaitCarried(w.key(), "the kind is back", "v1 Namespace "+w.name, "v1 ConfigMap cm", "v1 Thing t")
}

// A revision that an update run is to release stays, whatever the history limit, until the run has ended.
func TestKeepsWhatAnUpdateRunReleases(t *testing.T) {
	w := newWorld(t)
	a := start(t, defaults)
	one := int32(1)
	p := w.crp()
	p.Spec.RevisionHistoryLimit = &one
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: v1beta1.UpdateRunSpec{
		PlacementName: w.name, ResourceSnapshotIndex: "0", StagedUpdateStrategyName: "any",
	}}
	w.make(w.namespace(), run, p)
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.make(w.configMap("a", "one"))
	w.awaitSelected(w.key(), 1, "Namespace "+w.name, "ConfigMap a")
	w.make(w.configMap("b", "one"))
	w.awaitSelected(w.key(), 2, "Namespace "+w.name, "ConfigMap a", "ConfigMap b")
	kept := func(want ...int) func() error {
		return func() error {
			var got []int
			for _, g := range w.groups(w.key()) {
				got = append(got, g.Index)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("groups %v are kept; want %v", got, want)
			}
			return nil
		}
	}
	w.await("history", kept(0, 2))
	meta.SetStatusCondition(run.GetConditions(), metav1.Condition{Type: v1beta1.ConditionSucceeded, Status: metav1.ConditionTrue, Reason: "Done"})
	if err := w.Status().Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	testworld.AwaitKnown(t, a.Knows, run)
	w.make(w.configMap("c", "one"))
	w.await("history after the run", kept(3))
}

// A revision that some cluster last ran healthily stays until it is healthy with another one; so does what an update
// run would go back to.
func TestKeepsWhatWasLastHealthy(t *testing.T) {
	w := newWorld(t)
	a := start(t, defaults)
	one := int32(1)
	p := w.crp()
	p.Spec.RevisionHistoryLimit = &one
	w.make(w.namespace(), p)
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: w.name + "-c1", Labels: map[string]string{contract.LabelPlacement: w.name}}}
	b.Spec = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateScheduled, TargetCluster: "c1", ClusterDecision: v1beta1.ClusterDecision{ClusterName: "c1", Selected: true, Reason: "test"},
	}
	w.make(b)
	healthyWith := func(index int) {
		t.Helper()
		w.await("a report", func() error {
			if err := w.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
				return err
			}
			b.Status.LastHealthy = &v1beta1.Revision{ResourceSnapshotName: contract.MasterSnapshotName(w.name, index)}
			b.Status.Conditions = []metav1.Condition{}
			return w.Status().Update(t.Context(), b)
		})
		testworld.AwaitKnown(t, a.Knows, b)
	}
	kept := func(want ...int) {
		t.Helper()
		w.await("history", func() error {
			var got []int
			for _, g := range w.groups(w.key()) {
				got = append(got, g.Index)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("groups %v are kept; want %v", got, want)
			}
			return nil
		})
	}
	healthyWith(0)
	w.make(w.configMap("a", "one"))
	w.awaitSelected(w.key(), 1, "Namespace "+w.name, "ConfigMap a")
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: v1beta1.UpdateRunSpec{
		PlacementName: w.name, ResourceSnapshotIndex: "9", StagedUpdateStrategyName: "any",
	}}
	w.make(run)
	run.Status.StagesStatus = []v1beta1.StageUpdatingStatus{{StageName: "all", Clusters: []v1beta1.ClusterUpdatingStatus{{
		ClusterName: "c1", LastHealthy: &v1beta1.Revision{ResourceSnapshotName: contract.MasterSnapshotName(w.name, 1)},
	}}}}
	if err := w.Status().Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	testworld.AwaitKnown(t, a.Knows, run)
	w.make(w.configMap("b", "one"))
	w.awaitSelected(w.key(), 2, "Namespace "+w.name, "ConfigMap a", "ConfigMap b")
	w.make(w.configMap("c", "one"))
	w.awaitSelected(w.key(), 3, "Namespace "+w.name, "ConfigMap a", "ConfigMap b", "ConfigMap c")
	kept(0, 1, 3)
	healthyWith(3)
	w.make(w.configMap("d", "one"))
	w.awaitSelected(w.key(), 4, "Namespace "+w.name, "ConfigMap a", "ConfigMap b", "ConfigMap c", "ConfigMap d")
	kept(1, 3, 4)

	// A rolling update that the cluster was changed by may go back, too.
	w.await("a mark", func() error {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			return err
		}
		b.Annotations = map[string]string{contract.AnnotationRollout: fmt.Sprintf(`{"before":{"resourceSnapshotName":%q}}`, contract.MasterSnapshotName(w.name, 1))}
		return w.Update(t.Context(), b)
	})
	w.make(w.configMap("e", "one"))
	w.awaitSelected(w.key(), 5, "Namespace "+w.name, "ConfigMap a", "ConfigMap b", "ConfigMap c", "ConfigMap d", "ConfigMap e")
	kept(1, 3, 5)
	if err := w.Delete(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	w.make(w.configMap("f", "one"))
	w.awaitSelected(w.key(), 6, "Namespace "+w.name, "ConfigMap a", "ConfigMap b", "ConfigMap c", "ConfigMap d", "ConfigMap e", "ConfigMap f")
	kept(1, 3, 6)
}

// fit is what a placement says about objects that are too large; nil for nothing.
func (w *world) fit() *metav1.Condition {
	p := w.placement(w.key())
	return meta.FindStatusCondition(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionResourcesFit))
}

// A placement of a whole namespace whose author may not place privileged objects places the others, and names those.
// The mark counts as soon as it comes or goes.
func TestAnAuthorWhoMayNotPlacePrivilegedObjects(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "r"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "s"}}
	w.make(w.namespace(), w.configMap("cm", "one"), role, secret)
	marked := w.crp()
	marked.Annotations = map[string]string{contract.AnnotationAuthor: contract.AuthorRestricted}
	w.make(marked)
	w.awaitCarried(w.key(), "the others", "v1 Namespace "+w.name, "v1 ConfigMap cm")
	permitted := func() *metav1.Condition {
		p := w.placement(w.key())
		return meta.FindStatusCondition(p.GetStatus().Conditions, p.ConditionType(v1beta1.ConditionResourcesPermitted))
	}
	w.await("condition", func() error {
		c := permitted()
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonPrivilegedResources ||
			!strings.Contains(c.Message, "Secret "+w.name+"/s") || !strings.Contains(c.Message, "Role "+w.name+"/r") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	mark := func(value string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, contract.AnnotationAuthor, value)
		if err := w.Patch(t.Context(), w.crp(), client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
	}
	mark("null")
	w.awaitCarried(w.key(), "the mark is gone", "v1 Namespace "+w.name, "v1 Secret s", "v1 ConfigMap cm", "v1 Role r")
	w.await("no condition", func() error {
		if c := permitted(); c != nil {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	mark(`"restricted"`)
	w.awaitCarried(w.key(), "the mark is back", "v1 Namespace "+w.name, "v1 ConfigMap cm")
}

// One object is too large to be placed: the placement names it and its size, and places the others, and the state of
// it that it placed before, until it fits.
func TestAnObjectThatCannotFit(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	large := w.thing(snapshot.ItemLimit)
	w.make(w.namespace(), w.configMap("cm", "one"), w.thingCRD("v1"))
	w.await("thing", func() error { return w.Create(t.Context(), large.DeepCopy()) })
	w.make(w.crp())
	w.awaitCarried(w.key(), "the others", "v1 Namespace "+w.name, "v1 ConfigMap cm")
	w.await("condition", func() error {
		c := w.fit()
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonResourceTooLarge ||
			!strings.Contains(c.Message, "Thing "+w.name+"/t has 14") || !strings.Contains(c.Message, "bytes and is not placed") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	set := func(size int) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"spec":{"data":"%s"}}`, strings.Repeat("x", size))
		if err := w.Patch(t.Context(), large.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	w.awaitCarried(w.key(), "it is smaller", "v1 Namespace "+w.name, "v1 ConfigMap cm", "v1 Thing t")
	w.await("no condition", func() error {
		if c := w.fit(); c != nil {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	set(snapshot.ItemLimit)
	w.await("condition", func() error {
		if c := w.fit(); c == nil || !strings.Contains(c.Message, "bytes and stays in its last placed state") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	w.make(w.configMap("later", "two"))
	w.awaitCarried(w.key(), "the others go on", "v1 Namespace "+w.name, "v1 ConfigMap cm", "v1 ConfigMap later", "v1 Thing t")
}

// A thousand objects, one of them of 900 KiB, are one revision in parts of the contract's size.
func TestAThousandObjects(t *testing.T) {
	const many = 998
	w := newWorld(t)
	w.make(w.namespace(), w.configMap("b-large", strings.Repeat("x", 900<<10)))
	names := []string{"Namespace " + w.name}
	for i := range many {
		names = append(names, fmt.Sprintf("ConfigMap a-%03d", i))
	}
	names = append(names, "ConfigMap b-large")
	var group sync.WaitGroup
	for at := range 8 {
		group.Go(func() {
			for i := at; i < many; i += 8 {
				if err := w.Create(t.Context(), w.configMap(fmt.Sprintf("a-%03d", i), "small")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	start(t, defaults) // which reads all of them before it selects any
	w.make(w.crp())
	latest := w.awaitSelected(w.key(), 0, names...)
	if latest.Count() != 2 || len(latest.Master.GetSpec().SelectedResources) != many+1 || len(latest.Parts[0].GetSpec().SelectedResources) != 1 {
		t.Errorf("%d parts, %d objects in the first", latest.Count(), len(latest.Master.GetSpec().SelectedResources))
	}
}
