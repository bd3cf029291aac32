package main

import (
	"math"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
)

const (
	// timePattern matches what metav1.Time can parse. Format date-time also allows a small t and z and any character
	// before the fraction. The first and the last year are excluded: in UTC they may have a sign or five digits, which
	// cannot be parsed.
	timePattern = `^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}` +
		`T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,30})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	// quantityPattern is narrower than the published one, which allows exponents with a point, and exponents so large
	// that calculations do not end.
	quantityPattern = `^[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$`
	// mostOfNumber is the longest text where a number may be text.
	mostOfNumber = 64

	// The maximum sizes if no smaller one is known. An object may have about 1.5 MiB in etcd, and statuses name the
	// selected objects and their clusters: these limits leave room for every object that fits.
	mostText  = 1 << 20
	mostItems = 1 << 16
	// mostName is the limit for names of objects, kinds, groups and similar, which everywhere in Kubernetes have less
	// than half of it.
	mostName = 1024
	// greatestWhole is the largest whole number that JSON numbers represent exactly. API servers refuse every value of
	// a field whose schema has a larger limit.
	greatestWhole = 1<<53 - 1
)

// names are fields that hold a name wherever they are.
var names = map[string]bool{
	"name": true, "namespace": true, "kind": true, "group": true, "version": true, "resource": true, "uid": true, "apiVersion": true,
	"type": true, "state": true, "reason": true,
}

// bound adds the missing bounds to the schema of a field, and of everything in it.
func bound(name string, s *apiextensionsv1.JSONSchemaProps) {
	if s.XEmbeddedResource {
		return // agents measure what users nest
	}
	if s.Type == "object" && ptr.Deref(s.XPreserveUnknownFields, false) {
		// Managed fields that follow nested data of users are nested deeper than the data, and API servers cannot
		// decode objects beyond their limit. The map around it stays granular: clients that apply one envelope
		// together own a manifest each.
		s.XMapType = ptr.To("atomic")
	}
	switch {
	case s.XIntOrString:
		intOrString(s)
	case s.Type == "string":
		text(name, s)
	case s.Type == "integer":
		whole(s)
	case s.Type == "number":
		atMost(&s.Maximum, math.MaxFloat64)
		atLeast(&s.Minimum, -math.MaxFloat64)
	case s.Type == "array":
		most(&s.MaxItems, mostItems)
		if s.Items != nil && s.Items.Schema != nil {
			bound(name, s.Items.Schema)
		}
	case s.AdditionalProperties != nil:
		most(&s.MaxProperties, mostItems)
		if s.AdditionalProperties.Schema != nil {
			bound("", s.AdditionalProperties.Schema)
		}
	}
	for key, field := range s.Properties {
		bound(key, &field)
		s.Properties[key] = field
	}
}

func text(name string, s *apiextensionsv1.JSONSchemaProps) {
	switch {
	case len(s.Enum) > 0:
	case s.Format == "date-time":
		if s.Pattern == "" {
			s.Pattern = timePattern
		}
		most(&s.MaxLength, 64)
	case names[name]:
		most(&s.MaxLength, mostName)
	default:
		most(&s.MaxLength, mostText)
	}
}

// intOrString bounds quantities, which are known by their pattern, and numbers that may be percentages.
func intOrString(s *apiextensionsv1.JSONSchemaProps) {
	if len(s.AllOf) > 0 {
		return
	}
	if quantity := strings.HasPrefix(s.Pattern, `^(\+|-)?`); quantity {
		s.AllOf = []apiextensionsv1.JSONSchemaProps{{AnyOf: s.AnyOf}, {Pattern: quantityPattern}}
		return
	}
	most(&s.MaxLength, mostOfNumber)
}

func whole(s *apiextensionsv1.JSONSchemaProps) {
	low, high := float64(-greatestWhole), float64(greatestWhole)
	if s.Format == "int32" {
		low, high = math.MinInt32, math.MaxInt32
	}
	atLeast(&s.Minimum, low)
	atMost(&s.Maximum, high)
}

func most(limit **int64, value int64) {
	if *limit == nil {
		*limit = ptr.To(value)
	}
}

func atMost(limit **float64, value float64) {
	if *limit == nil {
		*limit = ptr.To(value)
	}
}

func atLeast(limit **float64, value float64) {
	if *limit == nil {
		*limit = ptr.To(value)
	}
}
