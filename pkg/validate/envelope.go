package validate

import (
	"cmp"
	"fmt"
	"maps"
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

// Envelope returns what is wrong in an envelope. Errors about an entry do not quote it: it may be a Secret.
func Envelope(e v1beta1.EnvelopeObject) field.ErrorList {
	wrong := EnvelopeName(e.GetName())
	kind := v1beta1.EnvelopeTypeClusterResourceEnvelope
	if e.GetNamespace() != "" {
		kind = v1beta1.EnvelopeTypeResourceEnvelope
	}
	data := e.GetData()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if problem := EnvelopeEntry(kind, e.GetNamespace(), data[key].Raw); problem != "" {
			wrong = append(wrong, field.Invalid(field.NewPath("data").Key(key), field.OmitValueType{}, problem))
		}
	}
	return wrong
}

// EnvelopeName refuses a name that the Work of the envelope could not carry in a label.
func EnvelopeName(name string) field.ErrorList {
	return tooLong(name, fmt.Sprintf("the name is longer than %d characters: give the envelope a shorter one", contract.MostOfName))
}

// EnvelopeEntry returns why an entry, JSON, may not be in an envelope of this kind and namespace; nothing if it may.
// Whether the kind of the entry exists, and its scope, is the member's to say.
func EnvelopeEntry(kind v1beta1.EnvelopeType, namespace string, raw []byte) string {
	h, err := decode.HeaderOf(raw)
	if err != nil {
		return notAnObject + err.Error()
	}
	of, name := h.Metadata.Namespace, h.Metadata.Name
	switch {
	case h.APIVersion == "" || h.Kind == "":
		return "has no apiVersion or no kind"
	case kind == v1beta1.EnvelopeTypeClusterResourceEnvelope && of != "":
		return fmt.Sprintf("%s %s/%s is in a namespace: use a ResourceEnvelope in that namespace", h.Kind, of, name)
	case kind == v1beta1.EnvelopeTypeResourceEnvelope && of == "":
		return fmt.Sprintf("%s %s has no namespace: set it to %s, or use a ClusterResourceEnvelope if its kind is cluster-scoped", h.Kind, name, namespace)
	case kind == v1beta1.EnvelopeTypeResourceEnvelope && of != namespace:
		return fmt.Sprintf("%s %s/%s must be in the envelope's own namespace %s", h.Kind, of, name, namespace)
	}
	return refused(h.APIVersion, h.Kind, raw)
}

const notAnObject = "is not a Kubernetes object: "

// segment returns what is wrong with a name that is part of a path, the least that all kinds ask of one.
func segment(name string, _ bool) []string { return content.IsPathSegmentName(name) }

// refused returns why the API server would not take a Work with this object in it: found only by writing it, other
// Works of the same revision would have been written by then. What has no name passes; the member reports it.
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
