package override

import (
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestComing(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	contents := ContentsOf([][]byte{[]byte(cm)})
	for name, tc := range map[string]struct {
		ago    time.Duration
		change func(*v1beta1.ResourceOverride)
		want   time.Duration
	}{
		"just made":         {ago: time.Second, want: Settling - time.Second},
		"by a clock ahead":  {ago: -time.Hour, want: Settling},
		"made long ago":     {ago: time.Hour},
		"for the placement": {want: Settling, change: func(o *v1beta1.ResourceOverride) { o.Spec.Placement = &v1beta1.PlacementRef{Name: "p"} }},
		"for another placement": {
			change: func(o *v1beta1.ResourceOverride) { o.Spec.Placement = &v1beta1.PlacementRef{Name: "q"} },
		},
		"of another object": {change: func(o *v1beta1.ResourceOverride) { o.Spec.ResourceSelectors[0].Name = "other" }},
		"of another place":  {change: func(o *v1beta1.ResourceOverride) { o.Namespace = "other" }},
		"going":             {change: func(o *v1beta1.ResourceOverride) { o.DeletionTimestamp = &metav1.Time{Time: now} }},
		"with a name that no snapshot can carry": {
			change: func(o *v1beta1.ResourceOverride) { o.Name = strings.Repeat("x", 64) },
		},
		"too deep for a snapshot": {change: func(o *v1beta1.ResourceOverride) {
			deep := v1beta1.JSONPatchOverride{Value: apiextensionsv1.JSON{Raw: []byte(strings.Repeat("[", 200) + strings.Repeat("]", 200))}}
			o.Spec.Policy.OverrideRules[0].JSONPatchOverrides = []v1beta1.JSONPatchOverride{deep}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "o", CreationTimestamp: metav1.NewTime(now.Add(-tc.ago))}}
			o.Spec.ResourceSelectors = []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: "cm"}}
			o.Spec.Policy = &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{patching(everywhere())}}
			if tc.change != nil {
				tc.change(o)
			}
			got := Coming(types.NamespacedName{Name: "p"}, []v1beta1.OverrideObject{o}, contents, now)
			if max(got, 0) != tc.want {
				t.Errorf("wait is %s; want %s", got, tc.want)
			}
		})
	}
}
