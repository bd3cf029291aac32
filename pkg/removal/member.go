package removal

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Request is what one Work would remove from its member.
type Request struct {
	// Work is the UID of the Work.
	Work types.UID
	// Leaving are the objects, and Total is how many the Work has on the cluster.
	Leaving []Object
	Total   int
	// Others is how many objects other Works would remove at the same time, and Placed how many all Works have.
	Others, Placed int
	// Was is what is held of the Work; nil for nothing. Released is the digest that the cluster's administrator has
	// released; empty for none.
	Was      *v1beta1.HeldRemoval
	Released string
}
