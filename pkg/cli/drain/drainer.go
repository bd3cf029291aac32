package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/follow"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

const (
	// rounds is how often a placement is evicted at most. The second time is for a placement that the scheduler bound
	// before its cache had the taint; a placement that comes back after that tolerates the taint.
	rounds = 2
	// atOnce is how many evictions run concurrently.
	atOnce = 16
)

type placementKey = types.NamespacedName

// drainer evicts placements from one cluster.
type drainer struct {
	hub     client.WithWatch
	cluster string

	mu  sync.Mutex
	out io.Writer
	// left maps each placement with an outcome to whether it leaves the cluster.
	left map[placementKey]bool
}

// all evicts every placement from the cluster. It continues after one that stays.
func (d *drainer) all(ctx context.Context) error {
	var errs []error
	attended := map[types.UID]bool{}
	for round := 0; ; round++ {
		bindings, err := served(ctx, d.hub, scope.Bindings)
		if err != nil {
			return err
		}
		targets := map[placementKey]v1beta1.BindingObject{}
		for _, b := range bindings {
			key, ok := scope.PlacementOf(b)
			if !ok || attended[b.GetUID()] || b.GetSpec().TargetCluster != d.cluster || !b.GetDeletionTimestamp().IsZero() {
				continue
			}
			attended[b.GetUID()] = true
			targets[key] = b
		}
		if len(targets) == 0 {
			return errors.Join(errs...)
		}
		if round == rounds {
			for key := range targets {
				d.record(key, false, "it was evicted and placed again; check whether it tolerates the taint "+cordonTaint.Key, nil)
			}
			return errors.Join(errs...)
		}
		errs = append(errs, d.round(ctx, targets))
	}
}

// served reads the objects of both scopes, or only the cluster-scoped ones if the hub does not serve the namespaced
// kind.
func served[O client.Object](ctx context.Context, hub client.Client, kinds scope.Kinds[O]) ([]O, error) {
	all, err := kinds.All(ctx, hub)
	if meta.IsNoMatchError(err) {
		return kinds.List(ctx, hub, "")
	}
	return all, err
}

func (d *drainer) round(ctx context.Context, targets map[placementKey]v1beta1.BindingObject) error {
	evictions, err := served(ctx, d.hub, scope.Evictions)
	if err != nil {
		return err
	}
	// An earlier drain may have created evictions without waiting for their outcome.
	pending := map[placementKey]v1beta1.EvictionObject{}
	for _, e := range evictions {
		if e.GetSpec().ClusterName == d.cluster && e.GetDeletionTimestamp().IsZero() && !report.EvictionEnded(e) {
			pending[scope.EvictedBy(e)] = e
		}
	}
	var together errgroup.Group
	together.SetLimit(atOnce)
	errs := make([]error, len(targets))
	keys := slices.SortedFunc(maps.Keys(targets), func(a, b placementKey) int { return strings.Compare(a.String(), b.String()) })
	for i, key := range keys {
		together.Go(func() error {
			if err := d.evict(ctx, key, targets[key], pending[key]); err != nil {
				errs[i] = fmt.Errorf("evict %s: %w", naming.Placement(key), err)
			}
			return nil
		})
	}
	return errors.Join(together.Wait(), errors.Join(errs...))
}

// evict removes one placement from the cluster and waits for the outcome. It creates an eviction if that is nil.
func (d *drainer) evict(ctx context.Context, key placementKey, b v1beta1.BindingObject, eviction v1beta1.EvictionObject) error {
	if eviction == nil {
		eviction = d.eviction(key)
		if err := d.hub.Create(ctx, eviction); meta.IsNoMatchError(err) {
			d.record(key, false, "this hub does not serve evictions of a "+scope.Placements.Kind(key), nil)
			return nil
		} else if err != nil {
			return err
		}
	}
	err := follow.Object(ctx, d.hub, eviction, func(error) {}, func(now v1beta1.EvictionObject) (bool, error) {
		eviction = now
		return report.EvictionEnded(now), nil
	})
	if err != nil {
		return fmt.Errorf("eviction %s has no outcome; check that the hub agent is running with evictions enabled: %w", eviction.GetName(), err)
	}
	return d.judge(ctx, key, b, eviction)
}

func (d *drainer) eviction(key placementKey) v1beta1.EvictionObject {
	out := scope.Evictions.New(key)
	out.SetNamespace(key.Namespace)
	out.SetName(evictionName(key.Name, d.cluster))
	*out.GetSpec() = v1beta1.PlacementEvictionSpec{PlacementName: key.Name, ClusterName: d.cluster}
	return out
}

// evictionName returns a name that no other drain uses.
func evictionName(placement, cluster string) string {
	const random = 8
	stem := "drain-eviction-" + placement + "-" + cluster
	if most := validation.DNS1123SubdomainMaxLength - random - 1; len(stem) > most {
		stem = strings.TrimRight(stem[:most], ".-")
	}
	return stem + "-" + utilrand.String(random)
}

// judge records the outcome of an eviction.
func (d *drainer) judge(ctx context.Context, key placementKey, b v1beta1.BindingObject, eviction v1beta1.EvictionObject) error {
	conditions := *eviction.GetConditions()
	if executed := meta.FindStatusCondition(conditions, v1beta1.ConditionEvictionExecuted); executed != nil {
		if meta.IsStatusConditionTrue(conditions, v1beta1.ConditionEvictionExecuted) {
			d.record(key, true, executed.Message, d.placed(ctx, key))
		} else {
			d.record(key, false, executed.Message+d.budget(ctx, key), nil)
		}
		return nil
	}
	// An eviction is also invalid if the placement has left in the meantime.
	now, err := scope.Bindings.Get(ctx, d.hub, client.ObjectKeyFromObject(b))
	switch {
	case apierrors.IsNotFound(err) || err == nil && (now.GetUID() != b.GetUID() || !now.GetDeletionTimestamp().IsZero()):
		d.record(key, true, "it already left the cluster", nil)
	case err != nil:
		return err
	default:
		d.record(key, false, meta.FindStatusCondition(conditions, v1beta1.ConditionEvictionValid).Message+d.fixed(ctx, key), nil)
	}
	return nil
}

// placed names the objects of the placement; of a ClusterResourcePlacement only the cluster-scoped ones, because it
// places namespaces with all that is in them.
func (d *drainer) placed(ctx context.Context, key placementKey) []string {
	placement, err := scope.Placements.Get(ctx, d.hub, key)
	if err != nil {
		return nil // the list is a convenience
	}
	var out []string
	for _, r := range placement.GetStatus().SelectedResources {
		if key.Namespace == "" && r.Namespace != "" {
			continue
		}
		parts := []string{r.Group, r.Version, r.Kind, r.Namespace, r.Name}
		for i, part := range parts {
			if part == "" {
				parts[i] = "''"
			}
		}
		out = append(out, strings.Join(parts, "/"))
	}
	return out
}

// budget describes the placement's disruption budget, if there is one.
func (d *drainer) budget(ctx context.Context, key placementKey) string {
	budget, err := scope.DisruptionBudgets.Get(ctx, d.hub, key)
	if err != nil {
		return "" // the message suffices
	}
	spec := budget.GetSpec()
	switch {
	case spec.MinAvailable != nil:
		return fmt.Sprintf("; budget %s requires minAvailable %s", naming.Object(key), spec.MinAvailable)
	case spec.MaxUnavailable != nil:
		return fmt.Sprintf("; budget %s allows maxUnavailable %s", naming.Object(key), spec.MaxUnavailable)
	}
	return fmt.Sprintf("; budget %s has neither minAvailable nor maxUnavailable, so it allows no eviction", naming.Object(key))
}

// fixed advises what to do about a placement that lists its clusters by name.
func (d *drainer) fixed(ctx context.Context, key placementKey) string {
	placement, err := scope.Placements.Get(ctx, d.hub, key)
	if err != nil {
		return ""
	}
	if policy := placement.GetSpec().Policy; policy != nil && policy.PlacementType == v1beta1.PlacementTypePickFixed {
		return "; remove the cluster from its spec.policy.clusterNames"
	}
	return ""
}

// record stores and prints the outcome for a placement, with the objects that it had on the cluster.
func (d *drainer) record(key placementKey, left bool, why string, objects []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left[key] = left
	outcome := "stays"
	if left {
		outcome = "evicted"
	}
	fmt.Fprintf(d.out, "%s: %s: %s\n", naming.Placement(key), outcome, why)
	for _, object := range objects {
		fmt.Fprintf(d.out, "  %s\n", object)
	}
}

func (d *drainer) stayed() int {
	n := 0
	for _, left := range d.left {
		if !left {
			n++
		}
	}
	return n
}

// sum prints a summary, and the command for after the maintenance.
func (d *drainer) sum() {
	switch n := d.stayed(); {
	case len(d.left) == 0:
		fmt.Fprintf(d.out, "cluster %s: it has no placements\n", d.cluster)
	case n > 0:
		fmt.Fprintf(d.out, "cluster %s: drain did not succeed, placements that stay: %d of %d\n", d.cluster, n, len(d.left))
	default:
		fmt.Fprintf(d.out, "cluster %s: placements evicted: %d\n", d.cluster, len(d.left))
	}
	fmt.Fprintf(d.out, "After maintenance, run: %s\n", naming.Command("", "fleet uncordon", d.cluster))
}
