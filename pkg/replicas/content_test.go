package replicas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func autoscaler(target string, low, high int64) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"namespace":"shop","name":%[1]q},
		"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":%[1]q},"minReplicas":%[2]d,"maxReplicas":%[3]d}}`, target, low, high)
}

func TestIn(t *testing.T) {
	set := `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"namespace":"shop","name":"db"},"spec":{"replicas":3}}`
	rollout := `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"web"},"spec":{"replicas":2}}`
	for name, tc := range map[string]struct {
		kinds   []v1beta1.ReplicaKind
		objects []string
		want    string
	}{
		"nothing":                      {nil, nil, ""},
		"a Deployment":                 {nil, []string{string(deployment("web", 3))}, "Deployment shop/web=3"},
		"no replicas is one":           {nil, []string{`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{}}`}, "Deployment a=1"},
		"no spec is one":               {nil, []string{`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}`}, "Deployment a=1"},
		"null is one":                  {nil, []string{`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":null}}`}, "Deployment a=1"},
		"another version":              {nil, []string{`{"apiVersion":"apps/v1beta1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":2}}`}, "Deployment a=2"},
		"a kind that is not listed":    {nil, []string{set, string(deployment("web", 3))}, "Deployment shop/web=3"},
		"kinds that are listed":        {[]v1beta1.ReplicaKind{{Group: "apps", Kind: "StatefulSet"}, {Group: "argoproj.io", Kind: "Rollout"}}, []string{set, rollout, string(deployment("web", 3))}, "StatefulSet shop/db=3, Rollout web=2"},
		"a kind of another group":      {[]v1beta1.ReplicaKind{{Kind: "StatefulSet"}}, []string{set}, ""},
		"a negative number":            {nil, []string{string(deployment("web", -1))}, ""},
		"a number that is too large":   {nil, []string{string(deployment("web", 1<<31))}, ""},
		"a fraction":                   {nil, []string{strings.Replace(string(deployment("web", 3)), "3}", "3.5}", 1)}, ""},
		"a text":                       {nil, []string{strings.Replace(string(deployment("web", 3)), "3}", `"3"}`, 1)}, ""},
		"a spec that is none":          {nil, []string{`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":[]}`}, ""},
		"an object that is no JSON":    {nil, []string{`{`, `null`, `[]`, string(deployment("web", 3))}, "Deployment shop/web=3"},
		"a field that appears twice":   {nil, []string{`{"apiVersion":"apps/v1","kind":"Deployment","kind":"Deployment","metadata":{"name":"a"}}`}, ""},
		"an object that appears twice": {nil, []string{string(deployment("web", 3)), string(deployment("web", 4))}, "Deployment shop/web=3"},
		"a scaled workload":            {nil, []string{string(deployment("web", 3)), string(autoscaler("web", 2, 9))}, "HorizontalPodAutoscaler shop/web minReplicas=2, HorizontalPodAutoscaler shop/web maxReplicas=9"},
		"an autoscaler of another":     {nil, []string{string(deployment("web", 3)), string(autoscaler("other", 2, 9))}, "Deployment shop/web=3"},
		"an autoscaler without a minimum": {nil, []string{string(deployment("web", 3)),
			strings.Replace(string(autoscaler("web", 2, 9)), `"minReplicas":2,`, "", 1)}, "HorizontalPodAutoscaler shop/web minReplicas=1, HorizontalPodAutoscaler shop/web maxReplicas=9"},
		"an autoscaler without its workload": {nil, []string{string(autoscaler("web", 2, 9))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var objects [][]byte
			for _, o := range tc.objects {
				objects = append(objects, []byte(o))
			}
			numbers, err := In(&v1beta1.ReplicaPolicy{Kinds: tc.kinds}, objects)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range numbers {
				got = append(got, fmt.Sprintf("%s=%d", n.Key, n.Total))
			}
			if got := strings.Join(got, ", "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	var many [][]byte
	for i := range MaxNumbers {
		many = append(many, deployment(fmt.Sprint("d", i), 1))
	}
	if n, err := In(&v1beta1.ReplicaPolicy{}, many); err != nil || len(n) != MaxNumbers {
		t.Errorf("%d numbers: %d, %v", MaxNumbers, len(n), err)
	}
	if _, err := In(&v1beta1.ReplicaPolicy{}, append(many, deployment("more", 1))); err == nil || !strings.Contains(err.Error(), "501 workloads") {
		t.Errorf("one more: %v", err)
	}
}

func shareOf(kind, name, field string, n int32) v1beta1.ReplicaShare {
	group := map[string]string{"Deployment": "apps", "HorizontalPodAutoscaler": "autoscaling"}[kind]
	return v1beta1.ReplicaShare{Group: group, Kind: kind, Namespace: "shop", Name: name, Field: field, Replicas: n}
}

func TestSet(t *testing.T) {
	web, low, high := shareOf("Deployment", "web", "", 2), shareOf("HorizontalPodAutoscaler", "web", "minReplicas", 1), shareOf("HorizontalPodAutoscaler", "web", "maxReplicas", 4)
	with := func(s v1beta1.ReplicaShare, change func(*v1beta1.ReplicaShare)) v1beta1.ReplicaShare {
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		object []byte
		shares []v1beta1.ReplicaShare
		want   string // of the spec's numbers; empty for none that changes
	}{
		"its share":                {deployment("web", 9), []v1beta1.ReplicaShare{low, web}, "replicas=2"},
		"no share":                 {deployment("web", 9), nil, ""},
		"that of another":          {deployment("db", 9), []v1beta1.ReplicaShare{web}, ""},
		"that of another group":    {deployment("web", 9), []v1beta1.ReplicaShare{with(web, func(s *v1beta1.ReplicaShare) { s.Group = "" })}, ""},
		"in another namespace":     {deployment("web", 9), []v1beta1.ReplicaShare{with(web, func(s *v1beta1.ReplicaShare) { s.Namespace = "" })}, ""},
		"zero":                     {deployment("web", 9), []v1beta1.ReplicaShare{with(web, func(s *v1beta1.ReplicaShare) { s.Replicas = 0 })}, "replicas=0"},
		"an override that is gone": {deployment("web", 9), []v1beta1.ReplicaShare{with(web, func(s *v1beta1.ReplicaShare) { s.Pinned = true })}, "replicas=2"},
		"no replicas before":       {[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"}}`), []v1beta1.ReplicaShare{web}, "replicas=2"},
		"an autoscaler":            {autoscaler("web", 3, 9), []v1beta1.ReplicaShare{low, high, web}, "maxReplicas=4 minReplicas=1"},
		"an autoscaler needs one": {autoscaler("web", 3, 9), []v1beta1.ReplicaShare{
			with(low, func(s *v1beta1.ReplicaShare) { s.Replicas = 0 }), with(high, func(s *v1beta1.ReplicaShare) { s.Replicas = 0 })}, "maxReplicas=1 minReplicas=1"},
		"a minimum above the maximum": {autoscaler("web", 3, 9), []v1beta1.ReplicaShare{with(low, func(s *v1beta1.ReplicaShare) { s.Replicas = 7 }), high}, "maxReplicas=4 minReplicas=4"},
		"an object that is no JSON":   {[]byte("{"), []v1beta1.ReplicaShare{web}, ""},
		"a spec that is none":         {[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"},"spec":[]}`), []v1beta1.ReplicaShare{web}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tc.object)
			out, err := Set(tc.object, tc.shares)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, tc.object) {
				t.Errorf("the input was changed to %s", tc.object)
			}
			if tc.want == "" {
				if !bytes.Equal(out, tc.object) {
					t.Errorf("it became %s", out)
				}
				return
			}
			var got struct{ Spec map[string]any }
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			var numbers []string
			for _, field := range []string{"maxReplicas", "minReplicas", "replicas"} {
				if n, ok := got.Spec[field]; ok {
					numbers = append(numbers, fmt.Sprintf("%s=%v", field, n))
				}
			}
			if got := strings.Join(numbers, " "); got != tc.want {
				t.Errorf("it has %s, want %s", got, tc.want)
			}
		})
	}
}

// Set changes the divided field of the spec, and nothing else.
func TestSetChangesOneField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"namespace": "shop", "name": "web", "labels": anyValue(t, 2)},
			"status": anyValue(t, 3),
		}
		spec, _ := anyMap(t, 3).(map[string]any)
		spec["template"] = anyValue(t, 3)
		if rapid.Bool().Draw(t, "replicas") {
			spec["replicas"] = json.Number("7")
		}
		object["spec"] = spec
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.Int32Range(0, 1000).Draw(t, "share")
		out, err := Set(raw, []v1beta1.ReplicaShare{shareOf("Deployment", "web", "", n)})
		if err != nil {
			t.Fatal(err)
		}
		spec["replicas"] = json.Number(fmt.Sprint(n))
		want, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(exact(t, out), exact(t, want)) {
			t.Fatalf("it became %s, want %s", out, want)
		}
	})
}

// exact decodes JSON without loss.
func exact(t *rapid.T, raw []byte) (out any) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func anyMap(t *rapid.T, depth int) any {
	out := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		out[rapid.StringMatching(`[a-z]{1,4}|<é>`).Draw(t, "field")] = anyValue(t, depth-1)
	}
	return out
}

func anyValue(t *rapid.T, depth int) any {
	if depth > 0 && rapid.Bool().Draw(t, "deep") {
		if rapid.Bool().Draw(t, "list") {
			return []any{anyValue(t, depth-1), anyValue(t, depth-1)}
		}
		return anyMap(t, depth-1)
	}
	return rapid.SampledFrom([]any{nil, true, "", "text", "<&>\u2028é", json.Number("0"), json.Number("-3"), json.Number("9223372036854775807"), json.Number("0.25")}).Draw(t, "value")
}

func TestPinned(t *testing.T) {
	n := numberOf(web, 6)
	scaled, err := In(&v1beta1.ReplicaPolicy{}, [][]byte{deployment("web", 6), autoscaler("web", 2, 9)})
	if err != nil {
		t.Fatal(err)
	}
	to := func(value int64) func([]byte) ([]byte, error) {
		return func([]byte) ([]byte, error) { return deployment("web", value), nil }
	}
	for name, tc := range map[string]struct {
		number Number
		change func([]byte) ([]byte, error)
		value  int64
		pinned bool
	}{
		"nothing changes": {n, func(o []byte) ([]byte, error) { return o, nil }, 6, false},
		"another field changes": {n, func(o []byte) ([]byte, error) {
			return bytes.Replace(o, []byte(`"spec":{`), []byte(`"spec":{"paused":true,`), 1), nil
		}, 6, false},
		"another number":          {n, to(2), 2, true},
		"zero":                    {n, to(0), 0, true},
		"the number that it has":  {n, to(6), 6, true},
		"one more than it has":    {n, to(7), 7, true},
		"no number, which is one": {n, func([]byte) ([]byte, error) { return []byte(`{"kind":"Deployment","spec":{}}`), nil }, 1, true},
		"it is left out":          {n, func([]byte) ([]byte, error) { return nil, nil }, 0, true},
		"an override that fails":  {n, func([]byte) ([]byte, error) { return nil, errors.New("no") }, 0, false},
		"no valid number":         {n, to(-1), 0, false},
		"no object":               {n, func([]byte) ([]byte, error) { return []byte("{"), nil }, 0, false},
		"the maximum of a scaler": {scaled[1], func([]byte) ([]byte, error) { return autoscaler("web", 2, 4), nil }, 4, true},
		"the minimum stays as is": {scaled[0], func(o []byte) ([]byte, error) {
			return bytes.Replace(o, []byte(`"maxReplicas":9`), []byte(`"maxReplicas":4`), 1), nil
		}, 2, false},
		"the maximum, not the min": {scaled[1], func(o []byte) ([]byte, error) {
			return bytes.Replace(o, []byte(`"minReplicas":2`), []byte(`"minReplicas":1`), 1), nil
		}, 9, false},
	} {
		if value, pinned := tc.number.Pinned(tc.change); pinned != tc.pinned || pinned && value != tc.value {
			t.Errorf("%s: %d, %v; want %d, %v", name, value, pinned, tc.value, tc.pinned)
		}
	}
}

// What is recorded on a Work changes only with the numbers in its own objects.
func TestWithin(t *testing.T) {
	target := int32(5)
	moving := shareOf("Deployment", "web", "", 2)
	moving.Target, moving.Of, moving.Pinned = &target, 20, true
	shares := []v1beta1.ReplicaShare{moving, shareOf("Deployment", "db", "", 3), shareOf("HorizontalPodAutoscaler", "web", "maxReplicas", 4)}
	got := Within([][]byte{deployment("web", 9), []byte("{"), []byte(`{"kind":"ConfigMap"}`)}, shares)
	if want := []v1beta1.ReplicaShare{shareOf("Deployment", "web", "", 2)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Within([][]byte{autoscaler("web", 1, 9)}, shares); len(got) != 1 || got[0].Field != "maxReplicas" {
		t.Errorf("of an autoscaler: %v", got)
	}
	if got := Within([][]byte{deployment("other", 1)}, shares); got != nil {
		t.Errorf("of others: %v", got)
	}
}
