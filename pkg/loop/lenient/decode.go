package lenient

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kind decodes objects of one kind.
type kind struct {
	scheme *runtime.Scheme
	gvk    schema.GroupVersionKind
	// statusOptional is whether an object may be served without its status.
	statusOptional bool
}

// decode returns the object, or else the fault why it cannot be read. It returns both if the object is served without
// its status. An error means that more than this object is broken.
func (k kind) decode(raw []byte) (client.Object, *Fault, error) {
	obj, err := k.into(raw)
	if err == nil {
		return obj, nil, nil
	}
	fault := &Fault{Kind: k.gvk.Kind, version: k.gvk.GroupVersion().String(), Why: short(err.Error())}
	if fault.meta, err = k.metadata(raw); err != nil {
		return nil, nil, fmt.Errorf("read the metadata of a %s: %w", k.gvk.Kind, err)
	}
	if k.statusOptional {
		if rest, err := without(raw, "status"); err == nil {
			if obj, err := k.into(rest); err == nil {
				fault.Why, fault.StatusOnly = "status: "+fault.Why, true
				return obj, fault, nil
			}
		}
	}
	return nil, fault, nil
}

func (k kind) into(raw []byte) (client.Object, error) {
	empty, err := k.scheme.New(k.gvk)
	if err != nil {
		return nil, err
	}
	serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, k.scheme, k.scheme, json.SerializerOptions{})
	decoded, _, err := serializer.Decode(raw, &k.gvk, empty)
	if err != nil {
		return nil, err
	}
	obj, ok := decoded.(client.Object)
	if !ok {
		return nil, fmt.Errorf("got a %T", decoded)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // as client-go's decoders leave it
	return obj, nil
}

// metadata reads an object's metadata. API servers validate it with the same Go type, so it can always be decoded.
func (k kind) metadata(raw []byte) (metav1.ObjectMeta, error) {
	part, err := field(raw, "metadata")
	if err != nil {
		return metav1.ObjectMeta{}, err
	}
	small := append(append([]byte(`{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":`), part...), '}')
	obj := &metav1.PartialObjectMetadata{}
	serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, metaScheme, metaScheme, json.SerializerOptions{})
	if _, _, err := serializer.Decode(small, nil, obj); err != nil {
		return metav1.ObjectMeta{}, err
	}
	obj.ManagedFields = nil
	return obj.ObjectMeta, nil
}

// standIn returns an object that has only metadata.
func (k kind) standIn(meta metav1.ObjectMeta) (client.Object, error) {
	empty, err := k.scheme.New(k.gvk)
	if err != nil {
		return nil, err
	}
	obj, ok := empty.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%v is not an object", k.gvk)
	}
	obj.SetName(meta.Name)
	obj.SetNamespace(meta.Namespace)
	obj.SetUID(meta.UID)
	obj.SetResourceVersion(meta.ResourceVersion)
	obj.SetGeneration(meta.Generation)
	obj.SetCreationTimestamp(meta.CreationTimestamp)
	obj.SetDeletionTimestamp(meta.DeletionTimestamp)
	obj.SetLabels(meta.Labels)
	obj.SetAnnotations(meta.Annotations)
	obj.SetFinalizers(meta.Finalizers)
	obj.SetOwnerReferences(meta.OwnerReferences)
	return obj, nil
}

// metaScheme has the kinds PartialObjectMetadata, Status and the options.
var metaScheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err) // two kinds with one name: a bug in the types
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme
}()

// mostWhy is the most bytes of a decoder's message that are kept.
const mostWhy = 300

func short(why string) string {
	if len(why) <= mostWhy {
		return why
	}
	cut := mostWhy
	for cut > 0 && why[cut]&0xC0 == 0x80 {
		cut-- // never within a rune
	}
	return why[:cut] + "…"
}
