package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// stored is what an API server stores of an object, less what annotations may take.
const stored = 1<<20 + 1<<19 - 1<<18

func bytesOf(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return len(data)
}

func drawIdentifier(t *rapid.T) v1beta1.ResourceIdentifier {
	id := v1beta1.ResourceIdentifier{
		Group: rapid.String().Draw(t, "group"), Version: "v1", Kind: "ConfigMap",
		Namespace: rapid.String().Draw(t, "namespace"), Name: rapid.String().Draw(t, "name"),
	}
	if rapid.Bool().Draw(t, "envelope") {
		id.Envelope = &v1beta1.EnvelopeIdentifier{Name: "e", Namespace: "shop", Type: v1beta1.EnvelopeTypeResourceEnvelope}
	}
	return id
}

func drawConditions(t *rapid.T) []metav1.Condition {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) metav1.Condition {
		return metav1.Condition{Type: "Applied", Status: metav1.ConditionUnknown, Reason: "R", LastTransitionTime: atFirst,
			ObservedGeneration: rapid.Int64Range(1, 1e6).Draw(t, "generation"), Message: rapid.String().Draw(t, "message")}
	}), 1, 7).Draw(t, "conditions")
}

func drawEntry(t *rapid.T) v1beta1.PerClusterPlacementStatus {
	fields := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) v1beta1.PatchDetail {
		return v1beta1.PatchDetail{
			Path: rapid.String().Draw(t, "path"), ValueInHub: rapid.String().Draw(t, "hub"), ValueInMember: rapid.String().Draw(t, "member"),
		}
	}), 0, 3)
	seven := int64(7)
	return v1beta1.PerClusterPlacementStatus{
		ClusterName: rapid.String().Draw(t, "cluster"), ObservedResourceIndex: "12", Conditions: drawConditions(t),
		ApplicableClusterResourceOverrides: rapid.SliceOfN(rapid.String(), 0, 2).Draw(t, "overrides"),
		ApplicableResourceOverrides:        []v1beta1.NamespacedName{{Namespace: "shop", Name: rapid.String().Draw(t, "override")}},
		Shares:                             rapid.SliceOfN(rapid.Custom(drawShare), 0, 3).Draw(t, "shares"),
		FailedPlacements: []v1beta1.FailedResourcePlacement{{
			ResourceIdentifier: drawIdentifier(t), Condition: drawConditions(t)[0],
		}},
		DriftedPlacements: []v1beta1.DriftedResourcePlacement{{
			ResourceIdentifier: drawIdentifier(t), ObservationTime: atFirst, FirstDriftedObservedTime: atFirst,
			TargetClusterObservedGeneration: 123456, ObservedDrifts: fields.Draw(t, "drifts"),
		}},
		DiffedPlacements: []v1beta1.DiffedResourcePlacement{{
			ResourceIdentifier: drawIdentifier(t), ObservationTime: atFirst, FirstDiffedObservedTime: atFirst,
			TargetClusterObservedGeneration: &seven, ObservedDiffs: fields.Draw(t, "diffs"),
		}},
	}
}

func drawShare(t *rapid.T) v1beta1.ReplicaShare {
	s := v1beta1.ReplicaShare{
		Group: "apps", Kind: "Deployment", Namespace: rapid.String().Draw(t, "namespace"), Name: rapid.String().Draw(t, "name"),
		Replicas: rapid.Int32Range(0, math.MaxInt32).Draw(t, "replicas"), Of: rapid.Int32Range(0, math.MaxInt32).Draw(t, "of"),
		Pinned: rapid.Bool().Draw(t, "pinned"),
	}
	if rapid.Bool().Draw(t, "moves") {
		s.Field, s.Target = "maxReplicas", ptr.To(s.Of)
	}
	return s
}

func TestSizeIsAnUpperBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entry := drawEntry(t)
		if estimate, size := clusterSize(&entry), bytesOf(entry); estimate < size || estimate > 2*size {
			t.Fatalf("%d bytes were taken for %d", size, estimate)
		}
	})
}

const notApplied = "Some objects are not applied from Work"

// large is a placement over clusters; on each of them many objects have failed, drifted and differ; the bindings have
// the maximal size.
func large(clusters, objects int, message string) PlacementFacts {
	var lists details
	for o := range objects {
		id := v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprintf("cm-%03d", o)}
		fields := []v1beta1.PatchDetail{{Path: "/data/a", ValueInHub: message, ValueInMember: message}, {Path: "/data/b"}}
		refused := no(1, "Applied", "ManifestApplyFailed", message)
		lists.failed = append(lists.failed, v1beta1.FailedResourcePlacement{ResourceIdentifier: id, Condition: refused})
		lists.drifted = append(lists.drifted, v1beta1.DriftedResourcePlacement{ResourceIdentifier: id, ObservedDrifts: fields})
		lists.diffed = append(lists.diffed, v1beta1.DiffedResourcePlacement{ResourceIdentifier: id, ObservedDiffs: fields})
	}
	lists, _ = lists.fitting(mostDetails)
	facts := PlacementFacts{Placement: newPlacement(false), Latest: Snapshot{Name: "web-2-snapshot", Index: "2"}}
	var names []string
	for c := range clusters {
		name := fmt.Sprintf("%s-%04d", strings.Repeat("m", 58), c)
		b := bound(name, also(synced, "Applied=False NotAllWorkHaveBeenApplied")...)
		for i := range b.Status.Conditions {
			b.Status.Conditions[i].Message = notApplied + " web-work in namespace fleet-member-" + name + "; see failedPlacements"
		}
		b.Status.FailedPlacements, b.Status.DriftedPlacements, b.Status.DiffedPlacements = lists.failed, lists.drifted, lists.diffed
		names, facts.Bindings = append(names, name), append(facts.Bindings, b)
	}
	facts.Policy = decided(metav1.ConditionTrue, names, nil)
	return facts
}

func TestPlacementCanBeStored(t *testing.T) {
	identifiers := func(n int) []v1beta1.ResourceIdentifier {
		out := make([]v1beta1.ResourceIdentifier, n)
		for i := range out {
			name := fmt.Sprintf("thing-%05d", i)
			out[i] = v1beta1.ResourceIdentifier{Group: "example.com", Version: "v1", Kind: "Thing", Namespace: "shop", Name: name}
		}
		return out
	}
	for name, tc := range map[string]struct {
		clusters, objects, selected int
		message                     string
		// whole is whether nothing is left out; listed is how many selected objects must be listed at least, and
		// failed how many failures of each cluster.
		whole          bool
		listed, failed int
	}{
		"a few clusters that fail in few words are told in full": {
			clusters: 5, objects: 20, selected: 100, message: "refused", whole: true, listed: 100, failed: 20,
		},
		"a thousand clusters that fail at everything": {
			clusters: 1000, objects: 100, selected: 1000, message: strings.Repeat("<refused> ", 100), listed: 1000,
		},
		"a hundred keep something of each list": {
			clusters: 100, objects: 100, selected: 1000, message: strings.Repeat("refused ", 100), listed: 1000, failed: 3,
		},
		"more selected objects than fit": {clusters: 3, objects: 10, selected: 30_000, message: "refused", listed: 5000, failed: 10},
		"everything at once":             {clusters: 1000, objects: 100, selected: 30_000, message: strings.Repeat("\"", 30_000), listed: 500},
	} {
		t.Run(name, func(t *testing.T) {
			facts := large(tc.clusters, tc.objects, tc.message)
			facts.Latest.Resources = identifiers(tc.selected)
			untouched := bytesOf(facts.Bindings[0])
			status := Placement(facts, before).Status
			size := bytesOf(status)
			t.Logf("%d bytes", size)
			if size > stored {
				t.Errorf("%d bytes; no more than %d can be stored", size, stored)
			}
			if len(status.SelectedResources) < tc.listed {
				t.Errorf("%d selected objects; want %d", len(status.SelectedResources), tc.listed)
			}
			noted := strings.Contains(status.Conditions[0].Message, "selectedResources lists")
			if noted != (len(status.SelectedResources) < tc.selected) {
				t.Errorf("of %d objects %d are listed, and it says: %s", tc.selected, len(status.SelectedResources), status.Conditions[0].Message)
			}
			if len(status.PerClusterPlacementStatuses) != tc.clusters {
				t.Fatalf("%d entries; want %d", len(status.PerClusterPlacementStatuses), tc.clusters)
			}
			for i, entry := range status.PerClusterPlacementStatuses {
				last := entry.Conditions[len(entry.Conditions)-1]
				short := len(entry.FailedPlacements) < tc.objects
				if said := strings.HasSuffix(last.Message, "in the binding "+facts.Bindings[i].GetName()); short && !said || tc.whole && said {
					t.Fatalf("%d of %d failures are listed, and it says: %s", len(entry.FailedPlacements), tc.objects, last.Message)
				}
				if len(entry.FailedPlacements) < tc.failed || len(entry.Conditions) != 5 || !strings.HasPrefix(last.Message, notApplied) {
					t.Fatalf("entry %d lists %d failures and says %+v", i, len(entry.FailedPlacements), entry.Conditions)
				}
			}
			// The same facts, in another order and on top of this status, give the same; and nothing of the cache was
			// modified.
			slices.Reverse(facts.Bindings)
			*facts.Placement.GetStatus() = status
			if again := Placement(facts, after).Status; bytesOf(again) != size {
				t.Error("the same facts say something else")
			}
			if bytesOf(facts.Bindings[len(facts.Bindings)-1]) != untouched {
				t.Error("a binding was changed")
			}
		})
	}
}

func TestBindingCanBeStored(t *testing.T) {
	refused := said(4, "Applied", false, "SomeManifestsAreNotApplied")
	var manifests []v1beta1.ManifestCondition
	for _, name := range numbered(150) {
		m := havingDrifted(havingDiffed(reportedManifest(name, no(1, "Applied", "ManifestApplyFailed", strings.Repeat("x", 30_000)))))
		m.DriftDetails.ObservedDrifts = []v1beta1.PatchDetail{{Path: "/data/a", ValueInHub: strings.Repeat("h", 20_000)}, {Path: "/data/b"}}
		manifests = append(manifests, m)
	}
	work := listing(workHaving("web-work", refused), manifests...)
	work.Namespace = "fleet-member-a"
	status := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Works: []*v1beta1.Work{work}}, afterwards).Status
	if size := bytesOf(status); size > 600_000 {
		t.Errorf("%d bytes", size)
	}
	if len(status.FailedPlacements) != MostListed || len(status.DriftedPlacements) != MostListed {
		t.Errorf("%d failed, %d drifted", len(status.FailedPlacements), len(status.DriftedPlacements))
	}
	d := status.DriftedPlacements[0].ObservedDrifts
	if len(d) != 1 || d[0].Path != "/data/a and 1 more path(s)" || d[0].ValueInHub != "(omitted)" {
		t.Errorf("drifts %+v", d)
	}
	want := "Some objects are not applied from Work web-work in namespace fleet-member-a; see failedPlacements; " +
		"failedPlacements lists 100 of 150 objects, see the Works for all; driftedPlacements lists 100 of 150 objects, see the Works for all; " +
		"diffedPlacements lists 100 of 150 objects, see the Works for all; the lists are shortened, see the Works for all details"
	if got := status.Conditions[len(status.Conditions)-1].Message; got != want {
		t.Errorf("message %q\nwant %q", got, want)
	}
	if len(work.Status.ManifestConditions[0].DriftDetails.ObservedDrifts) != 2 {
		t.Error("the Work was changed")
	}
}
