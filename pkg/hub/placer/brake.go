package placer

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// worksPerPage is how many Works are read at once: each may have more than a megabyte.
const worksPerPage = 20

// brake reports whether the deletion of a placement is held, and reports that in its status. The other agents remove
// nothing of the placement until the placer has removed its finalizer. It returns the updated placement; nil if it no
// longer exists.
func (p *Placer) brake(ctx context.Context, placement v1beta1.PlacementObject) (v1beta1.PlacementObject, bool, error) {
	var holds report.Holds
	if removal.MayHold(placement, p.Removal) {
		all, err := p.placed(ctx, placement)
		if err != nil {
			return nil, false, err
		}
		holds = report.Holds{Placement: removal.Deleted(removal.PolicyOf(placement, p.Removal), placement, all), On: all.Clusters}
	}
	held := !holds.None()
	if !held && meta.FindStatusCondition(placement.GetStatus().Conditions, placement.ConditionType(v1beta1.ConditionRemovalHeld)) == nil {
		return placement, false, nil
	}
	setHeld(client.ObjectKeyFromObject(placement), holds)
	status := report.DeletionHeld(placement, holds, metav1.NewTime(p.Now().Truncate(time.Second)))
	after := placement.DeepCopyObject().(v1beta1.PlacementObject)
	*after.GetStatus() = status
	wrote, err := loop.WriteStatus(ctx, p.Client, placement, after)
	switch {
	case apierrors.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case wrote && held:
		log.FromContext(ctx).Info("Held the deletion of the placement", "objects", holds.Placement.Removed, "clusters", holds.On)
		if event := report.DeletionHeldEvent(placement, &status); event != nil {
			p.Recorder.Event(placement, corev1.EventTypeWarning, event.Reason, event.Message)
		}
	}
	return after, held, nil
}

// placed returns what a placement that is being deleted has on clusters. It is read from the API server once for each
// placement: no agent changes it any more.
func (p *Placer) placed(ctx context.Context, placement v1beta1.PlacementObject) (removal.DeletedFrom, error) {
	key := client.ObjectKeyFromObject(placement)
	if known, ok := p.doomed.of(key, placement.GetUID()); ok {
		return known, nil
	}
	if !contract.FitsLabel(key.Name) {
		return removal.DeletedFrom{}, nil // it never had bindings
	}
	bindings, err := scope.Bindings.List(ctx, p.Direct, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		return removal.DeletedFrom{}, err
	}
	selector, err := worksOf(key)
	if err != nil {
		return removal.DeletedFrom{}, err
	}
	placed := work.PlacedBy(scope.OnlyOf(placement, bindings))
	for next := ""; ; {
		var page v1beta1.WorkList
		if err := p.Direct.List(ctx, &page, client.MatchingLabelsSelector{Selector: selector}, client.Limit(worksPerPage), client.Continue(next)); err != nil {
			return removal.DeletedFrom{}, fmt.Errorf("list the works of placement %s: %w", scope.Name(key), err)
		}
		for i := range page.Items {
			placed.Add(&page.Items[i])
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	p.doomed.add(key, placement.GetUID(), placed.All())
	return placed.All(), nil
}

// worksOf selects the Works of a placement in the namespaces of all members.
func worksOf(placement types.NamespacedName) (labels.Selector, error) {
	named, err := labels.NewRequirement(contract.LabelPlacement, selection.Equals, []string{placement.Name})
	if err != nil {
		return nil, fmt.Errorf("select the works of placement %s: %w", scope.Name(placement), err)
	}
	operator, namespaces := selection.DoesNotExist, []string(nil)
	if placement.Namespace != "" {
		operator, namespaces = selection.Equals, []string{placement.Namespace}
	}
	within, err := labels.NewRequirement(contract.LabelPlacementNamespace, operator, namespaces)
	if err != nil {
		return nil, fmt.Errorf("select the works of placement %s: %w", scope.Name(placement), err)
	}
	return labels.NewSelector().Add(*named, *within), nil
}

// doomed remembers what placements that are being deleted have on clusters.
type doomed struct {
	mu  sync.Mutex
	all map[types.NamespacedName]doom
}

type doom struct {
	uid  types.UID
	from removal.DeletedFrom
}

func (d *doomed) add(key types.NamespacedName, uid types.UID, from removal.DeletedFrom) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[types.NamespacedName]doom{}
	}
	d.all[key] = doom{uid, from}
}

func (d *doomed) of(key types.NamespacedName, uid types.UID) (from removal.DeletedFrom, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.all[key]
	return known.from, ok && known.uid == uid
}

func (d *doomed) forget(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, key)
}
