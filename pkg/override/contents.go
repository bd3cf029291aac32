package override

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// id identifies an object as selectors do.
type id struct {
	schema.GroupVersionKind
	namespace, name string
}

// namespaceNamed is the id of a Namespace, by which a cluster-wide override selects everything in it.
func namespaceNamed(name string) id {
	return id{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, name: name}
}

func idOf(h decode.Header) id {
	return id{
		GroupVersionKind: schema.FromAPIVersionAndKind(h.APIVersion, h.Kind),
		namespace:        h.Metadata.Namespace, name: h.Metadata.Name,
	}
}

// Contents are the objects of a placement that overrides can select, including those in envelopes. The zero value is
// empty.
type Contents struct {
	ids        map[id]bool
	namespaces map[string]bool
}

// ContentsOf lists objects, given as JSON. It skips objects that cannot be decoded, because no override can select
// them; other packages report them.
func ContentsOf(objects [][]byte) Contents {
	c := Contents{ids: map[id]bool{}, namespaces: map[string]bool{}}
	for _, raw := range objects {
		h, err := decode.HeaderOf(raw)
		if err != nil {
			continue
		}
		object := idOf(h)
		c.add(object)
		if !isEnvelope(object) {
			continue
		}
		var envelope struct {
			Data map[string]json.RawMessage `json:"data"`
		}
		if decode.JSON(raw, &envelope) != nil {
			continue
		}
		for _, wrapped := range envelope.Data {
			if h, err := decode.HeaderOf(wrapped); err == nil {
				c.add(idOf(h))
			}
		}
	}
	return c
}

func isEnvelope(object id) bool {
	kind := v1beta1.EnvelopeType(object.Kind)
	return object.Group == v1beta1.GroupVersion.Group &&
		(kind == v1beta1.EnvelopeTypeClusterResourceEnvelope || kind == v1beta1.EnvelopeTypeResourceEnvelope)
}

func (c Contents) add(object id) {
	c.ids[object] = true
	if object.namespace != "" {
		c.ids[namespaceNamed(object.namespace)] = true
		c.namespaces[object.namespace] = true
	}
}

// Namespaces returns the namespaces of the objects, sorted.
func (c Contents) Namespaces() []string { return slices.Sorted(maps.Keys(c.namespaces)) }

// selected reports whether a snapshot of an override selects at least one object.
func (c Contents) selected(s v1beta1.OverrideSnapshotObject) bool { return c.containsAny(targets(s)) }

func (c Contents) containsAny(objects []id) bool {
	return slices.ContainsFunc(objects, func(object id) bool { return c.ids[object] })
}

// targets returns the objects that an override, or a snapshot of one, selects.
func targets(o any) []id {
	switch o := o.(type) {
	case *v1beta1.ClusterResourceOverride:
		return clusterTargets(o.Spec)
	case *v1beta1.ClusterResourceOverrideSnapshot:
		return clusterTargets(o.Spec.OverrideSpec)
	case *v1beta1.ResourceOverride:
		return namespacedTargets(o.Namespace, o.Spec)
	case *v1beta1.ResourceOverrideSnapshot:
		return namespacedTargets(o.Namespace, o.Spec.OverrideSpec)
	}
	return nil
}

func clusterTargets(spec v1beta1.ClusterResourceOverrideSpec) []id {
	var out []id
	for _, t := range spec.ClusterResourceSelectors {
		if t.Name != "" { // labels are refused at admission
			out = append(out, id{GroupVersionKind: schema.GroupVersionKind{Group: t.Group, Version: t.Version, Kind: t.Kind}, name: t.Name})
		}
	}
	return out
}

func namespacedTargets(namespace string, spec v1beta1.ResourceOverrideSpec) []id {
	var out []id
	for _, t := range spec.ResourceSelectors {
		out = append(out, id{
			GroupVersionKind: schema.GroupVersionKind{Group: t.Group, Version: t.Version, Kind: t.Kind},
			namespace:        namespace, name: t.Name,
		})
	}
	return out
}
