package override

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/validate"
	"github.com/flagship-fleet/flagship/pkg/validate/anyspec"
)

// An override that admission accepts can be prepared for a cluster that has the labels that it asks for.
func TestAcceptedOverridesCanBePrepared(t *testing.T) {
	cluster := Cluster{Name: "m1", Labels: map[string]string{}}
	for _, key := range anyspec.Labels {
		cluster.Labels[key] = "east"
	}
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		policy := anyspec.OverridePolicy(t)
		o := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "o"}, Spec: v1beta1.ResourceOverrideSpec{Policy: &policy}}
		if len(validate.Override(o, nil)) > 0 {
			refused++
			return
		}
		accepted++
		snapshot := &v1beta1.ResourceOverrideSnapshot{ObjectMeta: o.ObjectMeta, Spec: v1beta1.ResourceOverrideSnapshotSpec{OverrideSpec: o.Spec}}
		for _, c := range New(cluster, nil).changes(snapshot) {
			if c.err != nil {
				t.Fatalf("%v, of %+v", c.err, policy)
			}
		}
		if text := Fingerprint([]v1beta1.OverrideSnapshotObject{snapshot}, cluster); text == delivery.Unresolved {
			t.Fatalf("no fingerprint of %+v", policy)
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d overrides are accepted and %d refused", accepted, refused)
	}
}
