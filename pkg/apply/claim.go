package apply

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// claim is the present and the future ownership of a live object.
type claim struct {
	// takeOver: the object existed before and becomes ours.
	takeOver bool
	// owners is the wanted list of owner references; dropped are those to remove.
	owners, dropped []metav1.OwnerReference
	refusal         Finding
}

// changed reports whether the owner references must be written.
func (c claim) changed() bool { return c.takeOver || len(c.dropped) > 0 }

// OtherAppliedWorks are the names of AppliedWorks beside ours that own obj.
func OtherAppliedWorks(obj *unstructured.Unstructured, owner Owner) []string {
	var names []string
	for _, ref := range obj.GetOwnerReferences() {
		if isAppliedWork(ref) && ref.Name != owner.Name {
			names = append(names, ref.Name)
		}
	}
	return names
}

func isAppliedWork(ref metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == v1beta1.GroupVersion.Group && ref.Kind == ownerKind
}

// claimed applies the ownership rules: an object has one AppliedWork, and other owners only if the strategy permits
// them.
func claimed(in Input) claim {
	c := claim{takeOver: !in.Owner.Owns(in.Live)}
	if c.takeOver && in.Strategy.WhenToTakeOver == v1beta1.WhenToTakeOverNever && !in.inherited() {
		c.refusal = Finding{v1beta1.ReasonManifestNotTakenOver,
			"The object already existed on the member cluster, and whenToTakeOver is Never"}
		return c
	}
	reason := v1beta1.ReasonManifestApplyFailed
	if c.takeOver {
		reason = v1beta1.ReasonManifestFailedToTakeOver
	}
	for _, ref := range in.Live.GetOwnerReferences() {
		switch {
		case in.Owner.is(ref):
			c.owners = append(c.owners, ref)
		// A reference to an AppliedWork of our name with another UID is stale: names are unique, and ours exists.
		case isAppliedWork(ref) && (ref.Name == in.Owner.Name || in.Abandoned.Has(ref.Name)):
			c.dropped = append(c.dropped, ref)
		case isAppliedWork(ref):
			c.refusal = Finding{reason, fmt.Sprintf("The object is already placed by Work %s of this fleet; "+
				"select it in one placement only", ref.Name)}
			return c
		case !in.Strategy.AllowCoOwnership:
			c.refusal = Finding{reason, fmt.Sprintf("The object is owned by %s %s on the member cluster, and allowCoOwnership is false",
				ref.Kind, ref.Name)}
			return c
		default:
			c.owners = append(c.owners, ref)
		}
	}
	if c.takeOver {
		c.owners = append(c.owners, in.Owner.Reference())
	}
	return c
}

// inherited reports whether another Work of this placement has left the live object to ours: then it was not on the
// cluster before the placement.
func (in Input) inherited() bool {
	have := in.Live.GetAnnotations()
	return in.Stamp.Placement != "" && have[contract.AnnotationPlacedBy] == in.Stamp.Placement && have[contract.AnnotationPlacedHub] == in.Stamp.Hub &&
		len(OtherAppliedWorks(in.Live, Owner{})) == 0
}
