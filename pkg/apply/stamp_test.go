package apply

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestStampOf(t *testing.T) {
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{UID: "w1", Generation: 4,
		Labels:      map[string]string{contract.LabelPlacement: "web", contract.LabelPlacementNamespace: "team"},
		Annotations: map[string]string{contract.AnnotationWorkSnapshot: "web-3-snapshot", contract.AnnotationOverrides: "small-0,big-2"}}}
	want := Stamp{Hub: "https://hub", Placement: "team/web", Revision: "web-3-snapshot", Overrides: "small-0,big-2", Work: "w1", Generation: 4}
	if got := StampOf("https://hub", work); got != want {
		t.Errorf("%+v; want %+v", got, want)
	}
}

// A stamp goes along with what is written anyway and causes no write, except where it decides whose the object is.
func TestStampsCostNothing(t *testing.T) {
	now := Stamp{Hub: "https://hub", Placement: "web", Revision: "web-5-snapshot", Work: "w1", Generation: 5}
	at := func(work types.UID, generation int64, overrides string) Stamp {
		return Stamp{Hub: "https://old", Placement: "web", Revision: "web-2-snapshot", Overrides: overrides, Work: work, Generation: generation}
	}
	annotated := func(key, value string) func(*unstructured.Unstructured) {
		return set(value, "metadata", "annotations", key)
	}
	for name, tc := range map[string]struct {
		was   Stamp
		want  string
		edits []func(*unstructured.Unstructured)
		verb  Verb
	}{
		"a later revision of the same object":       {was: at("w1", 2, ""), want: cm, verb: Nothing},
		"a later revision without the override":     {was: at("w1", 2, "small-0"), want: cm, verb: Nothing},
		"edited by hand":                            {was: at("w1", 2, ""), want: cm, edits: []func(*unstructured.Unstructured){annotated(contract.AnnotationPlacedRevision, "x")}, verb: Nothing},
		"a later revision with a change":            {was: at("w1", 2, "small-0"), want: cm2, verb: Patch},
		"applied by an agent that did not stamp":    {want: cm, verb: Patch},
		"placed by another Work":                    {was: at("w0", 2, ""), want: cm, verb: Patch},
		"placed by a later generation":              {was: at("w1", 9, ""), want: cm, verb: Patch},
		"held, and wanted again":                    {was: at("w1", 2, ""), want: cm, edits: []func(*unstructured.Unstructured){annotated(contract.AnnotationHeld, contract.HeldYes)}, verb: Patch},
		"spoiled by hand beyond recognition":        {was: at("w1", 2, ""), want: cm, edits: []func(*unstructured.Unstructured){annotated(contract.AnnotationPlacedWork, "w1:x")}, verb: Nothing},
		"spoiled by hand, without any recognition ": {was: at("w1", 2, ""), want: cm, edits: []func(*unstructured.Unstructured){annotated(contract.AnnotationPlacedWork, "x")}, verb: Patch},
	} {
		for _, kind := range []v1beta1.ApplyStrategyType{v1beta1.ApplyStrategyTypeClientSideApply, v1beta1.ApplyStrategyTypeServerSideApply} {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				strategy := with(v1beta1.ApplyStrategy{Type: kind})
				first, err := Decide(Input{Manifest: object(t, cm), Owner: owner, Strategy: strategy, Stamp: tc.was})
				if err != nil {
					t.Fatal(err)
				}
				live := first.Object
				for _, edit := range tc.edits {
					edit(live)
				}
				got, err := Decide(Input{Manifest: object(t, tc.want), Live: live, Owner: owner, Strategy: strategy, Stamp: now})
				if err != nil || got.Verb != tc.verb {
					t.Fatalf("%s, %v; want %s", got.Verb, err, tc.verb)
				}
				if got.Verb != Patch {
					return
				}
				var body unstructured.Unstructured
				if err := json.Unmarshal(got.Body, &body.Object); err != nil {
					t.Fatal(err)
				}
				annotations, _, _ := unstructured.NestedMap(body.Object, "metadata", "annotations")
				if annotations[contract.AnnotationPlacedRevision] != now.Revision || annotations[contract.AnnotationPlacedWork] != "w1:5" {
					t.Errorf("patch has the stamp %v", annotations)
				}
				if tc.was.Overrides != "" && kind == v1beta1.ApplyStrategyTypeClientSideApply {
					if value, cleared := annotations[contract.AnnotationPlacedOverrides]; !cleared || value != nil {
						t.Errorf("the override stays: %v", annotations)
					}
				}
				if live.GetAnnotations()[contract.AnnotationHeld] != "" {
					if value, cleared := annotations[contract.AnnotationHeld]; !cleared || value != nil && value != "" {
						t.Errorf("it stays held: %v", annotations)
					}
				}
			})
		}
	}
}

// Promise 1: a Work that went back in time, or was created again, does not decide that objects of a later state must
// be removed.
func TestHeldWhenTheHubWentBack(t *testing.T) {
	now := Stamp{Work: "w1", Generation: 5}
	for name, tc := range map[string]struct {
		work, held string
		want       Fate
		mark       bool
	}{
		"placed by an earlier generation":       {work: "w1:4", want: Delete},
		"placed by this generation":             {work: "w1:5", want: Delete},
		"placed by an agent that did not say":   {want: Delete},
		"spoiled by hand":                       {work: "w1:never", want: Delete},
		"placed by a later generation":          {work: "w1:6", want: Hold, mark: true},
		"placed by another Work of the name":    {work: "w0:1", want: Hold, mark: true},
		"held, and the hub has caught up":       {work: "w1:4", held: contract.HeldYes, want: Hold},
		"held, and released":                    {work: "w1:6", held: contract.HeldRelease, want: Delete},
		"held, and edited to something unknown": {work: "w1:6", held: "maybe", want: Hold, mark: true},
	} {
		t.Run(name, func(t *testing.T) {
			live := placed(t, cm, v1beta1.ApplyStrategy{})
			for key, value := range map[string]string{contract.AnnotationPlacedWork: tc.work, contract.AnnotationHeld: tc.held} {
				if value != "" {
					set(value, "metadata", "annotations", key)(live)
				}
			}
			if got := part(t, Parting{Live: live, Stamp: now}); got.Fate != tc.want || (got.Body != nil) != tc.mark {
				t.Errorf("%+v; want %s, marked %v", got, tc.want, tc.mark)
			}
		})
	}
}
