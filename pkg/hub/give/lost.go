package give

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Snapshot is a snapshot of a revision.
type Snapshot struct {
	// Override is whether it is an override snapshot; else it is a resource snapshot.
	Override bool
	Key      types.NamespacedName
}

// Gone is the message for a snapshot that does not exist any more.
func (s Snapshot) Gone() string { return s.kind() + " " + Name(s.Key) + " does not exist any more" }

// Name is how messages and logs name an object: namespace/name, or the name alone if it is cluster-wide.
func Name(key types.NamespacedName) string { return strings.TrimPrefix(key.String(), "/") }

func (s Snapshot) kind() string {
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

// Search looks whether snapshots exist, at each once.
type Search struct {
	// Client knows the kinds.
	Client client.Client
	// Direct reads from the API server: a cache may still hold a snapshot that is deleted.
	Direct client.Reader

	exists map[Snapshot]bool
}

// Lost returns a snapshot of a revision that does not exist, nil if all exist. Bindings must not name one that does not exist:
// if it were created later, all of them would get it at once, whatever gates there are. namespace is the placement's.
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
				return nil, fmt.Errorf("look for %s %s: %w", snapshot.kind(), Name(snapshot.Key), err)
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

// look reads only the metadata of a snapshot, because the object may be large.
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
