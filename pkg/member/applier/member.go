package applier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

func (a *Applier) at(p place) dynamic.ResourceInterface {
	if p.Namespace == "" {
		return a.Dynamic.Resource(p.GroupVersionResource)
	}
	return a.Dynamic.Resource(p.GroupVersionResource).Namespace(p.Namespace)
}

// live reads an object; nil means that there is none. Its errors, like those of the calls below, are the API server's
// own.
func (a *Applier) live(ctx context.Context, p place) (*unstructured.Unstructured, error) {
	obj, err := a.at(p).Get(ctx, p.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

func (a *Applier) create(ctx context.Context, p place, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return a.at(p).Create(ctx, obj, metav1.CreateOptions{FieldManager: contract.ManagerMember})
}

func (a *Applier) patch(ctx context.Context, p place, kind types.PatchType, body []byte, force bool) (*unstructured.Unstructured, error) {
	options := metav1.PatchOptions{FieldManager: contract.ManagerMember}
	if kind == types.ApplyPatchType {
		options.Force = &force
	}
	return a.at(p).Patch(ctx, p.Name, kind, body, options)
}

// try returns the result of a dry run of action on live, which was read before. If the object has changed since, it is
// a conflict.
func (a *Applier) try(ctx context.Context, p place, action apply.Action, live *unstructured.Unstructured) (*apply.Trial, error) {
	body, err := json.Marshal(action.Object.Object)
	if err != nil {
		return nil, fmt.Errorf("%w: encode it: %w", errBroken, err)
	}
	force := true
	trial, err := a.dryRun(ctx, p, types.ApplyPatchType, body, live, &force)
	if err != nil || trial.Failure == "" || trial.Invalid || action.Body == nil {
		return trial, err
	}
	lax, err := a.dryRun(ctx, p, action.Type, action.Body, live, nil)
	if err != nil || lax.Failure == "" || lax.Invalid {
		if lax != nil {
			lax.Merged = true
		}
		return lax, err
	}
	return trial, nil
}

func (a *Applier) dryRun(
	ctx context.Context, p place, kind types.PatchType, body []byte, live *unstructured.Unstructured, force *bool,
) (*apply.Trial, error) {
	out, err := a.at(p).Patch(ctx, p.Name, kind, body, metav1.PatchOptions{
		FieldManager: contract.ManagerMember, Force: force, DryRun: []string{metav1.DryRunAll},
	})
	words := func() string { return explain(err, live.GroupVersionKind().GroupKind()) }
	switch {
	case apierrors.IsInvalid(err):
		return &apply.Trial{Invalid: true, Failure: words()}, nil
	case err != nil && passing(err) && !apierrors.IsInternalError(err):
		return nil, err
	case err != nil:
		return &apply.Trial{Failure: words()}, nil //nolint:nilerr // the refusal is the outcome
	case out.GetUID() != live.GetUID() || out.GetResourceVersion() != live.GetResourceVersion():
		return nil, apierrors.NewConflict(p.GroupResource(), p.Name, errors.New("it has changed since it was read"))
	}
	return &apply.Trial{Object: out}, nil
}

// delete deletes exactly the object that was read, if it has not changed, and makes the garbage collector delete its
// dependents: without a propagation policy the API server would orphan the pods of Jobs and ReplicationControllers.
func (a *Applier) delete(ctx context.Context, p place, obj *unstructured.Unstructured) error {
	how := metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: ptr.To(obj.GetUID()), ResourceVersion: ptr.To(obj.GetResourceVersion())},
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	}
	err := a.at(p).Delete(ctx, p.Name, how)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// scopeError means that a manifest's namespace contradicts the scope of its kind.
type scopeError struct{ namespaced bool }

func (e scopeError) Error() string {
	if e.namespaced {
		return "the kind is namespaced; the manifest needs a namespace"
	}
	return "the kind is cluster-scoped; the manifest must not have a namespace"
}

// wallError is why a Work must not touch an object.
type wallError string

func (e wallError) Error() string { return string(e) }

// locate returns the resource and name of an object on the member.
func (a *Applier) locate(gvk schema.GroupVersionKind, name types.NamespacedName) (place, error) {
	mapping, err := a.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return place{}, err
	}
	if namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace; namespaced != (name.Namespace != "") {
		return place{mapping.Resource, name}, scopeError{namespaced}
	}
	return place{mapping.Resource, name}, nil
}

const mostMessage = 1024

// explain is the text of an error about an object of a kind for a status. Errors about objects leave this package only
// through it: API servers quote rejected values, which must not be shown for Secrets.
func explain(err error, kind schema.GroupKind) string {
	var status apierrors.APIStatus
	var scope scopeError
	var wall wallError
	var kept unreplaced
	switch {
	case errors.As(err, &kept):
		return cut(explain(kept.error, kind) + kept.hint())
	case errors.As(err, &scope):
		return scope.Error()
	case errors.As(err, &wall):
		return wall.Error()
	case meta.IsNoMatchError(err):
		return "the member cluster does not serve this kind"
	case !errors.As(err, &status) && secrecy.Covers(kind):
		return "the request failed (details of Secrets are not shown)"
	case errors.As(err, &status) && secrecy.Covers(kind):
		return cut(secrecy.Refused(status.Status())) + allowing(err)
	case errors.As(err, &status):
		return refused(status.Status()) + allowing(err)
	}
	return cut(err.Error())
}

func cut(s string) string {
	if len(s) <= mostMessage {
		return s
	}
	return strings.ToValidUTF8(s[:mostMessage], "") + "…"
}

// passing reports whether an error is expected to end by itself: a race, an overload, a restart of the API server, or
// a dependency that another manifest or another Work creates.
func passing(err error) bool {
	var status apierrors.APIStatus
	var scope scopeError
	var wall wallError
	switch {
	case errors.As(err, &scope), errors.As(err, &wall), claimedByAnother(err):
		return false
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err),
		apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsInternalError(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return true
	}
	return !errors.As(err, &status) && !errors.Is(err, errBroken)
}

// claimedByAnother reports whether server-side apply was refused because other managers own fields; that is no race.
func claimedByAnother(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict)
}

// errBroken marks errors caused by the manifest.
var errBroken = errors.New("the manifest cannot be applied")

// awaited is the place, beside the object's own, whose change may end err.
func awaited(err error, m apply.Manifest) (place, bool) {
	namespace := place{namespaces, types.NamespacedName{Name: m.Identifier.Namespace}}
	switch {
	case meta.IsNoMatchError(err):
		return definitions(m.Identifier.Group), true
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return namespace, true
	case apierrors.IsNotFound(err) && m.Identifier.Namespace != "" && namesNamespace(err):
		return namespace, true
	case apierrors.IsNotFound(err):
		return definitions(m.Identifier.Group), true
	}
	return place{}, false
}

func namesNamespace(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

func patchBody(patch map[string]any) ([]byte, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	return body, nil
}
