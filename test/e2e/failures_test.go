package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:139
func TestUnknownKindInAnEnvelope(t *testing.T) {
	s := begin(t)
	s.create(s.envelope(map[string]string{
		"bad.yaml":  `{"apiVersion":"dummy/v10","kind":"Fake","metadata":{"name":"fake","namespace":"` + s.app + `"}}`,
		"good.yaml": s.enveloped("bar"),
	}))
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name))
	s.placed("test", c1)
	s.of(p).fails(v1beta1.ResourceIdentifier{Group: "dummy", Version: "v10", Kind: "Fake", Namespace: s.app, Name: "fake"}, v1beta1.ReasonManifestDecodingErred)
	s.holdsEnveloped("bar")
	for _, r := range p.Status.SelectedResources {
		if r.Kind != "Namespace" && r.Kind != "ConfigMap" && r.Kind != "ResourceEnvelope" {
			t.Errorf("selected %+v: what is in an envelope is not selected by itself", r)
		}
	}
}

// contract:141
func TestDuplicateInAnEnvelope(t *testing.T) {
	s := begin(t)
	s.create(s.envelope(map[string]string{"cm1.yaml": s.enveloped("bar"), "cm2.yaml": s.enveloped("baz")}))
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name))
	s.of(p).stays(testworld.ApplyFailed(c1.name, c1.name))
	s.of(p).fails(v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Namespace: s.app, Name: "wrapped"}, v1beta1.ReasonManifestDuplicated)
	s.holdsEnveloped("baz")
}

// contract:143
func TestNamespacedDuplicateInAnEnvelope(t *testing.T) {
	s := beginNamespaced(t)
	s.create(s.envelope(map[string]string{"cm1.yaml": s.enveloped("bar"), "cm2.yaml": s.enveloped("baz")}))
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name),
		testworld.Selecting(v1beta1.ResourceSelectorTerm{Group: v1beta1.GroupVersion.Group, Version: "v1beta1", Kind: "ResourceEnvelope", Name: "envelope"}))
	s.create(p)
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name))
	s.of(p).stays(testworld.ApplyFailed(c1.name, c1.name))
	s.of(p).fails(v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Namespace: s.app, Name: "wrapped"}, v1beta1.ReasonManifestDuplicated)
	s.holdsEnveloped("baz")
}

// envelope is a ResourceEnvelope of the scenario's namespace.
func (s contents) envelope(data map[string]string) *v1beta1.ResourceEnvelope {
	e := &v1beta1.ResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "envelope"}, Data: map[string]runtime.RawExtension{}}
	for key, manifest := range data {
		e.Data[key] = runtime.RawExtension{Raw: []byte(manifest)}
	}
	return e
}

// enveloped is the manifest of the config map wrapped.
func (s contents) enveloped(value string) string {
	cm := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "wrapped"},
		Data:       map[string]string{"foo": value},
	}
	return string(must(json.Marshal(cm)))
}

// holdsEnveloped waits until c1 has the config map wrapped with a value.
func (s *scene) holdsEnveloped(value string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "wrapped on "+c1.name, func(ctx context.Context) error {
		var cm corev1.ConfigMap
		if err := c1.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "wrapped"}, &cm); err != nil {
			return err
		}
		if cm.Data["foo"] != value {
			return fmt.Errorf("wrapped holds %q, want %q", cm.Data["foo"], value)
		}
		return nil
	})
}

// fails waits until the only failed placement of p's only cluster is object, out of the scenario's envelope, for
// reason. A cluster that has not reported on all Works has the same conditions, and lists nothing.
func (s ofPlacement) fails(object v1beta1.ResourceIdentifier, reason string) {
	s.Helper()
	object.Envelope = &v1beta1.EnvelopeIdentifier{Name: "envelope", Namespace: s.app, Type: "ResourceEnvelope"}
	testworld.Await(s.T, testworld.Soon, object.Kind+" "+object.Name+" alone to fail", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		entries := s.p.GetStatus().PerClusterPlacementStatuses
		if len(entries) != 1 || len(entries[0].FailedPlacements) != 1 {
			return fmt.Errorf("clusters are %+v, want one with one failure", entries)
		}
		f := entries[0].FailedPlacements[0]
		if f.Condition.Reason != reason || f.Condition.Type != v1beta1.ConditionApplied || !equality.Semantic.DeepEqual(f.ResourceIdentifier, object) {
			return fmt.Errorf("failed is %+v in %+v, want %+v, Applied %s", f, f.Envelope, object, reason)
		}
		return nil
	})
}
