package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// inRegion are the members in a region.
func inRegion(region string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(regions)), func(name string) bool { return regions[name] != region })
}

// F7: a region that is dark is believed, and does not count for the spread. When it is back, nothing moves.
func TestF7Region(t *testing.T) {
	f := hubs.take(t)
	west := inRegion("west")
	p := f.place("spread", 3, slices.Sorted(maps.Keys(regions)), testworld.Spread(failover.DefaultDomain, corev1.DoNotSchedule))
	i := slices.IndexFunc(p.on, func(name string) bool { return regions[name] == "west" })
	if i < 0 || len(without(p.on, west...)) != 2 {
		t.Fatalf("the placement is on %q", p.on)
	}
	lost, kept := p.on[i], without(p.on, west...)
	f.lose(after-5*time.Second, west...) // four of nine, and each is lost: without the label of regions they would be braked
	var next string
	testworld.Await(t, testworld.Workload, "a replacement", func(context.Context) error {
		e := failover.ReplacedBy(p.binding(lost))
		if e == nil {
			return fmt.Errorf("%s is not replaced", lost)
		}
		next = e.With
		return nil
	})
	if regions[next] == "west" {
		t.Errorf("%s replaces %s", next, lost)
	}
	p.available(kept[0], kept[1], next)
	for _, name := range west {
		f.awaitSilence(name, clusterv1beta1.SilenceLost)
	}
	f.hear(west...)
	p.bound(kept[0], kept[1], next)
	p.available(kept[0], kept[1], next)
}

// silenceAll makes members fall silent at the same time, for the agent, which has run for hours, is stopped meanwhile.
func (f *failovers) silenceAll(ago time.Duration, names ...string) {
	f.Helper()
	f.stop()
	for _, name := range names {
		f.members[name].Unheard(ago)
	}
	f.start()
}

// F8: when no cluster is heard any more, the hub is cut off: nothing is written, neither then nor when it is back.
func TestF8HubAlone(t *testing.T) {
	f := hubs.take(t)
	f.braked = true
	all := slices.Sorted(maps.Keys(regions))
	var placements []*placed
	for i := range 12 {
		placements = append(placements, f.place(fmt.Sprintf("alone-%d", i), 1+i%3, all))
	}
	before, orders := make([]map[string]string, len(placements)), make([]map[string]string, len(placements))
	for i, p := range placements {
		before[i], orders[i] = p.versionsNow(), p.orders(p.on[0])
	}
	unwritten := func() {
		t.Helper()
		testworld.Stable(t, moment, "the bindings", func(ctx context.Context) error {
			for i, p := range placements {
				if is, err := p.versions(ctx); err != nil || !maps.Equal(is, before[i]) {
					return fmt.Errorf("those of %s have versions %v; they had %v: %w", p.of.Name, is, before[i], err)
				}
			}
			return nil
		})
	}
	f.silenceAll(2*time.Hour, all...)
	for _, name := range all {
		f.awaitSilence(name, clusterv1beta1.SilenceBraked)
		f.event(name, "FailoverBraked")
	}
	unwritten()
	f.hear(all...)
	for _, name := range all {
		if s, err := f.silence(t.Context(), name); err != nil || s != nil {
			t.Errorf("%s has the silence %+v, %v", name, s, err)
		}
	}
	unwritten()
	for i, p := range placements {
		p.untouched(p.on[0], orders[i])
	}
}

// F9: when half of the clusters are silent in all regions, only those that an administrator releases are left. Another
// loss is judged anew.
func TestF9Half(t *testing.T) {
	f := hubs.take(t)
	f.braked = true
	silent, sixth, safe := []string{"east-1", "east-2", "north-1", "west-1", "west-2"}, "west-3", "west-4"
	placements := map[string]*placed{}
	for _, name := range append(slices.Clone(silent), sixth) {
		placements[name] = f.place("half-"+name, 1, []string{name, safe}, prefer(name))
	}
	f.silenceAll(6*time.Minute, silent...)
	for _, name := range silent {
		f.awaitSilence(name, clusterv1beta1.SilenceBraked)
	}
	for _, name := range silent {
		placements[name].stay(name)
	}
	ended := time.Now().Truncate(time.Second)
	for _, name := range silent {
		testworld.Await(t, testworld.Soon, "the release of "+name, func(ctx context.Context) error {
			c := testworld.NewMemberCluster(name)
			if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
				return err
			}
			if c.Status.Silence == nil {
				return fmt.Errorf("%s is heard", name)
			}
			c.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(c.Status.Silence)}
			return f.Client.Update(ctx, c)
		})
	}
	for _, name := range silent {
		f.awaitSilence(name, clusterv1beta1.SilenceReleased)
		placements[name].bound(name+">"+safe, safe)
	}
	placements[sixth].stay(sixth)
	f.members[sixth].Unheard(6 * time.Minute)
	f.awaitSilence(sixth, clusterv1beta1.SilenceSuspected)
	placements[sixth].stay(sixth)
	if s, err := f.silence(t.Context(), sixth); err != nil || s.Since.Time.Before(ended) {
		t.Errorf("the silence of %s is %+v, %v; it counts from the end of the brake, after %s", sixth, s, err, ended)
	}
}
