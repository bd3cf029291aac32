package failover

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func noExecute(key, value string) clusterv1beta1.Taint {
	return clusterv1beta1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule, Evict: true}
}

func noSchedule(key, value string) clusterv1beta1.Taint {
	return clusterv1beta1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule}
}

// tainted has a taint, first seen so long before noon; below zero it is not recorded.
func tainted(taint clusterv1beta1.Taint, ago time.Duration) change {
	return func(c *clusterv1beta1.MemberCluster) {
		c.Spec.Taints = append(c.Spec.Taints, taint)
		if ago >= 0 {
			c.Status.Taints = append(c.Status.Taints, clusterv1beta1.SeenTaint{
				Key: taint.Key, Value: taint.Value, Since: metav1.NewTime(noon.Add(-ago)),
			})
		}
	}
}

// tolerates is a toleration of a key with a value; without one, of any value.
func tolerates(key, value string, effect corev1.TaintEffect, seconds ...int64) v1beta1.Toleration {
	out := v1beta1.Toleration{Key: key, Value: value, Effect: effect}
	if value == "" {
		out.Operator = corev1.TolerationOpExists
	}
	if len(seconds) > 0 {
		out.TolerationSeconds = ptr.To(seconds[0])
	}
	return out
}

func TestPatience(t *testing.T) {
	never, forever := Patience{}, Patience{Tolerated: true}
	limit := func(d time.Duration) Patience { return Patience{Tolerated: true, Limited: true, Limit: d} }
	for name, tc := range map[string]struct {
		taint       clusterv1beta1.Taint
		tolerations []v1beta1.Toleration
		want        Patience
	}{
		"no toleration":         {noExecute("a", "1"), nil, never},
		"another key":           {noExecute("a", "1"), []v1beta1.Toleration{tolerates("b", "1", "")}, never},
		"another value":         {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "2", "")}, never},
		"every value":           {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "", "")}, forever},
		"every key":             {noExecute("a", "1"), []v1beta1.Toleration{tolerates("", "", "")}, forever},
		"for ever":              {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", corev1.TaintEffectNoSchedule)}, forever},
		"for a time":            {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", corev1.TaintEffectNoSchedule, 600)}, limit(10 * time.Minute)},
		"any effect for a time": {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", 600)}, limit(10 * time.Minute)},
		"NoSchedule has no end": {noSchedule("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", 600)}, forever},
		"for no time":           {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", 0)}, limit(0)},
		"for less than no time": {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", -5)}, limit(0)},
		"the shortest of several": {
			noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", 60), tolerates("", "", "", 5), tolerates("a", "", ""), tolerates("b", "", "", 1)},
			limit(5 * time.Second),
		},
		"longer than the schema accepts": {noExecute("a", "1"), []v1beta1.Toleration{tolerates("a", "1", "", 1<<62)}, limit(365 * 24 * time.Hour)},
	} {
		if got := PatienceFor(tc.tolerations, tc.taint); got != tc.want {
			t.Errorf("%s: %+v; want %+v", name, got, tc.want)
		}
		slices.Reverse(tc.tolerations)
		if got := PatienceFor(tc.tolerations, tc.taint); got != tc.want {
			t.Errorf("%s, in the other order: %+v; want %+v", name, got, tc.want)
		}
	}
}

// The first sight of a taint is recorded once: it stays for as long as the taint stays, also for another process.
func TestSeenTaints(t *testing.T) {
	seen := func(key, value string, ago time.Duration) clusterv1beta1.SeenTaint {
		return clusterv1beta1.SeenTaint{Key: key, Value: value, Since: metav1.NewTime(noon.Add(-ago))}
	}
	c := member("a", 0)
	for _, step := range []struct {
		what   string
		taints []clusterv1beta1.Taint
		after  time.Duration
		want   []clusterv1beta1.SeenTaint
	}{
		{"nothing", nil, 0, nil},
		{"NoSchedule does not count", []clusterv1beta1.Taint{noSchedule("z", "")}, time.Minute, nil},
		{"a taint", []clusterv1beta1.Taint{noExecute("b", "1"), noSchedule("z", "")}, 90*time.Second + time.Millisecond, []clusterv1beta1.SeenTaint{seen("b", "1", -90*time.Second)}},
		{"it stays", []clusterv1beta1.Taint{noSchedule("b", "1"), noExecute("b", "1")}, time.Hour, []clusterv1beta1.SeenTaint{seen("b", "1", -90*time.Second)}},
		{
			"another, and one twice", []clusterv1beta1.Taint{noExecute("b", "1"), noExecute("a", ""), noExecute("b", "1")}, 2 * time.Hour,
			[]clusterv1beta1.SeenTaint{seen("a", "", -2*time.Hour), seen("b", "1", -90*time.Second)},
		},
		{
			"its value changes", []clusterv1beta1.Taint{noExecute("b", "2"), noExecute("a", "")}, 3 * time.Hour,
			[]clusterv1beta1.SeenTaint{seen("a", "", -2*time.Hour), seen("b", "2", -3*time.Hour)},
		},
		{"all go", nil, 4 * time.Hour, nil},
		{"the first one again", []clusterv1beta1.Taint{noExecute("b", "1")}, 5 * time.Hour, []clusterv1beta1.SeenTaint{seen("b", "1", -5*time.Hour)}},
	} {
		c.Spec.Taints = step.taints
		c.Status.Taints = SeenTaints(c, noon.Add(step.after))
		if !slices.Equal(c.Status.Taints, step.want) {
			t.Errorf("%s: %+v; want %+v", step.what, c.Status.Taints, step.want)
		}
		if again := SeenTaints(c, noon.Add(24*time.Hour)); !slices.Equal(again, step.want) {
			t.Errorf("%s, later: %+v; want %+v", step.what, again, step.want)
		}
	}
}

func TestATaintedClusterIsLeft(t *testing.T) {
	const none = time.Duration(-1)
	ten := []v1beta1.Toleration{tolerates("a", "1", "", 600)}
	both := append(slices.Clone(ten), tolerates("b", "", "", 60))
	a, b := noExecute("a", "1"), noExecute("b", "1")
	dark := members(3, "x", time.Hour, silence(braked, time.Hour, time.Hour))
	failing := func(age time.Duration) change { return health(metav1.ConditionFalse, age, 0) }
	seenLater := func(c *clusterv1beta1.MemberCluster) { c.Status.Taints[0].Since = metav1.NewTime(noon.Add(time.Hour)) }
	otherValue := func(c *clusterv1beta1.MemberCluster) { c.Spec.Taints[0].Value = "2" }
	away := annotated("kubernetes-fleet.io/away", "true")
	for name, tc := range map[string]struct {
		cluster     *clusterv1beta1.MemberCluster
		tolerations []v1beta1.Toleration
		policy      *v1beta1.Failover
		fleet       []*clusterv1beta1.MemberCluster
		reason      Reason
		// since is the age of the begin, and again until when the cluster is left; none if it is not, or not by time.
		since, again time.Duration
	}{
		"no taint":                   {cluster: member("a", 0), again: none},
		"NoSchedule":                 {cluster: member("a", 0, tainted(noSchedule("a", "1"), 0)), again: none},
		"not tolerated":              {cluster: member("a", 0, tainted(a, 0)), reason: Tainted},
		"not recorded yet":           {cluster: member("a", 0, tainted(a, -1)), reason: Tainted, again: none},
		"tolerated for ever":         {cluster: member("a", 0, tainted(a, time.Hour)), tolerations: []v1beta1.Toleration{tolerates("a", "", "")}, again: none},
		"the time has not passed":    {cluster: member("a", 0, tainted(a, 599*time.Second)), tolerations: ten, reason: Tainted, since: 599 * time.Second, again: time.Second},
		"the time has passed":        {cluster: member("a", 0, tainted(a, 600*time.Second)), tolerations: ten, reason: Tainted, since: 600 * time.Second},
		"the clock was set back":     {cluster: member("a", 0, tainted(a, 0), seenLater), tolerations: ten, reason: Tainted, again: 10 * time.Minute},
		"the value was another":      {cluster: member("a", 0, tainted(a, time.Hour), otherValue), reason: Tainted, again: none},
		"it is leaving":              {cluster: member("a", 0, tainted(a, time.Hour), leaving), again: none},
		"it never reported":          {cluster: member("a", 0, tainted(a, time.Hour), unjoined), again: none},
		"it is not heard":            {cluster: member("a", time.Hour, tainted(a, time.Hour)), again: none},
		"it is away, and heard":      {cluster: member("a", 0, tainted(a, time.Hour), away), reason: Tainted, since: time.Hour},
		"the hub is braked":          {cluster: member("a", 0, tainted(a, time.Hour)), fleet: dark, reason: Tainted, since: time.Hour},
		"the first of two that ends": {cluster: member("a", 0, tainted(b, 0), tainted(a, 100*time.Second)), tolerations: both, reason: Tainted, again: time.Minute},
		"a due one and a later one":  {cluster: member("a", 0, tainted(b, 0), tainted(a, time.Hour)), tolerations: both, reason: Tainted, since: time.Hour},
		"unhealthy, without a policy": {
			cluster: member("a", 0, failing(time.Hour)), again: none,
		},
		"unhealthy first": {
			cluster: member("a", 0, failing(4*time.Minute), tainted(a, 0)), tolerations: ten,
			policy: fiveMinutes, reason: Unhealthy, since: 4 * time.Minute, again: time.Minute,
		},
		"tainted first": {
			cluster: member("a", 0, failing(time.Minute), tainted(a, 590*time.Second)), tolerations: ten,
			policy: fiveMinutes, reason: Tainted, since: 590 * time.Second, again: 10 * time.Second,
		},
		"unhealthy for too long, and braked, and tainted": {
			cluster: member("a", 0, failing(time.Hour), tainted(a, time.Hour)), fleet: dark,
			policy: fiveMinutes, reason: Tainted, since: time.Hour,
		},
		"lost, with a policy": {
			cluster: member("a", time.Hour, silence(isLost, time.Hour, time.Hour), tainted(a, time.Hour)), fleet: members(3, "x", 0),
			policy: fiveMinutes, reason: Lost, since: time.Hour,
		},
		"lost, without a policy": {
			cluster: member("a", time.Hour, silence(isLost, time.Hour, time.Hour), tainted(a, time.Hour)), fleet: members(3, "x", 0), again: none,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rules := Rules{Policy: tc.policy, Tolerations: tc.tolerations, Fleet: append(tc.fleet, tc.cluster), Now: noon}
			got := rules.LeaveOf(tc.cluster)
			if got.Reason != tc.reason || got.Now != (tc.again == 0) || got.Again != max(tc.again, 0) || (got.Taint != nil) != (tc.reason == Tainted) {
				t.Errorf("%+v; want %q, again in %s", got, tc.reason, tc.again)
			}
			if !got.Since.IsZero() && !got.Since.Equal(noon.Add(-tc.since)) {
				t.Errorf("since %s; want %s", got.Since, noon.Add(-tc.since))
			}
		})
	}
}

var fiveMinutes = &v1beta1.Failover{After: metav1.Duration{Duration: 5 * time.Minute}}

// Only some changes of a cluster can make a placement leave it, and without a failover policy only those of taints.
func TestChangesThatMatter(t *testing.T) {
	evicted := tainted(noExecute("a", "1"), 0)
	for name, tc := range map[string]struct {
		was, is *clusterv1beta1.MemberCluster
		// matters is whether it can matter to a placement with a policy; tainted is whether it can without.
		matters, tainted bool
	}{
		"a heartbeat":          {was: member("a", time.Minute), is: member("a", 0)},
		"the first heartbeat":  {was: member("a", time.Hour), is: member("a", 0), matters: true},
		"a lost cluster":       {was: member("a", time.Hour), is: member("a", time.Hour, silence(isLost, time.Hour, 0)), matters: true},
		"an unhealthy cluster": {was: member("a", 0, health(metav1.ConditionTrue, 0, 0)), is: member("a", 0, health(metav1.ConditionFalse, 0, 0)), matters: true},
		"an absence":           {was: member("a", 0), is: member("a", 0, annotated("kubernetes-fleet.io/away", "true")), matters: true},
		"a label":              {was: member("a", 0), is: member("a", 0, in("west")), matters: true},
		"a NoSchedule taint":   {was: member("a", 0), is: member("a", 0, tainted(noSchedule("a", "1"), -1)), matters: true},
		"an evicting taint":    {was: member("a", 0), is: member("a", 0, tainted(noExecute("a", "1"), -1)), matters: true, tainted: true},
		"its record":           {was: member("a", 0, tainted(noExecute("a", "1"), -1)), is: member("a", 0, evicted), matters: true, tainted: true},
		"its end":              {was: member("a", 0, evicted), is: member("a", 0), matters: true, tainted: true},
		"a heartbeat of one":   {was: member("a", time.Minute, evicted), is: member("a", 0, evicted)},
		"one is heard again":   {was: member("a", time.Hour, evicted), is: member("a", 0, evicted), matters: true, tainted: true},
	} {
		c := Change{Was: tc.was, Is: tc.is, Now: noon}
		if got := c.Matters() && c.Concerns(Settings{Policy: fiveMinutes, Tainted: true}); got != tc.matters {
			t.Errorf("%s: matters with a policy: %v", name, got)
		}
		if got := c.Matters() && c.Concerns(Settings{Tainted: true}); got != tc.tainted {
			t.Errorf("%s: matters without a policy: %v", name, got)
		}
		if c.Matters() && c.Concerns(Settings{}) {
			t.Errorf("%s: matters to a placement that leaves no cluster", name)
		}
	}
}

func TestSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		spec    v1beta1.PlacementSpec
		tainted bool
	}{
		"no policy": {},
		"PickAll":   {spec: v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}}},
		"PickFixed": {spec: v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed}}},
		"PickN":     {spec: v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}}, tainted: true},
		"External": {spec: v1beta1.PlacementSpec{
			Policy:   &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN},
			Strategy: v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal},
		}, tainted: true},
	} {
		if tc.spec.Policy != nil {
			tc.spec.Policy.Failover, tc.spec.Policy.Tolerations = fiveMinutes, []v1beta1.Toleration{tolerates("a", "", "")}
		}
		got := SettingsOf(&v1beta1.ClusterResourcePlacement{Spec: tc.spec})
		if got.Tainted != tc.tainted || (got.Policy != nil) != tc.tainted || (len(got.Tolerations) > 0) != tc.tainted {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
