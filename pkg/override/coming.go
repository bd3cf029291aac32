package override

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Settling is how long after its creation an override that has no snapshot yet holds up what it is about to change. It is only an end
// to waiting for a snapshot that cannot be made, by a quota of the namespace for one; the snapshot of an override takes some milliseconds.
const Settling = 10 * time.Second

// Coming says for how long contents shall be given to no cluster for the first time: an override that may change it was made a moment
// ago. fresh are overrides without a snapshot. Zero says that none of them matters.
func Coming(placement types.NamespacedName, fresh []v1beta1.OverrideObject, contents Contents, now time.Time) time.Duration {
	var wait time.Duration
	for _, o := range fresh {
		if !o.GetDeletionTimestamp().IsZero() || !isFor(o, placement) || !contents.holdsAny(targets(o)) ||
			len(validate.OverrideSnapshot(o)) > 0 {
			continue
		}
		// The API server's clock may be ahead of this one.
		wait = max(wait, min(Settling, Settling-now.Sub(o.GetCreationTimestamp().Time)))
	}
	return wait
}
