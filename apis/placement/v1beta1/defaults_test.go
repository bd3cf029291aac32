package v1beta1

import (
	"reflect"
	"testing"
)

func TestApplyStrategyWithDefaults(t *testing.T) {
	filled := ApplyStrategy{
		Type: ApplyStrategyTypeClientSideApply, ComparisonOption: ComparisonOptionPartialComparison,
		WhenToApply: WhenToApplyAlways, WhenToTakeOver: WhenToTakeOverAlways,
	}
	server := filled
	server.Type, server.ServerSideApplyConfig = ApplyStrategyTypeServerSideApply, &ServerSideApplyConfig{}
	chosen := ApplyStrategy{
		Type: ApplyStrategyTypeServerSideApply, ComparisonOption: ComparisonOptionFullComparison, WhenToApply: WhenToApplyIfNotDrifted,
		WhenToTakeOver: WhenToTakeOverNever, AllowCoOwnership: true, ServerSideApplyConfig: &ServerSideApplyConfig{ForceConflicts: true},
	}
	for name, tc := range map[string]struct {
		given *ApplyStrategy
		want  ApplyStrategy
	}{
		"none":              {nil, filled},
		"an empty one":      {&ApplyStrategy{}, filled},
		"server-side apply": {&ApplyStrategy{Type: ApplyStrategyTypeServerSideApply}, server},
		"everything chosen": {&chosen, chosen},
	} {
		if got := tc.given.WithDefaults(); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v; want %+v", name, got, tc.want)
		}
	}
}
