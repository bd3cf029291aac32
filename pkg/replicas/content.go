package replicas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/capacity"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Fields of a spec that are divided.
const (
	fieldReplicas = "replicas"
	fieldMin      = "minReplicas"
	fieldMax      = "maxReplicas"
)

// MaxNumbers limits the numbers that are divided in one placement, as the schema of bindings does.
const MaxNumbers = 500

// Key identifies a number that is divided: a field of the spec of an object.
type Key struct {
	Group, Kind, Namespace, Name string
	// Field is empty for replicas.
	Field string
}

// KeyOf returns the key of a share.
func KeyOf(s v1beta1.ReplicaShare) Key {
	return Key{Group: s.Group, Kind: s.Kind, Namespace: s.Namespace, Name: s.Name, Field: s.Field}
}

func (k Key) path() []string {
	if k.Field == "" {
		return []string{"spec", fieldReplicas}
	}
	return []string{"spec", k.Field}
}

// String names the object, and the field if it is not replicas.
func (k Key) String() string {
	out := k.Kind + " "
	if k.Namespace != "" {
		out += k.Namespace + "/"
	}
	out += k.Name
	if k.Field != "" {
		out += " " + k.Field
	}
	return out
}

// Number is a number in the content of a placement that is divided over its clusters.
type Number struct {
	Key
	// Total is the number in the content.
	Total int64
	// Requests are those of one replica; unknown is true if they cannot be read.
	Requests corev1.ResourceList
	unknown  bool
	// probes are the object with the total, and with another number: an override that gives both the same number sets it.
	probes [2][]byte
}

// In returns the numbers to divide in the objects of a revision, given as JSON, without envelopes. Objects that cannot
// be decoded, or that have no valid number, are not divided: the members report them.
func In(policy *v1beta1.ReplicaPolicy, objects [][]byte) ([]Number, error) {
	var workloads, scalers []*unstructured.Unstructured
	raws := map[*unstructured.Unstructured][]byte{}
	for _, raw := range objects {
		h, err := decode.HeaderOf(raw)
		if err != nil {
			continue
		}
		scaler := kindOf(h) == apply.Autoscalers
		if !scaler && !divides(policy, h) {
			continue
		}
		o, err := decode.Object(raw)
		if err != nil {
			continue
		}
		raws[o] = raw
		if scaler {
			scalers = append(scalers, o)
		} else {
			workloads = append(workloads, o)
		}
	}
	var out []Number
	seen := map[Key]bool{}
	add := func(w, o *unstructured.Unstructured, field string, otherwise int64) {
		gvk := o.GroupVersionKind()
		k := Key{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), Field: field}
		total, ok := read(o, k, otherwise)
		if !ok || seen[k] {
			return
		}
		seen[k] = true
		requests, known := capacity.RequestsOf(raws[w])
		n := Number{Key: k, Total: total, Requests: requests, unknown: !known}
		for i := range n.probes {
			// An object that cannot be changed is not divided either.
			n.probes[i], _ = with(raws[o], map[string]int64{k.path()[1]: total + int64(i)})
		}
		out = append(out, n)
	}
	for _, w := range workloads {
		at := slices.IndexFunc(scalers, func(s *unstructured.Unstructured) bool { return apply.Scales(s, w) })
		if at < 0 {
			add(w, w, "", 1)
			continue
		}
		add(w, scalers[at], fieldMin, 1)
		add(w, scalers[at], fieldMax, 1)
	}
	if len(out) > MaxNumbers {
		return nil, fmt.Errorf("the content has %d workloads to divide, and at most %d can be: use several placements, or fewer kinds in policy.replicas.kinds",
			len(out), MaxNumbers)
	}
	return out, nil
}

func divides(policy *v1beta1.ReplicaPolicy, h decode.Header) bool {
	gvk := kindOf(h)
	if len(policy.Kinds) == 0 {
		return gvk.Group == "apps" && gvk.Kind == "Deployment"
	}
	return slices.Contains(policy.Kinds, v1beta1.ReplicaKind{Group: gvk.Group, Kind: gvk.Kind})
}

// read returns the number in an object, or otherwise if the object has none; ok is false if it is none from 0.
func read(o *unstructured.Unstructured, k Key, otherwise int64) (n int64, ok bool) {
	value, found, err := unstructured.NestedFieldNoCopy(o.Object, k.path()...)
	if err != nil {
		return 0, false
	}
	if !found || value == nil {
		return otherwise, true
	}
	n, ok = value.(int64)
	return n, ok && n >= 0 && n <= math.MaxInt32
}

// Set returns an object, given as JSON, with its shares. It returns the object itself if none is for it, or if it
// cannot be decoded. The input is not modified.
func Set(object []byte, shares []v1beta1.ReplicaShare) ([]byte, error) {
	if len(shares) == 0 {
		return object, nil
	}
	h, err := decode.HeaderOf(object)
	if err != nil {
		return object, nil //nolint:nilerr // the member reports it
	}
	gvk := kindOf(h)
	values := map[string]int64{}
	for _, s := range shares {
		if s.Group == gvk.Group && s.Kind == gvk.Kind && s.Namespace == h.Metadata.Namespace && s.Name == h.Metadata.Name {
			values[KeyOf(s).path()[1]] = int64(s.Replicas)
		}
	}
	if len(values) == 0 {
		return object, nil
	}
	// An API server refuses an autoscaler without replicas, and one with a greater minimum than maximum.
	if high, ok := values[fieldMax]; ok {
		values[fieldMax] = max(high, 1)
		if low, ok := values[fieldMin]; ok {
			values[fieldMin] = max(min(low, high), 1)
		}
	}
	return with(object, values)
}

func with(object []byte, values map[string]int64) ([]byte, error) {
	o, err := decode.Object(object)
	if err != nil {
		return object, nil //nolint:nilerr // the member reports it
	}
	for field, n := range values {
		if err := unstructured.SetNestedField(o.Object, n, "spec", field); err != nil {
			return object, nil //nolint:nilerr // its spec is none; the member reports it
		}
	}
	out, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("divide replicas: %w", err)
	}
	return out, nil
}

// Pinned returns the number that overrides give a cluster whatever the content says; ok is false if they do not.
// change applies them, and returns nil for an object that the cluster does not get.
func (n Number) Pinned(change func([]byte) ([]byte, error)) (value int64, ok bool) {
	var found [2]int64
	for i, probe := range n.probes {
		object, err := change(probe)
		switch {
		case err != nil:
			return 0, false
		case object == nil:
			continue
		case bytes.Equal(object, probe):
			found[i] = n.Total + int64(i)
			continue
		}
		o, err := decode.Object(object)
		if err != nil {
			return 0, false
		}
		if found[i], ok = read(o, n.Key, 1); !ok {
			return 0, false
		}
	}
	return found[0], found[0] == found[1]
}

func kindOf(h decode.Header) schema.GroupKind {
	return schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).GroupKind()
}

// Within returns the numbers that Set writes into some of the objects, without what does not matter there.
func Within(objects [][]byte, shares []v1beta1.ReplicaShare) (out []v1beta1.ReplicaShare) {
	here := map[Key]bool{}
	for _, raw := range objects {
		if h, err := decode.HeaderOf(raw); err == nil {
			kind := kindOf(h)
			here[Key{Group: kind.Group, Kind: kind.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name}] = true
		}
	}
	for _, s := range shares {
		k := KeyOf(s)
		k.Field = ""
		if here[k] {
			s.Target, s.Of, s.Pinned, s.Limit, s.LimitedUntil = nil, 0, false, nil, nil
			out = append(out, s)
		}
	}
	return out
}
