package report

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// TooLarge is a selected object that does not fit in any snapshot.
type TooLarge struct {
	ID           v1beta1.ResourceIdentifier
	Bytes, Limit int
	// Deep is whether it is nested deeper than decode.MaxDepth.
	Deep bool
	// Placed is whether a state of it that was placed earlier stays placed.
	Placed bool
}

// ResourcesFit is the condition of a placement if some selected objects are not placed in their current state; nil if
// there are none.
func ResourcesFit(placement v1beta1.PlacementObject, large []TooLarge) *metav1.Condition {
	if len(large) == 0 {
		return nil
	}
	var names []string
	for _, o := range large {
		fate := "is not placed"
		if o.Placed {
			fate = "stays in its last placed state"
		}
		trouble := fmt.Sprintf("has %d bytes", o.Bytes)
		if o.Deep {
			trouble = fmt.Sprintf("is nested deeper than %d levels", decode.MaxDepth)
		}
		names = append(names, fmt.Sprintf("%s %s %s and %s", o.ID.Kind, strings.TrimPrefix(o.ID.Namespace+"/"+o.ID.Name, "/"), trouble, fate))
	}
	c := no(placement.GetGeneration(), placement.ConditionType(v1beta1.ConditionResourcesFit), v1beta1.ReasonResourceTooLarge,
		fmt.Sprintf("Objects larger than %d bytes of JSON or nested deeper than %d levels are not placed: %s; make them smaller, split them, or do not select them. "+
			"All other objects are placed", large[0].Limit, decode.MaxDepth, brief.List(names, mostNamed)))
	return &c
}
