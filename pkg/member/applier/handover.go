package applier

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
)

// wishes caches which objects each Work lists, computed only when an object is about to be removed.
type wishes struct {
	mu    sync.Mutex
	works map[types.UID]wish
}

type wish struct {
	generation int64
	objects    sets.Set[apply.Key]
}

// of returns the objects that a Work lists.
func (w *wishes) of(work *v1beta1.Work) sets.Set[apply.Key] {
	if known, ok := w.works[work.UID]; ok && known.generation == work.Generation {
		return known.objects
	}
	objects := sets.New[apply.Key]()
	if delivery.Compared(work.Spec.ApplyStrategy) {
		return objects // it only compares them
	}
	for _, m := range apply.Decode(work.Spec.Workload.Manifests) {
		if m.Problem.Reason == "" {
			objects.Insert(m.Key())
		}
	}
	return objects
}

// wantedElsewhere returns those of keys that another Work lists that is not being deleted: work must not remove them.
func (a *Applier) wantedElsewhere(ctx context.Context, work *v1beta1.Work, keys []apply.Key) (sets.Set[apply.Key], error) {
	out := sets.New[apply.Key]()
	if len(keys) == 0 {
		return out, nil
	}
	all, err := a.works(ctx, work)
	if err != nil {
		return nil, err
	}
	a.wishes.mu.Lock()
	defer a.wishes.mu.Unlock()
	now := make(map[types.UID]wish, len(all))
	for i := range all {
		other := &all[i]
		if other.Name == work.Name || !other.DeletionTimestamp.IsZero() {
			continue
		}
		objects := a.wishes.of(other)
		now[other.UID] = wish{other.Generation, objects}
		for _, key := range keys {
			if objects.Has(key) {
				out.Insert(key)
			}
		}
	}
	a.wishes.works = now
	return out, nil
}

// works are the decodable Works in the cache; they must not be modified. It fails if one of work's own binding cannot
// be decoded: that one may list objects that have left this Work. Objects of another binding's Work are protected by
// their owner reference.
func (a *Applier) works(ctx context.Context, work *v1beta1.Work) ([]v1beta1.Work, error) {
	var list v1beta1.WorkList
	if binding := work.Labels[contract.LabelBinding]; binding != "" {
		ours := client.MatchingLabels{contract.LabelBinding: binding}
		if err := a.HubClient.List(ctx, &list, client.InNamespace(a.Namespace), ours, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list works of binding %s: %w", binding, err)
		}
	}
	list = v1beta1.WorkList{}
	if err := a.HubClient.List(lenient.Skip(ctx), &list, client.InNamespace(a.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list works: %w", err)
	}
	return list.Items, nil
}

// abreast reports whether all Works of work's binding exist and hold the same revision. Until then, an object that has
// left this Work may be about to appear in another one. A Work without their number is from a hub that does not count
// them.
func (a *Applier) abreast(ctx context.Context, work *v1beta1.Work) (bool, error) {
	want, err := strconv.Atoi(work.Annotations[contract.AnnotationWorks])
	if err != nil {
		return true, nil //nolint:nilerr // the hub does not count them
	}
	all, err := a.works(ctx, work)
	if err != nil {
		return false, err
	}
	n := 0
	for i := range all {
		other := &all[i]
		if !other.DeletionTimestamp.IsZero() || !alike(other.Labels, work.Labels, contract.LabelBinding, contract.LabelPlacement, contract.LabelPlacementNamespace) {
			continue
		}
		if alike(other.Annotations, work.Annotations, contract.AnnotationWorkSnapshot, contract.AnnotationOverrideHash, contract.AnnotationClusterOverrideHash) {
			n++
		}
	}
	return n >= want, nil
}

func alike(a, b map[string]string, keys ...string) bool {
	for _, key := range keys {
		if a[key] != b[key] {
			return false
		}
	}
	return true
}
