package rollout

import (
	"math"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// binding is one that is bound to r1 and has not been reported on.
func binding(name string, with ...func(*Binding)) Binding {
	b := Binding{Name: name, Cluster: name, State: v1beta1.BindingStateBound, Snapshot: "r1", Strategy: ptr.To((*v1beta1.ApplyStrategy)(nil).WithDefaults()), Status: delivery.Status{Generation: 2}}
	for _, w := range with {
		w(&b)
	}
	return b
}

func condition(kind string, status metav1.ConditionStatus, reason string) func(*Binding) {
	return func(b *Binding) {
		b.Conditions = append(b.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason,
			ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(noon.Add(-10 * time.Second))})
	}
}

var (
	up         = condition(v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable)
	unseenYet  = condition(v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonNotAllWorkAreAvailabilityTrackable)
	diffs      = condition(v1beta1.ConditionDiffReported, metav1.ConditionTrue, v1beta1.ReasonAllWorkHaveDiffReported)
	applying   = condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonApplyInProgress)
	incomplete = condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveBeenApplied)
	overridden = condition(v1beta1.ConditionOverridden, metav1.ConditionFalse, v1beta1.ReasonOverriddenFailed)
	unsynced   = condition(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse, v1beta1.ReasonSyncWorkFailed)
	waiting    = condition(v1beta1.ConditionRolloutStarted, metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet)
)

func failed(b *Binding)      { incomplete(b); b.FailedObjects = 1 }
func unavailable(b *Binding) { unavailableYet(b); b.FailedObjects = 1 }
func unavailableYet(b *Binding) {
	condition(v1beta1.ConditionAvailable, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkAreAvailable)(b)
}
func outdated(b *Binding)  { b.Generation++ } // so that what was reported is
func latest(b *Binding)    { b.Snapshot = "r2" }
func scheduled(b *Binding) { b.State, b.Snapshot, b.Strategy = v1beta1.BindingStateScheduled, "", nil }
func givenUp(b *Binding)   { b.State = v1beta1.BindingStateUnscheduled }
func deleting(b *Binding)  { b.Deleting = true }
func vanished(b *Binding)  { b.Gone = true }
func silent(b *Binding)    { b.Silent = true }
func overdue(b *Binding)   { b.Unheard, b.UntilSilent = true, time.Minute }
func lost(b *Binding)      { b.Silent, b.Unheard = true, true }
func reportDiff(b *Binding) {
	b.Strategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
}
func at(cluster string) func(*Binding) {
	return func(b *Binding) { b.Cluster = cluster }
}

func blocked(names ...string) (out []Blocked) {
	for _, name := range names {
		out = append(out, Blocked{Binding: name, By: ByBudget})
	}
	return out
}

func TestNext(t *testing.T) {
	oneOf := func(target int) Budget {
		return Budget{Target: target, MaxUnavailable: 1, MaxSurge: 1, Period: 30 * time.Second}
	}
	none := func(target int) Budget { return Budget{Target: target, Period: 30 * time.Second} }
	for name, tc := range map[string]struct {
		budget Budget
		seen   []Binding
		want   Step
	}{
		"new clusters get content at once": {
			budget: oneOf(3), seen: []Binding{binding("a", scheduled), binding("b", scheduled), binding("c", scheduled)},
			want: Step{Move: []string{"a", "b", "c"}},
		},
		"ready clusters take turns by name": {
			budget: oneOf(3), seen: []Binding{binding("c", up), binding("a", up), binding("b", up)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b", "c")},
		},
		"the next waits until the one before is ready": {
			budget: oneOf(3), seen: []Binding{binding("a", latest), binding("b", up), binding("c", up)},
			want: Step{Blocked: blocked("b", "c")},
		},
		"and then moves": {
			budget: oneOf(3), seen: []Binding{binding("a", latest, up), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: blocked("c")},
		},
		"a bad change stops after the first": {
			budget: oneOf(3), seen: []Binding{binding("a", latest, unavailable), binding("b", up), binding("c", up)},
			want: Step{Blocked: blocked("b", "c")},
		},
		"a correction reaches what failed at once": {
			budget: oneOf(3), seen: []Binding{binding("a", unavailable), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b", "c")},
		},
		"whatever failed": {
			budget: none(4), seen: []Binding{binding("a", failed), binding("b", overridden), binding("c", unsynced), binding("d", unavailable)},
			want: Step{Move: []string{"a", "b", "c", "d"}},
		},
		"what is not ready yet has not failed": {
			budget: oneOf(4), seen: []Binding{binding("a", applying), binding("b", incomplete), binding("c", unavailableYet), binding("d")},
			want: Step{Blocked: blocked("a", "b", "c", "d")},
		},
		"but moves if the rest is enough": {
			budget: oneOf(3), seen: []Binding{binding("a", applying), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b", "c")},
		},
		"everything moves if everything may be unavailable": {
			budget: Budget{Target: 3, MaxUnavailable: 3}, seen: []Binding{binding("a", applying), binding("b", up), binding("c")},
			want: Step{Move: []string{"a", "b", "c"}},
		},
		"an old report is none": {
			budget: oneOf(3), seen: []Binding{binding("a", up, outdated), binding("b", up, outdated), binding("c", up, outdated)},
			want: Step{Blocked: blocked("a", "b", "c")},
		},
		"reported differences count as ready": {
			budget: oneOf(2), seen: []Binding{binding("a", diffs), binding("b", diffs)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b")},
		},
		"what cannot be seen is waited for": {
			budget: oneOf(1), seen: []Binding{binding("a", unseenYet)},
			want: Step{Blocked: blocked("a"), Again: 20 * time.Second},
		},
		"for the rest of the period": {
			budget: Budget{Target: 1, MaxUnavailable: 1, Period: 10 * time.Second}, seen: []Binding{binding("a", unseenYet)},
			want: Step{Move: []string{"a"}},
		},
		"nothing to do, nothing to wait for": {
			budget: oneOf(1), seen: []Binding{binding("a", latest, unseenYet)},
		},
		"what is going is not waited for": {
			budget: oneOf(2), seen: []Binding{binding("a", unseenYet, deleting), binding("b", up)},
			want: Step{Blocked: blocked("b")},
		},
		"what is given up goes before updates": {
			budget: oneOf(2), seen: []Binding{binding("a", up), binding("b", up), binding("z", up, givenUp)},
			want: Step{Remove: []string{"z"}, Move: []string{"a"}, Blocked: blocked("b")},
		},
		"and stays while it is needed": {
			budget: none(2), seen: []Binding{binding("a", latest, up), binding("b", scheduled), binding("z", up, givenUp)},
			want: Step{Blocked: blocked("b")},
		},
		"what is not known to be up stays too, while too few are": {
			budget: none(2), seen: []Binding{binding("a", latest, up), binding("b", latest), binding("z", givenUp)},
		},
		"what is down goes without a budget": {
			budget: none(3), seen: []Binding{binding("a", latest), binding("b", latest), binding("c", latest), binding("z", failed, givenUp)},
			want: Step{Remove: []string{"z"}},
		},
		"so does what was never given anything": {
			budget: none(1), seen: []Binding{binding("a", latest), binding("z", scheduled, givenUp)},
			want: Step{Remove: []string{"z"}},
		},
		"everything can go though nothing was ever ready": {
			budget: none(0), seen: []Binding{binding("a", applying, givenUp), binding("b", givenUp), binding("c", unavailable, givenUp)},
			want: Step{Remove: []string{"a", "b", "c"}},
		},
		"clusters are exchanged with a surge": {
			budget: Budget{Target: 2, MaxSurge: 1}, seen: []Binding{binding("a", scheduled), binding("b", scheduled), binding("y", up, givenUp), binding("z", up, givenUp)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b")},
		},
		"what is going takes room until it is gone": {
			budget: none(1), seen: []Binding{binding("a", scheduled), binding("z", up, givenUp, deleting)},
			want: Step{Blocked: blocked("a")},
		},
		"a former binding blocks its cluster alone": {
			budget: oneOf(2), seen: []Binding{binding("a", scheduled), binding("a-old", up, givenUp, deleting, at("a")), binding("b", scheduled)},
			want: Step{Move: []string{"b"}, Blocked: []Blocked{{Binding: "a", By: ByCluster}}},
		},
		"a vanished cluster blocks its binding alone": {
			budget: oneOf(2), seen: []Binding{binding("a", up, vanished), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: blocked("c")},
		},
		"a vanished cluster does not count among those that are wanted": {
			budget: oneOf(3), seen: []Binding{binding("a", up, vanished), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: blocked("c")},
		},
		"one that may come back does": {
			budget: oneOf(3), seen: []Binding{binding("b", up), binding("c", up)},
			want: Step{Blocked: blocked("b", "c")},
		},
		"one that nobody can find does not": {
			budget: Budget{Target: 3, Short: true, MaxUnavailable: 1}, seen: []Binding{binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: blocked("c")},
		},
		"too many clusters are too many though": {
			budget: Budget{Target: 1, Short: true, MaxUnavailable: 1}, seen: []Binding{binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b", "c"}},
		},
		"what is going is not up": {
			budget: oneOf(2), seen: []Binding{binding("a", up, deleting), binding("b", up)},
			want: Step{Blocked: blocked("b")},
		},
		"what failed and is going makes room": {
			budget: none(1), seen: []Binding{binding("a", scheduled), binding("z", failed, givenUp, deleting)},
			want: Step{Move: []string{"a"}},
		},
		"a silent cluster keeps its content, and does not keep the others waiting": {
			budget: oneOf(3), seen: []Binding{binding("a", up, silent), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: []Blocked{{Binding: "a", By: ByAgent}, {Binding: "c", By: ByBudget}}},
		},
		"one that was not up may have it at once": {
			budget: oneOf(3), seen: []Binding{binding("a", applying, silent), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b", "c")},
		},
		"a correction reaches a silent cluster that failed": {
			budget: oneOf(2), seen: []Binding{binding("a", unavailable, silent), binding("b", up)},
			want: Step{Move: []string{"a"}, Blocked: blocked("b")},
		},
		"what was on a vanished cluster goes, and counts for nothing": {
			budget: none(1), seen: []Binding{binding("a", scheduled), binding("z", up, givenUp, vanished)},
			want: Step{Remove: []string{"z"}, Move: []string{"a"}},
		},
		"what is given up on a cluster that is not heard stays, and is replaced": {
			budget: oneOf(3),
			seen:   []Binding{binding("a", latest, up), binding("b", latest, up), binding("c", up, givenUp, lost), binding("d", scheduled)},
			want:   Step{Move: []string{"d"}},
		},
		"without a surge too": {
			budget: none(3),
			seen:   []Binding{binding("a", latest, up), binding("b", latest, up), binding("c", up, givenUp, lost), binding("d", scheduled)},
			want:   Step{Move: []string{"d"}},
		},
		"two of four are replaced at once": {
			budget: oneOf(4),
			seen: []Binding{
				binding("a", latest, up), binding("b", latest, up), binding("c", up, givenUp, lost), binding("d", up, givenUp, lost),
				binding("e", scheduled), binding("f", scheduled),
			},
			want: Step{Move: []string{"e", "f"}},
		},
		"what is being deleted on a silent cluster is replaced": {
			budget: none(2), seen: []Binding{binding("a", latest, up), binding("c", up, deleting, lost), binding("d", scheduled)},
			want: Step{Move: []string{"d"}},
		},
		"a silent cluster does not make it possible to take another down": {
			budget: oneOf(3), seen: []Binding{binding("a", up), binding("b", up), binding("c", up, givenUp, lost), binding("d", latest)},
			want: Step{Blocked: blocked("a", "b")},
		},
		"a cluster that is late takes room until it is silent": {
			budget: none(2), seen: []Binding{binding("a", latest, up), binding("c", up, givenUp, overdue), binding("d", scheduled)},
			want: Step{Blocked: blocked("d"), Again: time.Minute},
		},
		"what is given up without content goes at once": {
			budget: none(1), seen: []Binding{binding("a", latest, up), binding("c", scheduled, givenUp, lost, func(b *Binding) {
				b.Previous = v1beta1.BindingStateScheduled
			})},
			want: Step{Remove: []string{"c"}},
		},
		"another strategy goes everywhere at once": {
			budget: oneOf(2),
			seen: []Binding{
				binding("a", latest, up, func(b *Binding) { b.Strategy.Type = v1beta1.ApplyStrategyTypeReportDiff }),
				binding("b", up, func(b *Binding) { b.Strategy = &v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted} }),
				binding("c", latest, up, func(b *Binding) { b.Strategy = nil }), // the defaults are what is wanted
			},
			want: Step{Restyle: []string{"a"}, Move: []string{"b"}},
		},
		"to what is held as well": {
			budget: none(1), seen: []Binding{binding("a", up, func(b *Binding) { b.Strategy.Type = v1beta1.ApplyStrategyTypeReportDiff })},
			want: Step{Restyle: []string{"a"}, Blocked: blocked("a")},
		},
		"to what is given up and still needed": {
			budget: none(1), seen: []Binding{binding("a", latest), binding("z", up, givenUp, reportDiff)},
			want: Step{Restyle: []string{"z"}},
		},
		"but not to what nobody hears of": {
			budget: oneOf(2), seen: []Binding{binding("a", latest, up, silent, reportDiff), binding("b", latest, up, reportDiff)},
			want: Step{Restyle: []string{"b"}},
		},
		"what was held and is right again is told so": {
			budget: oneOf(1), seen: []Binding{binding("a", latest, up, waiting)},
			want: Step{Resume: []string{"a"}},
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

func TestNextByOverrides(t *testing.T) {
	list := func(names ...string) func(*Binding) {
		return func(b *Binding) { b.Overrides.Cluster = names }
	}
	want := Content{Snapshot: "r2", Strategy: (*v1beta1.ApplyStrategy)(nil).WithDefaults(), Overrides: map[string]delivery.Overrides{
		"a": {Cluster: []string{"o-1"}}, "b": {Cluster: []string{"o-1"}}, "c": {Cluster: []string{"o-1"}},
	}}
	got := Next(Budget{Target: 4, MaxUnavailable: 4}, []Binding{
		binding("a", latest, list("o-1")), binding("b", latest, list("o-0")), binding("c", latest), binding("d", latest, list("o-1")),
	}, want, noon)
	if want := (Step{Move: []string{"b", "c", "d"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestNoContentYet(t *testing.T) {
	if got := Next(Budget{Target: 1}, []Binding{binding("a", scheduled)}, Content{}, noon); !reflect.DeepEqual(got, Step{}) {
		t.Errorf("got %+v; want nothing", got)
	}
}

func TestBudgetOf(t *testing.T) {
	value := func(text string) *intstr.IntOrString { return ptr.To(intstr.Parse(text)) }
	for name, tc := range map[string]struct {
		config *v1beta1.RollingUpdateConfig
		target int
		want   Budget
		wrong  bool
	}{
		"defaults":        {target: 3, want: Budget{Target: 3, MaxUnavailable: 1, MaxSurge: 1, Period: time.Minute}},
		"shares round up": {target: 5, want: Budget{Target: 5, MaxUnavailable: 2, MaxSurge: 2, Period: time.Minute}},
		"of nothing":      {target: 0, want: Budget{Period: time.Minute}},
		"numbers": {
			config: &v1beta1.RollingUpdateConfig{MaxUnavailable: value("7"), MaxSurge: value("0"), UnavailablePeriodSeconds: ptr.To(0)},
			target: 3, want: Budget{Target: 3, MaxUnavailable: 7},
		},
		"all": {
			config: &v1beta1.RollingUpdateConfig{MaxUnavailable: value("100%"), UnavailablePeriodSeconds: ptr.To(2)},
			target: 3, want: Budget{Target: 3, MaxUnavailable: 3, MaxSurge: 1, Period: 2 * time.Second},
		},
		"numbers as text": {
			config: &v1beta1.RollingUpdateConfig{MaxUnavailable: ptr.To(intstr.FromString("2")), MaxSurge: ptr.To(intstr.FromString("99999999999"))},
			target: 3, want: Budget{Target: 3, MaxUnavailable: 2, MaxSurge: math.MaxInt32, Period: time.Minute},
		},
		"for ever": {
			config: &v1beta1.RollingUpdateConfig{MaxUnavailable: value("0"), MaxSurge: value("0"), UnavailablePeriodSeconds: ptr.To(math.MaxInt)},
			target: 3, want: Budget{Target: 3, Period: math.MaxInt64 / time.Second * time.Second},
		},
		"no number": {config: &v1beta1.RollingUpdateConfig{MaxSurge: value("many")}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := BudgetOf(v1beta1.RolloutStrategy{RollingUpdate: tc.config}, tc.target)
			if (err != nil) != tc.wrong || got != tc.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	seen := []Binding{
		binding("a"), binding("b", scheduled), binding("c", givenUp), binding("d", deleting),
		binding("e", scheduled, deleting), binding("f", vanished),
	}
	stays := func(b *Binding) { b.Stays = true }
	held := []Binding{binding("a"), binding("b", stays), binding("c", stays, givenUp), binding("d", stays, vanished), binding("e", stays, scheduled)}
	fixed := &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"a"}}
	if got := Target(fixed, held); got != 3 {
		t.Errorf("got %d with two clusters that are held; want 3", got)
	}
	for name, tc := range map[string]struct {
		policy *v1beta1.PlacementPolicy
		want   int
	}{
		"all, without a policy": {want: 3},
		"all":                   {policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}, want: 3},
		"number":                {policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(7))}, want: 7},
		"fixed":                 {policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"a", "x"}}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Target(tc.policy, seen); got != tc.want {
				t.Errorf("got %d; want %d", got, tc.want)
			}
		})
	}
}
