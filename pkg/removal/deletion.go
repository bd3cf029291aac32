package removal

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Waits reports whether nothing of a placement that is being deleted may be removed, because it is held or because
// that is not decided yet. The placer decides: when nothing is held, it removes its finalizer.
func Waits(placement v1beta1.PlacementObject, defaults Policy) bool {
	return slices.Contains(placement.GetFinalizers(), contract.FinalizerPlacement) && MayHold(placement, defaults)
}

// MayHold reports whether the deletion of a placement can be held, depending on what it has placed.
func MayHold(placement v1beta1.PlacementObject, defaults Policy) bool {
	since := placement.GetDeletionTimestamp()
	return !since.IsZero() && WouldHold(placement, defaults) && !slices.Contains(Released(placement), DigestOfDeletion(placement.GetUID(), *since))
}

// WouldHold reports whether the deletion of a placement could be held if it was deleted now.
func WouldHold(placement v1beta1.PlacementObject, defaults Policy) bool {
	if placement.GetSpec().Strategy.DeleteStrategy.Abandons() {
		return false
	}
	holds, known := PolicyOf(placement, defaults).HoldsAll()
	return holds || !known
}

// DeletedFrom is what the deletion of a placement would remove: objects, each counted once, from a number of clusters.
type DeletedFrom struct {
	Objects  []Object
	Clusters int
}

// Deleted returns what of the deletion of a placement is held since its deletion timestamp: everything or nothing. A
// number limits the objects and the clusters. The digest does not depend on the objects: a deleted placement never
// gets others.
func Deleted(p Policy, placement v1beta1.PlacementObject, all DeletedFrom) *v1beta1.HeldRemoval {
	of, since := placement.GetUID(), metav1.Time{}
	if at := placement.GetDeletionTimestamp(); at != nil {
		since = *at
	}
	digest := DigestOfDeletion(of, since)
	c := Change{Subject: Placement, Of: of, Leaving: all.Objects, Total: len(all.Objects)}
	if len(all.Objects) == 0 || !p.beyond(c) && !p.beyondNumber(all.Clusters, all.Clusters) || slices.Contains(Released(placement), digest) {
		return nil
	}
	out := held(p, c, slices.SortedFunc(slices.Values(c.Leaving), compare), since)
	out.Digest = digest
	return out
}
