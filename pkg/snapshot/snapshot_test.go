package snapshot

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func placementOf(namespaced bool) v1beta1.PlacementObject {
	if namespaced {
		return &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "web", UID: "u", Generation: 3}}
	}
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "u", Generation: 3}}
}

// bothScopes runs a test for each kind of placement.
func bothScopes(t *testing.T, test func(*testing.T, v1beta1.PlacementObject)) {
	t.Run("cluster", func(t *testing.T) { test(t, placementOf(false)) })
	t.Run("namespaced", func(t *testing.T) { test(t, placementOf(true)) })
}

func itemOf(name string, size int) Item {
	raw := fmt.Appendf(nil, `{"apiVersion":"v1","data":{"data":"%s"},"kind":"ConfigMap","metadata":{"name":"%s","namespace":"app"}}`, strings.Repeat("x", size), name)
	return Item{ID: v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Name: name, Namespace: "app"}, Raw: raw}
}

// carryOut carries a step out as the placer does, and returns the snapshots that exist then.
func carryOut(all []v1beta1.ResourceSnapshotObject, step Step, now time.Time) []v1beta1.ResourceSnapshotObject {
	gone := map[string]bool{}
	for _, s := range step.Remove {
		gone[s.GetName()] = true
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s v1beta1.ResourceSnapshotObject) bool { return gone[s.GetName()] })
	all = append(all, step.Parts...)
	if step.Master != nil {
		step.Master.SetCreationTimestamp(metav1.NewTime(now))
		all = append(all, step.Master)
	}
	clear(gone)
	for _, s := range step.Prune {
		gone[s.GetName()] = true
	}
	var out []v1beta1.ResourceSnapshotObject
	for _, s := range all {
		for _, relabel := range step.Relabels {
			if relabel.Name == s.GetName() {
				s = apply(s, relabel)
			}
		}
		if !gone[s.GetName()] {
			out = append(out, s)
		}
	}
	return out
}

// apply applies a merge patch as a server does.
func apply[O v1beta1.Object](o O, relabel Relabel) O {
	var patch struct {
		Metadata struct {
			Labels, Annotations map[string]*string
		}
	}
	if err := json.Unmarshal(relabel.Patch(), &patch); err != nil {
		panic(err)
	}
	out := o.DeepCopyObject().(O)
	out.SetLabels(mergeInto(out.GetLabels(), patch.Metadata.Labels))
	out.SetAnnotations(mergeInto(out.GetAnnotations(), patch.Metadata.Annotations))
	return out
}

func mergeInto(values map[string]string, patch map[string]*string) map[string]string {
	for key, value := range patch {
		if value == nil {
			delete(values, key)
		} else {
			values[key] = *value
		}
	}
	return values
}

func TestCutLosesNothingAndKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		sizes := rapid.SliceOf(rapid.IntRange(0, 250)).Draw(t, "sizes")
		items := make([]Item, len(sizes))
		for i, size := range sizes {
			items[i] = Item{ID: v1beta1.ResourceIdentifier{Name: fmt.Sprint(i)}, Raw: make([]byte, size)}
		}
		parts := Cut(items, limit)
		var joined []string
		for n, part := range parts {
			size := 0
			for _, item := range part {
				size += len(item.Raw)
				joined = append(joined, item.ID.Name)
			}
			if size > limit && len(part) > 1 {
				t.Fatalf("part %d has %d bytes in %d items; limit %d", n, size, len(part), limit)
			}
			if len(part) == 0 && len(items) > 0 {
				t.Fatalf("part %d of %d is empty", n, len(parts))
			}
			// Parts are as large as possible: the first item of a part did not fit into the one before.
			if n > 0 && sum(parts[n-1])+len(part[0].Raw) <= limit {
				t.Fatalf("part %d has room for what comes next", n-1)
			}
		}
		if len(parts) == 0 || len(joined) != len(items) {
			t.Fatalf("%d parts with %d of %d items", len(parts), len(joined), len(items))
		}
		for i, name := range joined {
			if name != fmt.Sprint(i) {
				t.Fatalf("item %d is %s", i, name)
			}
		}
	})
}

func sum(items []Item) int {
	n := 0
	for _, item := range items {
		n += len(item.Raw)
	}
	return n
}

func TestHashIsThatOfTheWire(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		var items []Item
		spec := v1beta1.ResourceSnapshotSpec{SelectedResources: []v1beta1.ResourceContent{}}
		for i := range n {
			item := itemOf(fmt.Sprint(i), 5)
			items = append(items, item)
			content := v1beta1.ResourceContent{}
			content.Raw = item.Raw
			spec.SelectedResources = append(spec.SelectedResources, content)
		}
		want, err := contract.Hash(spec)
		if got := NewContent(items).Hash; err != nil || got != want {
			t.Errorf("%d items: hash %s; want %s, %v", n, got, want, err)
		}
	}
}

// Whatever happens to a placement's selection, and however often the placer stops between two writes: in the end the
// latest revision contains the whole selection, exactly one has the label, each change of the content has increased
// the index by one, and no group in use was lost.
func TestResourcesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		placement := placementOf(rapid.Bool().Draw(t, "namespaced"))
		limit := rapid.Int32Range(1, 4).Draw(t, "history")
		placement.GetSpec().RevisionHistoryLimit = &limit
		var all []v1beta1.ResourceSnapshotObject
		inUse := map[string]bool{}
		now, index, hash := epoch, -1, ""
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
			var items []Item
			for i := range rapid.IntRange(0, 4).Draw(t, "items") {
				items = append(items, itemOf(fmt.Sprint(i), rapid.SampledFrom([]int{10, 20, 500_000}).Draw(t, "size")))
			}
			content := NewContent(items)
			if content.Hash != hash {
				index, hash = index+1, content.Hash
			}
			if rapid.Bool().Draw(t, "crash") {
				all = carryOut(all, torn(t, decide(placement, all, content, inUse, now)), now)
			}
			for n := 0; ; n++ {
				step := decide(placement, all, content, inUse, now)
				all = carryOut(all, step, now)
				if step.Index != index {
					t.Fatalf("index %d; want %d", step.Index, index)
				}
				if still(step) {
					break
				}
				if n > 5 {
					t.Fatalf("no end: %+v", step)
				}
			}
			check(t, all, items, index, inUse)
			if rapid.Bool().Draw(t, "use") {
				latest, _ := Latest(Groups(all))
				inUse = map[string]bool{latest.Master.GetName(): true}
			}
		}
		// With time, the history has its limit, and groups in use stay.
		now = now.Add(settling)
		latest, _ := Latest(Groups(all))
		items, _ := latest.Items()
		step := decide(placement, all, NewContent(items), inUse, now)
		all = carryOut(all, step, now)
		kept := 0
		for _, g := range Groups(all) {
			if g.Index != latest.Index && !inUse[g.Master.GetName()] {
				kept++
			}
		}
		if kept > max(0, int(limit)-1) {
			t.Fatalf("%d unused old groups are kept with a history of %d", kept, limit)
		}
		check(t, all, items, index, inUse)
	})
}

func decide(p v1beta1.PlacementObject, all []v1beta1.ResourceSnapshotObject, content Content, inUse map[string]bool, now time.Time) Step {
	shuffled := slices.Clone(all)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return Resources(p, Groups(shuffled), content, inUse, now)
}

// torn is a step that was interrupted at some point.
func torn(t *rapid.T, step Step) Step {
	switch rapid.IntRange(0, 3).Draw(t, "at") {
	case 0:
		step.Parts, step.Master, step.Relabels, step.Prune = nil, nil, nil, nil
	case 1:
		step.Parts = step.Parts[:rapid.IntRange(0, len(step.Parts)).Draw(t, "parts")]
		step.Master, step.Relabels, step.Prune = nil, nil, nil
	case 2:
		step.Relabels, step.Prune = nil, nil
	case 3:
		step.Prune = nil
	}
	return step
}

func still(step Step) bool {
	return len(step.Remove)+len(step.Parts)+len(step.Relabels)+len(step.Prune) == 0 && step.Master == nil
}

func check(t *rapid.T, all []v1beta1.ResourceSnapshotObject, items []Item, index int, inUse map[string]bool) {
	groups := Groups(all)
	latest, ok := Latest(groups)
	if !ok || latest.Index != index || !latest.Complete() {
		t.Fatalf("latest %+v; want a whole group %d", latest, index)
	}
	got, err := latest.Items()
	if err != nil || len(got) != len(items) {
		t.Fatalf("latest holds %d of %d items, %v", len(got), len(items), err)
	}
	for i := range got {
		if got[i].ID != items[i].ID || string(got[i].Raw) != string(items[i].Raw) {
			t.Fatalf("item %d is %+v", i, got[i].ID)
		}
	}
	names := map[string]bool{}
	for _, g := range groups {
		if g.Master == nil {
			t.Fatalf("group %d has no master", g.Index)
		}
		names[g.Master.GetName()] = true
		if isLatest(g.Master) != (g.Index == index) {
			t.Fatalf("group %d: label %v", g.Index, g.Master.GetLabels())
		}
	}
	for name := range inUse {
		if !names[name] {
			t.Fatalf("%s is in use, and gone", name)
		}
	}
}

func TestNamesAndLabels(t *testing.T) {
	bothScopes(t, func(t *testing.T, placement v1beta1.PlacementObject) {
		content := NewContent([]Item{itemOf("a", 500_000), itemOf("b", 500_000), itemOf("c", 500_000)})
		step := Resources(placement, nil, content, nil, epoch)
		master := step.Master
		if master.GetName() != "web-0-snapshot" || step.Latest != "web-0-snapshot" || master.GetNamespace() != placement.GetNamespace() {
			t.Errorf("master %s/%s", master.GetNamespace(), master.GetName())
		}
		wantLabels := map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: "0", contract.LabelLatest: "true"}
		wantAnnotations := map[string]string{contract.AnnotationResourceHash: content.Hash, contract.AnnotationSnapshotCount: "3", contract.AnnotationEnvelopeCount: "0"}
		if fmt.Sprint(master.GetLabels()) != fmt.Sprint(wantLabels) || fmt.Sprint(master.GetAnnotations()) != fmt.Sprint(wantAnnotations) {
			t.Errorf("labels %v, annotations %v", master.GetLabels(), master.GetAnnotations())
		}
		for i, part := range step.Parts {
			if part.GetName() != fmt.Sprintf("web-0-%d", i) || part.GetAnnotations()[contract.AnnotationSubindex] != fmt.Sprint(i) ||
				part.GetLabels()[contract.LabelResourceIndex] != "0" || part.GetLabels()[contract.LabelLatest] != "" {
				t.Errorf("part %d: %+v", i, part)
			}
		}
		if owner := metav1.GetControllerOf(master); owner == nil || owner.Kind != placement.ConditionType("") || owner.UID != "u" {
			t.Errorf("owner %+v", owner)
		}
	})
}

// A name in a binding does not get another content when the snapshot with that name is lost.
func TestNamesThatAreInUseAreNotGivenAgain(t *testing.T) {
	for name, want := range map[string]int{
		"web-4-snapshot": 5, "web-0-snapshot": 1, "web-x-snapshot": 0, "web--1-snapshot": 0, "web-99999999999999999999-snapshot": 0,
		"web-4": 0, "other-4-snapshot": 0, "web-2-4-snapshot": 0, "": 0,
	} {
		if step := Resources(placementOf(false), nil, NewContent([]Item{itemOf("a", 5)}), map[string]bool{name: true}, epoch); step.Index != want {
			t.Errorf("beside %q the index is %d; want %d", name, step.Index, want)
		}
	}
}

func TestAMasterWithoutItsPartsIsCompleted(t *testing.T) {
	placement := placementOf(false)
	content := NewContent([]Item{itemOf("a", 500_000), itemOf("b", 500_000)})
	step := Resources(placement, nil, content, nil, epoch)
	step.Parts = nil
	all := carryOut(nil, step, epoch)
	next := Resources(placement, Groups(all), content, nil, epoch)
	if next.Master != nil || len(next.Parts) != 1 || next.Parts[0].GetName() != "web-0-0" {
		t.Errorf("step %+v", next)
	}
}

func TestFit(t *testing.T) {
	placement := placementOf(false)
	before := []Item{itemOf("grows", 10), itemOf("stays", 10)}
	latest, _ := Latest(Groups(carryOut(nil, Resources(placement, nil, NewContent(before), nil, epoch), epoch)))
	got, large, err := fit([]Item{itemOf("grows", 1000), itemOf("new", 1000), itemOf("stays", 20)}, latest, 500)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || string(got[0].Raw) != string(before[0].Raw) || got[1].ID.Name != "stays" || len(got[1].Raw) != len(itemOf("stays", 20).Raw) {
		t.Errorf("got %v", got)
	}
	bytes := len(itemOf("grows", 1000).Raw)
	want := []Large{{ID: itemOf("grows", 0).ID, Bytes: bytes, Placed: true}, {ID: itemOf("new", 0).ID, Bytes: bytes - len("grows") + len("new")}}
	if !slices.Equal(large, want) {
		t.Errorf("too large %v; want %v", large, want)
	}
}

// An object that nests so deep that its copy could not be read again is not placed, and one that an earlier version
// placed does not stay.
func TestFitRefusesDeepObjects(t *testing.T) {
	deep := func(name string, levels int) Item {
		item := itemOf(name, 1)
		item.Raw = []byte(strings.Replace(string(item.Raw), "{", `{"deep":`+strings.Repeat("[", levels)+strings.Repeat("]", levels)+",", 1))
		return item
	}
	placement := placementOf(false)
	before := []Item{itemOf("flat", 10), deep("stored", 9000)}
	latest, _ := Latest(Groups(carryOut(nil, Resources(placement, nil, NewContent(before), nil, epoch), epoch)))
	got, large, err := Fit([]Item{deep("flat", 100), deep("stored", 9000), deep("new", 100), deep("fits", 99)}, latest)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || string(got[0].Raw) != string(before[0].Raw) || got[1].ID.Name != "fits" {
		t.Errorf("got %v", got)
	}
	for i, want := range []Large{{ID: itemOf("flat", 0).ID, Placed: true}, {ID: itemOf("stored", 0).ID}, {ID: itemOf("new", 0).ID}} {
		if i >= len(large) || large[i].ID != want.ID || large[i].Placed != want.Placed || !large[i].Deep {
			t.Errorf("unfit %v; want %v at %d", large, want, i)
		}
	}
}

// A history of one is one revision as soon as bindings have changed from the old one to the new one, and not earlier.
func TestTheOldRevisionGoesWhenTheNewOneIsBound(t *testing.T) {
	bothScopes(t, func(t *testing.T, placement v1beta1.PlacementObject) {
		one := int32(1)
		placement.GetSpec().RevisionHistoryLimit = &one
		old, latest := NewContent([]Item{itemOf("a", 500_000), itemOf("b", 500_000)}), NewContent([]Item{itemOf("a", 10)})
		all := carryOut(nil, Resources(placement, nil, old, nil, epoch), epoch)
		all = carryOut(all, Resources(placement, Groups(all), latest, map[string]bool{"web-0-snapshot": true}, epoch), epoch)
		for name, tc := range map[string]struct {
			inUse map[string]bool
			want  int
			again bool
		}{
			"the rollout may not know the new one": {want: 3, again: true},
			"a binding names the old one":          {inUse: map[string]bool{"web-0-snapshot": true}, want: 3},
			"bindings name both":                   {inUse: map[string]bool{"web-0-snapshot": true, "web-1-snapshot": true}, want: 3},
			"bindings name the new one":            {inUse: map[string]bool{"web-1-snapshot": true}, want: 1},
		} {
			step := Resources(placement, Groups(all), latest, tc.inUse, epoch)
			if left := len(all) - len(step.Prune); left != tc.want || (step.Again > 0) != tc.again {
				t.Errorf("%s: %d snapshots stay, again %s; want %d", name, left, step.Again, tc.want)
			}
		}
	})
}

// The UIDs of selected objects are recorded beside the content and are not part of it.
func TestOriginsAreRecordedAndNoContent(t *testing.T) {
	from := func(name, uid string, size int) Item {
		item := itemOf(name, size)
		if uid != "" {
			item.Origin = contract.Origin(uid)
		}
		return item
	}
	bothScopes(t, func(t *testing.T, placement v1beta1.PlacementObject) {
		content := NewContent([]Item{from("a", "1", 500_000), from("b", "", 10), from("c", "3", 500_000)})
		step := Resources(placement, nil, content, nil, epoch)
		if got, want := step.Master.GetAnnotations()[contract.AnnotationOrigins], contract.Origin("1")+","; got != want {
			t.Errorf("the first has origins %q; want %q", got, want)
		}
		if got, want := step.Parts[0].GetAnnotations()[contract.AnnotationOrigins], contract.Origin("3"); got != want {
			t.Errorf("the second has origins %q; want %q", got, want)
		}
		all := carryOut(nil, step, epoch)
		again := Resources(placement, Groups(all), NewContent([]Item{from("a", "4", 500_000), from("b", "5", 10), from("c", "6", 500_000)}), nil, epoch)
		if !still(again) {
			t.Errorf("objects made anew with the same content are written: %+v", again)
		}
	})
}
