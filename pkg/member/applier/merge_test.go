package applier

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func serverSide(s *v1beta1.ApplyStrategy) {
	s.Type = v1beta1.ApplyStrategyTypeServerSideApply
	s.ServerSideApplyConfig = &v1beta1.ServerSideApplyConfig{ForceConflicts: true}
}

// gadgetKind is of custom resources with a field that may be null, free-form values, and lists of three kinds.
const gadgetKind = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.h2.example.test}, spec: {group: h2.example.test,
  names: {kind: Gadget, plural: gadgets, singular: gadget, listKind: GadgetList}, scope: Namespaced, versions: [{name: v1, served: true, storage: true, subresources: {status: {}},
  schema: {openAPIV3Schema: {type: object, properties: {status: {type: object, x-kubernetes-preserve-unknown-fields: true}, spec: {type: object, properties: {
    size: {type: integer, nullable: true, default: 5}, port: {x-kubernetes-int-or-string: true}, values: {type: object, x-kubernetes-preserve-unknown-fields: true},
    strict: {type: string}, tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}, words: {type: array, items: {type: string}},
    items: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name],
      properties: {name: {type: string}, weight: {type: integer}}}}}}}}}}]}}`

func (w *world) serveGadgets() {
	w.Helper()
	if _, err := w.object("h2.example.test/v1 Gadget merges/none"); meta.IsNoMatchError(err) {
		w.onMember(gadgetKind)
	}
	w.eventually("the kind to be served", func() error {
		_, err := w.object("h2.example.test/v1 Gadget merges/none")
		return client.IgnoreNotFound(err)
	})
}

func gadget(spec string) string {
	return "{apiVersion: h2.example.test/v1, kind: Gadget, metadata: {namespace: merges, name: NAME}, spec: {" + spec + "}}"
}

func service(ports string) string {
	return "{apiVersion: v1, kind: Service, metadata: {namespace: merges, name: NAME}, spec: {selector: {app: dns}, ports: [" + ports + "]}}"
}

func merged(spec string) string {
	return strings.ReplaceAll(deployment(spec), "namespace: quiet", "namespace: merges")
}

// lacks returns where have lacks what a manifest sets; "" if it has all of it. Items of lists may be in any order, and
// more of them.
func lacks(path string, want, have any) string {
	switch v := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok && (len(v) > 0 || have != nil) {
			return path
		}
		for key, value := range v {
			got, there := h[key]
			if value == nil && there && got == nil {
				continue
			}
			if at := lacks(path+"."+key, value, got); at != "" {
				return at
			}
		}
		return ""
	case []any:
		h, ok := have.([]any)
		if !ok && (len(v) > 0 || have != nil) || len(h) < len(v) {
			return path
		}
		taken := map[int]bool{}
	items:
		for i, item := range v {
			for j, other := range h {
				if !taken[j] && lacks("", item, other) == "" {
					taken[j] = true
					continue items
				}
			}
			return fmt.Sprintf("%s.%d", path, i)
		}
		return ""
	case nil:
		return path
	}
	if fmt.Sprint(want) != fmt.Sprint(have) {
		return path
	}
	return ""
}

const (
	udp    = "{name: dns-udp, port: 53, protocol: UDP, targetPort: 1053}"
	tcp    = "{name: dns-tcp, port: 53, protocol: TCP, targetPort: 1053}"
	moved  = "{name: dns-tcp, port: 53, protocol: TCP, targetPort: 2053}"
	zoneA  = "{topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: NAME}}}"
	zoneB  = "{topologyKey: topology.kubernetes.io/zone, maxSkew: SKEW, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: NAME}}}"
	udpOf  = "{name: dns-udp, containerPort: 53, protocol: UDP}"
	tcpOf  = "{name: dns-tcp, containerPort: 53, protocol: TCP}"
	probed = "containers: [{name: c, image: i, livenessProbe: {%s}}]"
)

func environment(env string) string {
	return merged("containers: [{name: c, image: i, env: [" + env + "]}]")
}

func zones(skew, ports string) string {
	return merged(fmt.Sprintf("topologySpreadConstraints: [%s, %s], containers: [{name: c, image: i, ports: [%s]}]", zoneA, strings.Replace(zoneB, "SKEW", skew, 1), ports))
}

// mergers are manifests, what follows on them on the hub, and what a controller of the member does in between. The
// object must have what the manifest sets, whatever merging it takes. kept and gone are paths with their values, which
// must and must not be there in the end.
var mergers = map[string]struct {
	before, after string
	mutate        mutation
	kept, gone    map[string]string
}{
	"service-same-port-two-protocols, added":   {before: service(udp), after: service(udp + ", " + tcp)},
	"service-same-port-two-protocols, edited":  {before: service(udp + ", " + tcp), after: service(udp + ", " + moved)},
	"service-same-port-two-protocols, removed": {before: service(udp + ", " + tcp), after: service(tcp), gone: map[string]string{"spec.ports.1": ""}},
	"explicit-null-lost-on-update": {before: gadget("size: 3, values: {limits: {cpu: 1, memory: 2}}"), after: gadget("size: null, values: {limits: {cpu: null, memory: 2}}"),
		kept: map[string]string{"spec.size": "<nil>", "spec.values.limits.cpu": "<nil>"}},
	"merge-never-converges-hot-loop": {before: zones("5", udpOf), after: zones("3", udpOf+", "+tcpOf)},
	"finalizers-of-member-controllers-removed, custom": {before: strings.Replace(gadget("size: 1, items: [{name: a, weight: 1}]"), "name: NAME", "name: NAME, finalizers: [h2.example.test/hub]", 1),
		after:  strings.Replace(gadget("size: 2, items: [{name: a, weight: 2}]"), "name: NAME", "name: NAME, finalizers: [h2.example.test/hub]", 1),
		mutate: sequence(appended("metadata.finalizers", "h2.example.test/member"), appended("spec.items", "{name: theirs, weight: 9}")),
		kept:   map[string]string{"metadata.finalizers.1": "h2.example.test/member", "spec.items.1.name": "theirs"}},
	"finalizers-of-member-controllers-removed, built in": {before: strings.Replace(configMap("merges", "NAME", "a"), "name: NAME", "name: NAME, finalizers: [h2.example.test/hub]", 1),
		after: configMap("merges", "NAME", "b"), mutate: appended("metadata.finalizers", "h2.example.test/member"),
		kept: map[string]string{"metadata.finalizers.0": "h2.example.test/member"}, gone: map[string]string{"metadata.finalizers.1": ""}},
	"a key of others beside the last of ours": {before: configMap("merges", "NAME", "a"), after: "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: merges, name: NAME}}",
		mutate: merging("others", "{data: {theirs: x}}"), kept: map[string]string{"data.theirs": "x"}, gone: map[string]string{"data.key": ""}},
	"a probe that changes its type": {before: merged(fmt.Sprintf(probed, "httpGet: {path: /, port: 80}")), after: merged(fmt.Sprintf(probed, "tcpSocket: {port: 80}")),
		gone: map[string]string{template + "containers.0.livenessProbe.httpGet": ""}},
	"a volume that changes its type": {before: merged("containers: [{name: c, image: i}], volumes: [{name: v, emptyDir: {}}]"),
		after: merged("containers: [{name: c, image: i}], volumes: [{name: v, configMap: {name: x}}]"), gone: map[string]string{template + "volumes.0.emptyDir": ""}},
	"a strategy that changes its type": {before: merged(containers), after: strings.Replace(merged(containers), "spec: {", "spec: {strategy: {type: Recreate}, ", 1)},
	"an environment that changes its type": {before: merged("containers: [{name: c, image: i, env: [{name: A, value: a}]}]"),
		after: merged("containers: [{name: c, image: i, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]"), gone: map[string]string{template + "containers.0.env.0.value": ""}},
	"host aliases of one address": {before: merged("hostAliases: [{ip: 192.0.2.1, hostnames: [a]}], containers: [{name: c, image: i}]"),
		after: merged("hostAliases: [{ip: 192.0.2.1, hostnames: [b]}, {ip: 192.0.2.2, hostnames: [a]}], containers: [{name: c, image: i}]")},
	"image pull secrets": {before: merged("imagePullSecrets: [{name: a}], containers: [{name: c, image: i}]"),
		after:  merged("imagePullSecrets: [{name: b}], containers: [{name: c, image: i}]"),
		mutate: appended(template+"imagePullSecrets", "{name: theirs}"), gone: map[string]string{template + "imagePullSecrets.2": ""}},
	"a container that goes": {before: merged("containers: [{name: c, image: i}, {name: d, image: i, ports: [" + udpOf + ", " + tcpOf + "]}]"),
		after: merged("containers: [{name: c, image: j}]"), mutate: appended(template+"containers", "{name: theirs, image: mesh:1}"),
		kept: map[string]string{template + "containers.1.name": "theirs"}, gone: map[string]string{template + "containers.2": ""}},
	"free-form lists": {before: gadget("values: {list: [{a: 1}, {b: 2}]}"), after: gadget("values: {list: [{a: 1, c: null}, {b: 3}]}")},
	"environment names twice, one added": {before: environment("{name: A, value: a}, {name: A, value: b}"), after: environment("{name: A, value: a}, {name: A, value: b}, {name: B, value: c}"),
		mutate: sequence(prepended(template+"containers", "{name: theirs, image: mesh:1}"), appended(template+"containers.1.env", "{name: THEIRS, value: x}")),
		kept:   map[string]string{template + "containers.0.name": "theirs", template + "containers.1.env.0.value": "a", template + "containers.1.env.2.name": "THEIRS", template + "containers.1.env.3.name": "B"}},
	"environment names twice, from once": {before: environment("{name: A, value: a}, {name: B, value: b}"), after: environment("{name: A, value: a}, {name: A, value: $(A)c}"),
		kept: map[string]string{template + "containers.0.env.1.value": "$(A)c"}, gone: map[string]string{template + "containers.0.env.2": ""}},
	"environment names twice, to once": {before: environment("{name: A, value: a}, {name: A, value: b}, {name: B, value: b}"), after: environment("{name: A, value: c}, {name: B, value: b}"),
		gone: map[string]string{template + "containers.0.env.2": ""}},
	"environment names twice, to none": {before: environment("{name: A, value: a}, {name: A, value: b}, {name: B, value: b}"), after: environment("{name: B, value: b}"),
		gone: map[string]string{template + "containers.0.env.1": ""}},
	"environment names twice, another order": {before: environment("{name: A, value: a}, {name: B, value: b}, {name: A, value: c}"), after: environment("{name: A, value: c}, {name: A, value: a}, {name: B, value: b}"),
		kept: map[string]string{template + "containers.0.env.0.value": "c", template + "containers.0.env.1.value": "a"}, gone: map[string]string{template + "containers.0.env.3": ""}},
	"environment names twice, beside another list": {before: environment("{name: A, value: a}, {name: A, value: b}"), after: strings.Replace(environment("{name: A, value: a}, {name: A, value: b}"), "image: i", "image: j", 1)},
	"a container's port twice": {before: merged("containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 80, hostPort: 8081}]}]"),
		after: merged("containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 80, hostPort: 8082}, {containerPort: 81}]}]"),
		gone:  map[string]string{template + "containers.0.ports.3": ""}},
	"image pull secrets twice": {before: merged("imagePullSecrets: [{name: a}, {name: a}, {name: b}], containers: [{name: c, image: i}]"), after: merged("imagePullSecrets: [{name: a}, {name: a}, {name: d}], containers: [{name: c, image: i}]"),
		mutate: prepended(template+"imagePullSecrets", "{name: theirs}"), kept: map[string]string{template + "imagePullSecrets.0.name": "theirs", template + "imagePullSecrets.3.name": "d"}},
	"host aliases twice": {before: merged("hostAliases: [{ip: 192.0.2.1, hostnames: [a]}, {ip: 192.0.2.1, hostnames: [b]}], containers: [{name: c, image: i}]"),
		after: merged("hostAliases: [{ip: 192.0.2.1, hostnames: [a]}, {ip: 192.0.2.1, hostnames: [c]}, {ip: 192.0.2.2, hostnames: [d]}], containers: [{name: c, image: i}]")},
	"a service account's secrets twice": {before: "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: merges, name: NAME}, secrets: [{name: a}, {name: a}]}",
		after: "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: merges, name: NAME}, secrets: [{name: a}, {name: a}, {name: b}]}"},
	"finalizers twice": {before: strings.Replace(configMap("merges", "NAME", "a"), "name: NAME", "name: NAME, finalizers: [h2.example.test/hub, h2.example.test/hub]", 1),
		after: strings.Replace(configMap("merges", "NAME", "b"), "name: NAME", "name: NAME, finalizers: [h2.example.test/hub, h2.example.test/more]", 1)},
	"tolerations twice": {before: merged("tolerations: [{key: a, operator: Exists}, {key: a, operator: Exists}], containers: [{name: c, image: i}]"),
		after: merged("tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}, {key: a, operator: Exists}], containers: [{name: c, image: i}]")},
	"a set": {before: gadget("tags: [a, b]"), after: gadget("tags: [a, c]"), mutate: appended("spec.tags", "theirs"), gone: map[string]string{"spec.tags.3": ""}},
}

func TestWrittenFieldsAreOnTheObject(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("merges"))
	w.serveGadgets()
	both := map[string]*v1beta1.ApplyStrategy{"always": strategy(), "server": strategy(serverSide), "careful": strategy(ifNotDrifted)}
	manifests := map[string]string{}
	for name, c := range mergers {
		manifests[name] = c.before
	}
	cases := w.lay("m", manifests, both)
	w.mutateAll(cases, func(name string) mutation { return mergers[name].mutate })
	for key, c := range cases {
		w.edit(c.work, strings.ReplaceAll(mergers[key[:strings.LastIndex(key, ", ")]].after, "NAME", c.obj.GetName()))
	}
	w.eventually("all to be as the manifests say", func() error {
		var all error
		for key, c := range cases {
			if err := w.hasMerged(key[:strings.LastIndex(key, ", ")], c); err != nil {
				all = errors.Join(all, fmt.Errorf("%s: %w", key, err))
			}
		}
		return all
	})
	w.quiet(2 * time.Second)
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.member.Take(); len(got) > 0 { // a Deployment may be observed late, and its Work reported
		t.Errorf("a restart wrote %q", got)
	}
}

// hasMerged returns the differences between a case and its expected outcome.
func (w *world) hasMerged(name string, c placedCase) error {
	work := w.readWork(c.work)
	if applied := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionApplied); applied == nil || applied.ObservedGeneration != work.Generation || applied.Status != yes {
		return fmt.Errorf("the Work is %+v", work.Status.ManifestConditions)
	}
	if err := w.member.Get(w.Context(), client.ObjectKeyFromObject(c.obj), c.obj); err != nil {
		return err
	}
	want := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(mergers[name].after, "NAME", c.obj.GetName())), &want.Object); err != nil {
		return err
	}
	if at := lacks("", want.Object, c.obj.Object); at != "" {
		return fmt.Errorf("it lacks %s: %v", at, c.obj.Object["spec"])
	}
	for path, value := range mergers[name].kept {
		if got := at(c.obj.Object, path); fmt.Sprint(got) != value {
			return fmt.Errorf("%s is %v; want %s", path, got, value)
		}
	}
	for path := range mergers[name].gone {
		if got := at(c.obj.Object, path); !reflect.DeepEqual(got, nil) {
			return fmt.Errorf("%s is still %v", path, got)
		}
	}
	return nil
}

// From the case ssa-takeover-keeps-removed-fields: kubectl applied the object on the member before it was placed. What
// the manifest drops goes nevertheless, and what kubectl alone applied stays.
func TestSsaTakeoverKeepsRemovedFields(t *testing.T) {
	w := newWorld(t)
	const ns = "takes"
	w.onMember(namespaceText(ns))
	web := func(name, env, probe string) string {
		return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: takes, name: %s}, spec: {paused: true, selector: {matchLabels: {app: web}},
		  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: "example.invalid/web:1", env: [%s], livenessProbe: {%s}}]}}}}`, name, env, probe)
	}
	const both, one, theirs = "{name: A, value: a}, {name: DEBUG, value: b}", "{name: A, value: a}", "{name: A, value: a}, {name: DEBUG, value: b}, {name: THEIRS, value: x}"
	const get, tcp = "httpGet: {path: /, port: 80}", "tcpSocket: {port: 80}"
	strategies := map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide)}
	for name, s := range strategies {
		for manager, how := range map[string]client.CreateOption{"csa": client.FieldOwner("kubectl-client-side-apply"), "create": client.FieldOwner("kubectl-create")} {
			name := name + "-" + manager
			for _, at := range []string{"", "-at-once"} {
				obj := &unstructured.Unstructured{}
				w.must(yaml.Unmarshal([]byte(web(name+at, theirs, get)), &obj.Object))
				w.must(w.member.Create(t.Context(), obj, how))
			}
			w.work(name, s, web(name, both, get))
			w.work(name+"-at-once", s, web(name+"-at-once", one, tcp))
		}
		applied := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal([]byte(web(name+"-ssa", theirs, get)), &applied.Object))
		w.must(w.member.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("kubectl")))
		w.work(name+"-ssa", s, web(name+"-ssa", both, get))
	}
	for name := range strategies {
		for _, manager := range []string{"-csa", "-create", "-ssa"} {
			w.eventually(name+manager+" to be taken over", func() error { return w.isApplied(name + manager) })
			w.edit(name+manager, web(name+manager, one, tcp))
		}
	}
	for name := range strategies {
		for _, work := range []string{"-csa", "-create", "-ssa", "-csa-at-once", "-create-at-once"} {
			w.eventually(name+work+" to be as the manifest", func() error {
				obj := w.mustObject("apps/v1 Deployment takes/" + name + work)
				env, _ := at(obj.Object, template+"containers.0.env").([]any)
				probe, _ := at(obj.Object, template+"containers.0.livenessProbe").(map[string]any)
				want := 2
				if strings.HasSuffix(work, "at-once") {
					want = 3 // DEBUG was kubectl's alone
				}
				if len(env) != want || probe["tcpSocket"] == nil || probe["httpGet"] != nil {
					return fmt.Errorf("environment %v, probe %v, %w", env, probe, w.isApplied(name+work))
				}
				return w.isApplied(name + work)
			})
		}
	}
}
