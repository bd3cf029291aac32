// Package work decides which Works a binding needs in its cluster's namespace. The input is the binding's Order, the
// group of resource snapshots it names and the existing Works; the output are the wanted Works and the changes that
// lead to them. Everything is checked before anything is written: an error means that no Work changes. The dispatcher
// uses it.
package work

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover/state"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Order is the request of a binding: the content for its cluster, and how to apply it there.
type Order struct {
	Binding types.NamespacedName
	// UID is the binding's.
	UID       types.UID
	Placement types.NamespacedName
	Cluster   string
	// Content is the content for the cluster.
	Content v1beta1.Revision
	// Fingerprint changes when the same overrides have another result because of the cluster's labels.
	Fingerprint string
	// OverrideContent changes when override snapshots of the same names have another content. The binding does not
	// have it: the caller that reads the snapshots sets it.
	OverrideContent string
	// Shares are the cluster's shares of divided workloads. The caller sets them if the placement divides replicas.
	Shares []v1beta1.ReplicaShare
	// State are the annotations of objects that the placement took along from the cluster that this one replaced.
	State      []v1beta1.ObjectAnnotation
	ReportBack *v1beta1.ReportBackStrategy
	// Delete is how the member treats the objects when the Works are deleted.
	Delete *v1beta1.DeleteStrategy
}

// OrderOf reads the order from binding; reportBack is its placement's. ok is false for a binding that names no
// placement, which must not be carried out.
func OrderOf(binding v1beta1.BindingObject, reportBack *v1beta1.ReportBackStrategy) (order Order, ok bool) {
	placement, ok := scope.PlacementOf(binding)
	spec := binding.GetSpec()
	return Order{
		Binding:     types.NamespacedName{Namespace: binding.GetNamespace(), Name: binding.GetName()},
		UID:         binding.GetUID(),
		Placement:   placement,
		Cluster:     spec.TargetCluster,
		Content:     delivery.Of(binding),
		Fingerprint: spec.OverrideFingerprint,
		State:       spec.FailoverState,
		ReportBack:  reportBack,
	}, ok
}

// Overridden reports whether the order lists any override.
func (o Order) Overridden() bool { return !delivery.OverridesIn(o.Content).None() }

// Override changes one object, given as JSON, for the cluster of an order. It returns nil to leave the object out for
// the cluster. The input belongs to a cache and must not be modified.
type Override func(object []byte) ([]byte, error)

// own returns the change that an override makes, followed by what is this cluster's alone: the shares and the state of
// the order.
func (o Order) own(override Override) Override {
	if len(o.Shares)+len(o.State) == 0 {
		return override
	}
	return func(object []byte) ([]byte, error) {
		out, err := override(object)
		if err != nil || out == nil {
			return out, err
		}
		if out, err = replicas.Set(out, o.Shares); err != nil {
			return nil, err
		}
		return state.Set(out, o.State)
	}
}

// markOwn records in a Work the shares and the state of its objects.
func (o Order) markOwn(w *v1beta1.Work) error {
	if len(o.Shares)+len(o.State) == 0 {
		return nil
	}
	var objects [][]byte
	for _, m := range w.Spec.Workload.Manifests {
		objects = append(objects, m.Raw)
	}
	if err := markHash(w, contract.AnnotationShares, replicas.Within(objects, o.Shares)); err != nil {
		return err
	}
	return markHash(w, contract.AnnotationFailoverState, state.Within(objects, o.State))
}

// markHash records the hash of a list in a Work; an empty list has none.
func markHash[T any](w *v1beta1.Work, annotation string, list []T) error {
	if len(list) == 0 {
		return nil
	}
	hash, err := contract.Hash(list)
	if err != nil {
		return err
	}
	w.Annotations[annotation] = hash
	return nil
}

// AsIs is the Override without a change.
func AsIs(object []byte) ([]byte, error) { return object, nil }

// OverrideError means that an override could not be applied to an object: a mistake in the override, or in the
// cluster's labels.
type OverrideError struct {
	Object string
	Err    error
}

func (e *OverrideError) Error() string { return fmt.Sprintf("override %s: %v", e.Object, e.Err) }
func (e *OverrideError) Unwrap() error { return e.Err }

// Wanted returns the Works of order: one for each snapshot of group, even an empty one, and one for each envelope in
// it, in the order of the content. They lack only the fields that the API server sets. The error is an *OverrideError,
// an *EnvelopeError, or one about the group.
func Wanted(order Order, group Group, override Override) ([]*v1beta1.Work, error) {
	from, err := provenanceOf(order, group.Index)
	if err != nil {
		return nil, err
	}
	base := contract.WorkBase(order.Placement.Namespace, order.Placement.Name)
	override = order.own(override)
	var works []*v1beta1.Work
	for _, part := range group.Parts {
		var manifests []v1beta1.Manifest
		var envelopes []*v1beta1.Work
		name := contract.WorkName(base, part.Sub)
		var origins []string
		for i, object := range part.Objects {
			envelope, err := envelopeIn(object)
			if err != nil {
				return nil, err
			}
			if envelope != nil {
				inner, err := overridden(envelope.manifests, override)
				if err != nil {
					return nil, err
				}
				envelopes = append(envelopes, from.envelope(order, name, envelope, inner))
				continue
			}
			manifest, err := overridden([][]byte{object}, override)
			if err != nil {
				return nil, err
			}
			manifests = append(manifests, manifest...)
			if len(manifest) > 0 && part.Origins != nil {
				origins = append(origins, part.Origins[i])
			}
		}
		main := from.work(order, name, manifests)
		if text := contract.JoinOrigins(origins); text != "" {
			main.Annotations[contract.AnnotationOrigins] = text
		}
		works = append(works, main)
		works = append(works, envelopes...)
	}
	for _, w := range works {
		w.Annotations[contract.AnnotationWorks] = strconv.Itoa(len(works))
		if err := order.markOwn(w); err != nil {
			return nil, err
		}
	}
	return works, nil
}

// overridden applies override to each of objects and drops those that it leaves out.
func overridden(objects [][]byte, override Override) ([]v1beta1.Manifest, error) {
	var manifests []v1beta1.Manifest
	for _, object := range objects {
		raw, err := override(object)
		if err != nil {
			return nil, &OverrideError{Object: describe(object), Err: err}
		}
		if raw != nil {
			manifests = append(manifests, v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
		}
	}
	return manifests, nil
}

// provenance are the labels and annotations that record the source of a Work's content.
type provenance struct {
	labels, annotations map[string]string
}

func provenanceOf(order Order, index string) (provenance, error) {
	annotations, err := source(order)
	if err != nil {
		return provenance{}, err
	}
	if names := order.overrideNames(); len(names) > 0 {
		annotations[contract.AnnotationOverrides] = strings.Join(names, ",")
	}
	if order.OverrideContent != "" {
		annotations[contract.AnnotationOverrideContent] = order.OverrideContent
	}
	annotations[contract.AnnotationBindingUID] = string(order.UID)
	labels := map[string]string{
		contract.LabelPlacement:         order.Placement.Name,
		contract.LabelBinding:           order.Binding.Name,
		contract.LabelWorkResourceIndex: index,
	}
	if order.Placement.Namespace != "" {
		labels[contract.LabelPlacementNamespace] = order.Placement.Namespace
	}
	return provenance{labels: labels, annotations: annotations}, nil
}

// overrideNames are for users: the member shows them to explain an object.
func (o Order) overrideNames() []string {
	names := slices.Clone(o.Content.ClusterResourceOverrideSnapshots)
	for _, at := range o.Content.ResourceOverrideSnapshots {
		names = append(names, at.Namespace+"/"+at.Name)
	}
	return names
}

// source identifies the content of order: its snapshot, its two lists of overrides, and the result of these.
func source(order Order) (map[string]string, error) {
	overrides, err := contract.Hash(order.Content.ResourceOverrideSnapshots)
	if err != nil {
		return nil, err
	}
	clusterOverrides, err := contract.Hash(order.Content.ClusterResourceOverrideSnapshots)
	if err != nil {
		return nil, err
	}
	out := map[string]string{
		contract.AnnotationWorkSnapshot:        order.Content.ResourceSnapshotName,
		contract.AnnotationOverrideHash:        overrides,
		contract.AnnotationClusterOverrideHash: clusterOverrides,
	}
	if order.Fingerprint != "" {
		out[contract.AnnotationOverrideFingerprint] = order.Fingerprint
	}
	return out, nil
}

// work returns the Work name. It is created with its finalizer: the member need not write it, and a Work that the
// member has seen cannot vanish without it.
func (p provenance) work(order Order, name string, manifests []v1beta1.Manifest) *v1beta1.Work {
	annotations := copied(p.annotations)
	annotations[contract.AnnotationManifests] = strconv.Itoa(len(manifests))
	return &v1beta1.Work{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   contract.MemberNamespace(order.Cluster),
			Name:        name,
			Labels:      copied(p.labels),
			Annotations: annotations,
			Finalizers:  []string{contract.FinalizerWork},
		},
		Spec: v1beta1.WorkSpec{
			Workload:           v1beta1.WorkloadTemplate{Manifests: manifests},
			ApplyStrategy:      order.Content.ApplyStrategy.DeepCopy(),
			ReportBackStrategy: order.ReportBack.DeepCopy(),
			DeleteStrategy:     order.Delete.DeepCopy(),
		},
	}
}

// envelope returns the Work of an envelope in the snapshot whose Work is named parent.
func (p provenance) envelope(order Order, parent string, e *envelope, manifests []v1beta1.Manifest) *v1beta1.Work {
	work := p.work(order, contract.EnvelopeWorkName(parent, string(e.kind), e.namespace, e.name), manifests)
	work.Labels[contract.LabelEnvelopeKind] = string(e.kind)
	work.Labels[contract.LabelEnvelopeName] = e.name
	if e.namespace != "" {
		work.Labels[contract.LabelEnvelopeNamespace] = e.namespace
	}
	return work
}

func copied(m map[string]string) map[string]string {
	out := make(map[string]string, len(m)+3)
	for k, v := range m {
		out[k] = v
	}
	return out
}
