package report

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// TooLarge is a selected object that no snapshot can hold.
type TooLarge struct {
	ID           v1beta1.ResourceIdentifier
	Bytes, Limit int
	// Deep is whether it is nested deeper than decode.MaxDepth.
	Deep bool
	// Kept is whether a state of it that was placed before stays placed.
	Kept bool
}

// ResourcesFit is the condition of a placement of which some selected objects are not placed as they are; nil if there are none.
func ResourcesFit(placement v1beta1.PlacementObject, large []TooLarge) *metav1.Condition {
	if len(large) == 0 {
		return nil
	}
	var names []string
	for _, o := range large {
		fate := "is not placed"
		if o.Kept {
			fate = "stays as it was placed last"
		}
		trouble := fmt.Sprintf("has %d bytes", o.Bytes)
		if o.Deep {
			trouble = fmt.Sprintf("is nested deeper than %d levels", decode.MaxDepth)
		}
		names = append(names, fmt.Sprintf("%s %s %s and %s", o.ID.Kind, strings.TrimPrefix(o.ID.Namespace+"/"+o.ID.Name, "/"), trouble, fate))
	}
	c := no(placement.GetGeneration(), placement.ConditionType(v1beta1.ConditionResourcesFit), v1beta1.ReasonResourceTooLarge,
		fmt.Sprintf("An object may have %d bytes of JSON, nested %d levels deep, to be placed: %s; make it smaller, split it, or do not select it. "+
			"Everything else is placed", large[0].Limit, decode.MaxDepth, few(names)))
	return &c
}
