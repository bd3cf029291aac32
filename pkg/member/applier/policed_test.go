package applier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// policies are what a member's owner adds to every object in the namespace "policed", in the requests of the agent
// too.
var policies = []string{`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: policed}
spec:
  reinvocationPolicy: IfNeeded
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policed}}
    resourceRules:
    - {apiGroups: ["", apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps, services, deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"policed": "yes"}, annotations: {"policed": "yes"}}}'}
`, `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: policed-pods}
spec:
  reinvocationPolicy: IfNeeded
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policed}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
          containers: [Object.spec.template.spec.containers{name: "sidecar", image: "sidecar:1"}]
        }}}}
`}

// What a policy or a webhook of the member adds to the agent's own requests is the member's: it stays, it is no drift,
// and the agent does not write because of it, also after a restart. What the hub changes beside it arrives.
func TestFieldsOfAnAdmissionPolicyStay(t *testing.T) {
	w := newWorld(t)
	const ns = "policed"
	w.onMember(namespaceText(ns))
	for _, text := range policies {
		name := w.onMember(text).GetName()
		binding := w.onMember(fmt.Sprintf("{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: %s}, spec: {policyName: %[1]s}}", name))
		t.Cleanup(func() { _ = w.member.Delete(context.WithoutCancel(w.Context()), binding) })
	}
	deployment := func(value string) string {
		return `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: policed, name: NAME, labels: {a: b}}, spec: {replicas: 0, selector: {matchLabels: {app: x}},
		  template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: i, env: [{name: V, value: "` + value + `"}]}]}}}}`
	}
	manifests := func(value string) map[string]string {
		return map[string]string{
			"plain": configMap(ns, "NAME", value), "deployment": deployment(value),
			"service": `{apiVersion: v1, kind: Service, metadata: {namespace: policed, name: NAME, annotations: {v: "` + value + `"}}, spec: {selector: {a: b}, ports: [{name: p, port: 80}]}}`,
		}
	}
	w.eventually("the policies to take effect", func() error {
		probe := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(deployment("probe")), &probe.Object); err != nil {
			return err
		}
		probe.SetName("probe")
		if err := w.member.Create(t.Context(), probe, client.DryRunAll); err != nil {
			return err
		}
		if probe.GetLabels()["policed"] == "" || at(probe.Object, template+"containers.1") == nil {
			return fmt.Errorf("it is %v", probe.Object)
		}
		return nil
	})
	strategies := map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide), "ifnotdrifted": strategy(ifNotDrifted)}
	cases := w.lay("policed", manifests("one"), strategies)
	stands := func(value string) {
		w.Helper()
		w.eventually("objects with "+value+" and what the policies added", func() error {
			var all error
			for key, c := range cases {
				if err := w.member.Get(t.Context(), client.ObjectKeyFromObject(c.obj), c.obj); err != nil {
					return err
				}
				if err := w.isApplied(c.work); err != nil {
					all = errors.Join(all, fmt.Errorf("%s: %w", key, err))
				}
				if c.obj.GetLabels()["policed"] != "yes" || c.obj.GetAnnotations()["policed"] != "yes" {
					all = errors.Join(all, fmt.Errorf("%s lost what was added: %v", key, c.obj.Object))
				}
				if c.obj.GetKind() == "Deployment" && (at(c.obj.Object, template+"containers.1.name") != "sidecar" ||
					at(c.obj.Object, template+"containers.0.env.0.value") != value) {
					all = errors.Join(all, fmt.Errorf("%s: %v", key, at(c.obj.Object, "spec.template")))
				}
			}
			return all
		})
		w.quiet(2 * time.Second)
	}
	stands("one")
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.member.Take(); len(got) > 0 { // a Deployment may be observed late, and its Work reported
		t.Errorf("a restart wrote %q", got)
	}
	next := manifests("two")
	for key, c := range cases {
		text := next[key[:strings.LastIndex(key, ", ")]]
		w.edit(c.work, strings.ReplaceAll(text, "NAME", c.obj.GetName()))
	}
	stands("two")
}
