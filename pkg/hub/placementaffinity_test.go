package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// referring adds required terms about other placements to a policy.
func referring(terms ...v1beta1.PlacementAffinityTerm) testworld.Option {
	return func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Affinity.PlacementAffinity = &v1beta1.PlacementAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}
	}
}

// submit creates a placement, and does not wait for anything.
func (f *failovers) submit(name string, labels map[string]string, options ...testworld.Option) *placed {
	f.Helper()
	p := referred(name, labels, options...)
	f.must(f.Client.Create(f.Context(), p))
	f.removeAtEnd(p)
	return &placed{failovers: f, of: p}
}

// referred is a placement with these labels, by which others may refer to it.
func referred(name string, labels map[string]string, options ...testworld.Option) *v1beta1.ClusterResourcePlacement {
	p := testworld.ClusterPlacement(name, "shop", options...)
	p.Finalizers, p.Labels = nil, labels
	return p
}

// remove deletes the placement, and waits until it is gone.
func (p *placed) remove() {
	p.Helper()
	p.must(p.Client.Delete(p.Context(), p.of))
	testworld.AwaitGone(p, p.Client, p.of, nil)
}

// lacks waits until the placement is on these clusters and not on as many as it requests, and reports why for one that
// it has not picked.
func (p *placed) lacks(cluster, why string, on ...string) {
	p.Helper()
	p.bound(on...)
	testworld.Await(p, testworld.Workload, p.of.Name+" to lack "+cluster, func(ctx context.Context) error {
		if err := p.Client.Get(ctx, client.ObjectKeyFromObject(p.of), p.of); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.of.Status.Conditions, p.of.ConditionType(v1beta1.ConditionScheduled))
		says := func(e v1beta1.PerClusterPlacementStatus) bool {
			return e.ClusterName == "" && len(e.Conditions) > 0 && e.Conditions[0].Message == fmt.Sprintf("cluster %q cannot be chosen: %s", cluster, why)
		}
		if c == nil || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled || !slices.ContainsFunc(p.of.Status.PerClusterPlacementStatuses, says) {
			return fmt.Errorf("condition %+v, entries %+v", c, p.of.Status.PerClusterPlacementStatuses)
		}
		return nil
	})
}

// region is the label of members that tells their region.
const region = failover.DefaultDomain

// only is a policy for so many of these members, with terms about other placements.
func only(number int32, members []string, terms ...v1beta1.PlacementAffinityTerm) testworld.Option {
	return func(spec *v1beta1.PlacementSpec) {
		testworld.PickN(number, among(members...))(spec)
		referring(terms...)(spec)
	}
}

// A placement follows another one, which is created later.
func TestPlacementAffinityWith(t *testing.T) {
	f := hubs.take(t)
	app := f.submit("app", nil, only(2, four, v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementWith, Name: "db", TopologyKey: region}))
	app.lacks("east-1", `it must be with placement "db" (by label `+region+`), which does not exist`)
	db := f.submit("db", nil, testworld.PickFixed("east-1"))
	db.available("east-1")
	app.available("east-1", "east-2")
	db.remove()
	app.stay("east-1", "east-2")
}

// A placement stays apart from another one until that goes.
func TestPlacementAffinityApart(t *testing.T) {
	f := hubs.take(t)
	back := map[string]string{"tier": "back"}
	db := f.submit("db", back, testworld.PickFixed("west-2"))
	db.available("west-2")
	web := f.submit("web", nil, only(4, four, v1beta1.PlacementAffinityTerm{
		Relation: v1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: back}, TopologyKey: region,
	}))
	web.bound("east-1", "east-2")
	web.reports(v1beta1.ConditionScheduled, v1beta1.ReasonSchedulingPolicyUnfulfilled)
	db.remove()
	web.available(four...)
}

// Two placements that are created at once stay apart.
func TestPlacementAffinityApartAtOnce(t *testing.T) {
	f := hubs.take(t)
	group := map[string]string{"group": "one"}
	apart := only(2, four, v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: group}})
	both := []*placed{{failovers: f, of: referred("x", group, apart)}, {failovers: f, of: referred("y", group, apart)}}
	errs := make([]error, len(both))
	var created sync.WaitGroup
	for i, p := range both {
		f.removeAtEnd(p.of)
		created.Go(func() { errs[i] = f.Client.Create(f.Context(), p.of) })
	}
	created.Wait()
	f.must(errors.Join(errs...))
	testworld.Await(f, testworld.Workload, "each of the two to be on two clusters", func(ctx context.Context) error {
		var on []string
		for _, p := range both {
			list, err := p.list(ctx)
			if err != nil {
				return err
			}
			for i := range list {
				on = append(on, list[i].Spec.TargetCluster)
			}
		}
		slices.Sort(on)
		if len(slices.Compact(slices.Clone(on))) < len(on) {
			f.Fatalf("both are on one cluster: %q", on)
		}
		if !slices.Equal(on, four) {
			return fmt.Errorf("they are on %q", on)
		}
		return nil
	})
}

// A placement follows another one that leaves a lost cluster.
func TestPlacementAffinityFollowsAFailover(t *testing.T) {
	f := hubs.take(t)
	two := []string{"west-1", "west-2"}
	db := f.submit("db", nil, testworld.PickN(1, among(two...)), failing)
	db.available("west-2")
	app := f.submit("app", nil, only(1, two, v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementWith, Name: "db"}), failing)
	app.available("west-2")
	f.lose(2*after, "west-2")
	db.available("west-1")
	app.available("west-1")
	f.hear("west-2")
	db.bound("west-1")
	app.bound("west-1")
}
