package roller

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// lookAt computes the facts of the bindings. While a rejection stands it also looks whether what bindings return to
// still exists, and what replacements get meanwhile.
func (r *Roller) lookAt(ctx context.Context, s *observed) error {
	s.facts = s.facts[:0]
	search := give.Search{Client: r.Client, Direct: r.Direct}
	for _, b := range s.bindings {
		facts := factsOf(b, s.clusters[b.GetSpec().TargetCluster], r.Now())
		if s.want.Course.Spent != nil && rollout.Affected(facts, s.want.Snapshot, s.want.Course) && facts.Before() != nil {
			lost, err := search.Lost(ctx, s.placement.Namespace, *facts.Before())
			if err != nil {
				return err
			}
			if lost != nil {
				facts.Lost = lost.Gone()
			}
		}
		s.facts = append(s.facts, facts)
	}
	if s.want.Course.Spent == nil {
		return nil
	}
	fallbacks := rollout.Fallbacks(s.facts, s.want)
	for i := range s.facts {
		if of, ok := fallbacks[s.facts[i].Name]; ok {
			to, err := r.fallback(ctx, s, s.facts[i].Cluster, of)
			if err != nil {
				return err
			}
			s.facts[i].Fallback = to
		}
	}
	return nil
}

// fallback returns the content of a revision with the overrides of a cluster; nil if the content does not exist any
// more.
func (r *Roller) fallback(ctx context.Context, s *observed, cluster string, of v1beta1.Revision) (*v1beta1.Revision, error) {
	groups, err := r.groups(ctx, s.of)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(groups, func(g snapshot.Group) bool { return g.Master != nil && g.Master.GetName() == of.ResourceSnapshotName })
	if at < 0 || !groups[at].Complete() || s.clusters[cluster] == nil {
		return nil, nil
	}
	contents := override.ContentsOf(groups[at].Objects())
	found, err := scope.OverridesFor(ctx, r.Client, s.placement, contents.Namespaces, scope.Fast()...)
	if err != nil {
		return nil, err
	}
	target := override.Cluster{Name: cluster, Labels: s.clusters[cluster].Labels}
	overrides := override.Match(s.placement, found, contents).Lists([]override.Cluster{target})[cluster]
	return ptr.To(delivery.NewRevision(of.ResourceSnapshotName, overrides, of.ApplyStrategy)), nil
}

// observeNow reads the bindings again, from the API server.
func (r *Roller) observeNow(ctx context.Context, key types.NamespacedName, s *observed) error {
	list, err := scope.Bindings.List(ctx, r.Direct, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		return err
	}
	s.bindings = make(map[string]v1beta1.BindingObject, len(list))
	for _, b := range scope.OnlyOf(s.of, list) {
		s.bindings[b.GetName()] = b
	}
	return r.lookAt(ctx, s)
}
