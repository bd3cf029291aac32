// Package override decides how the content of a placement differs from cluster to cluster. Match says which override snapshots concern a
// placement, and for which of its clusters; the rollout writes their names into bindings. New makes of the snapshots a binding
// names what changes one object after the other for the binding's cluster. The roller and the dispatcher use it.
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

// Cluster is a member cluster as far as overrides look at it.
type Cluster struct {
	Name string
	// Labels are those of its MemberCluster.
	Labels map[string]string
}

// Matching are the override snapshots that concern a placement, in the order in which they change an object: cluster-wide ones by
// name, then namespaced ones by namespace and name.
type Matching struct {
	cluster    []v1beta1.OverrideSnapshotObject
	namespaced []v1beta1.OverrideSnapshotObject
}

// Match picks from override snapshots, which may be in any order, those that are in force, are for the placement, and select something
// of contents.
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

// InForce leaves one snapshot of each override, the latest, sorted by namespace and name.
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

// Idle picks from snapshots of overrides those that are in force and select nothing of contents.
func Idle(snapshots []v1beta1.OverrideSnapshotObject, contents Contents) []v1beta1.OverrideSnapshotObject {
	return slices.DeleteFunc(InForce(snapshots), contents.selected)
}

// limitable is an override, or a snapshot of one.
type limitable interface {
	GetNamespace() string
	GetPlacement() *v1beta1.PlacementRef
}

// isFor says whether an override may change the content of a placement.
func isFor(o limitable, placement types.NamespacedName) bool {
	limit, limited := scope.LimitOf(o)
	return !limited || limit == placement
}

// None says whether no override concerns the placement.
func (m Matching) None() bool { return len(m.cluster)+len(m.namespaced) == 0 }

// Lists names the snapshots for each cluster that has any.
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

// concerns says whether some rule of an override matches a cluster. One that cannot be read counts: then the cluster says what is
// wrong, where otherwise nobody would.
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

// matches says whether a rule's selector picks a cluster: none picks no cluster, one without terms every cluster.
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

// Error says which part of which override cannot be worked into an object, and why. It is for the user: he has to change the override, or
// the labels of the cluster.
type Error struct {
	// Kind, Namespace and Name are the override's; Snapshot is the name of the snapshot that was used.
	Kind, Namespace, Name string
	Snapshot              string
	// Rule counts from 1. Patch is "operation path", and empty if the whole rule is wrong.
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

// KindOf is the kind of the override that a snapshot is of.
func KindOf(s v1beta1.OverrideSnapshotObject) string {
	if s.GetNamespace() == "" {
		return "ClusterResourceOverride"
	}
	return "ResourceOverride"
}
