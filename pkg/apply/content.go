package apply

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// serverMetadata are the fields of metadata that belong to one cluster's copy of an object.
var serverMetadata = []string{
	"ownerReferences", "managedFields", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
	"resourceVersion", "selfLink", "uid",
}

// identityMetadata are the further fields of metadata that a comparison of content leaves out.
var identityMetadata = []string{"name", "namespace", "generateName", "finalizers"}

// bookkeeping are annotations that describe one cluster's copy of an object, not the object.
var bookkeeping = []string{
	contract.AnnotationSpecHash, contract.AnnotationLastApplied, contract.AnnotationKubectlLastApplied, contract.AnnotationDeploymentRevision,
	contract.AnnotationTakenOver,
}

// Sanitise returns a copy of a manifest without the fields that are specific to its cluster. Finalizers, labels and
// other annotations stay.
func Sanitise(manifest *unstructured.Unstructured) *unstructured.Unstructured {
	out := manifest.DeepCopy()
	delete(out.Object, "status")
	for _, field := range serverMetadata {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	for _, keys := range [][]string{bookkeeping, stamps} {
		for _, key := range keys {
			unstructured.RemoveNestedField(out.Object, "metadata", "annotations", key)
		}
	}
	if len(out.GetAnnotations()) == 0 { // an object with only ours equals a manifest with none
		unstructured.RemoveNestedField(out.Object, "metadata", "annotations")
	}
	return out
}

// SpecHash is the hash of a manifest's content, the value of the annotation of that name. The contract fixes its
// input, including the empty lists in place of removed metadata.
func SpecHash(manifest *unstructured.Unstructured) (string, error) {
	hashed := content(manifest)
	metadata, _ := hashed["metadata"].(map[string]any)
	for _, field := range []string{"finalizers", "managedFields", "ownerReferences"} {
		metadata[field] = []any{}
	}
	return contract.Hash(hashed)
}

// content is a copy of an object without its identity and the fields that are specific to its cluster: the part that
// is hashed and compared. Labels and annotations are present, possibly empty.
func content(obj *unstructured.Unstructured) map[string]any {
	out := obj.DeepCopy().Object
	delete(out, "status")
	metadata, _ := out["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	for _, fields := range [][]string{serverMetadata, identityMetadata} {
		for _, field := range fields {
			delete(metadata, field)
		}
	}
	for _, field := range []string{"annotations", "labels"} {
		kept := map[string]any{}
		values, _ := metadata[field].(map[string]any)
		for key, value := range values {
			if !reserved(key) {
				kept[key] = value
			}
		}
		metadata[field] = kept
	}
	out["metadata"] = metadata
	unstructured.RemoveNestedField(out, "spec", "template", "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(out, "spec", "jobTemplate", "spec", "template", "metadata", "creationTimestamp")
	return out
}

// reserved reports whether a label or annotation belongs to the machinery of a cluster.
func reserved(key string) bool {
	return strings.Contains(key, "kubernetes.io/") || strings.Contains(key, "k8s.io/") || strings.Contains(key, contract.Prefix)
}

// wanted is a manifest prepared for a member: sanitised, hashed, and as text for the base of the next merge.
type wanted struct {
	object *unstructured.Unstructured
	hash   string
	// record is the manifest as text.
	record string
	stamp  Stamp
	// records are those of our annotations that fit on the object; tooLarge: client-side apply needs record, and it
	// does not fit.
	records  map[string]string
	tooLarge bool
	// full: not even an emptied annotation fits.
	full bool
}

func prepare(manifest *unstructured.Unstructured, stamp Stamp) (*wanted, error) {
	object := Sanitise(manifest)
	hash, err := SpecHash(object)
	if err != nil {
		return nil, err
	}
	foldStringData(object)
	cede(object)
	if all := object.GetFinalizers(); len(once(all)) < len(all) {
		object.SetFinalizers(once(all)) // API servers store duplicates in this set, and refuse to apply them
	}
	text, err := json.Marshal(object.Object)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return &wanted{object: object, hash: hash, record: string(text), stamp: stamp}, nil
}

// once is a list without duplicates.
func once(list []string) []string {
	var out []string
	for _, item := range list {
		if !slices.Contains(out, item) {
			out = append(out, item)
		}
	}
	return out
}

// foldStringData moves a Secret's stringData to data, as the API server does on writing: a live object never has it,
// so a merge would always find it missing.
func foldStringData(obj *unstructured.Unstructured) {
	if obj.GetKind() != "Secret" || obj.GetAPIVersion() != "v1" {
		return
	}
	plain, _, err := unstructured.NestedStringMap(obj.Object, "stringData")
	if err != nil || plain == nil {
		return
	}
	data, _, err := unstructured.NestedMap(obj.Object, "data")
	if err != nil {
		return // the API server reports the mistake
	}
	if data == nil {
		data = make(map[string]any, len(plain))
	}
	for key, value := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	obj.Object["data"] = data
	delete(obj.Object, "stringData")
}

// serverSide reports whether the object is updated by server-side apply: because the strategy requests it, because the
// base of a merge would not fit, or because it was until now. Then there is no base, and only the server knows the
// fields that the manifest has dropped.
func (w *wanted) serverSide(in Input) bool {
	until := in.Live.GetAnnotations()[contract.AnnotationLastApplied] == "" && entryOfOurs(in.Live, metav1.ManagedFieldsOperationApply)
	return w.tooLarge || in.Strategy.Type == v1beta1.ApplyStrategyTypeServerSideApply || until
}

// first is the object to create.
func (w *wanted) first(owner Owner) *unstructured.Unstructured {
	out := w.object.DeepCopy()
	annotations := out.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, w.records)
	out.SetAnnotations(annotations)
	setOwner(out, owner)
	return out
}

func setOwner(obj *unstructured.Unstructured, owner Owner) {
	refs := obj.GetOwnerReferences()
	obj.SetOwnerReferences(append(refs, owner.Reference()))
}
