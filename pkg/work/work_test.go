package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// snapshot is one snapshot of the placement "web"; sub < 0 makes the first of a group of count.
func snapshot(index, sub, count int, objects ...string) *v1beta1.ClusterResourceSnapshot {
	s := &v1beta1.ClusterResourceSnapshot{ObjectMeta: metav1.ObjectMeta{
		Name:        contract.SubSnapshotName("web", index, sub),
		Labels:      map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: strconv.Itoa(index)},
		Annotations: map[string]string{contract.AnnotationSubindex: strconv.Itoa(sub)},
	}}
	if sub < 0 {
		s.Name = contract.MasterSnapshotName("web", index)
		s.Annotations = map[string]string{contract.AnnotationSnapshotCount: strconv.Itoa(count), contract.AnnotationResourceHash: "h"}
	}
	for _, o := range objects {
		s.Spec.SelectedResources = append(s.Spec.SelectedResources, v1beta1.ResourceContent{RawExtension: runtime.RawExtension{Raw: []byte(o)}})
	}
	return s
}

func configMap(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"shop"}}`, name)
}

func resourceEnvelope(namespace, name string, data ...string) string {
	return envelopeOf("ResourceEnvelope", namespace, name, data...)
}

// enveloping is a group that holds one envelope, e, with this in it.
func enveloping(data string) Group {
	return Group{Index: "3", Parts: []Part{{Sub: -1, Objects: [][]byte{[]byte(resourceEnvelope("shop", "e", data))}}}}
}

func envelopeOf(kind, namespace, name string, data ...string) string {
	var entries []string
	for i, d := range data {
		entries = append(entries, fmt.Sprintf(`"k%d":%s`, i, d))
	}
	return fmt.Sprintf(`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":%q,"metadata":{"name":%q,"namespace":%q},"data":{%s}}`,
		kind, name, namespace, strings.Join(entries, ","))
}

func order() Order {
	return Order{
		Binding:   types.NamespacedName{Name: "web-east-1"},
		UID:       "uid-of-web-east-1",
		Placement: types.NamespacedName{Name: "web"},
		Cluster:   "east",
		Content:   v1beta1.Revision{ResourceSnapshotName: contract.MasterSnapshotName("web", 3)},
	}
}

func TestGroupOf(t *testing.T) {
	for name, tc := range map[string]struct {
		seen  []v1beta1.ResourceSnapshotObject
		want  Group
		wrong error
	}{
		"parts come in the order of their numbers, whatever order they are read in": {
			seen: []v1beta1.ResourceSnapshotObject{snapshot(3, 1, 0, "c"), snapshot(3, -1, 3, "a"), snapshot(3, 0, 0, "b")},
			want: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: [][]byte{[]byte("a")}}, {Sub: 0, Objects: [][]byte{[]byte("b")}}, {Sub: 1, Objects: [][]byte{[]byte("c")}}}},
		},
		"other indices are no part of it": {
			seen: []v1beta1.ResourceSnapshotObject{snapshot(2, 0, 0, "x"), snapshot(3, -1, 1, "a"), snapshot(2, -1, 2, "y")},
			want: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: [][]byte{[]byte("a")}}}},
		},
		"a group without its first snapshot is not there": {
			seen:  []v1beta1.ResourceSnapshotObject{snapshot(3, 0, 0, "b")},
			wrong: ErrNoSnapshot,
		},
		"a missing part makes the group incomplete": {
			seen:  []v1beta1.ResourceSnapshotObject{snapshot(3, -1, 3, "a"), snapshot(3, 1, 0, "c")},
			wrong: ErrIncomplete,
		},
		"a part with a number that is there twice does not stand in for another": {
			seen:  []v1beta1.ResourceSnapshotObject{snapshot(3, -1, 3, "a"), snapshot(3, 1, 0, "c"), snapshot(3, 1, 0, "c")},
			wrong: ErrIncomplete,
		},
		"a first snapshot that does not say how many parts there are is not believed": {
			seen:  []v1beta1.ResourceSnapshotObject{snapshot(3, -1, 0, "a")},
			wrong: ErrIncomplete,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := GroupOf(contract.MasterSnapshotName("web", 3), tc.seen)
			if !errors.Is(err, tc.wrong) || (err != nil) != (tc.wrong != nil) {
				t.Fatalf("error %v; want %v", err, tc.wrong)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// made is a Work as tests compare it.
type made struct {
	Name, Manifests string
	Envelope        string
}

func summary(works []*v1beta1.Work) []made {
	var out []made
	for _, w := range works {
		var manifests []string
		for _, m := range w.Spec.Workload.Manifests {
			manifests = append(manifests, string(m.Raw))
		}
		out = append(out, made{Name: w.Name, Manifests: strings.Join(manifests, "\n"), Envelope: envelopeKey(w)})
	}
	return out
}

func TestWanted(t *testing.T) {
	namespaced := order()
	namespaced.Placement = types.NamespacedName{Namespace: "shop", Name: "web"}
	quota := `{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"shop"}}`
	role := `{"apiVersion":"v1","kind":"Role","metadata":{"name":"r","namespace":"shop"}}`
	drop := func(object []byte) ([]byte, error) {
		if strings.Contains(string(object), "ResourceQuota") {
			return nil, nil
		}
		return object, nil
	}
	for name, tc := range map[string]struct {
		order    Order
		group    Group
		override Override
		want     []made
		wrong    string
	}{
		"each snapshot makes a work, the empty one too": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1}, {Sub: 0, Objects: raw(configMap("a"), configMap("b"))}}},
			want: []made{{Name: "web-work"}, {Name: "web-0", Manifests: configMap("a") + "\n" + configMap("b")}},
		},
		"a namespaced placement's works carry its namespace in their names": {
			order: namespaced, group: Group{Index: "3", Parts: []Part{{Sub: -1}, {Sub: 0}}},
			want: []made{{Name: "shop.web-work"}, {Name: "shop.web-0"}},
		},
		"an envelope makes a work of its own, sorted by text from the end": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(resourceEnvelope("shop", "e", quota, role), configMap("a"))}}},
			want: []made{
				{Name: "web-work", Manifests: configMap("a")},
				{Name: contract.EnvelopeWorkName("web-work", "ResourceEnvelope", "shop", "e"), Manifests: role + "\n" + quota, Envelope: "ResourceEnvelope shop/e"},
			},
		},
		"an object that an override drops is left out, inside envelopes too": {
			order: order(), override: drop,
			group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(quota, configMap("a"), resourceEnvelope("shop", "e", quota, role))}}},
			want: []made{
				{Name: "web-work", Manifests: configMap("a")},
				{Name: contract.EnvelopeWorkName("web-work", "ResourceEnvelope", "shop", "e"), Manifests: role, Envelope: "ResourceEnvelope shop/e"},
			},
		},
		"a namespaced object in a cluster envelope is a mistake, even in the last of the snapshots": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1}, {Sub: 0, Objects: raw(envelopeOf("ClusterResourceEnvelope", "", "e", quota))}}},
			wrong: `ClusterResourceEnvelope e: data "k0": ResourceQuota shop/q is in a namespace`,
		},
		"an object of another namespace in an envelope is a mistake": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(resourceEnvelope("till", "e", quota))}}},
			wrong: "must be in the envelope's own namespace till",
		},
		"a cluster-scoped object in a namespaced envelope is a mistake": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(resourceEnvelope("shop", "e", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}`))}}},
			wrong: "Namespace n has no namespace",
		},
		"what is no object in an envelope is a mistake": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(resourceEnvelope("shop", "e", `{"a":1}`))}}},
			wrong: "has no apiVersion or no kind",
		},
		"what the API server would refuse is found before anything is written: the name": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Bad/Name","namespace":"shop"}}`),
			wrong: `ResourceEnvelope shop/e: data "k0": metadata.name: Invalid value: "Bad/Name"`,
		},
		"the apiVersion": {
			order: order(), group: enveloping(`{"apiVersion":"a/b/c","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop"}}`),
			wrong: `apiVersion "a/b/c" is not of the form group/version`,
		},
		"the kind": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"Config Map","metadata":{"name":"a","namespace":"shop"}}`), wrong: `kind "Config Map": `,
		},
		"a label": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop","labels":{"a b":"c"}}}`),
			wrong: `data "k0": metadata.labels: Invalid value: "a b"`,
		},
		"an envelope's own name": {
			order: order(), group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(resourceEnvelope("shop", strings.Repeat("e", 64), quota))}}},
			wrong: "the name is longer than 63 characters",
		},
		"a field of another type is named": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7,"namespace":"shop"}}`),
			wrong: "is not a Kubernetes object: its metadata.name must not be a number",
		},
		"a namespace that only looks like one": { // tenant-envelope-leaves-namespace
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"kube-system","nameſpace":"shop"}}`),
			wrong: `is not a Kubernetes object: the field "metadata.name\u017fpace" is spelled like namespace`,
		},
		"a cluster-wide kind in a namespace that only looks like one": {
			order: order(), group: enveloping(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"a","nameſpace":"shop"}}`),
			wrong: `is spelled like namespace`,
		},
		"a second kind": { // tenant-reads-secrets-by-diff
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","Kind":"Secret","metadata":{"name":"a","namespace":"shop"}}`),
			wrong: `the field "Kind" is spelled like kind`,
		},
		"a second namespace": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop","name\u0073pace":"kube-system"}}`),
			wrong: `metadata.namespace" appears twice`,
		},
		"what is too deep": {
			order: order(), group: enveloping(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop"},"data":` +
				strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), wrong: "decode ResourceEnvelope shop/e: it is nested deeper than 100 levels",
		},
		"what has no name, and kinds nobody knows, are the member's to judge": {
			order: order(), group: enveloping(`{"apiVersion":"dummy/v10","kind":"Fake","metadata":{"generateName":"x-","namespace":"shop"}}`),
			want: []made{{Name: "web-work"}, {
				Name:      contract.EnvelopeWorkName("web-work", "ResourceEnvelope", "shop", "e"),
				Manifests: `{"apiVersion":"dummy/v10","kind":"Fake","metadata":{"generateName":"x-","namespace":"shop"}}`, Envelope: "ResourceEnvelope shop/e",
			}},
		},
		"an override that fails names the object": {
			order: order(), override: func([]byte) ([]byte, error) { return nil, errors.New("no label zone") },
			group: Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(configMap("a"))}}},
			wrong: "override ConfigMap shop/a: no label zone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			override := tc.override
			if override == nil {
				override = AsIs
			}
			got, err := Wanted(tc.order, tc.group, override)
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) || got != nil {
					t.Fatalf("error %v, works %v; want an error with %q and nothing to write", err, got, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, summary(got)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestWantedMarks(t *testing.T) {
	o := order()
	o.Placement.Namespace, o.Binding.Namespace = "shop", "shop"
	o.Content.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	o.Content.ClusterResourceOverrideSnapshots = []string{"o-1"}
	o.Content.ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "shop", Name: "o-2"}}
	got, err := Wanted(o, Group{Index: "3", Parts: []Part{{Sub: -1}}}, AsIs)
	if err != nil {
		t.Fatal(err)
	}
	clusterHash, _ := contract.Hash([]string{"o-1"})
	hash, _ := contract.Hash(o.Content.ResourceOverrideSnapshots)
	want := &v1beta1.Work{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "fleet-member-east", Name: "shop.web-work",
			Labels: map[string]string{
				"kubernetes-fleet.io/parent-CRP":                     "web",
				"kubernetes-fleet.io/parent-placement-namespace":     "shop",
				"kubernetes-fleet.io/parent-resource-binding":        "web-east-1",
				"kubernetes-fleet.io/parent-resource-snapshot-index": "3",
			},
			Annotations: map[string]string{
				"kubernetes-fleet.io/parent-resource-snapshot-name":                  "web-3-snapshot",
				"kubernetes-fleet.io/parent-resource-override-snapshot-hash":         hash,
				"kubernetes-fleet.io/parent-cluster-resource-override-snapshot-hash": clusterHash,
				"kubernetes-fleet.io/binding-uid":                                    "uid-of-web-east-1",
				"kubernetes-fleet.io/override-snapshots":                             "o-1,shop/o-2",
				"kubernetes-fleet.io/number-of-manifests":                            "0",
				"kubernetes-fleet.io/number-of-works":                                "1",
			},
			Finalizers: []string{"kubernetes-fleet.io/work-cleanup"},
		},
		Spec: v1beta1.WorkSpec{ApplyStrategy: o.Content.ApplyStrategy},
	}
	if diff := cmp.Diff([]*v1beta1.Work{want}, got); diff != "" {
		t.Fatal(diff)
	}
}

// A Work without overrides names none, whatever it named before; the hash of no overrides is part of the wire.
func TestOverridesLeave(t *testing.T) {
	before, after := order(), order()
	before.Content.ClusterResourceOverrideSnapshots, before.Fingerprint = []string{"o-1"}, "f"
	wanted := wantedOf(t, after, "3", nil)
	changes, err := Compare(wanted, stored(wantedOf(t, before, "3", nil)), nil)
	if err != nil || len(changes.Update) != 1 {
		t.Fatalf("%+v, %v; want one update", changes, err)
	}
	got := changes.Update[0].Annotations
	if names, ok := got[contract.AnnotationOverrides]; ok {
		t.Errorf("it still names %q", names)
	}
	if old, ok := got[contract.AnnotationOverrideFingerprint]; ok {
		t.Errorf("it still has fingerprint %q", old)
	}
	if hash := got[contract.AnnotationOverrideHash]; hash != "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b" { // null
		t.Errorf("the hash of no overrides is %s", hash)
	}
}

// The same overrides may come to something else when a label of the cluster has changed.
func TestAnotherFingerprintIsOtherContent(t *testing.T) {
	before, after := order(), order()
	before.Content.ClusterResourceOverrideSnapshots, before.Fingerprint = []string{"o-1"}, "f"
	after.Content.ClusterResourceOverrideSnapshots, after.Fingerprint = before.Content.ClusterResourceOverrideSnapshots, "g"
	there := stored(wantedOf(t, before, "3", nil))
	changes, err := Compare(wantedOf(t, after, "3", nil), there, nil)
	if err != nil || len(changes.Update) != 1 || changes.Update[0].Annotations[contract.AnnotationOverrideFingerprint] != "g" {
		t.Errorf("%+v, %v; want one update", changes, err)
	}
	if changes, err := Compare(wantedOf(t, before, "3", nil), there, nil); err != nil || !changes.None() {
		t.Errorf("%+v, %v; want no change", changes, err)
	}
	if Holds(after, there) || !Holds(before, there) {
		t.Error("a Work holds what it was made with, and nothing else")
	}
}

// Shares of replicas wait with the new result of overrides.
func TestSharesWaitForTheResultOfOverrides(t *testing.T) {
	const web = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"},"spec":{"replicas":10}}`
	made := func(share int32) []*v1beta1.Work {
		o := order()
		o.Content.ClusterResourceOverrideSnapshots, o.Fingerprint = []string{"o-1"}, "f"
		o.Shares = []v1beta1.ReplicaShare{{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", Replicas: share, Of: 10}}
		works, err := Wanted(o, Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(web)}}}, AsIs)
		if err != nil {
			t.Fatal(err)
		}
		return works
	}
	there := stored(made(5))
	for share, waits := range map[int32]bool{5: false, 7: true} {
		wanted := made(share)
		if got := Leave(wanted, there); got != waits {
			t.Errorf("share %d: it waits %t, want %t", share, got, waits)
		}
		if changes, err := Compare(wanted, there, nil); err != nil || !changes.None() {
			t.Errorf("share %d: %+v, %v; want no change", share, changes, err)
		}
	}
	if changes, err := Compare(made(7), there, nil); err != nil || len(changes.Update) != 1 {
		t.Errorf("%+v, %v; want an update for the share", changes, err)
	}
}

// What was taken along from another cluster is set on the objects after overrides, also inside envelopes, and is no
// part of the revision.
func TestStateIsSetOnObjects(t *testing.T) {
	const job = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"shop","name":%q}}`
	annotations := func(works []*v1beta1.Work) (out []string) {
		for _, w := range works {
			for _, m := range w.Spec.Workload.Manifests {
				var o metav1.PartialObjectMetadata
				if err := json.Unmarshal(m.Raw, &o); err != nil {
					t.Fatal(err)
				}
				out = append(out, fmt.Sprintf("%s %v", o.Name, o.Annotations["step"]))
			}
		}
		return out
	}
	override := func(object []byte) ([]byte, error) {
		return []byte(strings.Replace(string(object), `"namespace"`, `"annotations":{"step":"0"},"namespace"`, 1)), nil
	}
	made := func(steps ...string) []*v1beta1.Work {
		o := order()
		o.Content.ClusterResourceOverrideSnapshots, o.Fingerprint = []string{"o-1"}, "f"
		for i, step := range steps {
			o.State = append(o.State, v1beta1.ObjectAnnotation{
				Group: "batch", Kind: "Job", Namespace: "shop", Name: []string{"a", "b"}[i], Annotation: "step", Value: step,
			})
		}
		objects := raw(fmt.Sprintf(job, "a"), resourceEnvelope("shop", "e", fmt.Sprintf(job, "b")), fmt.Sprintf(job, "c"))
		works, err := Wanted(o, Group{Index: "3", Parts: []Part{{Sub: -1, Objects: objects}}}, override)
		if err != nil {
			t.Fatal(err)
		}
		return works
	}
	none, first, second := made(), made("7", "8"), made("7", "9")
	for _, tc := range []struct {
		works []*v1beta1.Work
		want  string
	}{{none, "a 0, c 0, b 0"}, {first, "a 7, c 0, b 8"}, {second, "a 7, c 0, b 9"}} {
		if got := strings.Join(annotations(tc.works), ", "); got != tc.want {
			t.Errorf("steps %s, want %s", got, tc.want)
		}
	}
	if _, marked := none[0].Annotations[contract.AnnotationFailoverState]; marked {
		t.Error("a Work without state is marked")
	}
	there := stored(first)
	if changes, err := Compare(made("7", "8"), there, nil); err != nil || !changes.None() {
		t.Errorf("the same state: %+v, %v", changes, err)
	}
	changes, err := Compare(second, there, nil)
	if err != nil || len(changes.Update) != 1 || changes.Update[0].Labels[contract.LabelEnvelopeName] != "e" {
		t.Errorf("another state of b: %+v, %v; want the Work of the envelope", changes, err)
	}
	changes, err = Compare(made(), there, nil)
	if err != nil || len(changes.Update) != 2 || changes.Update[0].Annotations[contract.AnnotationFailoverState] != "" {
		t.Errorf("no state: %+v, %v", changes, err)
	}
	o := order()
	o.Content.ClusterResourceOverrideSnapshots, o.Fingerprint = []string{"o-1"}, "f"
	if !Holds(o, there) {
		t.Error("state is part of the revision")
	}
	if wanted := made("7", "9"); !Leave(wanted, there) {
		t.Error("another state does not wait for the result of overrides")
	} else if changes, err := Compare(wanted, there, nil); err != nil || !changes.None() {
		t.Errorf("%+v, %v; want no change", changes, err)
	}
}

func raw(objects ...string) [][]byte {
	var out [][]byte
	for _, o := range objects {
		out = append(out, []byte(o))
	}
	return out
}

// wantedOf makes the Works of an order with parts snapshots.
func wantedOf(t interface{ Fatal(...any) }, o Order, index string, parts ...[][]byte) []*v1beta1.Work {
	group := Group{Index: index}
	for i, objects := range parts {
		group.Parts = append(group.Parts, Part{Sub: i - 1, Objects: objects})
	}
	works, err := Wanted(o, group, AsIs)
	if err != nil {
		t.Fatal(err)
	}
	return works
}

// stored are works as the cache holds them: without manifests.
func stored(works []*v1beta1.Work) []*v1beta1.Work {
	var out []*v1beta1.Work
	for i, w := range works {
		w = w.DeepCopy()
		w.Spec.Workload.Manifests = nil
		w.UID, w.ResourceVersion = types.UID(w.Name), strconv.Itoa(i+1)
		out = append(out, w)
	}
	return out
}

func terminating(w *v1beta1.Work) *v1beta1.Work {
	now := metav1.Now()
	w.DeletionTimestamp = &now
	return w
}

func TestCompare(t *testing.T) {
	older, reported := order(), order()
	older.Content.ResourceSnapshotName = contract.MasterSnapshotName("web", 2)
	reported.Content.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	overridden := order()
	overridden.Content.ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "shop", Name: "o-1"}}
	twin := order()
	twin.Binding.Name, twin.UID = "web-east-2", "uid-of-web-east-2"
	former := order()
	former.UID = "uid-of-an-earlier-web-east-1"
	unmarked := order()
	unmarked.UID = ""
	other := twin
	other.Placement.Name = "other"
	e := resourceEnvelope("shop", "e", `{"apiVersion":"v1","kind":"Role","metadata":{"name":"r","namespace":"shop"}}`)
	inFirst := contract.EnvelopeWorkName("web-work", "ResourceEnvelope", "shop", "e")

	type names struct{ Create, Update, Retune, Delete, Await string }
	for name, tc := range map[string]struct {
		wanted  []*v1beta1.Work
		seen    []*v1beta1.Work
		orphans map[string]bool
		want    names
		wrong   string
	}{
		"what is not there is created": {
			wanted: wantedOf(t, order(), "3", nil, nil),
			want:   names{Create: "web-work web-0"},
		},
		"what says the same is untouched": {
			wanted: wantedOf(t, order(), "3", nil, nil), seen: stored(wantedOf(t, order(), "3", nil, nil)),
		},
		"another index is an update": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, older, "2", nil)),
			want: names{Update: "web-work"},
		},
		"another list of overrides is an update": {
			wanted: wantedOf(t, overridden, "3", nil), seen: stored(wantedOf(t, order(), "3", nil)),
			want: names{Update: "web-work"},
		},
		"another way to apply alone does not touch content": {
			wanted: wantedOf(t, reported, "3", nil), seen: stored(wantedOf(t, order(), "3", nil)),
			want: names{Retune: "web-work"},
		},
		"what is no longer wanted is deleted": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, older, "2", nil, nil, nil)),
			want: names{Update: "web-work", Delete: "web-0 web-1"},
		},
		"what is being deleted must be gone before it is made again, and is not deleted again": {
			wanted: wantedOf(t, order(), "3", nil),
			seen: []*v1beta1.Work{
				terminating(stored(wantedOf(t, order(), "3", nil))[0]), terminating(stored(wantedOf(t, order(), "3", nil, nil))[1]),
			},
			want: names{Await: "web-work"},
		},
		"a work of another binding is not touched": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, twin, "3", nil)),
			wrong: "work fleet-member-east/web-work already exists and belongs to binding web-east-2",
		},
		"a work whose binding is gone is taken over": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, twin, "3", nil)), orphans: map[string]bool{"web-work": true},
			want: names{Update: "web-work"},
		},
		"a work of another placement is not, whatever became of its binding: there is another name": {
			wanted: wantedOf(t, order(), "3", nil), seen: renamed(stored(wantedOf(t, other, "3", nil)), "web-work"), orphans: map[string]bool{"web-work": true},
			want: names{Create: "web-work-cluster-scoped"},
		},
		"nor is it waited for": {
			wanted: wantedOf(t, order(), "3", nil), seen: []*v1beta1.Work{terminating(renamed(stored(wantedOf(t, other, "3", nil)), "web-work")[0])},
			want: names{Create: "web-work-cluster-scoped"},
		},
		"a work keeps its other name when the usual one is free": {
			wanted: wantedOf(t, order(), "3", nil), seen: renamed(stored(wantedOf(t, older, "2", nil)), "web-work-cluster-scoped"),
			want: names{Update: "web-work-cluster-scoped"},
		},
		"a work of no placement is in the way": {
			wanted: wantedOf(t, order(), "3", nil), seen: []*v1beta1.Work{{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-east", Name: "web-work"}}},
			wrong: "work fleet-member-east/web-work already exists and belongs to no binding",
		},
		"a work of an earlier binding of the same name is not touched": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, former, "3", nil, nil)),
			wrong: "belongs to binding web-east-1",
		},
		"known to be gone, it is written anew, and what only claims to belong stays": {
			wanted: wantedOf(t, order(), "3", nil), seen: stored(wantedOf(t, former, "3", nil, nil)), orphans: map[string]bool{"web-work": true},
			want: names{Update: "web-work"},
		},
		"works of a version that did not mark them get the mark alone": {
			wanted: wantedOf(t, order(), "3", nil, nil), seen: stored(wantedOf(t, unmarked, "3", nil, nil)),
			want: names{Retune: "web-work web-0"},
		},
		"an envelope that moves to another snapshot keeps its work": {
			wanted: wantedOf(t, order(), "3", nil, raw(e)), seen: stored(wantedOf(t, older, "2", raw(e), nil)),
			want: names{Update: "web-work web-0 " + inFirst},
		},
		"two works of one envelope are one too many": {
			wanted: wantedOf(t, order(), "3", raw(e)),
			seen:   append(stored(wantedOf(t, order(), "3", raw(e))), stored(wantedOf(t, order(), "3", nil, raw(e)))[2]),
			wrong:  "several works hold the envelope ResourceEnvelope shop/e",
		},
		"nothing wanted at all is no reason to delete": {
			seen: stored(wantedOf(t, order(), "3", nil)), wrong: "no works are wanted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := deepCopies(tc.seen)
			got, err := Compare(tc.wanted, tc.seen, tc.orphans)
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) || !got.None() {
					t.Fatalf("error %v, changes %+v; want an error with %q and no changes", err, got, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			list := names{namesOf(got.Create), namesOf(got.Update), namesOf(got.Retune), namesOf(got.Delete), strings.Join(got.Await, " ")}
			if diff := cmp.Diff(tc.want, list); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(before, tc.seen); diff != "" {
				t.Fatalf("what was seen belongs to the cache and was changed: %s", diff)
			}
		})
	}
}

func renamed(works []*v1beta1.Work, name string) []*v1beta1.Work {
	works[0].Name = name
	return works
}

func namesOf(works []*v1beta1.Work) string {
	var names []string
	for _, w := range works {
		names = append(names, w.Name)
	}
	return strings.Join(names, " ")
}

func deepCopies(works []*v1beta1.Work) []*v1beta1.Work {
	var out []*v1beta1.Work
	for _, w := range works {
		out = append(out, w.DeepCopy())
	}
	return out
}

func TestHolds(t *testing.T) {
	overridden := order()
	overridden.Content.ClusterResourceOverrideSnapshots = []string{"o-1"}
	older := order()
	older.Content.ResourceSnapshotName = contract.MasterSnapshotName("web", 2)
	same := stored(wantedOf(t, order(), "3", nil, nil))
	for name, tc := range map[string]struct {
		order Order
		seen  []*v1beta1.Work
		want  bool
	}{
		"works of the same snapshot hold it":        {order(), same, true},
		"no works hold nothing":                     {order(), nil, false},
		"works that go hold nothing":                {order(), []*v1beta1.Work{terminating(same[0].DeepCopy())}, false},
		"works of an older snapshot do not":         {order(), append(stored(wantedOf(t, older, "2", nil)), same...), false},
		"works under other overrides do not either": {overridden, same, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Holds(tc.order, tc.seen); got != tc.want {
				t.Fatalf("got %v", got)
			}
		})
	}
}

// Whatever is there, carrying out the changes gives exactly the wanted Works, and then there is nothing more to
// change.
func TestCompareConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := order(), order()
		from.Content.ResourceSnapshotName = contract.MasterSnapshotName("web", rapid.IntRange(1, 4).Draw(t, "from"))
		if rapid.Bool().Draw(t, "override") {
			to.Content.ClusterResourceOverrideSnapshots = []string{"o-1"}
		}
		parts := func(label string) [][][]byte { return make([][][]byte, rapid.IntRange(1, 4).Draw(t, label)) }
		seen := stored(wantedOf(t, from, rapid.SampledFrom([]string{"2", "3"}).Draw(t, "index"), parts("had")...))
		seen = rapid.Permutation(seen).Draw(t, "order")
		seen = seen[:rapid.IntRange(0, len(seen)).Draw(t, "left")]
		needs := parts("needs")
		for pass := 0; ; pass++ {
			changes, err := Compare(wantedOf(t, to, "3", needs...), seen, nil)
			if err != nil {
				t.Fatal(err)
			}
			if changes.None() {
				break
			}
			if pass > 0 {
				t.Fatalf("changes remain after all were made: %+v", changes)
			}
			seen = apply(seen, changes)
		}
		if diff := cmp.Diff(len(needs), len(seen)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func apply(seen []*v1beta1.Work, c Changes) []*v1beta1.Work {
	gone := map[string]bool{}
	for _, list := range [][]*v1beta1.Work{c.Update, c.Retune, c.Delete} {
		for _, w := range list {
			gone[w.Name] = true
		}
	}
	out := slices.DeleteFunc(slices.Clone(seen), func(w *v1beta1.Work) bool { return gone[w.Name] })
	out = append(out, stored(c.Create)...)
	return append(append(out, c.Update...), c.Retune...)
}

// A Work is believed if the dispatcher made it for the very binding, in the namespace of the binding's cluster.
func TestMade(t *testing.T) {
	made := func(change func(*v1beta1.Work)) *v1beta1.Work {
		w := wantedOf(t, order(), "3", nil)[0]
		change(w)
		return w
	}
	for name, tc := range map[string]struct {
		work         *v1beta1.Work
		made, adopts bool
	}{
		"as it was made":         {made(func(*v1beta1.Work) {}), true, true},
		"another member's":       {made(func(w *v1beta1.Work) { w.Namespace = "fleet-member-west" }), false, false},
		"of an earlier binding":  {made(func(w *v1beta1.Work) { w.Annotations[contract.AnnotationBindingUID] = "x" }), false, false},
		"of an earlier version":  {made(func(w *v1beta1.Work) { delete(w.Annotations, contract.AnnotationBindingUID) }), false, true},
		"of another placement":   {made(func(w *v1beta1.Work) { w.Labels[contract.LabelPlacement] = "other" }), false, false},
		"of a namespaced twin":   {made(func(w *v1beta1.Work) { w.Labels[contract.LabelPlacementNamespace] = "shop" }), false, false},
		"of no binding":          {made(func(w *v1beta1.Work) { delete(w.Labels, contract.LabelBinding) }), false, false},
		"of nothing it can name": {&v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-east", Name: "web-work"}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if o := order(); o.Made(tc.work) != tc.made || o.Adopts(tc.work) != tc.adopts {
				t.Fatalf("made %v, adopts %v", o.Made(tc.work), o.Adopts(tc.work))
			}
		})
	}
}

// No two placements have a Work in common, in whatever order they come and go; none waits for another, and none's
// Works move.
func TestWorkNamesAreTheirPlacementsOwn(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "a-0", "a-work", "work", "0", "a-0-snapshot", "a-work-namespaced", "a-work-envelope-0123456789abcdef"})
	placement := rapid.Custom(func(t *rapid.T) types.NamespacedName {
		key := types.NamespacedName{Name: strings.Join(rapid.SliceOfN(label, 1, 3).Draw(t, "name"), ".")}
		if rapid.Bool().Draw(t, "namespaced") {
			key.Namespace = label.Draw(t, "namespace")
		}
		return key
	})
	rapid.Check(t, func(t *rapid.T) {
		placements := rapid.SliceOfNDistinct(placement, 2, 4, rapid.ID[types.NamespacedName]).Draw(t, "placements")
		if key := placements[0]; key.Namespace != "" { // the one placement that has the same usual names
			if twin := (types.NamespacedName{Name: key.Namespace + "." + key.Name}); !slices.Contains(placements, twin) {
				placements[1] = twin
			}
		}
		there := map[string]*v1beta1.Work{}
		of := func(key types.NamespacedName) []*v1beta1.Work {
			var out []*v1beta1.Work
			for _, w := range there {
				if w.Labels[contract.LabelPlacement] == key.Name && w.Labels[contract.LabelPlacementNamespace] == key.Namespace {
					out = append(out, w)
				}
			}
			return out
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			key := rapid.SampledFrom(placements).Draw(t, "placement")
			own := of(key)
			if len(own) > 0 && rapid.Bool().Draw(t, "goes") {
				for _, w := range own {
					delete(there, w.Name)
				}
				continue
			}
			o := order()
			o.Placement, o.Binding.Namespace = key, key.Namespace
			wanted := wantedOf(t, o, "3", nil, raw(resourceEnvelope("shop", "e", configMap("a"))))
			seen := slices.Clone(own)
			for _, w := range wanted {
				for _, name := range NamesOf(w) {
					if found := there[name]; found != nil && !slices.Contains(seen, found) {
						seen = append(seen, found)
					}
				}
			}
			changes, err := Compare(wanted, seen, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(own) > 0 && !changes.None() {
				t.Fatalf("the Works of %s move: %+v", key, changes)
			}
			for _, w := range stored(changes.Create) {
				if taken := there[w.Name]; taken != nil {
					t.Fatalf("%s takes work %s of %v", key, w.Name, taken.Labels)
				}
				there[w.Name] = w
			}
			if got := of(key); len(got) != len(wanted) {
				t.Fatalf("%s has %d Works; want %d", key, len(got), len(wanted))
			}
		}
	})
}

// Snapshots of two placements, or of two indices of one, have no name in common.
func TestSnapshotNamesAreTheirPlacementsOwn(t *testing.T) {
	placement := rapid.StringMatching(`[a-b0-1](-[0-1]){0,3}(-snapshot)?`)
	rapid.Check(t, func(t *rapid.T) {
		type of struct {
			placement  string
			index, sub int
		}
		draw := func(who string) of {
			return of{placement.Draw(t, who), rapid.IntRange(0, 11).Draw(t, who+" index"), rapid.IntRange(-1, 11).Draw(t, who+" sub")}
		}
		name := func(o of) string {
			if o.sub < 0 {
				return contract.MasterSnapshotName(o.placement, o.index)
			}
			return contract.SubSnapshotName(o.placement, o.index, o.sub)
		}
		policy := func(o of) string { return contract.PolicySnapshotName(o.placement, o.index) }
		one, two := draw("one"), draw("two")
		if one != two && name(one) == name(two) {
			t.Fatalf("%+v and %+v are both %s", one, two, name(one))
		}
		if one.sub, two.sub = 0, 0; one != two && policy(one) == policy(two) {
			t.Fatalf("policies of %+v and %+v are both %s", one, two, policy(one))
		}
	})
}

// A Work records for each manifest from which object of the hub it is. That alone, or its absence in an earlier
// version, is no reason to write a Work.
func TestWorksRecordOrigins(t *testing.T) {
	a, b, c := contract.Origin("a"), contract.Origin("b"), contract.Origin("c")
	group := Group{Index: "3", Parts: []Part{{Sub: -1, Objects: raw(configMap("a"), resourceEnvelope("shop", "e", configMap("x")), configMap("b"), configMap("c"))}}}
	without := func(object []byte) ([]byte, error) {
		if strings.Contains(string(object), `"b"`) {
			return nil, nil
		}
		return object, nil
	}
	for name, tc := range map[string]struct {
		origins  []string
		override Override
		want     string
	}{
		"none is known":              {override: AsIs},
		"envelopes are no manifests": {origins: []string{a, "", b, c}, override: AsIs, want: a + "," + b + "," + c},
		"one is left out":            {origins: []string{a, "", b, c}, override: without, want: a + "," + c},
	} {
		t.Run(name, func(t *testing.T) {
			group.Parts[0].Origins = tc.origins
			works, err := Wanted(order(), group, tc.override)
			if err != nil || len(works) != 2 {
				t.Fatalf("%d works, %v", len(works), err)
			}
			if got := works[0].Annotations[contract.AnnotationOrigins]; got != tc.want {
				t.Errorf("origins %q; want %q", got, tc.want)
			}
			if got, there := works[1].Annotations[contract.AnnotationOrigins]; there {
				t.Errorf("the envelope's Work has origins %q", got)
			}
		})
	}
	of := func(o Order, origins ...string) []*v1beta1.Work {
		group.Parts[0].Origins = origins
		works, err := Wanted(o, group, AsIs)
		if err != nil {
			t.Fatal(err)
		}
		return works
	}
	older := order()
	older.Content.ResourceSnapshotName = "web-2-snapshot"
	if changes, err := Compare(of(order(), a, "", b, c), stored(of(order())), nil); err != nil || !changes.None() {
		t.Errorf("Works of an earlier version are written: %+v, %v", changes, err)
	}
	if changes, err := Compare(of(order()), stored(of(older, a, "", b, c)), nil); err != nil || len(changes.Update) != 2 ||
		changes.Update[0].Annotations[contract.AnnotationOrigins] != "" {
		t.Errorf("a Work keeps origins of other content: %+v, %v", changes, err)
	}
}
