package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Placement is another placement of the same kind and namespace.
type Placement struct {
	Name   string
	Labels map[string]string
	// Clusters are those that it has picked.
	Clusters []string
}

// PlacementOf reads what terms compare of another placement. bindings are those with its name.
func PlacementOf(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) Placement {
	out := Placement{Name: placement.GetName(), Labels: placement.GetLabels()}
	for _, b := range bindings {
		if Occupies(b) && scope.Of(b, placement) {
			out.Clusters = append(out.Clusters, b.GetSpec().TargetCluster)
		}
	}
	slices.Sort(out.Clusters)
	return out
}

// Occupies reports whether the cluster of a binding counts as picked for the terms of other placements.
func Occupies(b v1beta1.BindingObject) bool {
	return b.GetDeletionTimestamp().IsZero() && b.GetSpec().State != v1beta1.BindingStateUnscheduled
}

// Selection selects the placements that the terms of a policy refer to. The zero value selects none.
type Selection struct{ terms []placementTerm }

// SelectionOf returns the selection of a policy; nil picks all clusters.
func SelectionOf(policy *v1beta1.PlacementPolicy) (s Selection) {
	for _, t := range requiredPlacements(policy) {
		s.terms = append(s.terms, compilePlacementTerm(t))
	}
	for _, t := range preferredPlacements(policy) {
		s.terms = append(s.terms, compilePlacementTerm(t.Preference))
	}
	return s
}

// Empty reports whether there are no terms.
func (s Selection) Empty() bool { return len(s.terms) == 0 }

// Has reports whether a term selects a placement with that name and these labels. A placement never counts for its own
// terms: callers exclude it.
func (s Selection) Has(name string, labels map[string]string) bool {
	return slices.ContainsFunc(s.terms, func(t placementTerm) bool { return t.selects(name, labels) })
}

// Names returns the names that terms contain, sorted.
func (s Selection) Names() []string {
	names := map[string]bool{}
	for _, t := range s.terms {
		if t.wrong == nil && t.name != "" {
			names[t.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// ByLabels reports whether a term selects by labels.
func (s Selection) ByLabels() bool {
	return slices.ContainsFunc(s.terms, func(t placementTerm) bool { return t.wrong == nil && t.selector != nil })
}

func requiredPlacements(policy *v1beta1.PlacementPolicy) []v1beta1.PlacementAffinityTerm {
	if policy == nil || isFixed(policy) || policy.Affinity == nil || policy.Affinity.PlacementAffinity == nil {
		return nil
	}
	return policy.Affinity.PlacementAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// preferredPlacements returns the preferences, which only PickN has.
func preferredPlacements(policy *v1beta1.PlacementPolicy) []v1beta1.PreferredPlacementAffinityTerm {
	if policy == nil || policy.PlacementType != v1beta1.PlacementTypePickN || policy.Affinity == nil || policy.Affinity.PlacementAffinity == nil {
		return nil
	}
	return policy.Affinity.PlacementAffinity.PreferredDuringSchedulingIgnoredDuringExecution
}

// others are the other placements, by name, and the clusters that they have picked.
type others struct {
	// own is the name of the placement itself.
	own        string
	placements []Placement
	clusters   map[string]*clusterv1beta1.MemberCluster
}

// othersOf returns the other placements of a request, none if the policy has no terms.
func othersOf(r Request) others {
	out := others{own: r.Name}
	if len(requiredPlacements(r.Policy))+len(preferredPlacements(r.Policy)) == 0 {
		return out
	}
	for _, p := range r.Placements {
		if r.Name == "" || p.Name != r.Name {
			out.placements = append(out.placements, p)
		}
	}
	slices.SortFunc(out.placements, func(a, b Placement) int { return cmp.Compare(a.Name, b.Name) })
	out.clusters = make(map[string]*clusterv1beta1.MemberCluster, len(r.Clusters))
	for _, c := range r.Clusters {
		out.clusters[c.Name] = c
	}
	return out
}

// placementTerm compares clusters with those of other placements.
type placementTerm struct {
	// at is the index of the term in the policy.
	at       int
	apart    bool
	name     string
	selector labels.Selector
	// shown is the selector in messages.
	shown string
	key   string
	// wrong is what is invalid in the term: it matches no cluster.
	wrong error

	// The rest is set by know. selected are the placements by name. there is the first of them, by name, that has picked a
	// cluster of a domain, by domain; picked is whether one of them has picked any cluster.
	known, self, picked bool
	selected            []Placement
	there               map[string]string
	clusters            map[string]*clusterv1beta1.MemberCluster
}

func compilePlacementTerm(t v1beta1.PlacementAffinityTerm) placementTerm {
	out := placementTerm{apart: t.Relation == v1beta1.PlacementApart, name: t.Name, key: t.TopologyKey}
	if wrong := validate.PlacementAffinityTerm(t, nil); len(wrong) > 0 {
		out.wrong = wrong.ToAggregate()
		return out
	}
	if t.Selector == nil {
		return out
	}
	out.shown = metav1.FormatLabelSelector(t.Selector)
	if out.selector, out.wrong = metav1.LabelSelectorAsSelector(t.Selector); out.selector != nil && out.selector.Empty() {
		out.shown = ""
	}
	return out
}

func (t *placementTerm) selects(name string, of map[string]string) bool {
	switch {
	case t.wrong != nil:
		return false
	case t.name != "":
		return t.name == name
	}
	return t.selector.Matches(labels.Set(of))
}

// know compares the term with the other placements.
func (t *placementTerm) know(all others) {
	t.known, t.clusters, t.there = true, all.clusters, map[string]string{}
	t.self = t.name != "" && t.name == all.own
	for _, p := range all.placements {
		if !t.selects(p.Name, p.Labels) {
			continue
		}
		t.selected = append(t.selected, p)
		t.picked = t.picked || len(p.Clusters) > 0
		for _, name := range p.Clusters {
			cluster, ok := all.clusters[name]
			if !ok {
				continue
			}
			if domain, ok := t.domain(cluster); ok && t.there[domain] == "" {
				t.there[domain] = p.Name
			}
		}
	}
}

// domain returns what counts as one for the term: the value of its label, without one the cluster itself.
func (t *placementTerm) domain(cluster *clusterv1beta1.MemberCluster) (domain string, ok bool) {
	if t.key == "" {
		return cluster.Name, true
	}
	domain, ok = cluster.Labels[t.key]
	return domain, ok
}

// domains are those in which a selected placement has picked a cluster.
func (t *placementTerm) domains() []string { return slices.Sorted(maps.Keys(t.there)) }

// clustersIn are the clusters of a domain that a placement has picked.
func (t *placementTerm) clustersIn(domain, placement string) (out []string) {
	for _, p := range t.selected {
		for _, name := range p.Clusters {
			cluster, ok := t.clusters[name]
			if !ok || p.Name != placement {
				continue
			}
			if d, ok := t.domain(cluster); ok && d == domain {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// first is the first placement that the term selects; empty if there is none.
func (t *placementTerm) first() string {
	if len(t.selected) == 0 {
		return ""
	}
	return t.selected[0].Name
}

// check returns nil if the cluster matches, or if the other placements are not known.
func (t *placementTerm) check(cluster *clusterv1beta1.MemberCluster) error {
	if t.wrong != nil {
		return &elsewhere{term: t}
	}
	if !t.known {
		return nil
	}
	domain, ok := t.domain(cluster)
	by, there := t.there[domain]
	if t.apart {
		if !ok || !there {
			return nil
		}
		return t.occupied(domain, by)
	}
	if ok && there {
		return nil
	}
	return t.absent(domain, ok)
}

// occupied is the objection of a term Apart; placement by has picked a cluster of the domain.
func (t *placementTerm) occupied(domain, by string) error {
	what := "it"
	if t.key != "" {
		what = "a cluster with the same value"
	}
	e := &elsewhere{term: t, why: t.relative(fmt.Sprintf("placement %q has picked %s", by, what), "has picked "+what)}
	if t.key != "" {
		e.more = fmt.Sprintf("%s has %s=%s", few(t.clustersIn(domain, by)), t.key, domain)
	}
	return e
}

// absent is the objection of a term With; labelled is whether the cluster has the label of the term.
func (t *placementTerm) absent(domain string, labelled bool) error {
	switch {
	case t.self:
		return &elsewhere{term: t, why: "which is this placement itself"}
	case len(t.selected) == 0:
		return &elsewhere{term: t, why: t.relative("and there is none", "does not exist")}
	case !t.picked:
		return &elsewhere{term: t, why: t.relative("and none of them has picked a cluster yet", "has picked no cluster yet")}
	case !labelled:
		return &elsewhere{term: t, why: "and it does not have that label"}
	case t.key == "":
		e := &elsewhere{term: t, why: t.relative("and none of them has picked it", "has not picked it")}
		if picked := t.domains(); len(picked) > 0 {
			e.more = "picked are " + few(picked)
		}
		return e
	}
	e := &elsewhere{term: t, why: t.relative("and none of them has picked a cluster with the same value", "has picked no cluster with the same value")}
	e.more = fmt.Sprintf("it has %s=%s", t.key, domain)
	if picked := t.domains(); len(picked) > 0 {
		e.more += fmt.Sprintf(", picked are clusters with %s=%s", t.key, few(picked))
	}
	return e
}

// relative returns the text for several placements, or for one with "which" before it.
func (t *placementTerm) relative(several, one string) string {
	switch {
	case t.name != "":
		return "which " + one
	case t.apart:
		return "and " + several
	}
	return several
}

// text describes the term: with or apart from which placements, and by which label.
func (t *placementTerm) text() string {
	what := fmt.Sprintf("placement %q", t.name)
	switch {
	case t.wrong != nil:
		return fmt.Sprintf("number %d", t.at+1)
	case t.name == "" && t.shown == "" && t.apart:
		what = "all other placements"
	case t.name == "" && t.shown == "":
		what = "another placement"
	case t.name == "" && t.apart:
		what = fmt.Sprintf("placements with labels %s", t.shown)
	case t.name == "":
		what = fmt.Sprintf("a placement with labels %s", t.shown)
	}
	relation := "with "
	if t.apart {
		relation = "apart from "
	}
	if t.key != "" {
		what += fmt.Sprintf(" (by label %s)", t.key)
	}
	return relation + what
}
