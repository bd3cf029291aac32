package snapshot

import (
	"fmt"
	"reflect"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// overrideSaying is an override whose content is a value.
func overrideSaying(value int) *v1beta1.ResourceOverride {
	o := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "o", UID: "u"}}
	o.Spec.ResourceSelectors = []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: strconv.Itoa(value)}}
	return o
}

// kept are snapshots of overrides whose content is their index; those of negative index are the latest.
func kept(t *testing.T, indexes ...int) []v1beta1.OverrideSnapshotObject {
	t.Helper()
	var out []v1beta1.OverrideSnapshotObject
	for _, i := range indexes {
		s, err := newOverride(overrideSaying(max(i, -i)), max(i, -i))
		if err != nil {
			t.Fatal(err)
		}
		s.GetLabels()[contract.LabelLatest] = strconv.FormatBool(i < 0)
		out = append(out, s)
	}
	return out
}

func TestOverrides(t *testing.T) {
	for name, tc := range map[string]struct {
		says  int
		have  []int
		inUse []string
		want  string
	}{
		"the first":                                {says: 7, want: "create o-0"},
		"the first of another life":                {says: 7, inUse: []string{"o-0", "o-4", "o-x", "other-9"}, want: "create o-5"},
		"nothing new":                              {says: 3, have: []int{2, -3}, want: ""},
		"another spec":                             {says: 9, have: []int{2, -3}, want: "create o-4, relabel o-3 false"},
		"an old spec again is new":                 {says: 2, have: []int{2, -3}, want: "create o-4, relabel o-3 false"},
		"a label was lost between two writes":      {says: 3, have: []int{2, 3}, want: "relabel o-3 true"},
		"two have the label":                       {says: 3, have: []int{-2, -3}, want: "relabel o-2 false"},
		"ten are kept":                             {says: 11, have: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, -11}, want: ""},
		"the oldest goes for the eleventh":         {says: 99, have: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, -11}, want: "create o-12, relabel o-11 false, prune o-2"},
		"one that is in use stays":                 {says: 99, have: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, -11}, inUse: []string{"o-2"}, want: "create o-12, relabel o-11 false, prune o-3"},
		"what was too many before goes at the end": {says: 12, have: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, -12}, want: "prune o-2"},
	} {
		t.Run(name, func(t *testing.T) {
			inUse := map[string]bool{}
			for _, name := range tc.inUse {
				inUse[name] = true
			}
			step, err := Overrides(overrideSaying(tc.says), kept(t, tc.have...), inUse)
			if err != nil {
				t.Fatal(err)
			}
			if got := textOf(step); got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}

func textOf(step OverrideStep) string {
	var out string
	add := func(format string, args ...any) {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf(format, args...)
	}
	if step.Create != nil {
		add("create %s", step.Create.GetName())
	}
	for _, m := range step.Relabels {
		add("relabel %s %s", m.Name, *m.Labels[contract.LabelLatest])
	}
	for _, s := range step.Prune {
		add("prune %s", s.GetName())
	}
	return out
}

// The wire form of a snapshot.
func TestOverrideSnapshot(t *testing.T) {
	o := &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: "o", UID: "u"}}
	hash, err := contract.Hash(o.Spec)
	if err != nil {
		t.Fatal(err)
	}
	step, err := Overrides(o, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := step.Create.(*v1beta1.ClusterResourceOverrideSnapshot)
	labels := map[string]string{contract.LabelOverride: "o", contract.LabelOverrideIndex: "0", contract.LabelLatest: "true"}
	owner := metav1.GetControllerOf(s)
	if s.Name != "o-0" || !reflect.DeepEqual(s.Labels, labels) || string(s.Spec.OverrideHash) != hash || owner == nil || owner.UID != "u" || owner.Kind != "ClusterResourceOverride" {
		t.Errorf("got %+v", s)
	}
}
