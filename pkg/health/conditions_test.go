package health

import (
	"strings"
	"testing"
)

func TestConvention(t *testing.T) {
	const head = "apiVersion: example.test/v1, kind: Widget, metadata: {name: w, generation: 2}"
	for name, tc := range map[string]struct{ object, why string }{
		"ready, of this generation":               {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}}", ""},
		"available, condition of this generation": {"{" + head + ", status: {conditions: [{type: Available, status: 'True', observedGeneration: 2}]}}", ""},
		"both":                               {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}, {type: Available, status: 'True'}]}}", ""},
		"a first generation needs no date":   {"{apiVersion: example.test/v1, kind: Widget, metadata: {name: w, generation: 1}, status: {conditions: [{type: Ready, status: 'True'}]}}", ""},
		"one of both is not":                 {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}, {type: Available, status: 'False', reason: Starting}]}}", "Its condition Available is False: Starting"},
		"unknown":                            {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: Unknown}]}}", "Its condition Ready is Unknown: no reason given"},
		"status of the generation before":    {"{" + head + ", status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}}", notObserved},
		"condition of the generation before": {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True', observedGeneration: 1}]}}", notObserved},
		"no generation is named anywhere":    {"{" + head + ", status: {conditions: [{type: Ready, status: 'True'}]}}", "use an expression instead"},
		"stalled":                            {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}, {type: Stalled, status: 'True', reason: Quota}]}}", "Its condition Stalled is True: Quota"},
		"reconciling":                        {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}, {type: Reconciling, status: 'True'}]}}", "Its condition Reconciling is True"},
		"no status":                          {"{" + head + "}", "neither a condition Available nor a condition Ready"},
		"other conditions":                   {"{" + head + ", status: {observedGeneration: 2, conditions: [{type: Synced, status: 'True'}]}}", "neither a condition Available nor a condition Ready"},
		"malformed":                          {"{" + head + ", status: {observedGeneration: two, conditions: [nonsense, {type: 7}]}}", "neither a condition Available nor a condition Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			ok, why := convention(object(t, tc.object))
			if ok != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("%v, %q; want %q", ok, why, tc.why)
			}
		})
	}
}
