package report

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func deployment(name string, unschedulable int32) v1beta1.ManifestCondition {
	return v1beta1.ManifestCondition{
		Identifier:            v1beta1.WorkResourceIdentifier{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: "shop", Name: name},
		UnschedulableReplicas: unschedulable,
	}
}

func shareOf(name string, replicas int32) v1beta1.ReplicaShare {
	return v1beta1.ReplicaShare{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name, Replicas: replicas}
}

func roomless(name string, replicas int32) v1beta1.UnschedulableReplicas {
	return v1beta1.UnschedulableReplicas{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name, Replicas: replicas}
}

func TestBindingListsUnschedulableReplicas(t *testing.T) {
	before := []v1beta1.UnschedulableReplicas{roomless("before", 1)}
	works := func(manifests ...v1beta1.ManifestCondition) []*v1beta1.Work {
		return []*v1beta1.Work{listing(workHaving("a"), manifests[:1]...), listing(workHaving("b"), manifests[1:]...)}
	}
	autoscaled := shareOf("web", 5)
	autoscaled.Field = "minReplicas"
	another := deployment("web", 3)
	another.Identifier.Group = "example.com"
	for name, tc := range map[string]struct {
		facts BindingFacts
		want  []v1beta1.UnschedulableReplicas
	}{
		"those of all Works, sorted": {
			facts: BindingFacts{Works: works(deployment("web", 2), deployment("api", 1)), Shares: []v1beta1.ReplicaShare{shareOf("web", 4), shareOf("api", 4)}},
			want:  []v1beta1.UnschedulableReplicas{roomless("api", 1), roomless("web", 2)},
		},
		"none": {facts: BindingFacts{Works: works(deployment("web", 0)), Shares: []v1beta1.ReplicaShare{shareOf("web", 4)}}},
		"at most the share": {
			facts: BindingFacts{Works: works(deployment("web", math.MaxInt32)), Shares: []v1beta1.ReplicaShare{shareOf("web", 4)}},
			want:  []v1beta1.UnschedulableReplicas{roomless("web", 4)},
		},
		"a share of none":                         {facts: BindingFacts{Works: works(deployment("web", 3)), Shares: []v1beta1.ReplicaShare{shareOf("web", 0)}}},
		"a negative number":                       {facts: BindingFacts{Works: works(deployment("web", -3)), Shares: []v1beta1.ReplicaShare{shareOf("web", 4)}}},
		"a workload without share":                {facts: BindingFacts{Works: works(deployment("web", 3)), Shares: []v1beta1.ReplicaShare{shareOf("api", 4)}}},
		"a share of the numbers of an autoscaler": {facts: BindingFacts{Works: works(deployment("web", 3)), Shares: []v1beta1.ReplicaShare{autoscaled}}},
		"a kind of the same name":                 {facts: BindingFacts{Works: works(another), Shares: []v1beta1.ReplicaShare{shareOf("web", 4)}}},
		"a workload that two Works report": {
			facts: BindingFacts{Works: works(deployment("web", 1), deployment("web", 2)), Shares: []v1beta1.ReplicaShare{shareOf("web", 4)}},
			want:  []v1beta1.UnschedulableReplicas{roomless("web", 2)},
		},
		"no content could be written":  {facts: BindingFacts{SyncFailure: "refused"}, want: before},
		"no content could be resolved": {facts: BindingFacts{OverrideFailure: "no such label"}, want: before},
	} {
		t.Run(name, func(t *testing.T) {
			got := Binding(v1beta1.ResourceBindingStatus{UnschedulableReplicas: before}, tc.facts, afterwards).Status.UnschedulableReplicas
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnschedulableReplicasAreSortedThenCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.Permutation(numbered(150)).Draw(t, "order")
		facts, work := BindingFacts{}, workHaving("a")
		for _, n := range names {
			work.Status.ManifestConditions = append(work.Status.ManifestConditions, deployment(n, 1))
			facts.Shares = append(facts.Shares, shareOf(n, 2))
		}
		facts.Works = []*v1beta1.Work{work}
		var want []v1beta1.UnschedulableReplicas
		for _, n := range numbered(MostListed) {
			want = append(want, roomless(n, 1))
		}
		if diff := cmp.Diff(want, Binding(v1beta1.ResourceBindingStatus{}, facts, afterwards).Status.UnschedulableReplicas); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A number that is not known at present stays as it was reported, up to the present limit.
func TestWorkReportsUnschedulableReplicas(t *testing.T) {
	m := made("a", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestNotAvailableYet)
	status := v1beta1.WorkStatus{}
	for _, step := range []struct {
		unschedulable int32
		uncounted     bool
		want          int32
	}{{9, true, 0}, {3, false, 3}, {9, true, 3}, {2, true, 2}, {9, true, 2}, {0, false, 0}} {
		m.Unschedulable, m.Uncounted = step.unschedulable, step.uncounted
		status, _ = Work(status, 1, Pass{Manifests: []Manifest{m}}, noon)
		if got := status.ManifestConditions[0].UnschedulableReplicas; got != step.want {
			t.Errorf("%+v: %d", step, got)
		}
	}
}
