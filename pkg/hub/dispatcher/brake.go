package dispatcher

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// stage is a plan before the brake.
type stage struct {
	wanted, works []*v1beta1.Work
	orphans       map[string]bool
	edited        map[string]bool
	// left is whether Works keep an earlier result of their overrides for now.
	left    bool
	changes work.Changes
}

// braked is a plan after the brake: what is held of it, and what stays on the cluster therefore.
type braked struct {
	changes work.Changes
	held    *v1beta1.HeldRemoval
	kept    []removal.Object
	// unknown is why the wanted content is not in some Works, which stay as they are.
	unknown string
}

// brake holds what leaves the cluster if it is more than the placement allows: it stays, and all else goes on. The
// cache has no manifests, so those of the Works that lose something are read from the API server. A failed read is an
// error: nothing may be written then.
func (d *Dispatcher) brake(ctx context.Context, seen *observed, s stage) (braked, error) {
	if seen.policy.None() {
		return braked{changes: s.changes}, nil
	}
	doubtful := s.changes.Doubtful(s.wanted, s.works, seen.held != nil)
	if len(doubtful) == 0 {
		return braked{changes: s.changes}, nil
	}
	read, err := d.read(ctx, doubtful)
	if err != nil {
		return braked{}, err
	}
	leaving, total := work.Leaving(s.wanted, existing(s.works, doubtful, read), read)
	change := removal.Change{Subject: removal.Content, Of: seen.order.UID, Leaving: leaving, Total: total}
	held := removal.Decide(seen.policy, change, seen.held, seen.released, d.Now())
	if s.left && seen.held != nil {
		held = seen.held // it is decided when the rollout gives the cluster the new result
	}
	if held != nil && d.granted.Covers(seen.order.UID, leaving) {
		held = nil
	}
	if held == nil {
		if seen.held != nil && slices.Contains(seen.released, seen.held.Digest) {
			d.granted.Add(seen.order.UID, leaving)
		}
		return braked{changes: s.changes}, nil
	}
	keeping, frozen := work.Keeping(s.wanted, read, leaving, s.left)
	changes, err := work.Compare(keeping, s.works, s.orphans)
	if err != nil {
		return braked{}, fmt.Errorf("keep what leaves the cluster: %w", err)
	}
	changes.Restore(keeping, s.works, s.edited)
	out := braked{changes: changes.Without(frozen), held: held, kept: leaving}
	if len(frozen) > 0 {
		out.unknown = "Another client has changed the manifests of Works of the cluster, so it is not known what the content in the spec " +
			"would remove; they stay as they are until the removal is released"
	}
	if seen.held == nil || seen.held.Digest != held.Digest {
		ctrl.LoggerFrom(ctx).Info("Held removal of objects", "objects", held.Removed, "of", held.Total)
	}
	return out, nil
}

// read reads Works with their manifests. Those that do not exist any more, or are being deleted, are left out.
func (d *Dispatcher) read(ctx context.Context, works []*v1beta1.Work) ([]*v1beta1.Work, error) {
	out := make([]*v1beta1.Work, len(works))
	for i := range works {
		out[i] = &v1beta1.Work{}
	}
	err := loop.Each(ctx, writers, indices(len(works)), func(ctx context.Context, i int) error {
		err := d.Direct.Get(ctx, client.ObjectKeyFromObject(works[i]), out[i])
		if apierrors.IsNotFound(err) {
			out[i] = nil
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the manifests of work %s: %w", client.ObjectKeyFromObject(works[i]), err)
		}
		return nil
	})
	return slices.DeleteFunc(out, func(w *v1beta1.Work) bool { return w == nil || !w.DeletionTimestamp.IsZero() }), err
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// existing are the Works without those that were to be read and are gone.
func existing(works, doubtful, read []*v1beta1.Work) []*v1beta1.Work {
	in := func(list []*v1beta1.Work, w *v1beta1.Work) bool {
		return slices.ContainsFunc(list, func(o *v1beta1.Work) bool { return o.Name == w.Name })
	}
	return slices.DeleteFunc(slices.Clone(works), func(w *v1beta1.Work) bool { return in(doubtful, w) && !in(read, w) })
}
