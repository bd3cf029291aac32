package rollout

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

const window = time.Minute

// cautious is a budget for three clusters with a failure policy.
func cautious(failures int, rollback bool) Budget {
	return Budget{Target: 3, MaxUnavailable: 1, Policy: &Policy{FailurePolicy: delivery.FailurePolicy{Window: window, Rollback: rollback}, Budget: failures, Setting: "n"}}
}

func revision(snapshot string) *v1beta1.Revision {
	return ptr.To(delivery.NewRevision(snapshot, delivery.Overrides{}, ptr.To((*v1beta1.ApplyStrategy)(nil).WithDefaults())))
}

// given is a binding that was given r2 so long ago, where r1 was healthy.
func given(ago time.Duration) func(*Binding) {
	return func(b *Binding) {
		b.Snapshot = "r2"
		b.LastHealthy = revision("r1")
		b.Mark = &delivery.Mark{To: *revision("r2"), At: noon.Add(-ago), Before: revision("r1")}
	}
}

// healthyOnce is a binding on whose cluster what it has is, or was, healthy.
func healthyOnce(b *Binding) { b.LastHealthy = revision(b.Snapshot) }

// stale is a binding that has been written since its cluster was reported on.
func stale(b *Binding) { b.Generation++ }

// returned is a binding that was taken back from r2 to r1 so long ago.
func returned(ago time.Duration) func(*Binding) {
	return func(b *Binding) {
		b.LastHealthy = revision("r1")
		b.Mark = &delivery.Mark{To: *revision("r1"), At: noon.Add(-ago), Before: revision("r1"), Back: true}
	}
}

func rejection(with ...func(*Rejection)) *Rejection {
	v := &Rejection{
		At: noon, Setting: "n", Of: 3, Count: 1, Strategy: (*v1beta1.ApplyStrategy)(nil).WithDefaults(), Failed: []Failure{{Cluster: "a"}},
	}
	for _, w := range with {
		w(v)
	}
	return v
}

func fate(name string, f delivery.Fate) Fate { return Fate{Binding: name, Fate: f} }

var returnedFate = delivery.Fate{State: delivery.Returned, Message: "Rolled back to r1 and healthy"}

func TestFailure(t *testing.T) {
	spent := Course{Spent: rejection()}
	backOf := func(names ...string) (out []Return) {
		for _, name := range names {
			out = append(out, Return{Binding: name, To: *revision("r1")})
		}
		return out
	}
	for _, tc := range []struct {
		name   string
		budget Budget
		course Course
		seen   []Binding
		want   Step
	}{
		{
			name: "a cluster that is not healthy yet is waited for until its window has passed", budget: cautious(0, false),
			seen: []Binding{binding("a", given(20*time.Second)), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByBudget}, {"c", ByBudget}}, Again: 40 * time.Second},
		},
		{
			name: "then the budget is spent, and nothing else is done before that is written", budget: cautious(0, true),
			seen: []Binding{binding("a", given(window)), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{Spent: rejection()}},
		},
		{
			name: "what passed while nobody could hear of it counts against nobody", budget: func() Budget {
				b := cautious(0, true)
				b.Policy.From = noon.Add(-10 * time.Second)
				return b
			}(),
			seen: []Binding{binding("a", given(time.Hour)), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByBudget}, {"c", ByBudget}}, Again: 50 * time.Second},
		},
		{
			name: "after a rejection was dismissed windows begin anew", budget: cautious(0, true), course: Course{Again: noon.Add(-5 * time.Second)},
			seen: []Binding{binding("a", given(time.Hour)), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByBudget}, {"c", ByBudget}}, Again: 55 * time.Second},
		},
		{
			name: "a failure within the budget makes room for the next", budget: cautious(1, true),
			seen: []Binding{binding("a", given(window), failed), binding("b", up), binding("c", up)},
			want: Step{Move: []string{"b"}, Blocked: []Blocked{{"c", ByBudget}}},
		},
		{
			name: "but not for more than may be unavailable", budget: cautious(1, true),
			seen: []Binding{binding("a", given(window), failed), binding("b", given(0)), binding("c", up)},
			want: Step{Blocked: []Blocked{{"c", ByBudget}}, Again: window},
		},
		{
			name: "a relapse while others wait has a window of its own", budget: cautious(0, true),
			seen: []Binding{binding("a", given(time.Hour), failed, healthyOnce), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByBudget}, {"c", ByBudget}}, Again: 51 * time.Second},
		},
		{
			name: "a cluster of which only the scheduler's part changed is not failing", budget: cautious(0, true),
			seen: []Binding{binding("a", given(time.Hour), up, healthyOnce, stale), binding("b", given(time.Hour), up, healthyOnce), binding("c", up)},
			want: Step{Blocked: []Blocked{{"c", ByBudget}}},
		},
		{
			name: "when all are well or failed within the budget the rollout is done", budget: cautious(1, true),
			seen: []Binding{binding("a", given(window), failed), binding("b", given(0), up), binding("c", given(0), up)},
			want: Step{Course: &Course{Done: noon}},
		},
		{
			name: "and nobody is judged by it any more", budget: cautious(0, true), course: Course{Done: noon.Add(-30 * time.Minute)},
			seen: []Binding{binding("a", given(time.Hour), failed, healthyOnce), binding("b", given(time.Hour), failed), binding("c", given(time.Hour), up)},
		},
		{
			name: "nor by what becomes of it on a cluster that joins then", budget: cautious(0, true), course: Course{Done: noon.Add(-30 * time.Minute)},
			seen: []Binding{binding("a", given(2*window), func(b *Binding) { b.LastHealthy, b.Mark.Before = nil, nil }), binding("b", given(time.Hour), up), binding("c", given(time.Hour), up)},
		},
		{
			name: "but by what is changed then", budget: cautious(0, true), course: Course{Done: noon.Add(-2 * window)},
			seen: []Binding{binding("a", given(window)), binding("b", given(time.Hour), up), binding("c", given(time.Hour), up)},
			want: Step{Course: &Course{Done: noon.Add(-2 * window), Spent: rejection()}},
		},
		{
			name: "a cluster to which nothing new was brought does not count", budget: cautious(0, true), course: Course{Done: noon.Add(-time.Hour)},
			seen: []Binding{binding("a", given(window), failed, func(b *Binding) { b.Mark.Before = revision("r2") }), binding("b", given(0), up), binding("c", given(0), up)},
			want: Step{Course: &Course{Done: noon}},
		},
		{
			name: "with a policy nothing is given to a cluster that nobody hears of", budget: cautious(0, true), course: Course{Done: noon},
			seen: []Binding{binding("a", silent), binding("b", silent, func(b *Binding) { b.State, b.Snapshot = v1beta1.BindingStateScheduled, "" }), binding("c", given(0), up)},
			want: Step{Blocked: []Blocked{{"a", ByAgent}, {"b", ByAgent}}},
		},
		{
			name: "after Stop nobody gets the revision, and who has it keeps it", budget: cautious(0, false), course: spent,
			seen: []Binding{binding("a", given(window), failed), binding("b", given(0), up), binding("c", func(b *Binding) { b.State, b.Snapshot = v1beta1.BindingStateScheduled, "" })},
			want: Step{Blocked: []Blocked{{"c", ByRejection}}},
		},
		{
			name: "Rollback takes back what failed at once, and others as the budget allows", budget: cautious(0, true), course: spent,
			seen: []Binding{binding("a", given(window), up, healthyOnce), binding("b", given(window), failed), binding("c", given(window), up, healthyOnce)},
			want: Step{Back: backOf("b"), Fates: []Fate{fate("a", delivery.WaitingFor(untilBudget, *revision("r1"))), fate("c", delivery.WaitingFor(untilBudget, *revision("r1")))}},
		},
		{
			name: "one that does not get healthy is not waited for", budget: cautious(0, true), course: spent,
			seen: []Binding{binding("a", given(window), up, healthyOnce), binding("b", returned(window), failed), binding("c", returned(5*time.Minute), up)},
			want: Step{
				Back: backOf("a"),
				Fates: []Fate{fate("b", delivery.Fate{
					State: delivery.Astray, Message: "Given r1 again, but not healthy for 1m0s: Applied is False (NotAllWorkHaveBeenApplied)",
				}), fate("c", returnedFate)},
			},
		},
		{
			name: "one that is on its way is", budget: cautious(0, true), course: spent,
			seen: []Binding{binding("a", given(window), up, healthyOnce), binding("b", returned(10*time.Second)), binding("c", up)},
			want: Step{
				Blocked: []Blocked{{"c", ByRejection}},
				Fates:   []Fate{fate("a", delivery.WaitingFor(untilBudget, *revision("r1"))), fate("b", delivery.Sent(*revision("r1")))}, Again: 50 * time.Second,
			},
		},
		{
			name: "one that was never healthy, or whose past is gone, is left", budget: cautious(0, true), course: spent,
			seen: []Binding{
				binding("a", given(window), func(b *Binding) { b.LastHealthy, b.Mark.Before = nil, nil }),
				binding("b", given(window), func(b *Binding) { b.Lost = "it is gone" }), binding("c", up),
			},
			want: Step{Blocked: []Blocked{{"c", ByRejection}}, Fates: []Fate{fate("a", delivery.Fate{
				State: delivery.NeverHealthy, Message: "No healthy revision is recorded for this cluster, so it is not rolled back",
			}), fate("b", delivery.NotRolledBack("it is gone"))}},
		},
		{
			name: "one that was back is not judged again", budget: cautious(0, true), course: spent,
			seen: []Binding{binding("a", returned(time.Hour), failed, condition(v1beta1.ConditionRolledBack, metav1.ConditionTrue, "R")), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByRejection}, {"c", ByRejection}}, Fates: []Fate{fate("a", returnedFate)}, Again: 51 * time.Second},
		},
		{
			name: "removals go on", budget: cautious(0, true), course: spent,
			seen: []Binding{binding("a", returned(0), failed), binding("b", func(b *Binding) { b.State = v1beta1.BindingStateUnscheduled }, failed)},
			want: Step{Remove: []string{"b"}, Fates: []Fate{fate("a", delivery.Sent(*revision("r1")))}, Again: window},
		},
		{
			name: "a rejection that the user dismisses is void", budget: cautious(0, true), course: Course{Spent: rejection(func(v *Rejection) { v.Dismissed = true })},
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{Again: noon}},
		},
		{
			name: "so is one whose clusters would get something else", budget: cautious(0, true), course: Course{Spent: rejection(func(v *Rejection) {
				v.Failed[0].Overrides.Cluster = []string{"o-0"}
			})},
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{Again: noon}},
		},
		{
			name: "or would get it in another way", budget: cautious(0, true), course: Course{Spent: rejection(func(v *Rejection) { v.Strategy.AllowCoOwnership = true })},
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{Again: noon}},
		},
		{
			name: "but not if enough others would get the same", budget: cautious(0, true), course: Course{Spent: rejection(func(v *Rejection) {
				v.Failed = append(v.Failed, Failure{Cluster: "b", Overrides: delivery.Overrides{Cluster: []string{"o-0"}}})
				v.Count = 2
			})},
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByRejection}, {"c", ByRejection}}, Fates: []Fate{fate("a", returnedFate)}},
		},
		{
			name: "nor because a cluster is gone", budget: cautious(0, true), course: Course{Spent: rejection(func(v *Rejection) {
				v.Failed[0].Overrides.Cluster = []string{"o-0"}
			})},
			seen: []Binding{binding("b", up), binding("c", up)},
			want: Step{Blocked: []Blocked{{"b", ByRejection}, {"c", ByRejection}}},
		},
		{
			name: "a larger budget that the user gives makes it void", budget: cautious(1, true), course: Course{Spent: rejection(func(v *Rejection) { v.Setting = "0" })},
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{Again: noon}},
		},
		{
			name: "without a policy there is no rejection", budget: Budget{Target: 3, MaxUnavailable: 1}, course: spent,
			seen: []Binding{binding("a", returned(0), up), binding("b", up), binding("c", up)},
			want: Step{Course: &Course{}, Move: []string{"a"}, Blocked: []Blocked{{"b", ByBudget}, {"c", ByBudget}}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Next(tc.budget, tc.seen, Content{Snapshot: "r2", Strategy: (*v1beta1.ApplyStrategy)(nil).WithDefaults(), Course: tc.course}, noon)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestNewMark(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    Binding
		want delivery.Mark
	}{
		{"what was last healthy is what was before", binding("a", healthyOnce), delivery.Mark{To: *revision("r2"), At: noon, Before: revision("r1")}},
		{"nothing was", binding("a"), delivery.Mark{To: *revision("r2"), At: noon}},
		{
			"a cluster that was taken back from what it gets again goes back to where it was taken",
			binding("a", returned(0), func(b *Binding) { b.LastHealthy = revision("r2") }), delivery.Mark{To: *revision("r2"), At: noon, Before: revision("r1")},
		},
	} {
		if got := NewMark(tc.b, *revision("r2"), Course{}, noon); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
	if got := NewMark(binding("a"), *revision("r2"), Course{Done: noon}, noon.Add(-time.Second)).At; !got.After(noon) {
		t.Errorf("what is given after the end of a rollout was given at %s", got)
	}
}

func policy(window time.Duration, budget int, setting string, rollback bool) *Policy {
	return &Policy{FailurePolicy: delivery.FailurePolicy{Window: window, Rollback: rollback}, Budget: budget, Setting: setting}
}

func TestPolicyOf(t *testing.T) {
	percent, reports := intstr.FromString("34%"), &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	for _, tc := range []struct {
		said  *v1beta1.FailurePolicy
		apply *v1beta1.ApplyStrategy
		want  *Policy
	}{
		{},
		{said: &v1beta1.FailurePolicy{}, want: policy(5*time.Minute, 0, "0", false)},
		{
			said: &v1beta1.FailurePolicy{FailureBudget: &percent, HealthWindow: &metav1.Duration{Duration: window}, OnFailure: v1beta1.FailureActionRollback},
			want: policy(window, 1, "34%", true),
		},
		{said: &v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback}, apply: reports, want: policy(5*time.Minute, 0, "0", false)},
	} {
		config := &v1beta1.RollingUpdateConfig{FailurePolicy: tc.said}
		got, err := BudgetOf(v1beta1.RolloutStrategy{RollingUpdate: config, ApplyStrategy: tc.apply}, 5)
		if err != nil || !reflect.DeepEqual(got.Policy, tc.want) {
			t.Errorf("%+v: %+v, %v; want %+v", tc.said, got.Policy, err, tc.want)
		}
	}
}
