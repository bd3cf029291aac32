package override

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Fingerprint stands for all that the labels of a cluster have to do with what override snapshots do there: which rules match, and the
// values of the patches in them. It is the same as long as that is. It is empty if the snapshots look at no label, and
// delivery.Unresolved if they cannot be worked out.
func Fingerprint(snapshots []v1beta1.OverrideSnapshotObject, cluster Cluster) string {
	looks := false
	digest := xxhash.New()
	for _, s := range snapshots {
		for i, rule := range rulesOf(s) {
			looks = looks || rule.ClusterSelector != nil && len(rule.ClusterSelector.ClusterSelectorTerms) > 0
			match, err := matches(rule.ClusterSelector, cluster)
			if err != nil {
				return delivery.Unresolved
			}
			if !match {
				continue
			}
			_, _ = fmt.Fprintf(digest, "%s/%s %d\n", s.GetNamespace(), s.GetName(), i)
			for _, patch := range rule.JSONPatchOverrides {
				text := string(patch.Value.Raw)
				looks = looks || strings.Contains(text, validate.VariableLabelPrefix)
				value, err := cluster.fill(text)
				if err != nil {
					return delivery.Unresolved
				}
				_, _ = fmt.Fprintf(digest, "%q\n", value)
			}
		}
	}
	if !looks {
		return ""
	}
	return fmt.Sprintf("%016x", digest.Sum64())
}
