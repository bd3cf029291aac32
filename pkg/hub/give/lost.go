package give

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Snapshot is one that a revision consists of.
type Snapshot struct {
	// Override is whether it is of an override, not of resources.
	Override bool
	Key      types.NamespacedName
}

// Kind names the kind for people.
func (s Snapshot) Kind() string {
	if s.Override {
		return "override snapshot"
	}
	return "resource snapshot"
}

func (s Snapshot) object() client.Object {
	if s.Override {
		return scope.OverrideSnapshots.New(s.Key)
	}
	return scope.ResourceSnapshots.New(s.Key)
}

// Search looks for snapshots, for each once.
type Search struct {
	// Client knows the kinds.
	Client client.Client
	// Direct reads from the API server itself: a cache may not have seen yet that a snapshot is gone.
	Direct client.Reader

	exists map[Snapshot]bool
}

// Lost returns a snapshot of a revision that does not exist any more, nil if all do. Bindings must not name one that is yet to come:
// its creation would release it to all of them at once, whatever gates there are. namespace is the placement's.
func (s *Search) Lost(ctx context.Context, namespace string, r v1beta1.Revision) (*Snapshot, error) {
	all := []Snapshot{{Key: types.NamespacedName{Namespace: namespace, Name: r.ResourceSnapshotName}}}
	for _, key := range delivery.OverridesIn(r).Keys() {
		all = append(all, Snapshot{Override: true, Key: key})
	}
	for _, snapshot := range all {
		exists, known := s.exists[snapshot]
		if !known {
			var err error
			if exists, err = s.look(ctx, snapshot); err != nil {
				return nil, fmt.Errorf("look for %s %s: %w", snapshot.Kind(), snapshot.Key, err)
			}
			if s.exists == nil {
				s.exists = map[Snapshot]bool{}
			}
			s.exists[snapshot] = exists
		}
		if !exists {
			return &snapshot, nil
		}
	}
	return nil, nil
}

// look reads the metadata of a snapshot, which may be large.
func (s *Search) look(ctx context.Context, snapshot Snapshot) (exists bool, err error) {
	kind, err := s.Client.GroupVersionKindFor(snapshot.object())
	if err != nil {
		return false, err
	}
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(kind)
	err = s.Direct.Get(ctx, snapshot.Key, found)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
