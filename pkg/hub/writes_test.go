package hub

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// What a placement on three members costs the hub agent is the least that is possible with these kinds. With one write
// by the agent of each member, that is 20 writes at its creation, 15 for an edit and 16 at its deletion.
func TestWritesOfAPlacement(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	members := []string{"east", "north", "west"}
	writes := &testworld.Writes{}
	f := &fleet{T: t, whole: t, Cluster: testworld.StartHub(t).Cluster}
	f.through = func(cfg *rest.Config) *rest.Config { return writes.Of(cfg) }
	f.start()
	watching, err := client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	for _, name := range members {
		m := testworld.StartModelMember(t, watching, testworld.NewMemberCluster(name))
		defer m.Left()
		m.Healthy()
	}
	for _, o := range []client.Object{testworld.Namespace("shop"), testworld.ConfigMap("shop", "0")} {
		f.must(f.Client.Create(t.Context(), o))
	}
	all := intstr.FromString("100%") // a cluster that waits for its turn costs another write, which says so
	p := testworld.ClusterPlacement("web", "shop", func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate = &v1beta1.RollingUpdateConfig{MaxUnavailable: &all}
	})
	p.Finalizers = nil
	available := func(index int) {
		t.Helper()
		testworld.Await(t, testworld.Workload, p.Name+" to be available", func(ctx context.Context) error {
			if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			return testworld.Complete(members...).At(fmt.Sprint(index)).Check(p)
		})
	}
	// A status that only reports progress is held back for a while, so a slow machine sees it written twice.
	const bindingStatus, placementStatus = "PUT clusterresourcebindings/status", "PUT clusterresourceplacements/status"
	for _, change := range []struct {
		name  string
		do    func()
		costs map[string]int
	}{
		{"creation", func() { f.must(f.Client.Create(t.Context(), p)); available(0) }, map[string]int{
			"PATCH clusterresourceplacements": 1, "POST clusterschedulingpolicysnapshots": 1, "POST clusterresourcebindings": 3,
			"PUT clusterschedulingpolicysnapshots/status": 1, "POST clusterresourcesnapshots": 1, "PUT clusterresourcebindings": 3,
			"POST works": 3, bindingStatus: 3, placementStatus: 1,
		}},
		{"edit", func() { f.must(f.Client.Update(t.Context(), testworld.ConfigMap("shop", "1"))); available(1) }, map[string]int{
			"POST clusterresourcesnapshots": 1, "PATCH clusterresourcesnapshots": 1, "PUT clusterresourcebindings": 3, "PATCH works": 3,
			bindingStatus: 3, placementStatus: 1,
		}},
		{"deletion", func() { f.must(f.Client.Delete(t.Context(), p)); testworld.AwaitGone(t, f.Client, p, nil) }, map[string]int{
			"DELETE clusterresourcesnapshots": 1, "DELETE clusterschedulingpolicysnapshots": 1, "DELETE clusterresourcebindings": 3,
			"PATCH clusterresourceplacements": 2, "DELETE works": 3, "PATCH clusterresourcebindings": 3,
		}},
	} {
		writes.Take()
		change.do()
		still(f, writes)
		got := map[string]int{}
		for _, w := range about(writes.Take()) {
			got[kindOf(w)]++
		}
		for _, write := range []string{bindingStatus, placementStatus} {
			if least := change.costs[write]; got[write] > least && got[write] <= 2*least {
				t.Logf("%s: %d times %s; on an idle machine %d", change.name, got[write], write, least)
				got[write] = least
			}
		}
		if diff := cmp.Diff(change.costs, got); diff != "" {
			t.Errorf("%s: writes by kind (-want +got):\n%s", change.name, diff)
		}
	}
}

// path is that of a request for objects of the fleet's API, with their kind and perhaps a subresource.
var path = regexp.MustCompile(`^/apis/[^/]+/[^/]+/(?:namespaces/[^/]+/)?([^/]+)(?:/[^/]+(/[^/]+)?)?$`)

// kindOf returns a write without the names of its object.
func kindOf(write string) string {
	verb, at, _ := strings.Cut(write, " ")
	parts := path.FindStringSubmatch(at)
	if parts == nil {
		return write
	}
	return verb + " " + parts[1] + parts[2]
}
