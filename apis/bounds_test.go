package apis_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// unboundedFields are fields that have no bound, by the end of their path, and why.
var unboundedFields = map[string]string{
	"apiVersion": "API servers know the versions of a kind",
	"kind":       "API servers know the kinds",
	"metadata":   "API servers validate metadata",
}

// Every field of every CRD has a bound: a new one without makes this fail.
func TestEveryFieldIsBounded(t *testing.T) {
	for _, crd := range crds(t) {
		for _, version := range crd.Spec.Versions {
			for name, field := range version.Schema.OpenAPIV3Schema.Properties {
				if unboundedFields[name] == "" {
					requireBound(t, crd.Spec.Names.Kind+" "+version.Name+": "+name, &field)
				}
			}
		}
	}
}

func requireBound(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if s.XEmbeddedResource {
		return // objects of users, which agents measure
	}
	missing := func(what string) { t.Errorf("%s has no %s; go generate ./apis adds one", path, what) }
	switch {
	case s.XIntOrString:
		if s.MaxLength == nil && len(s.AllOf) == 0 {
			missing("length")
		}
	case s.Type == "string":
		if s.MaxLength == nil && len(s.Enum) == 0 {
			missing("length")
		}
		if s.Format == "date-time" && s.Pattern == "" {
			missing("pattern")
		}
	case s.Type == "integer" || s.Type == "number":
		if s.Minimum == nil || s.Maximum == nil {
			missing("range")
		} else if *s.Minimum < -1<<53 || *s.Maximum > 1<<53 {
			t.Errorf("%s has the range %g to %g: API servers refuse every value of a field with limits that JSON cannot hold", path, *s.Minimum, *s.Maximum)
		}
	case s.Type == "array":
		if s.MaxItems == nil {
			missing("number of items")
		}
		if s.Items != nil && s.Items.Schema != nil {
			requireBound(t, path+"[]", s.Items.Schema)
		}
	case s.AdditionalProperties != nil:
		if s.MaxProperties == nil {
			missing("number of properties")
		}
		if s.AdditionalProperties.Schema != nil {
			requireBound(t, path+"{}", s.AdditionalProperties.Schema)
		}
	}
	for name, field := range s.Properties {
		requireBound(t, path+"."+name, &field)
	}
}

// Managed fields must not follow what users nest: they are some levels deeper than it is, and an API server would store objects that it can
// never decode again.
func TestManagedFieldsDoNotFollowWhatUsersNest(t *testing.T) {
	for _, crd := range crds(t) {
		for _, version := range crd.Spec.Versions {
			for name, field := range version.Schema.OpenAPIV3Schema.Properties {
				if name != "metadata" {
					requireShallow(t, crd.Spec.Names.Kind+" "+version.Name+": "+name, &field)
				}
			}
		}
	}
}

func requireShallow(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	const atomic = "atomic"
	if ptr.Deref(s.XMapType, "") == atomic || s.Type == "array" && ptr.Deref(s.XListType, atomic) == atomic {
		return // managed fields end here
	}
	if s.XEmbeddedResource || ptr.Deref(s.XPreserveUnknownFields, false) {
		t.Errorf("%s takes any JSON and is not atomic: managed fields follow each of its levels", path)
	}
	if s.Items != nil && s.Items.Schema != nil {
		requireShallow(t, path+"[]", s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		requireShallow(t, path+"{}", s.AdditionalProperties.Schema)
	}
	for name, field := range s.Properties {
		requireShallow(t, path+"."+name, &field)
	}
}

// Clients that apply one envelope together own a manifest each: with an atomic map, each apply would remove the manifests of the others.
func TestManifestsOfAnEnvelopeHaveOwnersOfTheirOwn(t *testing.T) {
	envelopes := 0
	for _, crd := range crds(t) {
		for _, version := range crd.Spec.Versions {
			if data, ok := version.Schema.OpenAPIV3Schema.Properties["data"]; ok {
				envelopes++
				if kind := ptr.Deref(data.XMapType, "granular"); kind != "granular" {
					t.Errorf("%s %s: data is %s, want granular", crd.Spec.Names.Kind, version.Name, kind)
				}
			}
		}
	}
	if envelopes == 0 {
		t.Error("no CRD is an envelope; this test tests nothing")
	}
}

// What an API server takes can be decoded; and what agents and users write is taken.
func TestTimesAndQuantitiesThatAreTakenCanBeDecoded(t *testing.T) {
	found := crds(t)
	works, internal := newStore(t, found, "Work"), newStore(t, found, "InternalMemberCluster")
	take := func(t *testing.T, s store, into any, manifest string, must bool) {
		t.Helper()
		errs := s.put(nil, whole(t, manifest))
		if must && len(errs) > 0 {
			t.Errorf("refused: %v", errs.ToAggregate())
		}
		if err := json.Unmarshal([]byte(manifest), into); err != nil && len(errs) == 0 {
			t.Errorf("taken, and cannot be decoded: %v", err)
		}
	}
	for value, must := range map[string]bool{
		"2026-01-01T00:00:00Z": true, "2026-12-31T23:59:59+14:00": true, "2026-01-01T00:00:00.123456789Z": true, "2024-02-29T01:02:03-07:30": true,
		"0001-01-01T00:00:00Z": true, "2026-01-01t00:00:00z": false, "2026-01-01T00:00:00z": false, "2026-01-01T00:00:00": false, "2026-01-01T24:00:00Z": false,
		"2026-01-01T23:59:60Z": false, "2026-02-30T00:00:00Z": false, "2026-01-01T00:00:00:1Z": false, "2026-01-01T00:00:00,1Z": false,
		"2026-01-01T00:00:00+24:00": false, "2026-01-01T00:00:00+14:60": false, "0000-01-01T00:00:00+01:00": false, "9999-12-31T23:59:59-01:00": false,
		"2026-01-01 00:00:00Z": false, "": false, "now": false, "２026-01-01T00:00:00Z": false,
	} {
		t.Run("time "+value, func(t *testing.T) {
			take(t, works, &placementv1beta1.Work{}, fmt.Sprintf(`{"status":{"conditions":[{"type":"Applied","status":"True","reason":"r","message":"","lastTransitionTime":%q}]}}`, value), must)
			take(t, internal, &clusterv1beta1.InternalMemberCluster{},
				fmt.Sprintf(`{"spec":{"state":"Join"},"status":{"agentStatus":[{"type":"MemberAgent","lastReceivedHeartbeat":%q}]}}`, value), must)
		})
	}
	for value, must := range map[string]bool{
		`"4"`: true, `4`: true, `"500m"`: true, `"16Gi"`: true, `"-1"`: true, `"1e3"`: true, `"1.5"`: true, `"12E"`: true, `".5"`: true, `"5."`: true, `"+1k"`: true,
		`"1e1.5"`: false, `"1e.5"`: false, `"1e99999"`: false, `"1e2147483647"`: false, `""`: false, `"Gi"`: false, `"1 Gi"`: false, `"1Ki2"`: false, `"0x1"`: false,
		`"` + strings.Repeat("9", 1000) + `"`: false, `99999999999999999999`: false, `"１"`: false, `true`: false, `1.5`: false,
	} {
		t.Run("quantity "+value, func(t *testing.T) {
			take(t, internal, &clusterv1beta1.InternalMemberCluster{},
				fmt.Sprintf(`{"spec":{"state":"Join"},"status":{"resourceUsage":{"capacity":{"cpu":%s}}}}`, value), must)
		})
	}
	for _, value := range []string{"9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e30", "1.5", "18446744073709551616"} {
		t.Run("number "+value, func(t *testing.T) {
			take(t, works, &placementv1beta1.Work{}, fmt.Sprintf(
				`{"status":{"conditions":[{"type":"A","status":"True","reason":"r","message":"","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":%s}]}}`, value), false)
			take(t, internal, &clusterv1beta1.InternalMemberCluster{}, fmt.Sprintf(`{"spec":{"state":"Join","heartbeatPeriodSeconds":%s}}`, value), false)
		})
	}
}
