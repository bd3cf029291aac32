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
	// rounds is how often a placement is evicted at most. The second time is for one that the scheduler put on the
	// cluster by a view of it from before the taint; one that comes back after that tolerates the taint.
	rounds = 2
	// atOnce is how many evictions are waited for at once.
	atOnce = 16
)

type placementKey = types.NamespacedName

// drainer evicts placements from one cluster.
type drainer struct {
	hub     client.WithWatch
	cluster string

	mu  sync.Mutex
	out io.Writer
	// left are the placements with an outcome, and whether they leave the cluster.
	left map[placementKey]bool
}

// all evicts every placement from the cluster. One that stays does not keep the others.
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
				d.tell(key, false, "it was evicted and is here again; does it tolerate the taint "+cordonTaint.Key+"?", nil)
			}
			return errors.Join(errs...)
		}
		errs = append(errs, d.round(ctx, targets))
	}
}

// served reads the objects of both scopes, or the cluster-wide ones of a hub that does without their twin.
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
	// A drain before this may have asked already, and not have waited for the outcome.
	asked := map[placementKey]v1beta1.EvictionObject{}
	for _, e := range evictions {
		if e.GetSpec().ClusterName == d.cluster && e.GetDeletionTimestamp().IsZero() && !report.EvictionEnded(e) {
			asked[scope.EvictedBy(e)] = e
		}
	}
	var together errgroup.Group
	together.SetLimit(atOnce)
	errs := make([]error, len(targets))
	keys := slices.SortedFunc(maps.Keys(targets), func(a, b placementKey) int { return strings.Compare(a.String(), b.String()) })
	for i, key := range keys {
		together.Go(func() error {
			if err := d.evict(ctx, key, targets[key], asked[key]); err != nil {
				errs[i] = fmt.Errorf("evict %s: %w", naming.Placement(key), err)
			}
			return nil
		})
	}
	return errors.Join(together.Wait(), errors.Join(errs...))
}

// evict takes one placement off the cluster, by an eviction that was asked for before or its own, and waits for the
// outcome.
func (d *drainer) evict(ctx context.Context, key placementKey, b v1beta1.BindingObject, eviction v1beta1.EvictionObject) error {
	if eviction == nil {
		eviction = d.eviction(key)
		if err := d.hub.Create(ctx, eviction); meta.IsNoMatchError(err) {
			d.tell(key, false, "this hub does not know evictions of a "+scope.Placements.Kind(key), nil)
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
		return fmt.Errorf("eviction %s has no outcome; does the hub agent run, with evictions enabled? %w", eviction.GetName(), err)
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

// evictionName is one that no other drain takes.
func evictionName(placement, cluster string) string {
	const random = 8
	stem := "drain-eviction-" + placement + "-" + cluster
	if most := validation.DNS1123SubdomainMaxLength - random - 1; len(stem) > most {
		stem = strings.TrimRight(stem[:most], ".-")
	}
	return stem + "-" + utilrand.String(random)
}

// judge tells what came of an eviction.
func (d *drainer) judge(ctx context.Context, key placementKey, b v1beta1.BindingObject, eviction v1beta1.EvictionObject) error {
	conditions := *eviction.GetConditions()
	if executed := meta.FindStatusCondition(conditions, v1beta1.ConditionEvictionExecuted); executed != nil {
		if meta.IsStatusConditionTrue(conditions, v1beta1.ConditionEvictionExecuted) {
			d.tell(key, true, executed.Message, d.carried(ctx, key))
		} else {
			d.tell(key, false, executed.Message+d.budget(ctx, key), nil)
		}
		return nil
	}
	// An eviction is not valid either if the placement has left in the meantime.
	now, err := scope.Bindings.Get(ctx, d.hub, client.ObjectKeyFromObject(b))
	switch {
	case apierrors.IsNotFound(err) || err == nil && (now.GetUID() != b.GetUID() || !now.GetDeletionTimestamp().IsZero()):
		d.tell(key, true, "it has left by itself", nil)
	case err != nil:
		return err
	default:
		d.tell(key, false, meta.FindStatusCondition(conditions, v1beta1.ConditionEvictionValid).Message+d.fixed(ctx, key), nil)
	}
	return nil
}

// carried names what the placement had on the cluster: for one of clusters, without what is in the namespaces it
// carries whole.
func (d *drainer) carried(ctx context.Context, key placementKey) []string {
	placement, err := scope.Placements.Get(ctx, d.hub, key)
	if err != nil {
		return nil // it is only for the reader's comfort
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

// budget says what the placement's disruption budget asks for, if it has one.
func (d *drainer) budget(ctx context.Context, key placementKey) string {
	budget, err := scope.DisruptionBudgets.Get(ctx, d.hub, key)
	if err != nil {
		return "" // the message speaks for itself
	}
	spec := budget.GetSpec()
	switch {
	case spec.MinAvailable != nil:
		return fmt.Sprintf("; the budget %s wants minAvailable %s", naming.Object(key), spec.MinAvailable)
	case spec.MaxUnavailable != nil:
		return fmt.Sprintf("; the budget %s wants maxUnavailable %s", naming.Object(key), spec.MaxUnavailable)
	}
	return fmt.Sprintf("; the budget %s has neither minAvailable nor maxUnavailable and allows nothing", naming.Object(key))
}

// fixed says what to do about a placement that names its clusters.
func (d *drainer) fixed(ctx context.Context, key placementKey) string {
	placement, err := scope.Placements.Get(ctx, d.hub, key)
	if err != nil {
		return ""
	}
	if policy := placement.GetSpec().Policy; policy != nil && policy.PlacementType == v1beta1.PlacementTypePickFixed {
		return "; take the cluster out of its spec.policy.clusterNames"
	}
	return ""
}

// tell notes and prints the outcome for a placement, with what was there.
func (d *drainer) tell(key placementKey, left bool, why string, there []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left[key] = left
	outcome := "stays"
	if left {
		outcome = "evicted"
	}
	fmt.Fprintf(d.out, "%s: %s: %s\n", naming.Placement(key), outcome, why)
	for _, line := range there {
		fmt.Fprintf(d.out, "  %s\n", line)
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

// sum says how it went in all, and what is still to do.
func (d *drainer) sum() {
	switch n := d.stayed(); {
	case len(d.left) == 0:
		fmt.Fprintf(d.out, "cluster %s: nothing is placed on it\n", d.cluster)
	case n > 0:
		fmt.Fprintf(d.out, "cluster %s: drain was not successful, placements that stay: %d of %d\n", d.cluster, n, len(d.left))
	default:
		fmt.Fprintf(d.out, "cluster %s: placements evicted: %d\n", d.cluster, len(d.left))
	}
	fmt.Fprintf(d.out, "When the work on it is done: %s\n", naming.Command("", "fleet uncordon", d.cluster))
}
