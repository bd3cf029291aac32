package placer

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

func (p *Placer) create(ctx context.Context, obj client.Object) error {
	if err := p.Client.Create(ctx, obj); err != nil {
		return fmt.Errorf("create snapshot %s: %w", obj.GetName(), err)
	}
	return nil
}

// tidy changes marks and deletes snapshots. Snapshots that are gone are no error.
func (p *Placer) tidy(ctx context.Context, marks []snapshot.Mark, object func(name string) client.Object, old []client.Object) error {
	var jobs []func(context.Context) error
	for _, mark := range marks {
		jobs = append(jobs, func(ctx context.Context) error {
			err := p.Client.Patch(ctx, object(mark.Name), client.RawPatch(types.MergePatchType, mark.Patch()))
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("mark snapshot %s: %w", mark.Name, err)
			}
			return nil
		})
	}
	for _, obj := range old {
		jobs = append(jobs, func(ctx context.Context) error {
			if err := p.Client.Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete snapshot %s: %w", obj.GetName(), err)
			}
			log.FromContext(ctx).Info("Pruned snapshot", "snapshot", obj.GetName())
			return nil
		})
	}
	return loop.All(ctx, writers, jobs...)
}

// named is obj with a name in the placement's namespace.
func named(obj client.Object, placement types.NamespacedName, name string) client.Object {
	obj.SetNamespace(placement.Namespace)
	obj.SetName(name)
	return obj
}

func objects[O client.Object](list []O) []client.Object {
	out := make([]client.Object, len(list))
	for i, o := range list {
		out[i] = o
	}
	return out
}
