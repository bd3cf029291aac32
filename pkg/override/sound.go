package override

import (
	"fmt"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Unsound says why no snapshot can be made of an override, empty if nothing speaks against it: a value that nests so deep that its copies
// could not be read again.
func Unsound(o v1beta1.OverrideObject) string {
	policy := o.GetPolicy()
	if policy == nil {
		return ""
	}
	for i, rule := range policy.OverrideRules {
		for j, patch := range rule.JSONPatchOverrides {
			if decode.Deep(patch.Value.Raw) {
				return fmt.Sprintf("spec.policy.overrideRules[%d].jsonPatchOverrides[%d].value is nested deeper than %d levels; make it flatter",
					i, j, decode.MaxDepth)
			}
		}
	}
	return ""
}
