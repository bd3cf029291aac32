package work

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// EnvelopeError says what is wrong with the content of an envelope. The user has to change it.
type EnvelopeError struct {
	Kind            v1beta1.EnvelopeType
	Namespace, Name string
	Key             string
	Problem         string
}

func (e *EnvelopeError) Error() string {
	return fmt.Sprintf("%s %s: data %q: %s", e.Kind, joined(e.Namespace, e.Name), e.Key, e.Problem)
}

// envelope is a decoded envelope. Its manifests are in the order in which its Work holds them.
type envelope struct {
	kind            v1beta1.EnvelopeType
	namespace, name string
	manifests       [][]byte
}

// envelopeIn returns the envelope that object is, or nil. Most objects are none, and that is seen without decoding them. What cannot be
// decoded is none either: the member reports it, as its own problem and that of no other object.
func envelopeIn(object []byte) (*envelope, error) {
	if !bytes.Contains(object, []byte(v1beta1.GroupVersion.Group)) {
		return nil, nil
	}
	h, err := decode.HeaderOf(object)
	kind := v1beta1.EnvelopeType(h.Kind)
	isEnvelope := kind == v1beta1.EnvelopeTypeClusterResourceEnvelope || kind == v1beta1.EnvelopeTypeResourceEnvelope
	if !isEnvelope || schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).Group != v1beta1.GroupVersion.Group {
		return nil, nil //nolint:nilerr // see above
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kind, joined(h.Metadata.Namespace, h.Metadata.Name), err)
	}
	var wrapped struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := decode.JSON(object, &wrapped); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kind, joined(h.Metadata.Namespace, h.Metadata.Name), err)
	}
	e := &envelope{kind: kind, namespace: h.Metadata.Namespace, name: h.Metadata.Name}
	if wrong := validate.EnvelopeName(e.name); len(wrong) > 0 {
		return nil, fmt.Errorf("%s %s: %s", kind, joined(e.namespace, e.name), wrong[0].Detail)
	}
	return e, e.fill(wrapped.Data)
}

// fill checks the entries, in the order of their keys so that the same mistake gives the same message, and takes them over
// sorted by text, descending: the wire's order.
func (e *envelope) fill(data map[string]json.RawMessage) error {
	keys := make([]string, 0, len(data))
	for key := range data {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if problem := validate.EnvelopeEntry(e.kind, e.namespace, data[key]); problem != "" {
			return &EnvelopeError{Kind: e.kind, Namespace: e.namespace, Name: e.name, Key: key, Problem: problem}
		}
		e.manifests = append(e.manifests, data[key])
	}
	slices.SortFunc(e.manifests, func(a, b []byte) int { return bytes.Compare(b, a) })
	return nil
}

// describe names an object for a message.
func describe(object []byte) string {
	h, _ := decode.HeaderOf(object)
	if h.Kind == "" {
		return "an object that cannot be decoded"
	}
	return h.Kind + " " + joined(h.Metadata.Namespace, h.Metadata.Name)
}

func joined(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
