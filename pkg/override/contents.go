package override

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// id names an object the way selectors do.
type id struct {
	schema.GroupVersionKind
	namespace, name string
}

// namespaceNamed is the Namespace of this name, by which a cluster-wide override selects everything in it.
func namespaceNamed(name string) id {
	return id{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, name: name}
}

// header is as much of an object as names it, and what an envelope wraps.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

func (h header) id() id {
	return id{
		GroupVersionKind: schema.FromAPIVersionAndKind(h.APIVersion, h.Kind),
		namespace:        h.Metadata.Namespace, name: h.Metadata.Name,
	}
}

// Contents are the objects of a placement that overrides can select, what is in envelopes included. The zero value holds nothing.
type Contents struct {
	ids        map[id]bool
	namespaces map[string]bool
}

// ContentsOf lists objects, given as JSON. What cannot be read cannot be selected; those who use it say what is wrong with it.
func ContentsOf(objects [][]byte) Contents {
	c := Contents{ids: map[id]bool{}, namespaces: map[string]bool{}}
	for _, raw := range objects {
		var h header
		if json.Unmarshal(raw, &h) != nil {
			continue
		}
		object := h.id()
		c.add(object)
		if !isEnvelope(object) {
			continue
		}
		var envelope struct {
			Data map[string]json.RawMessage `json:"data"`
		}
		if json.Unmarshal(raw, &envelope) != nil {
			continue
		}
		for _, wrapped := range envelope.Data {
			var h header
			if json.Unmarshal(wrapped, &h) == nil {
				c.add(h.id())
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

// Namespaces are those that the objects are in, sorted.
func (c Contents) Namespaces() []string { return slices.Sorted(maps.Keys(c.namespaces)) }

// selected says whether an override selects something.
func (c Contents) selected(s v1beta1.OverrideSnapshotObject) bool {
	return slices.ContainsFunc(targets(s), func(object id) bool { return c.ids[object] })
}

// targets are what an override selects.
func targets(s v1beta1.OverrideSnapshotObject) []id {
	var out []id
	switch s := s.(type) {
	case *v1beta1.ClusterResourceOverrideSnapshot:
		for _, t := range s.Spec.OverrideSpec.ClusterResourceSelectors {
			if t.Name != "" { // labels are refused at admission
				out = append(out, id{GroupVersionKind: schema.GroupVersionKind{Group: t.Group, Version: t.Version, Kind: t.Kind}, name: t.Name})
			}
		}
	case *v1beta1.ResourceOverrideSnapshot:
		for _, t := range s.Spec.OverrideSpec.ResourceSelectors {
			out = append(out, id{
				GroupVersionKind: schema.GroupVersionKind{Group: t.Group, Version: t.Version, Kind: t.Kind},
				namespace:        s.Namespace, name: t.Name,
			})
		}
	}
	return out
}
