package stager

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// lost says, by cluster, which snapshot a step is about to give it that there is not. Bindings must not name one that is yet to come:
// whoever makes it would release it to all of them at once, whatever gates there are.
func (s *Stager) lost(ctx context.Context, run v1beta1.UpdateRunObject, step stage.Step) (map[string]string, error) {
	out, known := map[string]string{}, map[string]bool{}
	for _, start := range step.Start {
		if !start.Content {
			continue
		}
		for _, needed := range snapshotsOf(run, start.To) {
			there, asked := known[needed.what]
			if !asked {
				var err error
				if there, err = s.exists(ctx, needed.key, needed.object); err != nil {
					return nil, err
				}
				known[needed.what] = there
			}
			if !there {
				out[start.Binding.GetSpec().TargetCluster] = needed.what + " does not exist any more"
				break
			}
		}
	}
	return out, nil
}

// needed is a snapshot that a revision consists of.
type needed struct {
	what   string
	key    types.NamespacedName
	object client.Object
}

func snapshotsOf(run v1beta1.UpdateRunObject, revision v1beta1.Revision) []needed {
	key := types.NamespacedName{Namespace: run.GetNamespace(), Name: revision.ResourceSnapshotName}
	out := []needed{{"resource snapshot " + key.Name, key, scope.ResourceSnapshots.New(key)}}
	for _, key := range delivery.OverridesIn(revision).Keys() {
		out = append(out, needed{"override snapshot " + strings.TrimPrefix(key.String(), "/"), key, scope.OverrideSnapshots.New(key)})
	}
	return out
}

// exists asks the API server itself: the cache may not have heard yet that an object is gone. Its metadata is enough.
func (s *Stager) exists(ctx context.Context, key types.NamespacedName, obj client.Object) (bool, error) {
	kind, err := s.Direct.GroupVersionKindFor(obj)
	if err != nil {
		return false, fmt.Errorf("kind of %T: %w", obj, err)
	}
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(kind)
	err = s.Direct.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s %s: %w", kind.Kind, key, err)
	}
	return true, nil
}

// loss ends a run that cannot release what it planned.
func loss(lost map[string]string) error {
	cluster := slices.Sorted(maps.Keys(lost))[0]
	return &stage.Abort{User: true, Message: "what the run is to give to cluster " + cluster + " is gone: " + lost[cluster] +
		"; it, or what it was made of, was deleted since the run was initialized; make a new run, which goes on where this one is"}
}
