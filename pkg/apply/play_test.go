package apply

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAMergeIsPlayedFirst(t *testing.T) {
	const (
		service = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: ["
		config  = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c"
		gizmo   = "{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g"
		pod     = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, "
	)
	for name, c := range map[string]struct{ base, want, live, fault string }{
		"another value": {config + "}, data: {a: b}}", config + "}, data: {a: c}}", config + "}, data: {a: b, theirs: x}}", ""},
		"ports that differ by protocol": {service + "{port: 53, protocol: UDP}]}}", service + "{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}}",
			service + "{port: 53, protocol: UDP}]}}", "/spec/ports"},
		"ports that differ":  {service + "{port: 53}]}}", service + "{port: 53}, {port: 54}]}}", service + "{port: 53, protocol: TCP, nodePort: 7}, {port: 55}]}}", ""},
		"the last finalizer": {config + ", finalizers: [a/b]}}", config + "}}", config + ", finalizers: [a/b, c/d]}}", "/metadata/finalizers"},
		"a finalizer":        {config + ", finalizers: [a/b]}}", config + ", finalizers: [e/f]}}", config + ", finalizers: [a/b, c/d]}}", ""},
		"a finalizer of a custom resource": {gizmo + ", finalizers: [a/b]}}", gizmo + ", finalizers: [a/b]}, spec: {size: 2}}",
			gizmo + ", finalizers: [a/b, c/d]}, spec: {size: 1}}", "/metadata/finalizers"},
		"a list that only the hub changes": {gizmo + "}, spec: {list: [a]}}", gizmo + "}, spec: {list: [b]}}", gizmo + "}, spec: {list: [a]}}", ""},
		"a null that a merge cannot write": {gizmo + "}, spec: {size: 1}}", gizmo + "}, spec: {size: null}}", gizmo + "}, spec: {size: 1}}", "/spec/size"},
		"a null that is nothing":           {pod + "livenessProbe: {periodSeconds: 3}}]}}", pod + "livenessProbe: null}]}}", pod + "livenessProbe: {periodSeconds: 3, failureThreshold: 3}}]}}", ""},
		"the last key":                     {config + "}, data: {a: b}}", config + "}}", config + "}, data: {a: b, theirs: x}}", "/data/theirs"},
		"a probe of another type": {"", pod + "livenessProbe: {tcpSocket: {port: 1}}}]}}", pod + "livenessProbe: {httpGet: {port: 1}}}]}}",
			"/spec/containers/0/livenessProbe/httpGet"},
		"a probe that had another type": {pod + "livenessProbe: {httpGet: {port: 1}}}]}}", pod + "livenessProbe: {tcpSocket: {port: 1}}}]}}",
			pod + "livenessProbe: {httpGet: {port: 1, scheme: HTTP}, failureThreshold: 3}}]}}", ""},
	} {
		var base *unstructured.Unstructured
		if c.base != "" {
			base = object(t, c.base)
		}
		want, live := object(t, c.want), object(t, c.live)
		patch, _, err := merge(base, want, live)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		outcome, err := play(patch, base, want, live)
		if err != nil || outcome.fault() != c.fault {
			t.Errorf("%s: fault %q, error %v; want %q of %v", name, outcome.fault(), err, c.fault, patch)
		}
	}
}
