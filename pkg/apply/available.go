package apply

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/health"
)

var (
	available = Finding{v1beta1.ReasonManifestAvailable, "Available"}
	untracked = Finding{v1beta1.ReasonManifestNotTrackable, "Applied; availability of this kind is not tracked"}
)

// Available is the reported availability of an applied object.
func Available(obj *unstructured.Unstructured, rules *health.Rules) Finding {
	switch state, why := health.Of(obj, rules); state {
	case health.Available:
		return available
	case health.Untracked:
		return untracked
	default:
		return Finding{v1beta1.ReasonManifestNotAvailableYet, why}
	}
}
