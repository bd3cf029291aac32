package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Our annotations never make an object invalid that is valid without them: the least important are left out.
func TestRecordsFit(t *testing.T) {
	stamp := Stamp{Hub: "https://hub:6443", Placement: "team/web", Revision: "web-5-snapshot", Overrides: "small-0", Work: "w1", Generation: 5}
	none, hash, all := 0, 1, 6
	for left, want := range map[int]int{0: none, 1: none, 100: none, spareAnnotations: none, spareAnnotations + 100: hash, 1100: all} {
		for _, kind := range []v1beta1.ApplyStrategyType{v1beta1.ApplyStrategyTypeClientSideApply, v1beta1.ApplyStrategyTypeServerSideApply} {
			t.Run(fmt.Sprintf("%d bytes left, %s", left, kind), func(t *testing.T) {
				manifest := object(t, cm)
				manifest.SetAnnotations(map[string]string{"a": strings.Repeat("x", mostAnnotations-left-1)})
				in := Input{Manifest: manifest, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{Type: kind}), Stamp: stamp}
				first, err := Decide(in)
				if err != nil {
					t.Fatal(err)
				}
				annotations := first.Object.GetAnnotations()
				if sizeOf(annotations) > mostAnnotations-min(left, spareAnnotations) {
					t.Errorf("%d bytes of annotations", sizeOf(annotations))
				}
				ours := len(annotations) - 1
				if record, there := annotations[contract.AnnotationLastApplied]; there {
					ours--
					if record != "" || kind == v1beta1.ApplyStrategyTypeServerSideApply {
						t.Errorf("last manifest %q", record)
					}
				}
				if ours != want {
					t.Errorf("%d annotations of ours; want %d", ours, want)
				}
				in.Live = first.Object
				if next, err := Decide(in); err != nil || next.Verb != Nothing {
					t.Errorf("then %s of %s, %v", next.Verb, next.Body, err)
				}
			})
		}
	}
}

func TestFitting(t *testing.T) {
	all := map[string]string{contract.AnnotationSpecHash: "h", contract.AnnotationPlacedBy: strings.Repeat("p", 300), contract.AnnotationPlacedWork: "w", contract.AnnotationLastApplied: strings.Repeat("m", 2000)}
	size := func(key string) int { return len(key) + len(all[key]) }
	hash, work, by := size(contract.AnnotationSpecHash), size(contract.AnnotationPlacedWork), size(contract.AnnotationPlacedBy)
	for name, c := range map[string]struct {
		live map[string]string
		room int
		want []string
	}{
		"no room":       {nil, -5, nil},
		"the first":     {nil, spareAnnotations + hash, []string{contract.AnnotationSpecHash}},
		"what is there": {all, hash + work, []string{contract.AnnotationSpecHash, contract.AnnotationPlacedWork}},
		"a shorter one": {all, hash + work + by - 1, []string{contract.AnnotationSpecHash, contract.AnnotationPlacedWork, contract.AnnotationLastApplied}},
		"all":           {nil, 5000, []string{contract.AnnotationSpecHash, contract.AnnotationPlacedWork, contract.AnnotationPlacedBy, contract.AnnotationLastApplied}},
	} {
		got := fitting(all, c.live, c.room)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d annotations; want %v", name, len(got), c.want)
		}
		for key := range got {
			if !slices.Contains(c.want, key) {
				t.Errorf("%s: %s", name, key)
			}
		}
	}
}

// An object that had the last manifest in an annotation, and now needs all of its annotations' room, keeps no empty
// annotation either.
func TestRecordsGiveWay(t *testing.T) {
	for left, want := range map[int]bool{0: false, 10: false, 200: true} {
		strategy := with(v1beta1.ApplyStrategy{})
		live := placed(t, cm, strategy)
		manifest := object(t, cm)
		manifest.SetAnnotations(map[string]string{"a": strings.Repeat("x", mostAnnotations-left-1)})
		w, err := prepare(manifest, Stamp{})
		if err != nil {
			t.Fatal(err)
		}
		in := Input{Manifest: manifest, Live: live, Owner: owner, Strategy: strategy}
		w.annotate(in, claim{})
		annotations := w.serverSideChange(in, claim{}).apply.GetAnnotations()
		if _, there := annotations[contract.AnnotationLastApplied]; there != want || sizeOf(annotations) > mostAnnotations {
			t.Errorf("%d bytes left: last manifest %v, %d bytes in all", left, there, sizeOf(annotations))
		}
	}
}

func TestEveryStampHasARank(t *testing.T) {
	for _, key := range stamps {
		if key != contract.AnnotationHeld && !slices.Contains(ranked, key) {
			t.Errorf("annotation %s is written to no object", key)
		}
	}
}
