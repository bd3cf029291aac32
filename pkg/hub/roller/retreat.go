package roller

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// lookAt makes facts of the bindings seen.
func (r *Roller) lookAt(ctx context.Context, s *seen) error {
	s.facts = s.facts[:0]
	known := map[client.ObjectKey]bool{}
	for _, b := range s.bindings {
		facts := factsOf(b, s.clusters[b.GetSpec().TargetCluster], r.Now())
		if s.want.Course.Spent != nil && rollout.Affected(facts, s.want.Snapshot, s.want.Course) && facts.Before() != nil {
			var err error
			if facts.Lost, err = r.lost(ctx, s.placement.Namespace, *facts.Before(), known); err != nil {
				return err
			}
		}
		s.facts = append(s.facts, facts)
	}
	return nil
}

// observeNow reads the bindings again, from the API server itself.
func (r *Roller) observeNow(ctx context.Context, key types.NamespacedName, s *seen) error {
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

// lost says which snapshot of a revision is gone; empty if none is. Bindings must not name one that is yet to come: whoever makes it would
// release it at once. What is known of a snapshot already is in known.
func (r *Roller) lost(ctx context.Context, namespace string, revision v1beta1.Revision, known map[client.ObjectKey]bool) (string, error) {
	ask := func(kind string, key client.ObjectKey, obj client.Object) (string, error) {
		id := client.ObjectKey{Namespace: kind, Name: key.String()}
		there, asked := known[id]
		if !asked {
			var err error
			if there, err = r.exists(ctx, key, obj); err != nil {
				return "", fmt.Errorf("get %s %s: %w", kind, key, err)
			}
			known[id] = there
		}
		if there {
			return "", nil
		}
		return fmt.Sprintf("%s %s does not exist any more", kind, strings.TrimPrefix(key.String(), "/")), nil
	}
	key := client.ObjectKey{Namespace: namespace, Name: revision.ResourceSnapshotName}
	if gone, err := ask("resource snapshot", key, scope.ResourceSnapshots.New(key)); gone != "" || err != nil {
		return gone, err
	}
	for _, key := range delivery.OverridesIn(revision).Keys() {
		if gone, err := ask("override snapshot", key, scope.OverrideSnapshots.New(key)); gone != "" || err != nil {
			return gone, err
		}
	}
	return "", nil
}

// exists asks the cache, and only if that does not know of an object the API server itself.
func (r *Roller) exists(ctx context.Context, key client.ObjectKey, obj client.Object) (bool, error) {
	for _, from := range []client.Reader{r.Client, r.Direct} {
		err := from.Get(ctx, key, obj, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if !apierrors.IsNotFound(err) {
			return err == nil, err
		}
	}
	return false, nil
}
