package which

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// answer is the explanation of one object.
type answer struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	// Placed is whether a fleet placed the object; if not, all fields below but Changes are empty.
	Placed bool `json:"placed"`
	// Hub is the address of the hub, Placement <namespace>/<name> or a name alone.
	Hub       string `json:"hub,omitempty"`
	Placement string `json:"placement,omitempty"`
	// Snapshot is the revision that last changed the object on this cluster; later ones left it as it is.
	Snapshot  string   `json:"snapshot,omitempty"`
	Overrides []string `json:"overrides,omitempty"`
	// Work is <namespace>/<name> on the hub; its AppliedWork here has the same name.
	Work    string       `json:"work,omitempty"`
	Applied *metav1.Time `json:"applied,omitempty"`
	// Held is why the object is kept although its Work no longer lists it.
	Held    string   `json:"held,omitempty"`
	Changes []edited `json:"changes,omitempty"`
}

// edited is a change of the object by another field manager.
type edited struct {
	By   string       `json:"by"`
	When *metav1.Time `json:"when,omitempty"`
	// Drift is whether the manifest sets some of the fields.
	Drift  bool     `json:"drift"`
	Fields []string `json:"fields"`
}

// ledgerOf reads the AppliedWork that owns an object; nil if none does. If the AppliedWork is missing or the user must
// not read it, only its name is returned.
func ledgerOf(ctx context.Context, cluster client.Client, obj *unstructured.Unstructured) (*v1beta1.AppliedWork, error) {
	for _, ref := range obj.GetOwnerReferences() {
		if ref.Kind != "AppliedWork" || !strings.HasPrefix(ref.APIVersion, v1beta1.GroupVersion.Group+"/") {
			continue
		}
		out := &v1beta1.AppliedWork{}
		err := cluster.Get(ctx, types.NamespacedName{Name: ref.Name}, out)
		out.Name = ref.Name
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return out, nil
		}
		return out, err
	}
	return nil, nil
}

func answerOf(obj *unstructured.Unstructured, ledger *v1beta1.AppliedWork) answer {
	a := answer{APIVersion: obj.GetAPIVersion(), Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if ledger == nil {
		return a
	}
	notes := obj.GetAnnotations()
	a.Placed = true
	a.Hub, a.Placement = notes[contract.AnnotationPlacedHub], notes[contract.AnnotationPlacedBy]
	a.Snapshot = notes[contract.AnnotationPlacedRevision]
	if names := notes[contract.AnnotationPlacedOverrides]; names != "" {
		a.Overrides = strings.Split(names, ",")
	}
	a.Work = strings.TrimPrefix(ledger.Spec.WorkNamespace+"/"+ledger.Name, "/")
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == contract.ManagerMember && entry.Subresource == "" && (a.Applied == nil || a.Applied.Before(entry.Time)) {
			a.Applied = entry.Time
		}
	}
	for _, c := range ledger.Status.Conditions {
		if c.Type == report.ConditionHeld {
			a.Held = c.Message
		}
	}
	if notes[contract.AnnotationHeld] == contract.HeldYes {
		a.Held = fmt.Sprintf("The Work no longer lists it, but the hub may have been restored to an older state; to remove the object, annotate it %s=%s",
			contract.AnnotationHeld, contract.HeldRelease)
	}
	a.Changes = changesOf(obj)
	return a
}

// changesOf lists what other field managers have written to an object outside its status, latest first.
func changesOf(obj *unstructured.Unstructured) []edited {
	var manifest map[string]any
	if text := obj.GetAnnotations()[contract.AnnotationLastApplied]; text != "" {
		_ = decode.JSON([]byte(text), &manifest) // if a user has edited it, the manifest is unknown
	}
	var out []edited
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == contract.ManagerMember || entry.Subresource == "status" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		c := edited{By: entry.Manager, When: entry.Time}
		if entry.Subresource != "" {
			c.By += " (" + entry.Subresource + ")"
		}
		set.Leaves().Iterate(func(p fieldpath.Path) {
			c.Fields = append(c.Fields, strings.TrimPrefix(p.String(), "."))
			c.Drift = c.Drift || sets(manifest, p)
		})
		if len(c.Fields) > 0 {
			slices.Sort(c.Fields)
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(x, y edited) int { return cmp.Compare(unix(y.When), unix(x.When)) })
	return out
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// sets reports whether a manifest sets the field at path.
func sets(in any, path fieldpath.Path) bool {
	for _, step := range path {
		switch {
		case step.FieldName != nil:
			fields, _ := in.(map[string]any)
			next, ok := fields[*step.FieldName]
			if !ok {
				return false
			}
			in = next
		case step.Key != nil || step.Value != nil:
			items, _ := in.([]any)
			at := slices.IndexFunc(items, func(item any) bool { return matches(item, step) })
			if at < 0 {
				return false
			}
			in = items[at]
		default:
			return false
		}
	}
	return in != nil
}

// matches reports whether a step of a path selects the list element.
func matches(item any, step fieldpath.PathElement) bool {
	if step.Value != nil {
		return fmt.Sprint(item) == fmt.Sprint((*step.Value).Unstructured())
	}
	fields, ok := item.(map[string]any)
	for _, key := range *step.Key {
		value, set := fields[key.Name]
		ok = ok && (!set || fmt.Sprint(value) == fmt.Sprint(key.Value.Unstructured())) // an omitted key has a default
	}
	return ok
}
