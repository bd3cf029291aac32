package override

import (
	"fmt"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Unsound returns why no snapshot of an override can be created, or an empty string: a value is nested so deep that
// its copies could not be read again.
func Unsound(o v1beta1.OverrideObject) string {
	policy := o.GetPolicy()
	if policy == nil {
		return ""
	}
	for i, rule := range policy.OverrideRules {
		for j, patch := range rule.JSONPatchOverrides {
			if decode.Deep(patch.Value.Raw) {
				return fmt.Sprintf("spec.policy.overrideRules[%d].jsonPatchOverrides[%d].value is nested deeper than %d levels; reduce the nesting",
					i, j, decode.MaxDepth)
			}
		}
	}
	return ""
}
