package defaults

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestPlacement(t *testing.T) {
	const strategy = `strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%, unavailablePeriodSeconds: 60},
    applyStrategy: {type: ClientSideApply, comparisonOption: PartialComparison, whenToApply: Always, whenToTakeOver: Always}}`
	for name, c := range map[string]struct{ given, want string }{
		"nothing but a selector": {
			given: `spec: {resourceSelectors: [{kind: Namespace}]}`,
			want:  `spec: {resourceSelectors: [{kind: Namespace}], policy: {placementType: PickAll}, revisionHistoryLimit: 10, ` + strategy + `}`,
		},
		"constraints and tolerations": {
			given: `spec: {policy: {placementType: PickN, topologySpreadConstraints: [{topologyKey: a}, {topologyKey: b, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}],
  tolerations: [{key: a, value: b}, {operator: Exists}]}}`,
			want: `spec: {revisionHistoryLimit: 10, policy: {placementType: PickN, topologySpreadConstraints: [{topologyKey: a, maxSkew: 1, whenUnsatisfiable: DoNotSchedule},
  {topologyKey: b, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}], tolerations: [{key: a, value: b, operator: Equal}, {operator: Exists}]}, ` + strategy + `}`,
		},
		"server-side apply, and null": {
			given: `spec: {revisionHistoryLimit: null, strategy: {applyStrategy: {type: ServerSideApply}, rollingUpdate: {maxSurge: 1}}}`,
			want: `spec: {revisionHistoryLimit: 10, policy: {placementType: PickAll}, strategy: {type: RollingUpdate,
  rollingUpdate: {maxUnavailable: 25%, maxSurge: 1, unavailablePeriodSeconds: 60}, applyStrategy: {type: ServerSideApply,
  comparisonOption: PartialComparison, whenToApply: Always, whenToTakeOver: Always, serverSideApplyConfig: {force: false}}}}`,
		},
		"an external strategy, and a field of a later release": {
			given: `spec: {later: {a: 1}, revisionHistoryLimit: 3, strategy: {type: External}}`,
			want: `spec: {later: {a: 1}, revisionHistoryLimit: 3, policy: {placementType: PickAll}, strategy: {type: External,
  applyStrategy: {type: ClientSideApply, comparisonOption: PartialComparison, whenToApply: Always, whenToTakeOver: Always}}}`,
		},
		"other forms than those of the schema": {
			given: `spec: {policy: [], strategy: x}`,
			want:  `spec: {policy: [], strategy: x, revisionHistoryLimit: 10}`,
		},
		"no spec": {given: `kind: x`, want: `kind: x`},
	} {
		t.Run(name, func(t *testing.T) {
			parse := func(text string) map[string]any {
				var out map[string]any
				if err := yaml.Unmarshal([]byte(text), &out); err != nil {
					t.Fatal(err)
				}
				return out
			}
			got := parse(c.given)
			Placement(got)
			data, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parse(c.want), parse(string(data))); diff != "" {
				t.Errorf("placement (-want +got):\n%s", diff)
			}
			Placement(got)
			if again, err := yaml.Marshal(got); err != nil || string(again) != string(data) {
				t.Errorf("a second time it changes to %s (%v)", again, err)
			}
		})
	}
}
