package schedule

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// pickFixed chooses the clusters named. Only eligibility is asked: affinity and taints do not count. A cluster that has become
// ineligible since it was chosen stays, and counts, because nothing is taken away from it.
func (r *run) pickFixed(names []string) {
	if len(names) == 0 {
		r.decision.Hold = true
		return
	}
	var picked, selected, ineligible, missing []v1beta1.ClusterDecision
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		if b, ok := r.kept[name]; ok {
			selected = append(selected, b.decision())
			continue
		}
		cluster := r.byName[name]
		if cluster == nil {
			missing = append(missing, refused(name, "there is no MemberCluster of this name"))
			continue
		}
		if why := Ineligible(cluster, r.request.Now); why != "" {
			ineligible = append(ineligible, refused(name, "not eligible yet: "+why))
			continue
		}
		decision := named(name)
		picked, selected = append(picked, decision), append(selected, decision)
	}
	r.settle(picked)
	r.list(selected, append(ineligible, missing...))
	r.decision.Wanted = len(seen)
}
