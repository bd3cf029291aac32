package applier

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// drifts are manifests, what is done to their objects, and what must be reported of it.
var drifts = map[string]struct {
	manifest string
	mutate   mutation
	want     []v1beta1.PatchDetail
}{
	"an edited key": {configMap("drifted", "NAME", "a"), merging("kubectl-edit", "{data: {key: b}}"), list(detail("/data/key", "a", "b"))},
	"a removed key": {configMap("drifted", "NAME", "a"), merging("kubectl-edit", "{data: {key: null, other: x}}"), list(detail("/data/key", "a", ""))},
	"an edited label": {strings.Replace(configMap("drifted", "NAME", "a"), "name: NAME", "name: NAME, labels: {team/of: a}", 1),
		merging("kubectl-label", "{metadata: {labels: {team/of: b}}}"), list(detail("/metadata/labels/team~1of", "a", "b"))},
	"a removed annotation": {strings.Replace(configMap("drifted", "NAME", "a"), "name: NAME", "name: NAME, annotations: {note: a}", 1),
		merging("kubectl-annotate", "{metadata: {annotations: {note: null}}}"), list(detail("/metadata/annotations/note", "a", ""))},
	"an image": {deploymentIn("drifted", "containers: [{name: c, image: web:1}]"), update(func(o map[string]any) {
		container, _ := at(o, template+"containers.0").(map[string]any)
		container["image"] = "web:2"
	}), list(detail("/spec/template/spec/containers/0/image", "web:1", "web:2"))},
	"an image behind a sidecar": {deploymentIn("drifted", "containers: [{name: c, image: web:1}]"), sequence(prepended(template+"containers", "{name: proxy, image: mesh:1}"), update(func(o map[string]any) {
		container, _ := at(o, template+"containers.1").(map[string]any)
		container["image"] = "web:2"
	})), list(detail("/spec/template/spec/containers/1/image", "web:1", "web:2"))},
	"a quantity": {deploymentIn("drifted", "containers: [{name: c, image: i, resources: {requests: {cpu: 1000m}}}]"), update(setCPU("2")),
		list(detail("/spec/template/spec/containers/0/resources/requests/cpu", "1", "2"))},
	"replicas scaled by hand": {strings.Replace(deploymentIn("drifted", "containers: [{name: c, image: i}]"), "spec: {", "spec: {replicas: 2, ", 1),
		merging("kubectl/scale", "{spec: {replicas: 5}}"), list(detail("/spec/replicas", "2", "5"))},
	"an environment variable": {deploymentIn("drifted", "containers: [{name: c, image: i, env: [{name: A, value: a}, {name: B, value: b}]}]"), update(func(o map[string]any) {
		env, _ := at(o, template+"containers.0.env.1").(map[string]any)
		env["value"] = "x"
	}), list(detail("/spec/template/spec/containers/0/env/1/value", "b", "x"))},
	"a lost container": {deploymentIn("drifted", "containers: [{name: c, image: i}, {name: d, image: j, imagePullPolicy: Always, terminationMessagePath: /d, terminationMessagePolicy: File, resources: {}}]"),
		update(func(o map[string]any) { with(o, template+"containers", func(l []any) []any { return l[:1] }) }),
		list(detail("/spec/template/spec/containers/1", "map[image:j imagePullPolicy:Always name:d resources:map[] terminationMessagePath:/d terminationMessagePolicy:File]", ""))},
	"a port of a service": {"{apiVersion: v1, kind: Service, metadata: {namespace: drifted, name: NAME}, spec: {ports: [{port: 80, targetPort: 8080}]}}", update(func(o map[string]any) {
		port, _ := at(o, "spec.ports.0").(map[string]any)
		port["targetPort"] = "http"
	}), list(detail("/spec/ports/0/targetPort", "8080", "http"))},
	"a secret": {"{apiVersion: v1, kind: Secret, metadata: {namespace: drifted, name: NAME}, stringData: {password: hunter2}}",
		merging("kubectl-edit", "{data: {password: c3dvcmRmaXNo}}"), list(detail("/data/password", contract.TextRedacted, contract.TextRedacted))},
	"a rule of a role": {"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {namespace: drifted, name: NAME}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}",
		update(func(o map[string]any) {
			with(o, "rules.0.verbs", func(l []any) []any { return append(l, "delete") })
		}), list(detail("/rules/0/verbs/-", "", "delete"))},
	"a webhook's policy": {"{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: NAME}, webhooks: [{name: a.b.test, failurePolicy: Ignore, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://192.0.2.1/'}}]}",
		sequence(injectCA("webhooks.0.clientConfig"), update(func(o map[string]any) {
			hook, _ := at(o, "webhooks.0").(map[string]any)
			hook["failurePolicy"] = "Fail"
		})), list(detail("/webhooks/0/failurePolicy", "Ignore", "Fail"))},
	"a field of a custom resource": {strings.Replace(gear("size: 1, parts: [{name: a}]"), "quiet,", "drifted,", 1),
		sequence(merging("controller", "{spec: {mode: slow}}"), merging("kubectl-edit", "{spec: {size: 2}}")), list(detail("/spec/size", "1", "2"))},
	"a keyed element of a custom resource": {strings.Replace(gear("parts: [{name: a, teeth: 3}]"), "quiet,", "drifted,", 1),
		sequence(prepended("spec.parts", "{name: theirs}"), update(func(o map[string]any) {
			part, _ := at(o, "spec.parts.1").(map[string]any)
			part["teeth"] = int64(4)
		})), list(detail("/spec/parts/1/teeth", "3", "4"))},
	"a member of a set": {strings.Replace(gear("tags: [a, b]"), "quiet,", "drifted,", 1),
		update(func(o map[string]any) { with(o, "spec.tags", func([]any) []any { return []any{"theirs", "a"} }) }), list(detail("/spec/tags/2", "b", ""))},
	"a list as a whole": {strings.Replace(gear("words: [a, b]"), "quiet,", "drifted,", 1),
		update(func(o map[string]any) { with(o, "spec.words", func([]any) []any { return []any{"a", "c", "d"} }) }),
		list(detail("/spec/words/1", "b", "c"), detail("/spec/words/-", "", "d"))},
	"an autoscaler's bound": {"{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {namespace: drifted, name: NAME}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}",
		merging("kubectl-edit", "{spec: {maxReplicas: 9}}"), list(detail("/spec/maxReplicas", "3", "9"))},
}

func list(details ...v1beta1.PatchDetail) []v1beta1.PatchDetail { return details }

func deploymentIn(namespace, spec string) string {
	return strings.Replace(deployment(spec), "namespace: quiet", "namespace: "+namespace, 1)
}

func TestDriftIsReported(t *testing.T) {
	w := newWorld(t)
	w.serveGears()
	w.onMember(namespaceText("drifted"))
	manifests := map[string]string{}
	for name, c := range drifts {
		manifests[name] = c.manifest
	}
	cases := w.lay("d", manifests, map[string]*v1beta1.ApplyStrategy{"careful": strategy(ifNotDrifted), "always": strategy()})
	w.mutateAll(cases, func(name string) mutation { return drifts[name].mutate })
	w.quiet(time.Second)
	began := w.versionsOf(cases)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		what, variant, _ := strings.Cut(name, ", ")
		c := cases[name]
		if variant == "careful" {
			m := w.reads(c.work, 0, v1beta1.ConditionApplied, v1beta1.ReasonManifestFoundDrifts, drifts[what].want...)
			if m.DriftDetails.ObservedInMemberClusterGeneration != c.obj.GetGeneration() || m.DiffDetails != nil {
				t.Errorf("%s: %+v, differences %+v; want generation %d", name, m.DriftDetails, m.DiffDetails, c.obj.GetGeneration())
			}
			continue
		}
		w.eventually(name+" to be undone", func() error {
			for _, d := range drifts[what].want {
				if err := w.member.Get(t.Context(), client.ObjectKeyFromObject(c.obj), c.obj); err != nil {
					return err
				}
				if got := fmt.Sprint(at(c.obj.Object, strings.ReplaceAll(strings.Trim(d.Path, "/-"), "/", "."))); d.ValueInHub != "" && d.ValueInHub != contract.TextRedacted && got == d.ValueInMember {
					return fmt.Errorf("%s is %s", d.Path, got)
				}
			}
			return w.isApplied(c.work)
		})
	}
	// What was reported is left as it was, but for the statuses that controllers write: an autoscaler's comes 15 s
	// after it was made.
	for name, version := range w.versionsOf(cases) {
		kind := cases[name].obj.GetKind()
		if strings.HasSuffix(name, "careful") && version != began[name] && kind != "Deployment" && kind != "HorizontalPodAutoscaler" {
			t.Errorf("%s was written", name)
		}
	}
}

func (w *world) versionsOf(cases map[string]placedCase) map[string]string {
	w.Helper()
	out := map[string]string{}
	for name, c := range cases {
		w.must(w.member.Get(w.Context(), client.ObjectKeyFromObject(c.obj), c.obj))
		out[name] = c.obj.GetResourceVersion()
	}
	return out
}

func (w *world) serveGears() {
	w.Helper()
	if _, err := w.object("quiet.test/v2 Gear quiet/none"); meta.IsNoMatchError(err) {
		w.onMember(gears)
	}
	w.eventually("the kind to be served", func() error {
		_, err := w.object("quiet.test/v2 Gear quiet/none")
		return client.IgnoreNotFound(err)
	})
}

// contract:129, contract:126, contract:134, contract:135
func TestNotTakenOverWithDifferences(t *testing.T) {
	w := newWorld(t)
	w.onMember("{apiVersion: v1, kind: Namespace, metadata: {name: untaken, labels: {foo: bar}}}")
	w.onMember(configMap("untaken", "cm", "custom-1"))
	w.onMember("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: untaken, name: more, labels: {foo: bar}}, data: {key: a}}")
	w.work("partly", strategy(ifNoDiff), namespaceText("untaken"), configMap("untaken", "cm", "test"))
	w.reads("partly", 0, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplied)
	w.reads("partly", 1, v1beta1.ConditionApplied, v1beta1.ReasonManifestFailedToTakeOver, detail("/data/key", "test", "custom-1"))
	w.work("fully", strategy(ifNoDiff, fully), configMap("untaken", "more", "a"))
	w.reads("fully", 0, v1beta1.ConditionApplied, v1beta1.ReasonManifestFailedToTakeOver, detail("/metadata/labels/foo", "", "bar"))
	for object, owned := range map[string]int{"v1 Namespace untaken": 1, "v1 ConfigMap untaken/cm": 0, "v1 ConfigMap untaken/more": 0} {
		if got := len(w.mustObject(object).GetOwnerReferences()); got != owned {
			t.Errorf("%s has %d owners; want %d", object, got, owned)
		}
	}
}

// contract:136
func TestFullComparisonReportsRemainingDifferences(t *testing.T) {
	w := newWorld(t)
	const ns = "compares"
	w.onMember(namespaceText(ns))
	w.work(ns, strategy(fully), configMap(ns, "cm", "a"))
	w.settled(ns, yes, yes)
	w.change("v1 ConfigMap compares/cm", edited(map[string]any{"key": "edited", "other": "theirs"}))
	w.reads(ns, 0, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplied, detail("/data/other", "", "theirs"))
	w.value("v1 ConfigMap compares/cm", "a", "data", "key")
	w.settled(ns, yes, yes)
}

// An annotation of the machinery is no part of what is compared: a manifest that changes, adds or drops only such a
// one is applied also where nothing may be overwritten that was changed on the member.
func TestMachineryMetadataIsNoDrift(t *testing.T) {
	const ns, key = "machinery", "kubernetes-fleet.io/note"
	w := newWorld(t)
	w.onMember(namespaceText(ns))
	for name, s := range map[string]*v1beta1.ApplyStrategy{
		"client": strategy(ifNotDrifted),
		"server": strategy(ifNotDrifted, func(s *v1beta1.ApplyStrategy) { s.Type = v1beta1.ApplyStrategyTypeServerSideApply }),
		"full":   strategy(ifNotDrifted, fully),
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.T = t
			ref := "v1 ConfigMap " + ns + "/" + name
			noted := func(value string) string {
				return strings.Replace(configMap(ns, name, "a"), "name: "+name, "name: "+name+", annotations: {"+key+": "+value+", note: kept}", 1)
			}
			work := ns + "-" + name
			w.work(work, s, noted("one"))
			w.settled(work, yes, yes)
			w.edit(work, noted("two"))
			w.value(ref, "two", "metadata", "annotations", key)
			w.settled(work, yes, yes)
			w.edit(work, strings.Replace(noted("two"), key+": two, ", "", 1))
			w.value(ref, "<nil>", "metadata", "annotations", key)
			w.settled(work, yes, yes)
			w.edit(work, noted("three"))
			w.value(ref, "three", "metadata", "annotations", key)
			if m := w.settled(work, yes, yes).Status.ManifestConditions[0]; m.DriftDetails != nil {
				t.Errorf("drifts %+v", m.DriftDetails)
			}
		})
	}
}
