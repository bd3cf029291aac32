// Package override decides how the content of a placement differs between clusters. Match finds the override snapshots
// that apply to a placement, and to which of its clusters; the rollout writes their names to bindings. New prepares
// the snapshots in a binding to change the objects for the binding's cluster, one after the other. The roller, the
// stager and the dispatcher use it.
package override

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Cluster is the part of a member cluster that overrides use.
type Cluster struct {
	Name string
	// Labels are the labels of its MemberCluster.
	Labels map[string]string
}

// Matching are the override snapshots that apply to a placement, in the order in which they change an object:
// cluster-wide ones by name, then namespaced ones by namespace and name.
type Matching struct {
	cluster    []v1beta1.OverrideSnapshotObject
	namespaced []v1beta1.OverrideSnapshotObject
}

// Match returns the override snapshots that are the latest of their override, apply to the placement, and select at
// least one of contents. snapshots may be in any order.
func Match(placement types.NamespacedName, snapshots []v1beta1.OverrideSnapshotObject, contents Contents) Matching {
	var out Matching
	for _, s := range InForce(snapshots) {
		switch {
		case !isFor(s, placement) || !contents.selected(s):
		case s.GetNamespace() == "":
			out.cluster = append(out.cluster, s)
		default:
			out.namespaced = append(out.namespaced, s)
		}
	}
	return out
}

// InForce returns the latest snapshot of each override, sorted by namespace and name.
func InForce(snapshots []v1beta1.OverrideSnapshotObject) []v1beta1.OverrideSnapshotObject {
	byOverride := map[types.NamespacedName][]v1beta1.OverrideSnapshotObject{}
	for _, s := range snapshots {
		if override, ok := scope.OverrideOf(s); ok {
			byOverride[override] = append(byOverride[override], s)
		}
	}
	out := make([]v1beta1.OverrideSnapshotObject, 0, len(byOverride))
	for _, all := range byOverride {
		if latest := snapshot.LatestOverride(all); latest != nil {
			out = append(out, latest)
		}
	}
	slices.SortFunc(out, func(a, b v1beta1.OverrideSnapshotObject) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Idle returns the latest snapshots that select nothing in contents.
func Idle(snapshots []v1beta1.OverrideSnapshotObject, contents Contents) []v1beta1.OverrideSnapshotObject {
	return slices.DeleteFunc(InForce(snapshots), contents.selected)
}

// limitable is an override, or a snapshot of one.
type limitable interface {
	GetNamespace() string
	GetPlacement() *v1beta1.PlacementRef
}

// isFor reports whether an override may change the content of a placement.
func isFor(o limitable, placement types.NamespacedName) bool {
	limit, limited := scope.LimitOf(o)
	return !limited || limit == placement
}

// None reports whether no override applies to the placement.
func (m Matching) None() bool { return len(m.cluster)+len(m.namespaced) == 0 }

// Lists returns the snapshots for each cluster that has any.
func (m Matching) Lists(clusters []Cluster) map[string]delivery.Overrides {
	out := map[string]delivery.Overrides{}
	if m.None() {
		return out
	}
	for _, cluster := range clusters {
		var lists delivery.Overrides
		var named []v1beta1.OverrideSnapshotObject
		for _, s := range m.cluster {
			if concerns(s, cluster) {
				lists.Cluster, named = append(lists.Cluster, s.GetName()), append(named, s)
			}
		}
		for _, s := range m.namespaced {
			if concerns(s, cluster) {
				lists.Namespaced = append(lists.Namespaced, v1beta1.NamespacedName{Namespace: s.GetNamespace(), Name: s.GetName()})
				named = append(named, s)
			}
		}
		if len(named) > 0 {
			lists.Fingerprint = Fingerprint(named, cluster)
			out[cluster.Name] = lists
		}
	}
	return out
}

// concerns reports whether at least one rule of an override matches a cluster. A rule that cannot be evaluated counts,
// so that the error is reported for the cluster.
func concerns(s v1beta1.OverrideSnapshotObject, cluster Cluster) bool {
	for _, rule := range rulesOf(s) {
		if yes, err := matches(rule.ClusterSelector, cluster); yes || err != nil {
			return true
		}
	}
	return false
}

func rulesOf(s v1beta1.OverrideSnapshotObject) []v1beta1.OverrideRule {
	if s.GetPolicy() == nil {
		return nil
	}
	return s.GetPolicy().OverrideRules
}

// matches reports whether a rule's selector matches a cluster: a missing selector matches no cluster, one without
// terms matches every cluster.
func matches(selector *v1beta1.ClusterSelector, cluster Cluster) (bool, error) {
	if selector == nil {
		return false, nil
	}
	for i, term := range selector.ClusterSelectorTerms {
		if wrong := validate.OverrideTerm(term, nil); len(wrong) > 0 {
			return false, fmt.Errorf("term %d: %s", i+1, wrong[0].Detail)
		}
		by, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		if err != nil {
			return false, err
		}
		if by.Matches(labels.Set(cluster.Labels)) {
			return true, nil
		}
	}
	return len(selector.ClusterSelectorTerms) == 0, nil
}

// Error is an error in one part of an override, for its user, who must change the override or the labels of the
// cluster.
type Error struct {
	// Kind, Namespace and Name identify the override; Snapshot is the name of the snapshot.
	Kind, Namespace, Name string
	Snapshot              string
	// Rule counts from 1. Patch is "operation path"; empty if the error concerns the whole rule.
	Rule  int
	Patch string
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	name := e.Name
	if e.Namespace != "" {
		name = e.Namespace + "/" + name
	}
	fmt.Fprintf(&b, "%s %s (snapshot %s), rule %d", e.Kind, name, e.Snapshot, e.Rule)
	if e.Patch != "" {
		fmt.Fprintf(&b, ", %s", e.Patch)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of a snapshot's override.
func KindOf(s v1beta1.OverrideSnapshotObject) string {
	if s.GetNamespace() == "" {
		return "ClusterResourceOverride"
	}
	return "ResourceOverride"
}
