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

// Overrides are what changes objects for one cluster.
type Overrides struct {
	cluster Cluster
	// wide and namespaced hold, for what is selected, the changes in the order in which they are made.
	wide, namespaced map[id][]change
}

// change is one patch of a rule, or the order to leave the object out, or what is wrong with a rule.
type change struct {
	leaveOut bool
	patch    jsonpatch.Patch
	err      error
	// where is what an error is about, without its cause.
	where Error
}

// New prepares the overrides of a binding to cluster: snapshots are those it names, in its order, cluster-wide ones first. Mistakes in
// them show when an object is to be changed.
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

// changes are what the rules of an override that match the cluster do.
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
		return change{err: fmt.Errorf("the value, once its variables are filled in: %w", decode.ErrSyntax), where: where}
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		err = errNotAPatch // the cause quotes the value
	}
	return change{patch: patch, err: err, where: where}
}

// value fills in the variables of a patch's value. A value that was left out is null.
func (o *Overrides) value(raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("null"), nil
	}
	text, err := o.cluster.fill(string(raw))
	return json.RawMessage(text), err
}

// fill replaces the variables in text once: what comes from a label is not looked at again.
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
			return "", fmt.Errorf("cluster %s has no label %q: give it to the MemberCluster, or exclude the cluster from the rule",
				c.Name, piece.Label)
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

// Apply changes one object, given as JSON, which stays as it is. It returns nil if the cluster is not to have the object. The error is
// an *Error.
func (o *Overrides) Apply(object []byte) ([]byte, error) {
	if len(o.wide)+len(o.namespaced) == 0 {
		return object, nil
	}
	h, err := decode.HeaderOf(object)
	if err != nil {
		return object, nil //nolint:nilerr // no override can select it; the member says what is wrong with it
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

// apply makes changes in their order, up to the one that leaves the object out. After each the object is the one that was selected.
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
			err = still(object, as)
		}
		if err != nil {
			where := c.where
			where.Err = err
			return nil, &where
		}
	}
	return object, nil
}

// still says why an object that was changed is not the one it was any more, or cannot be placed, whatever way the patch has found to that.
func still(object []byte, as decode.Header) error {
	is, err := decode.HeaderOf(object)
	switch {
	case err != nil:
		return fmt.Errorf("the object cannot be placed any more: %w", err)
	case is != as:
		return errIdentity
	}
	return nil
}

var (
	errNotAPatch = errors.New("the operation is not one of a JSON patch")
	errIdentity  = errors.New("an override must not change apiVersion, kind, namespace or name")
)
