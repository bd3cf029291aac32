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
			got := parse(t, c.given)
			Placement(got)
			data, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parse(t, c.want), parse(t, string(data))); diff != "" {
				t.Errorf("placement (-want +got):\n%s", diff)
			}
			Placement(got)
			if again, err := yaml.Marshal(got); err != nil || string(again) != string(data) {
				t.Errorf("a second time it changes to %s (%v)", again, err)
			}
		})
	}
}

func TestDropUnused(t *testing.T) {
	const rolling, server = `rollingUpdate: {maxUnavailable: 25%, unavailablePeriodSeconds: 60}`, `serverSideApplyConfig: {force: false}`
	for name, c := range map[string]struct{ old, given, want string }{
		"to External": {
			old:   `{type: RollingUpdate, ` + rolling + `}`,
			given: `{type: External, ` + rolling + `}`,
			want:  `{type: External}`,
		},
		"to External, from no type": {old: `{` + rolling + `}`, given: `{type: External, ` + rolling + `}`, want: `{type: External}`},
		"to External, with another value": {
			old:   `{type: RollingUpdate, ` + rolling + `}`,
			given: `{type: External, rollingUpdate: {maxUnavailable: 1}}`,
			want:  `{type: External, rollingUpdate: {maxUnavailable: 1}}`,
		},
		"to External, with a new object": {old: `{}`, given: `{type: External, ` + rolling + `}`, want: `{type: External, ` + rolling + `}`},
		"External already":               {old: `{type: External, ` + rolling + `}`, given: `{type: External, ` + rolling + `}`, want: `{type: External, ` + rolling + `}`},
		"RollingUpdate without its type": {old: `{type: RollingUpdate, ` + rolling + `}`, given: `{` + rolling + `}`, want: `{` + rolling + `}`},
		"to ClientSideApply": {
			old:   `{applyStrategy: {type: ServerSideApply, ` + server + `}}`,
			given: `{applyStrategy: {type: ClientSideApply, ` + server + `}}`,
			want:  `{applyStrategy: {type: ClientSideApply}}`,
		},
		"to the standard type of apply": {
			old:   `{applyStrategy: {type: ServerSideApply, ` + server + `}}`,
			given: `{applyStrategy: {type: null, ` + server + `}}`,
			want:  `{applyStrategy: {type: null}}`,
		},
		"ServerSideApply still": {
			old:   `{applyStrategy: {type: ServerSideApply, ` + server + `}}`,
			given: `{applyStrategy: {type: ServerSideApply, ` + server + `}}`,
			want:  `{applyStrategy: {type: ServerSideApply, ` + server + `}}`,
		},
		"both": {
			old:   `{type: RollingUpdate, ` + rolling + `, applyStrategy: {type: ServerSideApply, ` + server + `}}`,
			given: `{type: External, ` + rolling + `, applyStrategy: {type: ReportDiff, ` + server + `}}`,
			want:  `{type: External, applyStrategy: {type: ReportDiff}}`,
		},
		"no strategy":                      {old: `{` + rolling + `}`, given: `null`, want: `null`},
		"other forms than of the schema":   {old: `{type: [], applyStrategy: x}`, given: `{type: External, applyStrategy: {type: 1}}`, want: `{type: External, applyStrategy: {type: 1}}`},
		"an old object without a strategy": {old: `null`, given: `{type: External}`, want: `{type: External}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(t, `spec: {strategy: `+c.given+`}`)
			DropUnused(got, parse(t, `spec: {strategy: `+c.old+`}`))
			if diff := cmp.Diff(parse(t, `spec: {strategy: `+c.want+`}`), got); diff != "" {
				t.Errorf("placement (-want +got):\n%s", diff)
			}
		})
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
