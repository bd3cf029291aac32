package report

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/replicas"
)

// mostShares limits the shares in the entry of a cluster, as the schema does.
const mostShares = 100

// sharesOf are the shares in the entry of a cluster: those of the content that it has, or will get first.
func (p *placementReport) sharesOf(b v1beta1.BindingObject) []v1beta1.ReplicaShare {
	if replicas.PolicyOf(p.Placement) == nil {
		return nil
	}
	var out []v1beta1.ReplicaShare
	for _, s := range replicas.SharesOf(b) {
		out = append(out, s.ReplicaShare)
	}
	return out[:min(len(out), mostShares)]
}

// replicas is the condition about the division of replicas; nil if the placement does not divide them.
func (p *placementReport) replicas() *metav1.Condition {
	policy := replicas.PolicyOf(p.Placement)
	if policy == nil {
		return nil
	}
	kind := p.Placement.ConditionType(v1beta1.ConditionReplicasDivided)
	var c metav1.Condition
	if err := replicas.Check(policy); err != nil {
		c = no(p.generation, kind, v1beta1.ReasonNotDividable, err.Error())
		return &c
	}
	d := p.division()
	switch {
	case len(d.pending) > 0:
		c = no(p.generation, kind, v1beta1.ReasonDivisionPending, "The shares of these clusters are not decided yet: "+brief.List(d.pending, mostNamed))
	case len(d.unplaced) > 0:
		c = no(p.generation, kind, v1beta1.ReasonReplicasUnplaced, brief.List(d.unplaced, mostNamed)+
			". Raise policy.replicas.maxPerCluster, or place on more or larger clusters"+d.lostNote())
	case len(d.moving) > 0:
		c = no(p.generation, kind, v1beta1.ReasonReplicasMoving, "Replicas move as they become available on other clusters, within maxSurge: "+
			brief.List(d.moving, mostNamed)+d.lostNote())
	case len(d.divided) > 0:
		c = yes(p.generation, kind, v1beta1.ReasonReplicasDivided, brief.List(d.divided, mostNamed)+d.lostNote())
	default:
		c = yes(p.generation, kind, v1beta1.ReasonNoWorkload, "The content has no workload of policy.replicas.kinds")
	}
	return &c
}

// divided describes the division of the newest revision: by workload, or by cluster where it is pending or lost.
type divided struct {
	pending, unplaced, moving, divided, lost []string
}

func (d divided) lostNote() string {
	if len(d.lost) == 0 {
		return ""
	}
	return ". Other clusters have the replicas of lost clusters: " + brief.List(d.lost, mostNamed)
}

// division sums up the shares of the picked clusters.
func (p *placementReport) division() divided {
	var out divided
	var of []v1beta1.ReplicaShare
	placed, wanted, clusters := map[replicas.Key]int64{}, map[replicas.Key]int64{}, map[replicas.Key]int{}
	moves := map[replicas.Key][]string{}
	for _, b := range p.bindings {
		spec := b.GetSpec()
		if spec.State == v1beta1.BindingStateUnscheduled {
			continue
		}
		shares := replicas.Newest(b)
		if len(spec.Shares) == 0 {
			out.pending = append(out.pending, spec.TargetCluster)
			continue
		}
		if shares.Lost {
			out.lost = append(out.lost, spec.TargetCluster)
			continue
		}
		for _, s := range shares.Workloads {
			k := replicas.KeyOf(s)
			if _, seen := clusters[k]; !seen {
				of = append(of, s)
			}
			placed[k] += int64(s.Replicas)
			wanted[k] += int64(ptr.Deref(s.Target, s.Replicas))
			clusters[k]++
			if s.Target != nil {
				moves[k] = append(moves[k], fmt.Sprintf("%s %d to %d", spec.TargetCluster, s.Replicas, *s.Target))
			}
		}
	}
	slices.Sort(out.pending)
	slices.Sort(out.lost)
	slices.SortFunc(of, func(a, b v1beta1.ReplicaShare) int {
		return strings.Compare(replicas.KeyOf(a).String(), replicas.KeyOf(b).String())
	})
	for _, s := range of {
		k := replicas.KeyOf(s)
		if missing := int64(s.Of) - wanted[k]; missing > 0 {
			out.unplaced = append(out.unplaced, fmt.Sprintf("%s: there is no room for %d of %d", k, missing, s.Of))
		}
		if list := moves[k]; len(list) > 0 {
			slices.Sort(list)
			out.moving = append(out.moving, fmt.Sprintf("%s (%s)", k, brief.List(list, mostNamed)))
		}
		on := "clusters"
		if clusters[k] == 1 {
			on = "cluster"
		}
		out.divided = append(out.divided, fmt.Sprintf("%s: %d of %d on %d %s", k, placed[k], s.Of, clusters[k], on))
	}
	return out
}
