package removal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Identify returns the identity of a manifest on the member: the version does not count, because it is the same
// object.
func Identify(raw []byte) Object {
	h, err := decode.HeaderOf(raw)
	if err != nil || h.Kind == "" || h.Metadata.Name == "" {
		sum := sha256.Sum256(raw)
		return Object{Name: "manifest " + hex.EncodeToString(sum[:6]), Unreadable: true}
	}
	return Object{
		Group: schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).Group, Kind: h.Kind,
		Namespace: h.Metadata.Namespace, Name: h.Metadata.Name,
	}
}

// Unknown stands for the objects of a Work whose manifests another client has changed, so that they are not known.
func Unknown(w *v1beta1.Work) Object {
	return Object{Kind: "Work", Namespace: w.Namespace, Name: fmt.Sprintf("%s (changed by another client, generation %d)", w.Name, w.Generation), Unreadable: true}
}
