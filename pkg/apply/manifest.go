package apply

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Key identifies an object without its version: the same object under two versions is one object.
type Key struct {
	Group, Kind, Namespace, Name string
}

func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// KeyOf is the key of the object of an identifier.
func KeyOf(id v1beta1.WorkResourceIdentifier) Key {
	return Key{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}
}

// Manifest is one entry of a Work, decoded as far as possible without the member cluster.
type Manifest struct {
	// Identifier holds the ordinal, and the rest if it could be decoded. The plural resource is unknown here.
	Identifier v1beta1.WorkResourceIdentifier
	// Raw is the manifest as the Work holds it.
	Raw []byte
	// Problem, if its reason is set, is why the manifest cannot be applied on any cluster.
	Problem Finding
}

// Key names the object of the manifest.
func (m Manifest) Key() Key { return KeyOf(m.Identifier) }

// GroupVersionKind is that of the manifest.
func (m Manifest) GroupVersionKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: m.Identifier.Group, Version: m.Identifier.Version, Kind: m.Identifier.Kind}
}

// Opaque reports whether the object of the manifest is unknown. It may be any object of the ledger, so nothing is left
// over while such a manifest is in the Work.
func (m Manifest) Opaque() bool { return m.Problem.Reason == v1beta1.ReasonManifestDecodingErred }

// Object decodes the manifest in full. Its errors quote nothing of the content.
func (m Manifest) Object() (*unstructured.Unstructured, error) {
	obj, err := decode.Object(m.Raw)
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return obj, nil
}

// Decode decodes the identity of each manifest. An undecodable manifest does not affect the others.
func Decode(list []v1beta1.Manifest) []Manifest {
	out := make([]Manifest, len(list))
	first := make(map[Key]int, len(list))
	for i := range list {
		m := manifest(i, list[i].Raw)
		if m.Problem.Reason == "" {
			if at, seen := first[m.Key()]; seen {
				m.Problem = Finding{v1beta1.ReasonManifestDuplicated,
					fmt.Sprintf("Manifest %d of this Work is the same object; remove one of them", at)}
			} else {
				first[m.Key()] = i
			}
		}
		out[i] = m
	}
	return out
}

func manifest(ordinal int, raw []byte) Manifest {
	m := Manifest{Identifier: v1beta1.WorkResourceIdentifier{Ordinal: ordinal}, Raw: raw}
	opaque := func(why string) Manifest {
		m.Problem = Finding{v1beta1.ReasonManifestDecodingErred, "The manifest cannot be decoded: " + why}
		return m
	}
	h, err := decode.HeaderOf(raw)
	if err != nil {
		return opaque(err.Error())
	}
	gv, err := schema.ParseGroupVersion(h.APIVersion)
	switch {
	case err != nil || gv.Version == "":
		return opaque("it has no valid apiVersion")
	case h.Kind == "":
		return opaque("it has no kind")
	}
	m.Identifier.Group, m.Identifier.Version, m.Identifier.Kind = gv.Group, gv.Version, h.Kind
	m.Identifier.Namespace, m.Identifier.Name = h.Metadata.Namespace, h.Metadata.Name
	switch {
	case h.Metadata.Name != "":
	case h.Metadata.GenerateName != "":
		m.Problem = Finding{v1beta1.ReasonManifestFoundGenerateName, "The manifest has generateName and no name; give it a name"}
	default:
		return opaque("it has no name")
	}
	return m
}
