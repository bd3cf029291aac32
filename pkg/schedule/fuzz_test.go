package schedule

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FuzzLabelSelector decides with any label selector about any labels: an invalid selector matches nothing and returns
// an error, a valid one matches as in Kubernetes, and the nearest change makes it match.
func FuzzLabelSelector(f *testing.F) {
	for _, seed := range []struct{ selector, labels string }{
		{`{}`, ``},
		{`{"matchLabels":{"region":"east"}}`, `region=east`},
		{`{"matchLabels":{"region":"east"}}`, `region=west,env=prod`},
		{`{"matchExpressions":[{"key":"env","operator":"NotIn","values":["prod"]}]}`, `env=prod`},
		{`{"matchExpressions":[{"key":"gpu","operator":"Exists"},{"key":"env","operator":"DoesNotExist"}]}`, `env=prod`},
		{`{"matchExpressions":[{"key":"env","operator":"In","values":[]}]}`, ``},
		{`{"matchExpressions":[{"key":"env","operator":"Near","values":["a"]}]}`, ``},
		{`{"matchLabels":{"kubernetes-fleet.io/member-name":"other"}}`, ``},
		{`{"matchLabels":{"a b":"c d"}}`, ``},
	} {
		f.Add(seed.selector, seed.labels)
	}
	f.Fuzz(func(t *testing.T, text, pairs string) {
		var selector metav1.LabelSelector
		if json.Unmarshal([]byte(text), &selector) != nil {
			t.Skip()
		}
		cluster := member("m1", "", "")
		for pair := range strings.SplitSeq(pairs, ",") {
			if key, value, ok := strings.Cut(pair, "="); ok && len(validation.IsQualifiedName(key)) == 0 {
				cluster.Labels[key] = value
			}
		}
		w := &world{t: t, snapshot: 1, policy: all(v1beta1.ClusterSelectorTerm{LabelSelector: &selector})}
		r := w.request()
		r.Clusters = append(r.Clusters, cluster)
		verdict, ok := Decide(r).Of("m1")
		if !ok {
			t.Fatal("there is no verdict")
		}
		if verdict.Objection != nil && (verdict.Objection.Filter != FilterAffinity || verdict.Objection.Reason() == "" || verdict.Objection.Detail() == "") {
			t.Fatalf("objection %+v", verdict.Objection)
		}
		parsed, err := metav1.LabelSelectorAsSelector(&selector)
		if want := err == nil && parsed.Matches(labels.Set(cluster.Labels)); verdict.Outcome.Selected() != want {
			t.Fatalf("selected %v with %s; want %v", verdict.Outcome, text, want)
		}
		for _, change := range NearestChanges(r, "m1") {
			if len(change) == 0 {
				t.Fatal("a change without a step")
			}
		}
	})
}
