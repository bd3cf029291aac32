package snapshot

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// settle carries a step out as the placer does, and returns the snapshots that exist then.
func settle(t *testing.T, placement v1beta1.PlacementObject, all []v1beta1.PolicySnapshotObject) ([]v1beta1.PolicySnapshotObject, PolicyStep) {
	t.Helper()
	step, err := Policy(placement, all)
	if err != nil {
		t.Fatal(err)
	}
	if step.Create != nil {
		all = append(all, step.Create)
	}
	var out []v1beta1.PolicySnapshotObject
	for _, s := range all {
		for _, relabel := range step.Relabels {
			if relabel.Name == s.GetName() {
				s = apply(s, relabel)
			}
		}
		gone := false
		for _, pruned := range step.Prune {
			gone = gone || pruned.GetName() == s.GetName()
		}
		if !gone {
			out = append(out, s)
		}
	}
	if again, err := Policy(placement, out); err != nil || again.Create != nil || len(again.Relabels)+len(again.Prune) > 0 {
		t.Fatalf("not settled: %+v, %v", again, err)
	}
	if LatestPolicy(out).GetName() != step.Latest {
		t.Fatalf("latest is %s; want %s", LatestPolicy(out).GetName(), step.Latest)
	}
	return out, step
}

func pickN(n int32) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &n}
}

// How long a taint is tolerated can change without another snapshot.
func TestTolerationSecondsAreNotPartOfTheSnapshot(t *testing.T) {
	bothScopes(t, func(t *testing.T, placement v1beta1.PlacementObject) {
		placement.GetSpec().Policy = pickN(2)
		placement.GetSpec().Policy.Tolerations = []v1beta1.Toleration{{Key: "a", TolerationSeconds: ptr.To(int64(600))}}
		all, _ := settle(t, placement, nil)
		placement.GetSpec().Policy.Tolerations[0].TolerationSeconds = nil
		all, _ = settle(t, placement, all)
		placement.GetSpec().Policy.Tolerations[0].TolerationSeconds = ptr.To(int64(60))
		all, _ = settle(t, placement, all)
		if len(all) != 1 || all[0].GetSpec().Policy.Tolerations[0] != (v1beta1.Toleration{Key: "a"}) {
			t.Errorf("snapshots %+v", all)
		}
		if *placement.GetSpec().Policy.Tolerations[0].TolerationSeconds != 60 {
			t.Error("the placement was changed")
		}
	})
}

func TestPolicy(t *testing.T) {
	bothScopes(t, func(t *testing.T, placement v1beta1.PlacementObject) {
		placement.GetSpec().Policy = pickN(2)
		all, step := settle(t, placement, nil)
		first := all[0]
		want, err := contract.Hash(&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN})
		if err != nil || string(first.GetSpec().PolicyHash) != want || first.GetSpec().Policy.NumberOfClusters != nil {
			t.Errorf("spec %+v; want hash %s, %v", first.GetSpec(), want, err)
		}
		if step.Latest != "web-0" || first.GetNamespace() != placement.GetNamespace() || first.GetLabels()[contract.LabelPolicyIndex] != "0" ||
			first.GetAnnotations()[contract.AnnotationGeneration] != "3" || first.GetAnnotations()[contract.AnnotationNumberOfClusters] != "2" {
			t.Errorf("snapshot %+v", first)
		}

		// Another number, or any other change of the spec, is written to the same snapshot, in one write.
		placement.GetSpec().Policy = pickN(3)
		placement.SetGeneration(4)
		all, step = settle(t, placement, all)
		if len(all) != 1 || len(step.Relabels) != 1 || all[0].GetAnnotations()[contract.AnnotationNumberOfClusters] != "3" || all[0].GetAnnotations()[contract.AnnotationGeneration] != "4" {
			t.Errorf("snapshots %+v", all)
		}

		// So is another failover policy, which the snapshot does not hold.
		placement.GetSpec().Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: time.Minute}}
		placement.SetGeneration(5)
		all, _ = settle(t, placement, all)
		if len(all) != 1 || all[0].GetAnnotations()[contract.AnnotationGeneration] != "5" || all[0].GetSpec().Policy.Failover != nil {
			t.Errorf("snapshots %+v", all)
		}

		// Another policy creates another snapshot; returning to the first creates a third.
		placement.GetSpec().Policy.Tolerations = []v1beta1.Toleration{{Key: "a"}}
		all, _ = settle(t, placement, all)
		placement.GetSpec().Policy = pickN(3)
		all, step = settle(t, placement, all)
		if len(all) != 3 || step.Latest != "web-2" {
			t.Errorf("latest %s of %d", step.Latest, len(all))
		}

		limit := int32(1)
		placement.GetSpec().RevisionHistoryLimit = &limit
		all, _ = settle(t, placement, all)
		if len(all) != 1 || all[0].GetName() != "web-2" {
			t.Errorf("with a history of one there are %d", len(all))
		}
	})
}

func TestPolicyHeals(t *testing.T) {
	placement := placementOf(false)
	all, _ := settle(t, placement, nil) // no policy at all
	if hash, _ := contract.Hash(nil); string(all[0].GetSpec().PolicyHash) != hash {
		t.Errorf("hash %s; want that of null", all[0].GetSpec().PolicyHash)
	}
	t.Run("a lost label is put back", func(t *testing.T) {
		lost := apply(all[0], relabelLatest("", false))
		settle(t, placement, []v1beta1.PolicySnapshotObject{lost})
	})
	t.Run("of two that are labelled the higher counts", func(t *testing.T) {
		placement.GetSpec().Policy = pickN(1)
		two, _ := settle(t, placement, all)
		both := []v1beta1.PolicySnapshotObject{two[1], apply(two[0], relabelLatest("", true))}
		if _, step := settle(t, placement, both); step.Latest != "web-1" {
			t.Errorf("latest %s", step.Latest)
		}
	})
	t.Run("the count goes with the kind of policy", func(t *testing.T) {
		counted := apply(all[0], Relabel{Annotations: map[string]*string{contract.AnnotationNumberOfClusters: new(string)}})
		placement.GetSpec().Policy = nil
		if out, _ := settle(t, placement, []v1beta1.PolicySnapshotObject{counted}); out[0].GetAnnotations()[contract.AnnotationNumberOfClusters] != "" {
			t.Errorf("annotations %v", out[0].GetAnnotations())
		}
	})
}
