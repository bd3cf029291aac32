package health

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = obj.UnmarshalJSON(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func rules(t *testing.T) *Rules {
	t.Helper()
	r, err := NewRules()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHolds(t *testing.T) {
	const running = "{apiVersion: example.test/v1, kind: Widget, metadata: {name: w, generation: 3}, " +
		"spec: {size: 2}, status: {phase: Running, ready: true, sizes: [2, 2], ratio: 0.5, conditions: [{type: Synced, status: 'True'}]}}"
	const bare = "{apiVersion: example.test/v1, kind: Widget, metadata: {name: w, generation: 3}}"
	for name, tc := range map[string]struct {
		rule, object string
		want         bool
		problem      string
	}{
		"true":                        {rule: "object.status.phase == 'Running'", object: running, want: true},
		"false":                       {rule: "object.status.phase == 'Failed'", object: running},
		"a field that is a boolean":   {rule: "object.status.ready", object: running, want: true},
		"a list":                      {rule: "object.status.sizes.all(s, s == object.spec.size)", object: running, want: true},
		"a condition":                 {rule: "object.status.conditions.exists(c, c.type == 'Synced' && c.status == 'True')", object: running, want: true},
		"numbers of different types":  {rule: "object.status.ratio < 1", object: running, want: true},
		"optional fields":             {rule: "object.?status.phase.orValue('') == 'Running'", object: bare},
		"a guarded field":             {rule: "has(object.status) && object.status.ready", object: bare},
		"a field that is missing":     {rule: "object.status.phase == 'Running'", object: bare, problem: "cannot be evaluated: no such key: status"},
		"a syntax error":              {rule: "object.status.phase ==", object: running, problem: "does not compile: <input>:1:23: Syntax error"},
		"an unknown name":             {rule: "self.status.ready", object: running, problem: "undeclared reference to 'self'"},
		"an unknown function":         {rule: "object.status.phase.shout()", object: running, problem: "undeclared reference to 'shout'"},
		"not a boolean, as written":   {rule: "'yes'", object: running, problem: "is string, and must be true or false"},
		"not a boolean, as it is":     {rule: "object.status.phase", object: running, problem: "is string, and must be true or false"},
		"empty":                       {rule: "", object: running, problem: "does not compile"},
		"longer than allowed":         {rule: strings.Repeat("true && ", 600) + "true", object: running, problem: "bytes long, and may be 4096"},
		"dearer than allowed":         {rule: dear, object: running, problem: "cost limit exceeded"},
		"division by zero is no harm": {rule: "1 / (object.spec.size - 2) == 1", object: running, problem: "division by zero"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rules(t)
			for range 2 { // compiled, and from the cache
				got, err := r.holds(tc.rule, object(t, tc.object).Object)
				switch {
				case tc.problem == "" && err != nil:
					t.Fatal(err)
				case tc.problem != "" && (err == nil || !strings.Contains(err.Error(), tc.problem)):
					t.Fatalf("error %v; want one with %q", err, tc.problem)
				case got != tc.want:
					t.Fatalf("%v; want %v", got, tc.want)
				case err != nil && strings.Contains(err.Error(), "\n"):
					t.Fatalf("the error has several lines: %q", err)
				}
			}
		})
	}
}

// dear takes a thousand million steps if nothing stops it.
const dear = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, " +
	"[1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, [1,2,3,4,5,6,7,8,9,10].all(g, [1,2,3,4,5,6,7,8,9,10].all(h, " +
	"[1,2,3,4,5,6,7,8,9,10].all(i, a + b + c + d + e + f + g + h + i > 0)))))))))"

// Many passes evaluate rules at once, and compiled rules do not pile up.
func TestRulesAreShared(t *testing.T) {
	r, obj := rules(t), object(t, "{apiVersion: example.test/v1, kind: Widget, metadata: {generation: 3}}").Object
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 2 * mostRules {
				if _, err := r.holds(fmt.Sprintf("object.metadata.generation == %d", n), obj); err != nil {
					t.Errorf("goroutine %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if n := r.compiled.Len(); n > mostRules {
		t.Errorf("%d rules are kept; want at most %d", n, mostRules)
	}
}
