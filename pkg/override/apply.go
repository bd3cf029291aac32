package override

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Overrides change objects for one cluster.
type Overrides struct {
	cluster Cluster
	// wide and namespaced contain the changes for each selected object, in the order in which they are applied.
	wide, namespaced map[id][]change
}

// change is one patch of a rule, the removal of the object, or an error in a rule.
type change struct {
	leaveOut bool
	patch    jsonpatch.Patch
	err      error
	// where describes the place of an error, without its cause.
	where Error
}

// New prepares the overrides of a binding for cluster: snapshots are the override snapshots in the binding, in its
// order, cluster-wide ones first. Apply returns errors in them when it changes an object.
func New(cluster Cluster, snapshots []v1beta1.OverrideSnapshotObject) *Overrides {
	o := &Overrides{cluster: cluster, wide: map[id][]change{}, namespaced: map[id][]change{}}
	for _, s := range snapshots {
		changes := o.changes(s)
		if len(changes) == 0 {
			continue
		}
		by := o.namespaced
		if s.GetNamespace() == "" {
			by = o.wide
		}
		for _, object := range targets(s) {
			by[object] = append(by[object], changes...)
		}
	}
	return o
}

// changes returns the changes of an override's rules that match the cluster.
func (o *Overrides) changes(s v1beta1.OverrideSnapshotObject) []change {
	var out []change
	for i, rule := range rulesOf(s) {
		where := Error{Kind: KindOf(s), Snapshot: s.GetName(), Rule: i + 1}
		where.Namespace, where.Name = s.GetNamespace(), s.GetLabels()[contract.LabelOverride]
		match, err := matches(rule.ClusterSelector, o.cluster)
		switch {
		case err != nil:
			out = append(out, change{err: err, where: where})
		case !match:
		case rule.OverrideType == v1beta1.OverrideTypeDelete:
			out = append(out, change{leaveOut: true})
		default:
			for _, p := range rule.JSONPatchOverrides {
				out = append(out, o.patch(p, where))
			}
		}
	}
	return out
}

// patch prepares one patch of a rule.
func (o *Overrides) patch(p v1beta1.JSONPatchOverride, where Error) change {
	where.Patch = string(p.Operator) + " " + p.Path
	operation := map[string]any{"op": p.Operator, "path": p.Path}
	err := validate.PatchPath(p.Path)
	if err == nil && p.Operator != v1beta1.JSONPatchRemove {
		operation["value"], err = o.value(p.Value.Raw)
	}
	if err != nil {
		return change{err: err, where: where}
	}
	raw, err := json.Marshal([]any{operation})
	if err != nil {
		return change{err: fmt.Errorf("the value with its variables replaced: %w", decode.ErrSyntax), where: where}
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		err = errNotAPatch // the cause quotes the value
	}
	return change{patch: patch, err: err, where: where}
}

// value replaces the variables in a patch's value. A missing value is null.
func (o *Overrides) value(raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("null"), nil
	}
	text, err := o.cluster.fill(string(raw))
	return json.RawMessage(text), err
}

// fill replaces the variables in text once: it does not replace variables in the value of a label.
func (c Cluster) fill(text string) (string, error) {
	pieces, err := validate.SplitVariables(text, c.Name)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, piece := range pieces {
		out.WriteString(piece.Text)
		if piece.Label == "" {
			continue
		}
		value, ok := c.Labels[piece.Label]
		if !ok {
			return "", fmt.Errorf("cluster %s has no label %q: add it to the MemberCluster, or exclude the cluster from the rule",
				c.Name, piece.Label)
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

// Apply changes one object, given as JSON, and returns the result; it does not modify the argument. It returns nil if
// the cluster must not get the object. The error is an *Error.
func (o *Overrides) Apply(object []byte) ([]byte, error) {
	if len(o.wide)+len(o.namespaced) == 0 {
		return object, nil
	}
	h, err := decode.HeaderOf(object)
	if err != nil {
		return object, nil //nolint:nilerr // no override can select it; the member agent reports the error
	}
	name := idOf(h)
	wide := name
	if name.namespace != "" {
		wide = namespaceNamed(name.namespace)
	}
	for _, changes := range [][]change{o.wide[wide], o.namespaced[name]} {
		if object, err = apply(object, h, changes); err != nil || object == nil {
			return nil, err
		}
	}
	return object, nil
}

// apply applies changes in order, up to one that removes the object. After each change it checks that the result is
// still the selected object.
func apply(object []byte, as decode.Header, changes []change) ([]byte, error) {
	for _, c := range changes {
		if c.leaveOut {
			return nil, nil
		}
		err := c.err
		if err == nil {
			object, err = c.patch.Apply(object)
		}
		if err == nil {
			err = sameObject(object, as)
		}
		if err != nil {
			where := c.where
			where.Err = err
			return nil, &where
		}
	}
	return object, nil
}

// sameObject returns an error if a changed object has another identity, or is invalid, whatever patch caused it.
func sameObject(object []byte, as decode.Header) error {
	is, err := decode.HeaderOf(object)
	switch {
	case err != nil:
		return fmt.Errorf("the patched object is invalid: %w", err)
	case is != as:
		return errIdentity
	}
	return nil
}

var (
	errNotAPatch = errors.New("the operation is not a valid JSON patch operation")
	errIdentity  = errors.New("an override must not change apiVersion, kind, namespace or name")
)
