package rollout

import (
	"reflect"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

func TestExchange(t *testing.T) {
	replacedBy := func(cluster string) func(*Binding) {
		return func(b *Binding) { b.State, b.ReplacedBy = v1beta1.BindingStateUnscheduled, cluster }
	}
	failback := func(b *Binding) { b.Failback = true }
	budget := func(target, unavailable, surge int) Budget {
		return Budget{Target: target, MaxUnavailable: unavailable, MaxSurge: surge, Period: 30 * time.Second}
	}
	immediate := func(b Budget) Budget { b.Purge = v1beta1.FailoverPurgeImmediate; return b }
	short := func(b Budget) Budget { b.Short = true; return b }
	a, b := binding("a", latest, up), binding("b", latest, up)
	for name, tc := range map[string]struct {
		budget Budget
		seen   []Binding
		want   Step
	}{
		"a replacement is bound without a surge": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), lost), binding("d", scheduled)},
			want: Step{Move: []string{"d"}},
		},
		"it does not wait until the cluster is silent": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), overdue), binding("d", scheduled)},
			want: Step{Move: []string{"d"}},
		},
		"nor until the content of another cluster leaves": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), lost), binding("d", scheduled), binding("z", up, givenUp)},
			want: Step{Move: []string{"d"}},
		},
		"other new clusters do not get its room": {
			budget: budget(3, 0, 0), seen: []Binding{a, binding("c", up, replacedBy("x"), lost), binding("d", scheduled), binding("x", scheduled), binding("z", up, givenUp)},
			want: Step{Move: []string{"x"}, Blocked: blocked("d")},
		},
		"a replaced cluster takes no room": {
			budget: budget(3, 0, 0), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", latest), binding("x", scheduled)},
			want: Step{Move: []string{"x"}},
		},
		"nor does one that is late, which is not waited for": {
			budget: budget(3, 0, 0), seen: []Binding{binding("a", up), b, binding("c", up, replacedBy("d"), overdue), binding("d", latest)},
			want: Step{Blocked: blocked("a")},
		},
		"a replacement is bound while the replaced cluster is still up": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", scheduled)},
			want: Step{Move: []string{"d"}},
		},
		"and while its binding is being deleted": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), deleting), binding("d", scheduled)},
			want: Step{Move: []string{"d"}},
		},
		"a replaced cluster keeps its content until the replacement is ready": {
			budget: budget(3, 3, 3), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest)},
		},
		"even content that has failed": {
			budget: budget(3, 3, 3), seen: []Binding{a, b, binding("c", failed, replacedBy("d")), binding("d", latest, unavailable)},
		},
		"it is removed when the replacement is ready": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest, up)},
			want: Step{Remove: []string{"c"}},
		},
		"not by an old report": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest, up, outdated)},
		},
		"nor while the replacement itself is not heard": {
			budget: budget(3, 3, 3), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest, up, lost)},
		},
		"nor while the cluster of the replacement leaves": {
			budget: budget(3, 3, 3), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest, up, vanished)},
		},
		"what is not tracked is waited for": {
			budget: budget(3, 3, 3), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", latest, unseenYet)},
			want: Step{Again: 20 * time.Second},
		},
		"a cluster that is not heard stays": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), lost), binding("d", latest, up)},
		},
		"a removal leaves enough clusters up": {
			budget: budget(3, 0, 0), seen: []Binding{a, binding("b", latest, unavailable), binding("c", up, replacedBy("d")), binding("d", latest, up)},
		},
		"a replaced cluster makes no room to take another down": {
			budget: budget(3, 1, 0), seen: []Binding{binding("a", up), binding("b", up), binding("c", up, replacedBy("d")), binding("d", latest)},
			want: Step{Blocked: blocked("a", "b")},
		},
		"two clusters are exchanged without a surge": {
			budget: budget(4, 0, 0),
			seen: []Binding{
				a, b, binding("c", up, replacedBy("e")), binding("d", up, replacedBy("f")), binding("e", latest, up), binding("f", scheduled),
			},
			want: Step{Move: []string{"f"}},
		},
		"a replacement that was replaced": {
			budget: budget(3, 0, 0),
			seen:   []Binding{a, b, binding("c", up, replacedBy("e")), binding("d", replacedBy("e"), lost), binding("e", latest, up)},
			want:   Step{Remove: []string{"c"}},
		},
		"as long as only the replacement names the next": {
			budget: budget(3, 0, 0),
			seen:   []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", replacedBy("e"), lost), binding("e", latest)},
		},
		"clusters in a circle replace nothing": {
			budget: short(budget(3, 1, 0)), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", replacedBy("c"), lost)},
			want: Step{Remove: []string{"c"}},
		},
		"without its replacement it stays while too few are ready": {
			budget: budget(1, 1, 1), seen: []Binding{binding("c", up, replacedBy("d")), binding("d", latest, up, deleting)},
		},
		"though it is not ready itself": {
			budget: budget(1, 1, 1), seen: []Binding{binding("c", failed, replacedBy("d")), binding("d", givenUp, lost)},
		},
		"also when one is ready": {
			budget: budget(2, 2, 2), seen: []Binding{a, binding("c", up, replacedBy("d"))},
		},
		"until what is picked instead is ready": {
			budget: budget(2, 0, 0), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest)},
		},
		"which it leaves room for": {
			budget: budget(2, 0, 0), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", scheduled)},
			want: Step{Move: []string{"e"}},
		},
		"and then goes": {
			budget: budget(2, 0, 0), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest, up)},
			want: Step{Remove: []string{"c"}},
		},
		"not by an old report on that": {
			budget: budget(2, 2, 2), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest, up, outdated)},
		},
		"nor while that is not heard": {
			budget: budget(2, 2, 2), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest, up, overdue)},
		},
		"nor does a vanished one count": {
			budget: budget(2, 2, 2), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest, up, vanished)},
		},
		"what is not tracked is waited for here too": {
			budget: budget(2, 2, 2), seen: []Binding{a, binding("c", up, replacedBy("d")), binding("e", latest, unseenYet)},
			want: Step{Again: 20 * time.Second},
		},
		"it takes nothing down that the budget protects": {
			budget: budget(2, 1, 0), seen: []Binding{binding("a", up), binding("c", up, replacedBy("d")), binding("e", latest)},
			want: Step{Blocked: blocked("a")},
		},
		"what a former binding says of the replacement does not count": {
			budget: budget(2, 1, 1),
			seen: []Binding{
				binding("c", up, replacedBy("d")), binding("d", givenUp, lost), binding("d-old", scheduled, replacedBy("e"), deleting, at("d")),
				binding("e", latest, up),
			},
		},
		"if no more are found, all that are must be ready": {
			budget: short(budget(3, 3, 3)), seen: []Binding{a, binding("b", latest, unavailable), binding("c", up, replacedBy("d"))},
		},
		"and then it goes": {
			budget: short(budget(3, 0, 0)), seen: []Binding{a, b, binding("c", up, replacedBy("d"))},
			want: Step{Remove: []string{"c"}},
		},
		"if none is found, it stays": {
			budget: short(budget(1, 1, 1)), seen: []Binding{binding("c", up, replacedBy("d"))},
		},
		"if none is wanted, it goes": {
			budget: budget(0, 0, 0), seen: []Binding{binding("c", up, replacedBy("d"))},
			want: Step{Remove: []string{"c"}},
		},
		"while its cluster is not heard, it stays in any case": {
			budget: budget(1, 1, 1), seen: []Binding{a, binding("c", up, replacedBy("d"), lost)},
		},
		"Immediate does not keep it": {
			budget: immediate(budget(1, 1, 1)), seen: []Binding{binding("c", up, replacedBy("d"))},
			want: Step{Remove: []string{"c"}},
		},
		"but when the placement was to return": {
			budget: immediate(budget(1, 1, 1)), seen: []Binding{binding("d", latest, up, replacedBy("c"), failback)},
		},
		"a replacement that was given up replaces nothing": {
			budget: short(budget(3, 1, 0)), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", givenUp, lost)},
			want: Step{Remove: []string{"c"}},
		},
		"a cluster does not replace itself": {
			budget: budget(3, 1, 0), seen: []Binding{a, b, binding("c-old", up, replacedBy("c"), at("c")), binding("c", scheduled)},
			want: Step{Remove: []string{"c-old"}, Blocked: []Blocked{{Binding: "c", By: ByCluster}}},
		},
		"what was replaced before it had content goes at once": {
			budget: budget(3, 0, 0),
			seen: []Binding{a, b, binding("c", scheduled, replacedBy("d"), lost, func(b *Binding) {
				b.Previous = v1beta1.BindingStateScheduled
			}), binding("d", latest)},
			want: Step{Remove: []string{"c"}},
		},
		"what was on a vanished cluster goes at once": {
			budget: budget(3, 0, 0), seen: []Binding{a, b, binding("c", up, replacedBy("d"), vanished), binding("d", latest)},
			want: Step{Remove: []string{"c"}},
		},
		"Immediate does not wait for the replacement": {
			budget: immediate(budget(3, 0, 0)), seen: []Binding{a, b, binding("c", up, replacedBy("d")), binding("d", scheduled)},
			want: Step{Move: []string{"d"}, Remove: []string{"c"}},
		},
		"but until the cluster is heard": {
			budget: immediate(budget(3, 0, 0)), seen: []Binding{a, b, binding("c", up, replacedBy("d"), lost), binding("d", latest)},
		},
		"and makes no room to take another down": {
			budget: immediate(budget(3, 1, 0)), seen: []Binding{binding("a", up), binding("b", up), binding("c", up, replacedBy("d")), binding("d", latest)},
			want: Step{Remove: []string{"c"}, Blocked: blocked("a", "b")},
		},
		"a return waits in any case": {
			budget: immediate(budget(1, 0, 0)), seen: []Binding{binding("d", latest, up, replacedBy("c"), failback), binding("c", scheduled)},
			want: Step{Move: []string{"c"}},
		},
		"a return ends when the first cluster is ready": {
			budget: immediate(budget(1, 0, 0)), seen: []Binding{binding("d", latest, up, replacedBy("c"), failback), binding("c", latest, up)},
			want: Step{Remove: []string{"d"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Next(tc.budget, tc.seen, Content{Snapshot: "r2", Strategy: (*v1beta1.ApplyStrategy)(nil).WithDefaults()}, noon)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("\n got %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestExchangeDuringARejection(t *testing.T) {
	budget := Budget{Target: 3, Policy: &Policy{Budget: 0, Setting: "0"}}
	strategy := (*v1beta1.ApplyStrategy)(nil).WithDefaults()
	want := Content{Snapshot: "r2", Strategy: strategy, Course: Course{Spent: &Rejection{Budget: 0, Setting: "0", Count: 1, Failed: []Failure{{Cluster: "a"}}, Strategy: strategy}}}
	replaced := func(b *Binding) { lost(b); b.State, b.ReplacedBy = v1beta1.BindingStateUnscheduled, "d" }
	healthyWith := func(snapshot string) func(*Binding) {
		return func(b *Binding) {
			b.LastHealthy = ptr.To(delivery.NewRevision(snapshot, delivery.Overrides{}, b.Strategy))
		}
	}
	a := binding("a", latest, unavailable)
	for name, tc := range map[string]struct {
		seen []Binding
		gone bool
		want string
	}{
		"it gets what the replaced cluster has":      {seen: []Binding{a, binding("c", replaced), binding("d", scheduled)}, want: "r1"},
		"or what was last healthy there":             {seen: []Binding{a, binding("c", latest, healthyWith("r0"), replaced), binding("d", scheduled)}, want: "r0"},
		"not the rejected revision":                  {seen: []Binding{a, binding("c", latest, replaced), binding("d", scheduled)}},
		"nor though it was healthy with it":          {seen: []Binding{a, binding("c", latest, healthyWith("r2"), replaced), binding("d", scheduled)}},
		"nor what does not exist any more":           {seen: []Binding{a, binding("c", replaced), binding("d", scheduled)}, gone: true},
		"others get nothing":                         {seen: []Binding{a, binding("c", givenUp, lost), binding("d", scheduled)}},
		"it keeps what it has":                       {seen: []Binding{a, binding("c", replaced), binding("d", waiting)}},
		"of several the first by name counts":        {seen: []Binding{a, binding("y", replaced, func(b *Binding) { b.Snapshot = "r0" }), binding("c", replaced), binding("d", scheduled)}, want: "r1"},
		"it waits until the cluster has no other":    {seen: []Binding{a, binding("c", replaced), binding("d", scheduled), binding("d-old", givenUp, deleting, at("d"))}, want: "waits"},
		"it waits until its own cluster is reported": {seen: []Binding{a, binding("c", replaced), binding("d", scheduled, silent)}, want: "waits"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tc.seen {
				if to, ok := Fallbacks(tc.seen, want)[tc.seen[i].Name]; ok && !tc.gone {
					tc.seen[i].Fallback = &to
				}
			}
			got := Next(budget, tc.seen, want, noon)
			if len(got.Move)+len(got.Remove) > 0 {
				t.Fatalf("the step is %+v", got)
			}
			switch tc.want {
			case "waits":
				if len(got.Fallback) > 0 || len(got.Blocked) != 1 || got.Blocked[0].By == ByRejection {
					t.Errorf("the step is %+v", got)
				}
			case "":
				if len(got.Fallback) > 0 || len(got.Blocked) != 1 || got.Blocked[0] != (Blocked{Binding: "d", By: ByRejection}) {
					t.Errorf("the step is %+v", got)
				}
			default:
				if len(got.Blocked) > 0 || len(got.Fallback) != 1 || got.Fallback[0].Binding != "d" || got.Fallback[0].To.ResourceSnapshotName != tc.want {
					t.Errorf("the step is %+v", got)
				}
			}
		})
	}
}

func TestExchangeOf(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation string
		by         string
		failback   bool
	}{
		"none":        {},
		"a loss":      {annotation: failover.Exchange{With: "d", Reason: failover.Lost}.String(), by: "d"},
		"a return":    {annotation: failover.Exchange{With: "d", Reason: failover.Failback}.String(), by: "d", failback: true},
		"no exchange": {annotation: `["d"]`},
	} {
		t.Run(name, func(t *testing.T) {
			b := &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{TargetCluster: "c"}}
			b.Annotations = map[string]string{contract.AnnotationReplacedBy: tc.annotation}
			if got := BindingOf(b); got.ReplacedBy != tc.by || got.Failback != tc.failback {
				t.Errorf("got %q, %v; want %q, %v", got.ReplacedBy, got.Failback, tc.by, tc.failback)
			}
		})
	}
}

func TestPurge(t *testing.T) {
	replacedBy := func(cluster string) func(*Binding) {
		return func(b *Binding) { b.State, b.ReplacedBy, b.Exchanged = v1beta1.BindingStateUnscheduled, cluster, true }
	}
	undone := func(b *Binding) { b.State, b.Exchanged = v1beta1.BindingStateUnscheduled, true }
	failback := func(b *Binding) { b.Failback = true }
	older := func(b *Binding) { b.Snapshot = "older" }
	a := binding("a", latest, up)
	for name, tc := range map[string]struct {
		purge v1beta1.FailoverPurge
		seen  []Binding
		want  Step
	}{
		"the replacement is available": {
			seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", latest, up)}, want: Step{Remove: []string{"c"}},
		},
		"with whatever revision it has": {
			seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", up, older)}, want: Step{Remove: []string{"c"}},
		},
		"the cluster is not heard":         {seen: []Binding{a, binding("c", up, replacedBy("d"), lost), binding("d", latest, up)}},
		"the replacement is not available": {seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", latest)}},
		"nor heard":                        {seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", latest, up, lost)}},
		"the replacement has no content":   {seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", scheduled)}},
		"another cluster is not available": {seen: []Binding{binding("a", latest), binding("c", up, replacedBy("d")), binding("d", latest, up)}},
		"at once, with Immediate": {
			purge: v1beta1.FailoverPurgeImmediate, seen: []Binding{a, binding("c", up, replacedBy("d")), binding("d", scheduled)}, want: Step{Remove: []string{"c"}},
		},
		"not at once, with Immediate, on a return": {
			purge: v1beta1.FailoverPurgeImmediate, seen: []Binding{a, binding("c", up, replacedBy("d"), failback), binding("d", scheduled)},
		},
		"the replacement is gone":                    {seen: []Binding{a, binding("c", up, replacedBy("d"))}},
		"the replacement is gone, others are enough": {seen: []Binding{a, binding("b", latest, up), binding("c", up, replacedBy("d"))}, want: Step{Remove: []string{"c"}}},
		"a replacement that is not needed":           {seen: []Binding{a, binding("c", latest, up), binding("d", latest, undone)}, want: Step{Remove: []string{"d"}}},
		"as long as the first is not available":      {seen: []Binding{a, binding("c", latest), binding("d", latest, up, undone)}},
		"update runs delete what was given up":       {seen: []Binding{a, binding("b", latest, up), binding("z", up, givenUp)}},
		"the cluster has left the fleet":             {seen: []Binding{a, binding("c", up, replacedBy("d"), vanished), binding("d", latest, up)}, want: Step{Remove: []string{"c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			budget := Budget{Target: 2, Period: 30 * time.Second, Purge: tc.purge}
			if got := Purge(budget, tc.seen, noon); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v; want %+v", got, tc.want)
			}
		})
	}
}
