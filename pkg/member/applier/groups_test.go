package applier

import (
	"fmt"
	"testing"
)

// Two kinds of one name in two groups are two objects: that one of them cannot be applied holds up the removal of the
// other neither when its kind is not served nor when its object is refused.
func TestKindsOfOneNameInTwoGroups(t *testing.T) {
	w := newWorld(t)
	const ns = "groups"
	core := "{apiVersion: v1, kind: Service, metadata: {namespace: groups, name: web}, spec: {ports: [{port: 80}]}}"
	other := "{apiVersion: serving.groups.test/v1, kind: Service, metadata: {namespace: groups, name: web}, spec: {size: %s}}"
	good, bad := fmt.Sprintf(other, "1"), fmt.Sprintf(other, "many")
	w.work(ns, nil, namespaceText(ns), core, good)
	w.settled(ns, no, "")
	w.present("v1 Service groups/web")
	w.edit(ns, namespaceText(ns), good)
	w.gone("v1 Service groups/web") // although the other kind is not served

	w.onMember(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: services.serving.groups.test}, spec: {
	  group: serving.groups.test, scope: Namespaced, names: {plural: services, singular: service, kind: Service, listKind: ServiceList},
	  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {
	    spec: {type: object, properties: {size: {type: integer}}}}}}}]}}`)
	w.edit(ns, namespaceText(ns), core, good)
	w.applied(ns)
	w.edit(ns, namespaceText(ns), core, bad)
	w.settled(ns, no, "")
	w.edit(ns, namespaceText(ns), bad)
	w.gone("v1 Service groups/web") // although the other object is refused
	w.present("serving.groups.test/v1 Service groups/web")
	w.edit(ns, namespaceText(ns), core)
	w.gone("serving.groups.test/v1 Service groups/web")
	w.present("v1 Service groups/web")
	w.applied(ns)
}
