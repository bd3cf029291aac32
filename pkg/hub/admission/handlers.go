package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/admission/defaults"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// handlers are the webhooks by path.
func (s *Server) handlers() map[string]admission.Handler {
	return map[string]admission.Handler{
		webhook.Placements.MutatePath():          admission.HandlerFunc(complete),
		webhook.Placements.ValidatePath():        rules[v1beta1.ClusterResourcePlacement]{create: s.placement, update: s.placementUpdate},
		webhook.MemberClusters.ValidatePath():    rules[clusterv1beta1.MemberCluster]{create: member, update: memberUpdate, delete: s.memberDeletion},
		webhook.ClusterOverrides.ValidatePath():  overrides[v1beta1.ClusterResourceOverride](s),
		webhook.Overrides.ValidatePath():         overrides[v1beta1.ResourceOverride](s),
		webhook.Evictions.ValidatePath():         rules[v1beta1.ClusterResourcePlacementEviction]{create: s.eviction},
		webhook.DisruptionBudgets.ValidatePath(): rules[v1beta1.ClusterResourcePlacementDisruptionBudget]{create: s.budget, update: s.budgetUpdate},
		webhook.Pods.ValidatePath():              ofHub("Pod"),
		webhook.ReplicaSets.ValidatePath():       ofHub("ReplicaSet"),
		webhook.PodBudgets.ValidatePath():        ofHub("PodDisruptionBudget"),
		webhook.GuardRailPath:                    admission.HandlerFunc(s.guard),
		webhook.ProbePath:                        admission.HandlerFunc(probed),
	}
}

// rules are what a kind is validated by; a request for which there is none is allowed. They return an error if they
// cannot decide.
type rules[O any] struct {
	create func(context.Context, *O) (field.ErrorList, error)
	update func(ctx context.Context, old, o *O) (field.ErrorList, error)
	delete func(context.Context, *O) (field.ErrorList, error)
}

// Handle decodes a request and applies the rule for its operation. An old object that cannot be decoded, of an earlier
// version of the API, does not keep a user from replacing it: the new one is validated as if it were created.
func (r rules[O]) Handle(ctx context.Context, req admission.Request) admission.Response {
	var old, o O
	oldErr := decode.JSON(req.OldObject.Raw, &old)
	if req.Operation != admissionv1.Delete {
		if err := decode.JSON(req.Object.Raw, &o); err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode the object: %w", err))
		}
	}
	var wrong field.ErrorList
	var err error
	switch {
	case req.Operation == admissionv1.Update && oldErr == nil && r.update != nil:
		wrong, err = r.update(ctx, &old, &o)
	case req.Operation == admissionv1.Delete && oldErr == nil && r.delete != nil:
		wrong, err = r.delete(ctx, &old)
	case req.Operation != admissionv1.Delete && r.create != nil && (req.Operation == admissionv1.Create || r.update != nil):
		wrong, err = r.create(ctx, &o)
	}
	switch {
	case err != nil:
		return admission.Errored(http.StatusInternalServerError, err)
	case len(wrong) > 0:
		return refused(req, wrong)
	}
	return admission.Allowed("")
}

// mostOfMessage bounds the bytes of an answer: it may quote values of any length.
const mostOfMessage = 8 << 10

// refused is the answer to a request for an object in which something is wrong.
func refused(req admission.Request, wrong field.ErrorList) admission.Response {
	status := apierrors.NewInvalid(schema.GroupKind{Group: req.Kind.Group, Kind: req.Kind.Kind}, req.Name, wrong).Status()
	if len(status.Message) > mostOfMessage {
		status.Message, status.Details = status.Message[:mostOfMessage]+"…", nil
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Allowed: false, Result: &status}}
}

// complete fills in what a placement leaves out, and drops what was filled in for a type that an update leaves. An old
// object that cannot be decoded drops nothing.
func complete(_ context.Context, req admission.Request) admission.Response {
	obj, err := decode.Object(req.Object.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode the object: %w", err))
	}
	if req.Operation == admissionv1.Update {
		if old, err := decode.Object(req.OldObject.Raw); err == nil {
			defaults.DropUnused(obj.Object, old.Object)
		}
	}
	defaults.Placement(obj.Object)
	data, err := json.Marshal(obj.Object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("encode the object: %w", err))
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, data)
}

// mostSelectors is the schema's bound. The API server sends no more; another client of the webhook must not make the
// agent look up any number of kinds.
const mostSelectors = 100

func (s *Server) placement(_ context.Context, p *v1beta1.ClusterResourcePlacement) (field.ErrorList, error) {
	if n := len(p.Spec.ResourceSelectors); n > mostSelectors {
		return field.ErrorList{field.TooMany(field.NewPath("spec", "resourceSelectors"), n, mostSelectors)}, nil
	}
	return validate.Placement(p, s.Kinds.Namespaced), nil
}

func (s *Server) placementUpdate(_ context.Context, old, p *v1beta1.ClusterResourcePlacement) (field.ErrorList, error) {
	if n := len(p.Spec.ResourceSelectors); n > mostSelectors {
		return field.ErrorList{field.TooMany(field.NewPath("spec", "resourceSelectors"), n, mostSelectors)}, nil
	}
	return validate.PlacementUpdate(old, p, s.Kinds.Namespaced), nil
}

func member(_ context.Context, c *clusterv1beta1.MemberCluster) (field.ErrorList, error) {
	return validate.MemberCluster(c), nil
}

func memberUpdate(_ context.Context, old, c *clusterv1beta1.MemberCluster) (field.ErrorList, error) {
	return validate.MemberClusterUpdate(old, c), nil
}

// memberDeletion looks for services that the member exports.
func (s *Server) memberDeletion(ctx context.Context, c *clusterv1beta1.MemberCluster) (field.ErrorList, error) {
	if !s.Networking || validate.SkipsDeletion(c) {
		return nil, nil
	}
	if !s.exporting.Load() {
		if !s.Kinds.serves(exports) {
			return nil, nil // without the kind there are none
		}
		return nil, errors.New("the services that clusters export are not known yet; try again")
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(exports)
	if err := s.Reader.List(ctx, list, client.InNamespace(contract.MemberNamespace(c.Name))); err != nil {
		return nil, fmt.Errorf("list the services that the cluster exports: %w", err)
	}
	var names []string
	for _, export := range list.Items {
		if export.DeletionTimestamp.IsZero() {
			names = append(names, export.Name)
		}
	}
	return validate.MemberClusterDeletion(c, names), nil
}

// exports are the services that members export, one object for each.
var exports = schema.GroupVersionKind{Group: "networking.fleet.azure.com", Version: "v1alpha1", Kind: "InternalServiceExport"}

func overrides[O any, P interface {
	*O
	v1beta1.OverrideObject
}](s *Server) rules[O] {
	return rules[O]{
		create: func(ctx context.Context, o *O) (field.ErrorList, error) {
			others, err := s.overrides(ctx, P(o).GetNamespace())
			if err != nil {
				return nil, err
			}
			return validate.Override(P(o), others), nil
		},
		update: func(ctx context.Context, old, o *O) (field.ErrorList, error) {
			others, err := s.overrides(ctx, P(o).GetNamespace())
			if err != nil {
				return nil, err
			}
			return validate.OverrideUpdate(P(old), P(o), others), nil
		},
	}
}

// overrides reads the overrides of a namespace, or the cluster-wide ones, without their policies: see slim. The rules
// do not change them.
func (s *Server) overrides(ctx context.Context, namespace string) ([]v1beta1.OverrideObject, error) {
	return scope.Overrides.List(ctx, s.Reader, namespace, client.UnsafeDisableDeepCopy)
}

// named reads a placement, or returns nil if there is none.
func (s *Server) named(ctx context.Context, name string) (v1beta1.PlacementObject, error) {
	p, err := scope.Placements.Get(ctx, s.Reader, types.NamespacedName{Name: name})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return p, err
}

func (s *Server) eviction(ctx context.Context, e *v1beta1.ClusterResourcePlacementEviction) (field.ErrorList, error) {
	p, err := s.named(ctx, e.Spec.PlacementName)
	if err != nil {
		return nil, err
	}
	return validate.Eviction(p), nil
}

func (s *Server) budget(ctx context.Context, b *v1beta1.ClusterResourcePlacementDisruptionBudget) (field.ErrorList, error) {
	p, err := s.named(ctx, b.Name)
	if err != nil {
		return nil, err
	}
	return validate.DisruptionBudget(&b.Spec, p), nil
}

func (s *Server) budgetUpdate(ctx context.Context, old, b *v1beta1.ClusterResourcePlacementDisruptionBudget) (field.ErrorList, error) {
	p, err := s.named(ctx, b.Name)
	if err != nil {
		return nil, err
	}
	return validate.DisruptionBudgetUpdate(old, b, p), nil
}

// ofHub keeps objects of a kind out of namespaces of users.
func ofHub(kind string) admission.Handler {
	return admission.HandlerFunc(func(_ context.Context, req admission.Request) admission.Response {
		if wrong := validate.HubObject(kind, req.Namespace); len(wrong) > 0 {
			return refused(req, wrong)
		}
		return admission.Allowed("")
	})
}

// probed answers the publisher's probe.
func probed(context.Context, admission.Request) admission.Response {
	return admission.Denied(webhook.ProbeAnswer)
}

// guard decides for the guard rail.
func (s *Server) guard(ctx context.Context, req admission.Request) admission.Response {
	if req.Name == "" { // the API server makes the name of this prefix, which decides whether it is reserved, after admission
		req.Name = nameOf(req)
	}
	var err error
	switch (schema.GroupResource{Group: req.Resource.Group, Resource: req.Resource.Resource}) {
	case schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}:
		err = s.Policy.CustomResourceDefinition(&req.AdmissionRequest)
	case schema.GroupResource{Resource: "namespaces"}:
		err = s.Policy.Namespace(&req.AdmissionRequest)
	case schema.GroupResource{Group: webhook.MemberClusters.Group, Resource: webhook.MemberClusters.Plural}:
		var old, is *clusterv1beta1.MemberCluster
		for _, half := range []struct {
			raw  []byte
			into **clusterv1beta1.MemberCluster
		}{{req.OldObject.Raw, &old}, {req.Object.Raw, &is}} {
			if len(half.raw) == 0 {
				continue
			}
			*half.into = &clusterv1beta1.MemberCluster{}
			if decode.JSON(half.raw, *half.into) != nil {
				old, is, err = nil, nil, s.Policy.Undecodable(&req.AdmissionRequest)
				break
			}
		}
		if old != nil || is != nil {
			err = s.Policy.MemberCluster(&req.AdmissionRequest, old, is)
		}
	default:
		err = s.Policy.Namespaced(&req.AdmissionRequest, func(name string) (rbacv1.Subject, bool) {
			cluster := &clusterv1beta1.MemberCluster{}
			if err := s.Reader.Get(ctx, types.NamespacedName{Name: name}, cluster); err != nil {
				return rbacv1.Subject{}, false
			}
			return cluster.Spec.Identity, true
		})
	}
	if err != nil {
		return admission.Denied(err.Error())
	}
	return admission.Allowed("")
}

// nameOf is the name of the object of a request that has none: its generateName, or the name of the object that is
// deleted with others. It is empty if the object cannot be decoded.
func nameOf(req admission.Request) string {
	raw := req.Object.Raw
	if req.Operation == admissionv1.Delete {
		raw = req.OldObject.Raw
	}
	header, _ := decode.HeaderOf(raw) // as far as it can be decoded
	return cmp.Or(header.Metadata.Name, header.Metadata.GenerateName)
}
