package apply

import "testing"

func TestScales(t *testing.T) {
	live := object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: app, name: web}}")
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"targets it":             {"{metadata: {namespace: app}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}", true},
		"in another version":     {"{metadata: {namespace: app}, spec: {scaleTargetRef: {apiVersion: apps/v1beta1, kind: Deployment, name: web}}}", true},
		"another name":           {"{metadata: {namespace: app}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: db}}}", false},
		"another kind":           {"{metadata: {namespace: app}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: web}}}", false},
		"another group":          {"{metadata: {namespace: app}, spec: {scaleTargetRef: {apiVersion: example.com/v1, kind: Deployment, name: web}}}", false},
		"in another namespace":   {"{metadata: {namespace: b}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}", false},
		"on its way out":         {`{metadata: {namespace: app, deletionTimestamp: "2020-01-01T00:00:00Z"}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}`, false},
		"with nothing to target": {"{metadata: {namespace: app}}", false},
	} {
		if got := Scales(object(t, tc.text), live); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
