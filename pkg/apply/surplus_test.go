package apply

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

func entriesOf(t *testing.T, manager, operation, version, fields string) []metav1.ManagedFieldsEntry {
	t.Helper()
	return []metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), APIVersion: version,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}}
}

func TestSurplusIsOursAloneAndNotInTheManifest(t *testing.T) {
	const (
		service   = "{apiVersion: v1, kind: Service, metadata: {name: s, labels: {kubernetes.io/metadata.name: x}, annotations: {kubernetes-fleet.io/spec-hash: h}, ownerReferences: [{uid: u}]}, spec: {type: ClusterIP, ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}}"
		wanted    = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 53, protocol: UDP}]}}"
		none      = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {externalName: x}}"
		udp       = `{"f:metadata":{"f:labels":{"f:kubernetes.io/metadata.name":{}},"f:annotations":{"f:kubernetes-fleet.io/spec-hash":{}}},"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"UDP\"}":{"f:port":{}}},"f:type":{}}}`
		tcp       = `{"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`
		typ       = `{"f:spec":{"f:type":{}}}`
		gizmo     = "{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g}, spec: {items: [{name: a}, {name: b}], size: 1}}"
		item      = `{"f:spec":{"f:items":{"k:{\"name\":\"b\"}":{".":{},"f:name":{}}}}}`
		config    = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b, c: d}}"
		job       = "{apiVersion: batch/v1, kind: Job, metadata: {name: j, labels: {app: x}}}"
		daemons   = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d, annotations: {deprecated.daemonset.template.generation: '1'}}}"
		key       = `{"f:data":{"f:c":{}}}`
		ours, our = contract.ManagerMember, "Update"
	)
	for name, c := range map[string]struct {
		live, want, manager, operation, version, fields string
		others                                          string
		surplus                                         bool
	}{
		"nothing beside":              {service, wanted, ours, our, "v1", udp, "", false},
		"a port":                      {service, wanted, ours, our, "v1", tcp, "", true},
		"a port that others own, too": {service, wanted, ours, our, "v1", tcp, tcp, false},
		"a port of others":            {service, wanted, "kubectl", our, "v1", tcp, "", false},
		"the last port":               {service, none, ours, our, "v1", tcp, "", true},
		"a default":                   {service, wanted, ours, our, "v1", typ, "", false},
		"a field that we applied":     {service, wanted, ours, "Apply", "v1", typ, "", true},
		"our own annotations": {service, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ClusterIP}}", ours, "Apply", "v1",
			`{"f:metadata":{"f:annotations":{"f:kubernetes-fleet.io/spec-hash":{}},"f:ownerReferences":{"k:{\"uid\":\"u\"}":{}}},"f:spec":{"f:type":{}}}`, "", false},
		"fields of another version":     {service, wanted, ours, our, "v2", tcp, "", false},
		"a key":                         {config, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}", ours, our, "v1", key, "", true},
		"the last key":                  {config, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}", ours, our, "v1", key, "", true},
		"labels by default":             {job, "{apiVersion: batch/v1, kind: Job, metadata: {name: j}}", ours, our, "batch/v1", `{"f:metadata":{"f:labels":{".":{},"f:app":{}}}}`, "", false},
		"an annotation by default":      {daemons, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d}}", ours, our, "apps/v1", `{"f:metadata":{"f:annotations":{".":{},"f:deprecated.daemonset.template.generation":{}}}}`, "", false},
		"an annotation that we applied": {daemons, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d}}", ours, "Apply", "apps/v1", `{"f:metadata":{"f:annotations":{".":{},"f:deprecated.daemonset.template.generation":{}}}}`, "", true},
		"an item of a custom list":      {gizmo, "{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g}, spec: {items: [{name: a}]}}", ours, our, "example.test/v1", item, "", true},
		"a custom list by its default":  {gizmo, "{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g}, spec: {size: 1}}", ours, our, "example.test/v1", item, "", false},
		"a null that became a default":  {gizmo, "{apiVersion: example.test/v1, kind: Gizmo, metadata: {name: g}, spec: {size: null}}", ours, "Apply", "example.test/v1", `{"f:spec":{"f:size":{}}}`, "", false},
	} {
		live := object(t, c.live)
		entries := entriesOf(t, c.manager, c.operation, c.version, c.fields)
		if c.others != "" {
			entries = slices.Concat(entries, entriesOf(t, "others", our, c.version, c.others))
		}
		live.SetManagedFields(entries)
		if got := surplus(object(t, c.want), live); got != c.surplus {
			t.Errorf("%s: %v", name, got)
		}
	}
}
