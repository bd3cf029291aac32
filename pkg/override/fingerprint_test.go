package override

import (
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// The fingerprint changes exactly when a change of labels changes the effect of the same overrides.
func TestFingerprint(t *testing.T) {
	const plain, unresolved, same, other = "", delivery.Unresolved, "same", "other"
	east := map[string]string{"region": "east"}
	named := v1beta1.ClusterSelectorTerm{LabelSelector: labelled("region", "east").LabelSelector.DeepCopy()}
	named.LabelSelector.MatchLabels["tier"] = "gold"
	for name, tc := range map[string]struct {
		rules []v1beta1.OverrideRule
		to    map[string]string
		want  string
	}{
		"no label counts": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), add("/data/name", `"${MEMBER-CLUSTER-NAME}"`))}, to: map[string]string{}, want: plain,
		},
		"a label that no rule looks at": {
			rules: []v1beta1.OverrideRule{patching(on(labelled("region", "east")), add("/data/x", `"1"`))},
			to:    map[string]string{"region": "east", "color": "red"}, want: same,
		},
		"another value of a variable": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), add("/data/x", `"${MEMBER-CLUSTER-LABEL-KEY-region}"`))},
			to:    map[string]string{"region": "west"}, want: other,
		},
		"of one in a rule for other clusters": {
			rules: []v1beta1.OverrideRule{
				patching(on(labelled("tier", "gold")), add("/data/x", `"${MEMBER-CLUSTER-LABEL-KEY-region}"`)), patching(everywhere(), remove("/data/y")),
			},
			to: map[string]string{"region": "west"}, want: same,
		},
		"a variable that is gone": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), add("/data/x", `"${MEMBER-CLUSTER-LABEL-KEY-region}"`))},
			to:    map[string]string{}, want: unresolved,
		},
		"one more rule matches": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), add("/data/x", `"1"`)), patching(on(labelled("tier", "gold")), add("/data/x", `"2"`))},
			to:    map[string]string{"region": "east", "tier": "gold"}, want: other,
		},
		"the object is left out": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), add("/data/x", `"1"`)), leavingOut(on(labelled("tier", "gold")))},
			to:    map[string]string{"region": "east", "tier": "gold"}, want: other,
		},
		"another term of the same rule matches": {
			rules: []v1beta1.OverrideRule{patching(on(labelled("region", "east"), labelled("region", "west")), add("/data/x", `"1"`))},
			to:    map[string]string{"region": "west"}, want: same,
		},
		"a term of several labels still matches not": {
			rules: []v1beta1.OverrideRule{patching(everywhere(), remove("/data/y")), patching(on(named), add("/data/x", `"1"`))},
			to:    map[string]string{"region": "west"}, want: same,
		},
	} {
		snapshots := list(narrow("o", nil, tc.rules...))
		was, is := Fingerprint(snapshots, Cluster{Name: "c", Labels: east}), Fingerprint(snapshots, Cluster{Name: "c", Labels: tc.to})
		got := other
		switch is {
		case plain, unresolved:
			got = is
		case was:
			got = same
		}
		if got != tc.want {
			t.Errorf("%s: it was %q and is %q; want %s", name, was, is, tc.want)
		}
	}
}
