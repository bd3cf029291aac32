package schedule

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// large is a fleet of the given number of clusters in 3 regions, 10 zones and 2 environments, with properties and
// usage.
func large(clusters int) []*clusterv1beta1.MemberCluster {
	var out []*clusterv1beta1.MemberCluster
	for i := range clusters {
		c := member(fmt.Sprintf("c%04d", i), []string{"east", "central", "west"}[i%3], []string{"prod", "canary"}[i%2])
		c.Labels["zone"] = fmt.Sprint("zone-", i%10)
		c.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{
			clusterv1beta1.PropertyName(propertyNames["nodes"]):  {Value: fmt.Sprint(1 + i%97)},
			clusterv1beta1.PropertyName(propertyNames["energy"]): {Value: fmt.Sprintf("%d.5", i%89)},
		}
		c.Status.ResourceUsage.Available = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(fmt.Sprintf("%dm", 100*i))}
		out = append(out, c)
	}
	return out
}

// settled is the request after the decision about r was carried out.
func settled(r Request) Request {
	w := &world{snapshot: 1}
	d := Decide(r)
	w.apply(d)
	r.Bindings, r.Listed = w.bindings, d.Clusters
	return r
}

func BenchmarkDecide(b *testing.B) {
	anyTerm := v1beta1.ClusterSelectorTerm{}
	spread := prefer(number(labelled("env=prod|canary")), 50, labelled("region=west"))
	spread = prefer(spread, 100, sortedBy(anyTerm, "available-cpu", v1beta1.PropertySortOrderDescending))
	spread = spreading(spreading(spread, "region", 1, hard), "zone", 1, soft)
	for _, bench := range []struct {
		name    string
		request Request
	}{
		{"PickAll with a property selector", Request{Policy: all(having(anyTerm, "nodes Ge 50", "available-cpu Gt 10"))}},
		{"PickN 50 with two spread constraints and preferences", Request{Policy: spread, Number: 50}},
	} {
		r := bench.request
		r.Snapshot, r.Clusters, r.Now = "p-1", large(1000), noon
		for state, r := range map[string]Request{"new": r, "settled": settled(r)} {
			b.Run(bench.name+"/"+state, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := Decide(r); !d.Fulfilled() {
						b.Fatalf("found %d of %d", d.Found, d.Wanted)
					}
				}
			})
		}
	}
}

// BenchmarkClusterChange measures one change of a cluster for each placement that the index finds.
func BenchmarkClusterChange(b *testing.B) {
	was, is := large(1)[0], large(1)[0]
	is.Labels["region"] = "west"
	watch := Watch{Policy: all(labelled("region=east", "env=prod")), Fulfilled: true}
	b.ReportAllocs()
	for b.Loop() {
		if ClusterChangeOf(was, is, noon).Matters(watch) {
			b.Fatal("it matters")
		}
	}
}

// BenchmarkNearestChanges measures "kubectl fleet explain placement" for each cluster of a large fleet.
func BenchmarkNearestChanges(b *testing.B) {
	policy := spreading(number(labelled("env=prod")), "region", 1, hard)
	r := settled(Request{Policy: policy, Number: 50, Snapshot: "p-1", Clusters: large(1000), Now: noon})
	b.ReportAllocs()
	for b.Loop() {
		if len(NearestChanges(r, "c0001")) == 0 {
			b.Fatal("nothing was found")
		}
	}
}
