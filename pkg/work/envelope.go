package work

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// EnvelopeError is a mistake in the content of an envelope. The user has to correct it.
type EnvelopeError struct {
	Kind            v1beta1.EnvelopeType
	Namespace, Name string
	Key             string
	Problem         string
}

func (e *EnvelopeError) Error() string {
	return fmt.Sprintf("%s %s: data %q: %s", e.Kind, joined(e.Namespace, e.Name), e.Key, e.Problem)
}

// envelope is a decoded envelope. Its manifests are in the order of its Work.
type envelope struct {
	kind            v1beta1.EnvelopeType
	namespace, name string
	manifests       [][]byte
}

// envelopeIn returns object as an envelope, or nil. Most objects are none, which is found without decoding them. An
// undecodable object is none either: the member reports it, without an effect on other objects.
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
	if most := contract.MostOfName; len(e.name) > most { // the name is a label of the Work
		name := joined(e.namespace, e.name)
		return nil, fmt.Errorf("%s %s: the name is longer than %d characters: give the envelope a shorter one", kind, name, most)
	}
	return e, e.fill(wrapped.Data)
}

// fill checks the entries, in the order of their keys so that the same mistake gives the same message, and adds them
// sorted by text, descending: the wire's order.
func (e *envelope) fill(data map[string]json.RawMessage) error {
	keys := make([]string, 0, len(data))
	for key := range data {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if problem := e.problem(data[key]); problem != "" {
			return &EnvelopeError{Kind: e.kind, Namespace: e.namespace, Name: e.name, Key: key, Problem: problem}
		}
		e.manifests = append(e.manifests, data[key])
	}
	slices.SortFunc(e.manifests, func(a, b []byte) int { return bytes.Compare(b, a) })
	return nil
}

// problem is why an entry may not be in the envelope; "" if it may. The member reports whether the kind exists, and
// mistakes in its scope.
func (e *envelope) problem(raw []byte) string {
	h, err := decode.HeaderOf(raw)
	if err != nil {
		return notAnObject + err.Error()
	}
	switch {
	case h.APIVersion == "" || h.Kind == "":
		return "has no apiVersion or no kind"
	case e.kind == v1beta1.EnvelopeTypeClusterResourceEnvelope && h.Metadata.Namespace != "":
		return fmt.Sprintf("%s %s is in a namespace: use a ResourceEnvelope in that namespace", h.Kind, joined(h.Metadata.Namespace, h.Metadata.Name))
	case e.kind == v1beta1.EnvelopeTypeResourceEnvelope && h.Metadata.Namespace == "":
		return fmt.Sprintf("%s %s has no namespace: set it to %s, or use a ClusterResourceEnvelope if its kind is cluster-scoped", h.Kind, h.Metadata.Name, e.namespace)
	case e.kind == v1beta1.EnvelopeTypeResourceEnvelope && h.Metadata.Namespace != e.namespace:
		return fmt.Sprintf("%s %s must be in the envelope's own namespace %s", h.Kind, joined(h.Metadata.Namespace, h.Metadata.Name), e.namespace)
	}
	return refused(h.APIVersion, h.Kind, raw)
}

const notAnObject = "is not a Kubernetes object: "

// segment validates a name as a path segment, which every kind requires.
func segment(name string, _ bool) []string { return content.IsPathSegmentName(name) }

// refused is why the API server would refuse a Work with this object; "" if it would not. Without this check, other
// Works of the same revision would already be written when the API server refuses. An object without a name passes;
// the member reports it.
func refused(apiVersion, kind string, raw []byte) string {
	if _, err := schema.ParseGroupVersion(apiVersion); err != nil {
		return fmt.Sprintf("apiVersion %q is not of the form group/version", apiVersion)
	}
	if wrong := validation.IsDNS1035Label(strings.ToLower(kind)); len(wrong) > 0 {
		return fmt.Sprintf("kind %q: %s", kind, wrong[0])
	}
	var object struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := decode.JSON(raw, &object); err != nil {
		return notAnObject + err.Error()
	}
	meta := &object.Metadata
	meta.Name = cmp.Or(meta.Name, "nameless")
	wrong := apivalidation.ValidateObjectMeta(meta, meta.Namespace != "", segment, field.NewPath("metadata"))
	if len(wrong) > 0 {
		return wrong[0].Error()
	}
	return ""
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
