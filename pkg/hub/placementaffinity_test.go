package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// TestPlacementAffinity plays scenarios of placements that refer to each other, on four members in two regions.
func TestPlacementAffinity(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	f := &failovers{fleet: &fleet{T: t, whole: t, Cluster: testworld.StartHub(t).Cluster}, members: map[string]*testworld.ModelMember{}}
	f.start()
	var err error
	f.watching, err = client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	for name, region := range map[string]string{"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"} {
		cluster := testworld.NewMemberCluster(name)
		cluster.Spec.HeartbeatPeriodSeconds = 1
		cluster.Labels = map[string]string{"region": region}
		f.members[name] = testworld.StartModelMember(t, f.watching, cluster)
		defer f.members[name].Left()
		f.members[name].Healthy()
	}
	f.must(f.Client.Create(t.Context(), testworld.Namespace("shop")))
	f.must(f.Client.Create(t.Context(), testworld.ConfigMap("shop", "0")))
	for _, scenario := range []struct {
		name string
		play func(*failovers)
	}{
		{"a placement follows another, which is created later", followsLater},
		{"a placement stays apart from another until that goes", apartUntilGone},
		{"two placements that are created at once stay apart", apartAtOnce},
		{"a placement follows another that leaves a lost cluster", followsFailover},
	} {
		if t.Failed() {
			return // what the last scenario has left behind
		}
		t.Run(scenario.name, func(t *testing.T) {
			here, inner := *f, *f.fleet
			inner.T = t
			here.fleet = &inner
			scenario.play(&here)
			for _, m := range f.members {
				m.Healthy()
			}
		})
	}
}

// referring adds required terms about other placements to a policy.
func referring(terms ...v1beta1.PlacementAffinityTerm) testworld.Option {
	return func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Affinity = &v1beta1.Affinity{
			PlacementAffinity: &v1beta1.PlacementAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms},
		}
	}
}

func leavesLost(spec *v1beta1.PlacementSpec) {
	spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: 30 * time.Second}}
}

// submit creates a placement, and does not wait for anything.
func (f *failovers) submit(name string, labels map[string]string, options ...testworld.Option) *v1beta1.ClusterResourcePlacement {
	f.Helper()
	p := referred(name, labels, options...)
	f.must(f.Client.Create(f.Context(), p))
	f.Cleanup(func() { f.remove(p) })
	return p
}

// referred is a placement with these labels, by which others may refer to it.
func referred(name string, labels map[string]string, options ...testworld.Option) *v1beta1.ClusterResourcePlacement {
	p := testworld.ClusterPlacement(name, "shop", options...)
	p.Finalizers, p.Labels = nil, labels
	return p
}

// remove deletes a placement and waits until it is gone; the members answer until the whole test ends.
func (f *failovers) remove(p *v1beta1.ClusterResourcePlacement) {
	f.Helper()
	f.must(client.IgnoreNotFound(f.Client.Delete(f.whole.Context(), p)))
	testworld.AwaitGone(f, f.Client, p, nil)
}

// lacks waits until the placement is on these clusters and not on as many as it requests, and reports why for one that
// it has not picked.
func (f *failovers) lacks(p *v1beta1.ClusterResourcePlacement, on, cluster, why string) {
	f.Helper()
	f.awaitBindings(p, on)
	testworld.Await(f, testworld.Workload, p.Name+" to lack "+cluster, func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionScheduled))
		says := func(e v1beta1.PerClusterPlacementStatus) bool {
			return e.ClusterName == "" && len(e.Conditions) > 0 && e.Conditions[0].Message == fmt.Sprintf("cluster %q cannot be chosen: %s", cluster, why)
		}
		if c == nil || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled || !slices.ContainsFunc(p.Status.PerClusterPlacementStatuses, says) {
			return fmt.Errorf("condition %+v, entries %+v", c, p.Status.PerClusterPlacementStatuses)
		}
		return nil
	})
}

func followsLater(f *failovers) {
	app := f.submit("app", nil, testworld.PickN(2), referring(v1beta1.PlacementAffinityTerm{
		Relation: v1beta1.PlacementWith, Name: "db", TopologyKey: "region",
	}))
	f.lacks(app, "", "a-1", `it must be with placement "db" (by label region), which does not exist`)
	db := f.submit("db", nil, testworld.PickFixed("a-1"))
	f.available(db, "a-1")
	f.available(app, "a-1", "a-2")
	f.remove(db)
	f.stays(app, "a-1=Bound, a-2=Bound")
}

func apartUntilGone(f *failovers) {
	back := map[string]string{"tier": "back"}
	db := f.submit("db", back, testworld.PickFixed("b-2"))
	f.available(db, "b-2")
	web := f.submit("web", nil, testworld.PickN(4), referring(v1beta1.PlacementAffinityTerm{
		Relation: v1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: back}, TopologyKey: "region",
	}))
	f.lacks(web, "a-1=Bound, a-2=Bound", "b-1",
		`it must be apart from placements with labels tier=back (by label region), and placement "db" has picked a cluster with the same value`)
	f.remove(db)
	f.available(web, "a-1", "a-2", "b-1", "b-2")
}

func apartAtOnce(f *failovers) {
	group := map[string]string{"group": "one"}
	apart := referring(v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: group}})
	both := []*v1beta1.ClusterResourcePlacement{
		referred("x", group, testworld.PickN(2), apart), referred("y", group, testworld.PickN(2), apart),
	}
	errs := make([]error, len(both))
	var created sync.WaitGroup
	for i, p := range both {
		f.Cleanup(func() { f.remove(p) })
		created.Go(func() { errs[i] = f.Client.Create(f.Context(), p) })
	}
	created.Wait()
	f.must(errors.Join(errs...))
	testworld.Await(f, testworld.Workload, "each of the two to be on two clusters", func(ctx context.Context) error {
		var on []string
		for _, p := range both {
			bound, err := f.bindings(ctx, p)
			if err != nil {
				return err
			}
			on = append(on, strings.FieldsFunc(bound, func(r rune) bool { return r == ',' || r == ' ' })...)
		}
		slices.Sort(on)
		for i := 1; i < len(on); i++ {
			if on[i] == on[i-1] {
				f.Fatalf("both are on %s", on[i])
			}
		}
		if got := strings.Join(on, " "); got != "a-1=Bound a-2=Bound b-1=Bound b-2=Bound" {
			return errors.New("they are on " + got)
		}
		return nil
	})
}

func followsFailover(f *failovers) {
	db := f.submit("db", nil, testworld.PickN(1), leavesLost)
	f.available(db, "b-2")
	app := f.submit("app", nil, testworld.PickN(1), leavesLost, referring(v1beta1.PlacementAffinityTerm{
		Relation: v1beta1.PlacementWith, Name: "db",
	}))
	f.available(app, "b-2")
	f.members["b-2"].Silent()
	f.awaitSilence("b-2", clusterv1beta1.SilenceLost)
	f.available(db, "b-1")
	f.available(app, "b-1")
	f.members["b-2"].Healthy()
	f.awaitBindings(db, "b-1=Bound")
	f.awaitBindings(app, "b-1=Bound")
}
