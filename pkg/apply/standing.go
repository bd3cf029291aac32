package apply

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Identity is the owner of a ledger: a Work, in a member's namespace, of a hub.
type Identity struct {
	// Hub is the UID of the hub's namespace kube-system; empty if the hub does not report it.
	Hub types.UID
	// Namespace is the member's namespace on the hub.
	Namespace string
	// Work is the UID of the Work.
	Work types.UID
}

// Standing is the relation of an agent that acts for an identity to a ledger.
type Standing string

const (
	// Own means that the ledger is that of this Work.
	Own Standing = "Own"
	// Inherited means that an earlier Work of the name, of the same hub and member, made the ledger, or that the
	// cluster's owner released it. The present Work takes over the objects it lists and removes no others.
	Inherited Standing = "Inherited"
	// Foreign means that another hub, or the agent of another member, made the ledger. The objects it lists must not
	// be changed.
	Foreign Standing = "Foreign"
)

// IdentityOf is the owner of a ledger.
func IdentityOf(ledger *v1beta1.AppliedWork) Identity {
	return Identity{Hub: ledger.Spec.HubUID, Namespace: ledger.Spec.WorkNamespace, Work: ledger.Spec.WorkUID}
}

// StandingTo is the relation of who to a ledger. A part that the ledger does not record, because an older agent made
// it, or that is unknown of the present hub, matches everything.
func (who Identity) StandingTo(ledger *v1beta1.AppliedWork) Standing {
	made := IdentityOf(ledger)
	switch {
	case !who.sameMember(made) && ledger.Annotations[contract.AnnotationHeld] != contract.HeldRelease:
		return Foreign
	case !who.sameMember(made) || !agree(made.Work, who.Work):
		return Inherited
	}
	return Own
}

// SameMember reports whether the ledger was made for the same member of the same hub, or was released by the cluster's
// owner.
func (who Identity) SameMember(ledger *v1beta1.AppliedWork) bool {
	return who.StandingTo(ledger) != Foreign
}

func (who Identity) sameMember(made Identity) bool {
	return agree(made.Namespace, who.Namespace) && agree(made.Hub, who.Hub)
}

func agree[T ~string](a, b T) bool { return a == "" || b == "" || a == b }

// Recorded reports whether the ledger records all known parts of who.
func (who Identity) Recorded(ledger *v1beta1.AppliedWork) bool {
	made := IdentityOf(ledger)
	return (who.Hub == "" || made.Hub == who.Hub) && made.Namespace == who.Namespace && made.Work == who.Work
}

// Record makes who the owner of the ledger.
func (who Identity) Record(ledger *v1beta1.AppliedWork) {
	if who.Hub != "" {
		ledger.Spec.HubUID = who.Hub
	}
	ledger.Spec.WorkNamespace, ledger.Spec.WorkUID = who.Namespace, who.Work
	delete(ledger.Annotations, contract.AnnotationHeld)
}

// String names hub and member for a message.
func (who Identity) String() string {
	hub := "an unknown hub"
	if who.Hub != "" {
		hub = "hub " + string(who.Hub)
	}
	return fmt.Sprintf("namespace %s of %s", who.Namespace, hub)
}
