package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// FilterPlacements passes the clusters that match all required terms of the placement affinity: by the clusters that
// other placements have picked.
const FilterPlacements Filter = "PlacementAffinity"

type placementAffinity struct {
	// required must all match.
	required []placementTerm
}

func (placementAffinity) name() Filter { return FilterPlacements }

// of returns the filter for other placements that are not known, which passes every cluster unless a term is invalid:
// see knowing.
func (placementAffinity) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	required := requiredPlacements(policy)
	if len(required) == 0 {
		return nil
	}
	var f placementAffinity
	for i, t := range required {
		term := compilePlacementTerm(t)
		term.at = i
		f.required = append(f.required, term)
	}
	return f
}

// knowing returns the filters with the other placements.
func (fs filters) knowing(all others) filters {
	for i := range fs {
		if f, ok := fs[i].(placementAffinity); ok {
			known := placementAffinity{required: slices.Clone(f.required)}
			for j := range known.required {
				known.required[j].know(all)
			}
			fs[i] = known
		}
	}
	return fs
}

func (f placementAffinity) check(cluster *clusterv1beta1.MemberCluster, _ time.Time) error {
	for i := range f.required {
		if err := f.required[i].check(cluster); err != nil {
			return err
		}
	}
	return nil
}

func (f placementAffinity) watches() (topics []string) {
	for _, t := range f.required {
		if t.key != "" {
			topics = append(topics, topicLabel+t.key)
		}
	}
	return topics
}

func (placementAffinity) changes(c ClusterChange) []string { return c.labels() }

// affectsOthers reports whether the cluster has moved to another domain: if another placement has picked it, both
// domains may match now what they did not.
func (f placementAffinity) affectsOthers(c ClusterChange) bool {
	domain := func(key string, cluster *clusterv1beta1.MemberCluster) (string, bool) {
		if cluster == nil {
			return "", false
		}
		value, ok := cluster.Labels[key]
		return value, ok
	}
	return slices.ContainsFunc(f.required, func(t placementTerm) bool {
		before, had := domain(t.key, c.was)
		after, has := domain(t.key, c.is)
		return t.key != "" && (had != has || before != after)
	})
}

// repairs change the clusters of the other placement, move the cluster to another domain, or remove the term.
func (f placementAffinity) repairs(t trial, cause error) (out []trial) {
	var e *elsewhere
	if !errors.As(cause, &e) {
		return nil
	}
	cluster, term := t.find(), e.term
	domain, ok := term.domain(cluster)
	switch {
	case term.wrong != nil:
	case term.apart:
		out = append(out, t.leaves(term.there[domain], term.clustersIn(domain, term.there[domain])))
		if term.key != "" && term.key != contract.LabelMemberName {
			out = append(out, t.member(fmt.Sprintf("remove label %s=%s", term.key, domain), func(c *clusterv1beta1.MemberCluster) {
				delete(c.Labels, term.key)
			}))
		}
	default:
		if by := cmp.Or(term.name, term.first()); ok && by != "" && by != t.Name {
			out = append(out, t.joins(by))
		}
		if values := term.domains(); term.key != "" && term.key != contract.LabelMemberName && len(values) > 0 {
			out = append(out, t.member(labelStep(cluster, term.key, values[0]), setLabel(term.key, values[0])))
		}
	}
	return append(out, t.policy("remove the required placement affinity term "+term.text(), func(p *v1beta1.PlacementPolicy) {
		terms := &p.Affinity.PlacementAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		*terms = slices.Delete(*terms, term.at, term.at+1)
	}))
}

func (placementAffinity) exclusions(trial) []trial { return nil }

// joins lets another placement pick the cluster.
func (t trial) joins(placement string) trial {
	do := "have it pick " + t.cluster
	i := slices.IndexFunc(t.Placements, func(p Placement) bool { return p.Name == placement })
	if i < 0 {
		do = "create it, and " + do
		i = len(t.Placements)
		t.Placements = append(slices.Clone(t.Placements), Placement{Name: placement})
	}
	return t.other(i, do, func(p *Placement) { p.Clusters = append(slices.Clone(p.Clusters), t.cluster) })
}

// leaves lets another placement leave clusters.
func (t trial) leaves(placement string, clusters []string) trial {
	i := slices.IndexFunc(t.Placements, func(p Placement) bool { return p.Name == placement })
	return t.other(i, "have it leave "+few(clusters), func(p *Placement) {
		p.Clusters = slices.DeleteFunc(slices.Clone(p.Clusters), func(c string) bool { return slices.Contains(clusters, c) })
	})
}

// other returns t with a step that changes another placement.
func (t trial) other(i int, do string, change func(*Placement)) trial {
	t = t.with("placement "+t.Placements[i].Name, do)
	t.Placements = slices.Clone(t.Placements)
	change(&t.Placements[i])
	return t
}

// elsewhere is the objection of a term about other placements.
type elsewhere struct {
	term      *placementTerm
	why, more string
}

func (e *elsewhere) Error() string {
	if e.term.wrong != nil {
		return fmt.Sprintf("the policy has an invalid placement affinity term: %s", e.term.wrong)
	}
	return fmt.Sprintf("it must be %s, %s", e.term.text(), e.why)
}

func (e *elsewhere) Detail() string {
	if e.more == "" {
		return e.Error()
	}
	return e.Error() + "; " + e.more
}

// fewNames limits the names that few lists.
const fewNames = 3

// few lists some of the names.
func few(names []string) string {
	if len(names) > fewNames {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:fewNames], ", "), len(names)-fewNames)
	}
	return strings.Join(names, ", ")
}
