package revise

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Selected is what a placement selects and its author may place.
type Selected struct {
	selection.Selection
	// Restricted is whether the author may not place privileged objects, and Withheld are those that the placement selects all the same.
	Restricted bool
	Withheld   []v1beta1.ResourceIdentifier
}

// Pick works out what a placement selects. from lists the objects that selectors match.
func Pick(ctx context.Context, placement v1beta1.PlacementObject,
	from func(context.Context, types.NamespacedName, []v1beta1.ResourceSelectorTerm) (selection.Selection, error),
) (Selected, error) {
	found, err := from(ctx, client.ObjectKeyFromObject(placement), placement.GetSpec().ResourceSelectors)
	if err != nil {
		return Selected{}, err
	}
	if !Restricted(placement) {
		return Selected{Selection: found}, nil
	}
	permitted, refs := found.Permitted()
	out := Selected{Selection: permitted, Restricted: true}
	for _, ref := range refs {
		out.Withheld = append(out.Withheld, ref.Identifier())
	}
	return out, nil
}

// Restricted is whether the author of a placement may not place privileged objects.
func Restricted(placement v1beta1.PlacementObject) bool {
	return placement.GetAnnotations()[contract.AnnotationAuthor] == contract.AuthorRestricted
}

// HoldUnread is an error if objects may be missing from a selection only because they could not be read, although the latest revision
// holds objects of such a kind: leaving them out would remove them from the members.
func (s State) HoldUnread(found selection.Selection) error {
	if len(found.Unread) == 0 {
		return nil
	}
	latest, ok := snapshot.Latest(s.Groups)
	if !ok {
		return nil
	}
	items, err := latest.Items()
	if err != nil {
		return err
	}
	for _, item := range items {
		if kind := (schema.GroupKind{Group: item.ID.Group, Kind: item.ID.Kind}); found.Unreads(kind) {
			return fmt.Errorf("%s, which is placed, cannot be read on the hub: %w", kind.String(), found.Cause)
		}
	}
	return nil
}
