package override

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Settling is how long after its creation an override without a snapshot delays the content that it would change. It
// limits the wait for a snapshot that cannot be created, for example because of a quota; normally a snapshot takes
// some milliseconds.
const Settling = 10 * time.Second

// Coming returns how long to wait before a cluster gets contents for the first time, because an override that may
// change it was created a moment ago. fresh are overrides without a snapshot. Zero means that none of them matters.
func Coming(placement types.NamespacedName, fresh []v1beta1.OverrideObject, contents Contents, now time.Time) time.Duration {
	var wait time.Duration
	for _, o := range fresh {
		if !o.GetDeletionTimestamp().IsZero() || !isFor(o, placement) || !contents.containsAny(targets(o)) ||
			len(validate.OverrideSnapshot(o)) > 0 {
			continue
		}
		// The API server's clock may be ahead of the local one.
		wait = max(wait, min(Settling, Settling-now.Sub(o.GetCreationTimestamp().Time)))
	}
	return wait
}
