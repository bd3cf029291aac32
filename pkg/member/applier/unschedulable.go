package applier

import (
	"math"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Counter counts the replicas of workloads that have had no node for some time.
type Counter interface {
	// OnChange sets the function that is called when Counts would return another number to a Work.
	OnChange(changed func(work string))
	// Counts returns the numbers by UID, without those that are not known yet. The workloads replace those of earlier
	// calls for the Work; with none, the Work is forgotten.
	Counts(work string, workloads []apply.Workload) map[types.UID]int32
}

// none is the Counter that counts nothing.
type none struct{}

func (none) OnChange(func(string)) {}

func (none) Counts(_ string, workloads []apply.Workload) map[types.UID]int32 {
	zero := map[types.UID]int32{}
	for _, w := range workloads {
		zero[w.UID] = 0
	}
	return zero
}

// isDivided reports whether a Work has workloads that are divided over clusters.
func isDivided(work client.Object) bool {
	return work.GetAnnotations()[contract.AnnotationShares] != ""
}

// countUnschedulable sets the number of unschedulable replicas of each workload, if the Work has divided workloads.
// Replicas that are not needed do not count: a rolling update may have more pods than replicas.
func (p *pass) countUnschedulable() {
	if p.comparing() || !isDivided(p.work) {
		p.agent.Unschedulable.Counts(p.work.Name, nil)
		return
	}
	var workloads []apply.Workload
	for _, it := range p.items {
		if w := it.workload(); w != nil {
			workloads = append(workloads, *w)
		}
	}
	counts := p.agent.Unschedulable.Counts(p.work.Name, workloads)
	for _, it := range p.items {
		w := it.workload()
		if w == nil {
			if it.object == nil {
				it.fact.Unschedulable, it.fact.Uncounted = math.MaxInt32, true
			}
			continue
		}
		n, known := counts[w.UID]
		if !known {
			n = math.MaxInt32 // the last known number stays, within the present limit
		}
		it.fact.Unschedulable, it.fact.Uncounted = min(n, w.Unready), !known
	}
}

// workload returns the object of the item if it has replicas and is ours; otherwise nil.
func (it *item) workload() *apply.Workload {
	if it.object == nil || !it.object.owned {
		return nil
	}
	return it.object.workload
}
