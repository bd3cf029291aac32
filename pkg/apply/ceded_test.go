package apply

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// What a controller of the member writes by design is none of the manifest's: it is not changed, and not missed.
func TestFieldsOfControllersAreCeded(t *testing.T) {
	set := func(value any, path ...string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) { setNested(o.Object, value, path...) }
	}
	const api = "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.x.test%s}, spec: {group: x.test, version: v1, groupPriorityMinimum: 1, versionPriority: 1, caBundle: %s}}"
	const job = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: n, name: j%s}, spec: {suspend: true}}"
	const pod = "{apiVersion: v1, kind: Pod, metadata: {namespace: n, name: p}, spec: {schedulingGates: [{name: a}, {name: b}]}}"
	const role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}, rules: [{verbs: [get]}]}"
	bundle := set("dGhlaXJz", "spec", "caBundle")
	for name, tc := range map[string]struct {
		manifest string
		edit     func(*unstructured.Unstructured)
		ceded    bool
	}{
		"a blank bundle":                  {fmt.Sprintf(api, "", `""`), bundle, true},
		"a bundle that holds the place":   {fmt.Sprintf(api, "", "Cg=="), bundle, true},
		"a bundle that is ordered":        {fmt.Sprintf(api, ", annotations: {cert-manager.io/inject-ca-from: a/b}", "bWluZQ=="), bundle, true},
		"a bundle ordered from OpenShift": {fmt.Sprintf(api, ", annotations: {service.beta.openshift.io/inject-cabundle: 'true'}", "bWluZQ=="), bundle, true},
		"a bundle of the manifest's own":  {fmt.Sprintf(api, "", "bWluZQ=="), bundle, false},
		"rules that are aggregated":       {role, set([]any{map[string]any{"verbs": []any{"list"}}}, "rules"), true},
		"a job that a queue lets run":     {fmt.Sprintf(job, ", labels: {kueue.x-k8s.io/queue-name: q}"), set(false, "spec", "suspend"), true},
		"a job that a user resumed":       {fmt.Sprintf(job, ""), set(false, "spec", "suspend"), false},
		"a gate that was opened":          {pod, set([]any{map[string]any{"name": "b"}}, "spec", "schedulingGates"), true},
		"gates that were all opened": {pod, func(o *unstructured.Unstructured) {
			unstructured.RemoveNestedField(o.Object, "spec", "schedulingGates")
		}, true},
		"a claim that was bound": {"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: n, name: c}, spec: {volumeName: ''}}", set("v", "spec", "volumeName"), true},
		"ports that were allocated": {"{apiVersion: v1, kind: Service, metadata: {namespace: n, name: s}, spec: {clusterIP: '', clusterIPs: [], ports: [{port: 80, nodePort: 0}]}}",
			func(o *unstructured.Unstructured) {
				setNested(o.Object, "10.0.0.1", "spec", "clusterIP")
				setNested(o.Object, []any{"10.0.0.1"}, "spec", "clusterIPs")
				setNested(o.Object, []any{map[string]any{"port": int64(80), "nodePort": int64(30000)}}, "spec", "ports")
			}, true},
		"a port that is asked for": {"{apiVersion: v1, kind: Service, metadata: {namespace: n, name: s}, spec: {ports: [{port: 80, nodePort: 30001}]}}",
			set([]any{map[string]any{"port": int64(80), "nodePort": int64(30000)}}, "spec", "ports"), false},
		"a pull secret that was added": {"{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: n, name: s}, imagePullSecrets: [{name: a}]}",
			set([]any{map[string]any{"name": "theirs"}, map[string]any{"name": "a"}}, "imagePullSecrets"), true},
		"a pull secret that was removed": {"{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: n, name: s}, imagePullSecrets: [{name: a}]}",
			set([]any{map[string]any{"name": "theirs"}}, "imagePullSecrets"), false},
		"a field that no controller owns":  {fmt.Sprintf(job, ", labels: {kueue.x-k8s.io/queue-name: q}"), set("x", "metadata", "labels", "kueue.x-k8s.io/queue-name"), false},
		"an empty list of webhooks is one": {"{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}}", func(*unstructured.Unstructured) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			live := placed(t, tc.manifest, v1beta1.ApplyStrategy{}, tc.edit)
			action, err := Decide(Input{Manifest: object(t, tc.manifest), Live: live, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})})
			if err != nil || (action.Verb == Nothing) != tc.ceded {
				t.Errorf("got %s, %v: %s", action.Verb, err, action.Body)
			}
		})
	}
}

// A certificate that an agent applied before it ceded them stays: its injector would have to write it again.
func TestCedingRemovesNothing(t *testing.T) {
	const manifest = "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.x.test}, spec: {group: x.test, caBundle: Cg==}}"
	live := placed(t, manifest, v1beta1.ApplyStrategy{}, func(o *unstructured.Unstructured) {
		setNested(o.Object, "dGhlaXJz", "spec", "caBundle")
		setNested(o.Object, `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.x.test"},"spec":{"group":"x.test","caBundle":"Cg=="}}`,
			"metadata", "annotations", "kubernetes-fleet.io/last-applied-configuration")
	})
	action, err := Decide(Input{Manifest: object(t, manifest), Live: live, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})})
	if err != nil || action.Verb != Nothing {
		t.Errorf("got %s, %v: %s", action.Verb, err, action.Body)
	}
}

// A manifest is what an author made of it: fields of a wrong type are the API server's to refuse, whatever table of
// ours they are in.
func TestManifestsOfAnyShape(t *testing.T) {
	kinds := []string{
		"v1 PersistentVolumeClaim", "v1 PersistentVolume", "v1 Pod", "v1 Service", "v1 ServiceAccount", "v1 Secret", "v1 Namespace", "batch/v1 Job", "apps/v1 Deployment",
		"apps/v1 StatefulSet", "rbac.authorization.k8s.io/v1 ClusterRole", "apiregistration.k8s.io/v1 APIService", "apiextensions.k8s.io/v1 CustomResourceDefinition",
		"admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration", "example.test/v1 Gizmo",
	}
	fields := []string{"spec", "data", "stringData", "webhooks", "rules", "aggregationRule", "imagePullSecrets", "secrets"}
	inner := []string{
		"volumeName", "claimRef", "ports", "nodeName", "clusterIPs", "template", "conversion", "caBundle", "suspend", "schedulingGates", "replicas", "uid", "*", "clientConfig",
		"webhook", "spec", "containers", "env", "nodePort", "imagePullSecrets", "persistentVolumeClaimRetentionPolicy",
	}
	var shapes []any
	for _, odd := range []any{nil, "x", int64(7), true, []any{}, []any{nil, int64(7), "x"}, map[string]any{}} {
		shapes = append(shapes, odd, []any{odd}, []any{map[string]any{}, odd})
		for _, field := range inner {
			shapes = append(shapes, map[string]any{field: odd}, []any{map[string]any{field: odd}}, map[string]any{field: []any{map[string]any{field: odd}}},
				map[string]any{field: map[string]any{field: odd, "clientConfig": odd}})
		}
	}
	strategies := []v1beta1.ApplyStrategyType{
		v1beta1.ApplyStrategyTypeClientSideApply, v1beta1.ApplyStrategyTypeServerSideApply, v1beta1.ApplyStrategyTypeReportDiff,
	}
	for k, kind := range kinds {
		version, name, _ := strings.Cut(kind, " ")
		plain := map[string]any{"apiVersion": version, "kind": name, "metadata": map[string]any{
			"name": "o", "namespace": "n", "labels": map[string]any{queueLabel: "q"}, "annotations": map[string]any{"cert-manager.io/inject-ca-from": "a/b"},
		}}
		for i, shape := range shapes {
			odd := runtime.DeepCopyJSON(plain)
			for _, field := range fields {
				odd[field] = runtime.DeepCopyJSONValue(shape)
			}
			how := strategies[(i+k)%len(strategies)]
			in := Input{Manifest: &unstructured.Unstructured{Object: odd}, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{Type: how})}
			if live := []map[string]any{plain, odd, nil}[(i/3+k)%3]; live != nil {
				in.Live = &unstructured.Unstructured{Object: runtime.DeepCopyJSON(live)}
			}
			if action, err := Decide(in); err == nil && action.Verb == "" {
				t.Errorf("%s with %v: no decision", kind, shape)
			}
		}
	}
}
