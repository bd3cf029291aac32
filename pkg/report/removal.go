package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// Holds are the removals of a placement that are held.
type Holds struct {
	// Content are those of objects that leave clusters, by cluster.
	Content []ClusterHold
	// Clusters is that of clusters that leave the placement, and Placement that of the deleted placement; nil for
	// none.
	Clusters, Placement *v1beta1.HeldRemoval
	// On is from how many clusters the deletion of the placement would remove objects.
	On int
}

// ClusterHold is a removal that is held on one cluster.
type ClusterHold struct {
	Cluster string
	v1beta1.HeldRemoval
}

// HoldsOf returns what is held for a placement that is not being deleted: by its bindings, and by its current policy
// snapshot, which may be nil.
func HoldsOf(bindings []v1beta1.BindingObject, policy v1beta1.PolicySnapshotObject) Holds {
	var out Holds
	for _, b := range bindings {
		if h := b.GetStatus().HeldRemoval; h != nil && b.GetDeletionTimestamp().IsZero() {
			out.Content = append(out.Content, ClusterHold{b.GetSpec().TargetCluster, *h})
		}
	}
	slices.SortFunc(out.Content, func(a, b ClusterHold) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Digest, b.Digest))
	})
	if policy != nil {
		out.Clusters = policy.GetStatus().HeldRemoval
	}
	return out
}

// None reports whether nothing is held.
func (h Holds) None() bool { return len(h.Content) == 0 && h.Clusters == nil && h.Placement == nil }

// All are all removals that are held.
func (h Holds) All() []v1beta1.HeldRemoval {
	var out []v1beta1.HeldRemoval
	for _, c := range h.Content {
		out = append(out, c.HeldRemoval)
	}
	for _, one := range []*v1beta1.HeldRemoval{h.Clusters, h.Placement} {
		if one != nil {
			out = append(out, *one)
		}
	}
	return out
}

// RemovalHeld is the condition of a placement with held removals; nil if there are none.
func RemovalHeld(placement v1beta1.PlacementObject, holds Holds) *metav1.Condition {
	if holds.None() {
		return nil
	}
	var parts []string
	if p := holds.Placement; p != nil {
		parts = append(parts, fmt.Sprintf("the deletion of the placement would remove %d objects%s from %s: %s",
			p.Removed, ofProtected(p.Protected), clusterCount(holds.On), firstOf(p)))
	}
	if c := holds.Clusters; c != nil {
		parts = append(parts, fmt.Sprintf("the policy would leave %d of %d clusters: %s", c.Removed, c.Total, firstOf(c)))
	}
	if len(holds.Content) > 0 {
		var clusters []string
		most := &holds.Content[0]
		for i := range holds.Content {
			c := &holds.Content[i]
			clusters = append(clusters, c.Cluster)
			if c.Protected > most.Protected || c.Protected == most.Protected && c.Removed > most.Removed {
				most = c
			}
		}
		parts = append(parts, fmt.Sprintf("objects would be removed from %s: %s; from %s %d of %d objects%s: %s", clusterCount(len(clusters)),
			brief.List(slices.Compact(clusters), mostNamed), most.Cluster, most.Removed, most.Total, ofProtected(most.Protected), firstOf(&most.HeldRemoval)))
	}
	remedy := "To let it through, run: " + release(placement)
	if holds.Placement == nil {
		remedy += "; to end the hold, revert the change"
	} else {
		remedy += "; to keep the objects on the clusters, set deleteStrategy.propagationPolicy to Abandon"
	}
	c := yes(placement.GetGeneration(), placement.ConditionType(v1beta1.ConditionRemovalHeld), v1beta1.ReasonBeyondRemovalPolicy,
		fmt.Sprintf("More than strategy.removal allows is held: %s. %s", strings.Join(parts, "; "), remedy))
	return &c
}

// DeletionHeld returns the status of a placement whose deletion is held, or is not held any more.
func DeletionHeld(placement v1beta1.PlacementObject, holds Holds, now metav1.Time) v1beta1.PlacementStatus {
	status := *placement.GetStatus().DeepCopy()
	c := RemovalHeld(placement, holds)
	if c == nil {
		meta.RemoveStatusCondition(&status.Conditions, placement.ConditionType(v1beta1.ConditionRemovalHeld))
		return status
	}
	status.Conditions = with(status.Conditions, *c, now)
	return status
}

// DeletionHeldEvent is the event on a placement whose deletion is held from now on; nil if it was before.
func DeletionHeldEvent(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) *Event {
	return placementChange{placement: placement, old: placement.GetStatus(), status: status}.newlyHeld()
}

func clusterCount(n int) string {
	if n == 1 {
		return "1 cluster"
	}
	return fmt.Sprintf("%d clusters", n)
}

func ofProtected(n int32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of protected kinds)", n)
}

// firstOf names the first of what would be removed, and the number of the others.
func firstOf(h *v1beta1.HeldRemoval) string {
	named := h.First[:min(len(h.First), mostNamed)]
	out := cut(strings.Join(named, ", "), maxCause)
	if more := int(h.Removed) - len(named); more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// release is the command that lets held removals through.
func release(placement v1beta1.PlacementObject) string {
	command := "kubectl fleet release " + placement.GetName()
	if namespace := placement.GetNamespace(); namespace != "" {
		command += " -n " + namespace
	}
	return command
}

// contentHeld is the condition of a binding with a held removal.
func contentHeld(generation int64, h *v1beta1.HeldRemoval) metav1.Condition {
	return yes(generation, v1beta1.ConditionRemovalHeld, v1beta1.ReasonBeyondRemovalPolicy, fmt.Sprintf(
		"The content in the spec would remove %d of %d objects%s, which stay: %s", h.Removed, h.Total, ofProtected(h.Protected), firstOf(h)))
}

func sameHold(a, b *v1beta1.HeldRemoval) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Digest == b.Digest
}

// withoutKept returns Works as if they had only the wanted manifests: others, which are kept because their removal is
// held, may fail without an effect on what is wanted.
func withoutKept(works []*v1beta1.Work, kept []removal.Object) []*v1beta1.Work {
	if len(kept) == 0 {
		return works
	}
	is := sets.New(kept...)
	out := make([]*v1beta1.Work, len(works))
	for i, w := range works {
		out[i] = withoutKeptIn(w, is)
	}
	return out
}

func withoutKeptIn(w *v1beta1.Work, kept sets.Set[removal.Object]) *v1beta1.Work {
	var rest, gone []v1beta1.ManifestCondition
	for _, m := range w.Status.ManifestConditions {
		id := m.Identifier
		if kept.Has(removal.Object{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}) {
			gone = append(gone, m)
		} else {
			rest = append(rest, m)
		}
	}
	if len(gone) == 0 {
		return w
	}
	out := &v1beta1.Work{ObjectMeta: w.ObjectMeta, Spec: w.Spec, Status: *w.Status.DeepCopy()}
	out.Status.ManifestConditions = rest
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable} {
		c := delivery.Current(out.Status.Conditions, kind, w.Generation)
		if c == nil && kind == v1beta1.ConditionAvailable && delivery.IsTrue(out.Status.Conditions, v1beta1.ConditionApplied, w.Generation) {
			meta.SetStatusCondition(&out.Status.Conditions, availableOf(w.Generation, rest))
			continue
		}
		if c == nil || c.Status != metav1.ConditionFalse || !slices.ContainsFunc(gone, func(m v1beta1.ManifestCondition) bool { return lacks(m, kind) }) ||
			slices.ContainsFunc(rest, func(m v1beta1.ManifestCondition) bool { return lacks(m, kind) }) {
			continue
		}
		if kind == v1beta1.ConditionApplied {
			meta.SetStatusCondition(&out.Status.Conditions, yes(w.Generation, kind, v1beta1.ReasonAllManifestsApplied, "All manifests are applied"))
		} else {
			meta.SetStatusCondition(&out.Status.Conditions, availableOf(w.Generation, rest))
		}
	}
	return out
}

// availableOf is the condition Available of a Work with these reports on its manifests.
func availableOf(generation int64, manifests []v1beta1.ManifestCondition) metav1.Condition {
	all := make([]Manifest, len(manifests))
	for i, m := range manifests {
		all[i].Identifier = m.Identifier
		if c := meta.FindStatusCondition(m.Conditions, v1beta1.ConditionAvailable); c != nil {
			all[i].Available = Finding{c.Reason, c.Message}
		}
	}
	return workAvailable(generation, all)
}

// lacks reports whether a manifest's condition is not True.
func lacks(m v1beta1.ManifestCondition, kind string) bool {
	return !meta.IsStatusConditionTrue(m.Conditions, kind)
}
