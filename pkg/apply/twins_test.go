package apply

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestTwinsAreFound(t *testing.T) {
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, "
	for text, want := range map[string]bool{
		pod + "env: [{name: A}, {name: B}]}]}}":                                      false,
		pod + "env: [{name: A}, {name: B}, {name: A}]}]}}":                           true,
		pod + "ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]}]}}": false,
		pod + "ports: [{containerPort: 53, protocol: TCP}, {containerPort: 53}]}]}}": true,
		pod + "args: [a, a]}]}}":                                                     false,
		pod + "image: i}], tolerations: [{key: a}, {key: a}]}}":                      false,
		pod + "image: i}], topologySpreadConstraints: [{topologyKey: a, whenUnsatisfiable: ScheduleAnyway}, {topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}}": false,
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: s}, secrets: [{name: a}, {name: a}]}":                                                             true,
		"{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g}, spec: {env: [{name: A}, {name: A}]}}":                                                     false,
	} {
		if got := hasTwins(object(t, text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// An object whose manifest has twins is merged by us: what the manifest sets is there, what it dropped is gone, and
// what others added stays where it is.
func TestTwinsAreWrittenAsTheyAreWanted(t *testing.T) {
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {"
	for name, c := range map[string]struct{ base, want, live, outcome string }{
		"a twin that comes": {pod + "containers: [{name: c, env: [{name: A, value: a}, {name: B, value: b}]}]}}",
			pod + "containers: [{name: c, env: [{name: A, value: a}, {name: A, value: c}]}]}}",
			pod + "dnsPolicy: x, containers: [{name: theirs}, {name: c, image: i, env: [{name: T}, {name: A, value: a}, {name: B, value: b}, {name: U}]}]}}",
			pod + "dnsPolicy: x, containers: [{name: theirs}, {name: c, image: i, env: [{name: T}, {name: A, value: a}, {name: A, value: c}, {name: U}]}]}}"},
		"another order": {pod + "imagePullSecrets: [{name: a}, {name: b}, {name: a}]}}", pod + "imagePullSecrets: [{name: a}, {name: a}, {name: b}]}}",
			pod + "imagePullSecrets: [{name: a}, {name: b}, {name: a}, {name: theirs}]}}", pod + "imagePullSecrets: [{name: a}, {name: a}, {name: theirs}, {name: b}]}}"},
		"what is dropped beside": {pod + "imagePullSecrets: [{name: a}, {name: a}], nodeSelector: {x: y}, securityContext: {runAsUser: 1}, hostAliases: [{ip: a}], hostname: h}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}]}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}], nodeSelector: {x: y, theirs: z}, securityContext: {runAsUser: 1}, hostAliases: [{ip: a}, {ip: b}], hostname: h}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}], nodeSelector: {theirs: z}, hostAliases: [{ip: b}]}}"},
		"a volume that changes its type": {pod + "imagePullSecrets: [{name: a}, {name: a}], volumes: [{name: v, emptyDir: {}}]}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}], volumes: [{name: v, secret: {secretName: s}}]}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}], volumes: [{name: v, emptyDir: {}}]}}",
			pod + "imagePullSecrets: [{name: a}, {name: a}], volumes: [{name: v, secret: {secretName: s}}]}}"},
	} {
		in := Input{Manifest: object(t, c.want), Live: placed(t, c.base, v1beta1.ApplyStrategy{}), Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})}
		live := object(t, c.live)
		live.SetAnnotations(in.Live.GetAnnotations())
		live.SetOwnerReferences(in.Live.GetOwnerReferences())
		live.SetResourceVersion("7")
		in.Live = live
		w, err := prepare(in.Manifest, in.Stamp)
		if err != nil {
			t.Fatal(err)
		}
		w.annotate(in, claim{})
		got, err := w.changes(in, claim{})
		if err != nil || got.kind != types.MergePatchType || !got.content {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		after := mergedJSON(live.DeepCopy().Object, got.patch)
		if want := object(t, c.outcome).Object["spec"]; !reflect.DeepEqual(after["spec"], want) {
			t.Errorf("%s: %v; want %v", name, after["spec"], want)
		}
		metadata, _ := got.patch["metadata"].(map[string]any)
		if annotations, _ := metadata["annotations"].(map[string]any); metadata["resourceVersion"] != "7" || annotations[contract.AnnotationSpecHash] != w.hash {
			t.Errorf("%s: metadata %v", name, metadata)
		}
	}
}

// Without a record of the last manifest, as after server-side apply, what the manifest dropped is known from the
// managed fields.
func TestTwinsAfterServerSideApply(t *testing.T) {
	live := object(t, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: s, labels: {ours: a, theirs: b}}, secrets: [{name: a}, {name: b}, {name: theirs}]}")
	live.SetManagedFields(entriesOf(t, contract.ManagerMember, "Apply", "v1", `{"f:metadata":{"f:labels":{"f:ours":{}}},"f:secrets":{"k:{\"name\":\"a\"}":{},"k:{\"name\":\"b\"}":{}}}`))
	patch, err := rewrite(object(t, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: s}, secrets: [{name: a}, {name: a}]}"), live)
	if err != nil {
		t.Fatal(err)
	}
	after := mergedJSON(live.DeepCopy().Object, patch)
	want := object(t, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: s, labels: {theirs: b}}, secrets: [{name: a}, {name: a}, {name: theirs}]}").Object
	if metadata, _ := after["metadata"].(map[string]any); !reflect.DeepEqual(after["secrets"], want["secrets"]) || !reflect.DeepEqual(metadata["labels"], map[string]any{"theirs": "b"}) {
		t.Errorf("%v; want %v", after, want)
	}
}
