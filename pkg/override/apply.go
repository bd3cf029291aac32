package override

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
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
	err := CheckPath(p.Path)
	if err == nil && p.Operator != v1beta1.JSONPatchRemove {
		operation["value"], err = o.value(p.Value.Raw)
	}
	if err != nil {
		return change{err: err, where: where}
	}
	raw, err := json.Marshal([]any{operation})
	if err != nil {
		return change{err: fmt.Errorf("the value is not JSON once its variables are filled in: %w", err), where: where}
	}
	patch, err := jsonpatch.DecodePatch(raw)
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

// Variables in the values of patches.
const (
	variableName        = "${MEMBER-CLUSTER-NAME}"
	variableLabelPrefix = "${MEMBER-CLUSTER-LABEL-KEY-"
)

// fill replaces the variables in text once: what comes from a label is not looked at again.
func (c Cluster) fill(text string) (string, error) {
	text = strings.ReplaceAll(text, variableName, c.Name)
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, variableLabelPrefix)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		key, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("the variable that starts with %s has no closing }", variableLabelPrefix)
		}
		value, ok := c.Labels[key]
		if !ok {
			return "", fmt.Errorf("cluster %s has no label %q: give it to the MemberCluster, or exclude the cluster from the rule",
				c.Name, key)
		}
		out.WriteString(value)
		text = after
	}
}

// Apply changes one object, given as JSON, which stays as it is. It returns nil if the cluster is not to have the object. The error is
// an *Error.
func (o *Overrides) Apply(object []byte) ([]byte, error) {
	if len(o.wide)+len(o.namespaced) == 0 {
		return object, nil
	}
	var h header
	if json.Unmarshal(object, &h) != nil {
		return object, nil //nolint:nilerr // no override can select it; the member says what is wrong with it
	}
	name := h.id()
	wide := name
	if name.namespace != "" {
		wide = namespaceNamed(name.namespace)
	}
	for _, changes := range [][]change{o.wide[wide], o.namespaced[name]} {
		var err error
		if object, err = apply(object, changes); err != nil || object == nil {
			return nil, err
		}
	}
	return object, nil
}

// apply makes changes in their order, up to the one that leaves the object out.
func apply(object []byte, changes []change) ([]byte, error) {
	for _, c := range changes {
		if c.leaveOut {
			return nil, nil
		}
		err := c.err
		if err == nil {
			object, err = c.patch.Apply(object)
		}
		if err != nil {
			where := c.where
			where.Err = err
			return nil, &where
		}
	}
	return object, nil
}

// What a path must not lead to, in the words of the contract.
var (
	ErrPathEmpty        = errors.New("path cannot be empty")
	ErrPathNoSlash      = errors.New("path must start with /")
	ErrPathEmptySegment = errors.New("path cannot contain empty string")
	ErrPathTypeMeta     = errors.New("cannot override typeMeta fields")
	ErrPathStatus       = errors.New("cannot override status fields")
	ErrPathMetadata     = errors.New("cannot override metadata fields except annotations and labels")
)

// CheckPath says why a patch must not have this path: with it an override would make another object, in another place than it may, of
// the one it selects. Admission refuses such paths; an override that came past it fails.
func CheckPath(path string) error {
	if path == "" {
		return ErrPathEmpty
	}
	if !strings.HasPrefix(path, "/") {
		return ErrPathNoSlash
	}
	segments := strings.Split(path[1:], "/")
	for _, s := range segments {
		if strings.TrimSpace(s) == "" {
			return ErrPathEmptySegment
		}
	}
	switch segments[0] {
	case "kind", "apiVersion":
		return ErrPathTypeMeta
	case "status":
		return ErrPathStatus
	case "metadata":
		if len(segments) < 2 || segments[1] != "annotations" && segments[1] != "labels" {
			return ErrPathMetadata
		}
	}
	return nil
}
