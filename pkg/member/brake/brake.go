// Package brake limits how many objects the agent removes from its cluster within a time, whatever the hub wants: a
// hub that was emptied by mistake, or taken over, does not empty its members. It counts what was removed in a ConfigMap
// of the cluster, and holds each Work whose removals go beyond the limit. Package removal decides.
package brake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// Record is the ConfigMap that counts removals: each key of its data is a time, of layout timeKey, and the value how
// many objects were removed in the part of the window that ended then.
var Record = types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: "fleet-removals"}

const timeKey = "20060102T150405Z"

var heldWorks = metrics.Gauge(metrics.Definition{
	Name:   "fleet_member_held_removals",
	Help:   "Number of Works whose removals the member agent holds, because the hub wants more removed than `--removal-max` and `--removal-protect` allow.",
	Agents: []metrics.Agent{metrics.Member},
})

// mostCounts is into how many parts a window is divided. The removals within a part are counted together, and expire
// with the last of them.
const mostCounts = 60

// Limit is what the agent may remove.
type Limit struct {
	removal.Policy
	// Window is for how long a removal counts.
	Window time.Duration
}

// Brake decides about removals. Its exported fields must be set.
type Brake struct {
	Limit Limit
	// Client reads and writes the record, without a cache.
	Client client.Client
	// Now is the clock.
	Now func() time.Time

	mu sync.Mutex
	// record is the ConfigMap as it was read or written last; nil before that.
	record *corev1.ConfigMap
	counts []count
	// granted are the removals that were let through and may not be complete: they count once.
	granted loop.Granted
	// held are the Works with a held removal.
	held map[types.UID]bool
}

// count is how many objects were removed in the part of the window that ends at a time.
type count struct {
	at      time.Time
	objects int
}

// Ask returns what of a removal is held: all of it, or nothing. What it lets through is recorded before it returns, so
// that it counts even if the agent ends; after a restart the rest of a removal counts again. What an administrator
// releases does not count. A removal that is held stays so until it is released, or no longer wanted. An error means
// that it is not known what may be removed: nothing.
func (b *Brake) Ask(ctx context.Context, r removal.Request) (*v1beta1.HeldRemoval, error) {
	if b.Limit.None() {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	granted := sets.New(b.granted.Of(r.Work)...).Intersection(sets.New(r.Leaving...))
	b.granted.Add(r.Work, granted.UnsortedList()) // what does not leave any more is asked about again if it ever does
	r.Leaving = slices.DeleteFunc(slices.Clone(r.Leaving), granted.Has)
	if len(r.Leaving) == 0 {
		b.holds(r.Work, false)
		return nil, nil
	}
	if err := b.read(ctx); err != nil {
		return nil, err
	}
	now := b.Now()
	removed := b.removed(now)
	policy := removal.Policy{Protect: b.Limit.Protect}
	beyond := b.Limit.Exceeded(removed+r.Others+len(r.Leaving), removed+r.Placed)
	if beyond || r.Was != nil {
		policy.Max = ptr.To(intstr.FromInt32(0))
	}
	change := removal.Change{Subject: removal.Content, Of: r.Work, Leaving: r.Leaving, Total: r.Total}
	if held := removal.Decide(policy, change, r.Was, []string{r.Released}, now); held != nil {
		b.holds(r.Work, true)
		return held, nil
	}
	if r.Was == nil {
		if err := b.add(ctx, len(r.Leaving), now); err != nil {
			return nil, err
		}
	}
	b.granted.Add(r.Work, append(granted.UnsortedList(), r.Leaving...))
	b.holds(r.Work, false)
	return nil, nil
}

// holds counts the Works with a held removal.
func (b *Brake) holds(work types.UID, is bool) {
	if b.held == nil {
		b.held = map[types.UID]bool{}
	}
	if is {
		b.held[work] = true
	} else {
		delete(b.held, work)
	}
	heldWorks.WithLabelValues().Set(float64(len(b.held)))
}

// Granted reports whether a removal of a Work was let through and may not be complete.
func (b *Brake) Granted(work types.UID) bool { return len(b.granted.Of(work)) > 0 }

// Done records that nothing leaves the Work any more.
func (b *Brake) Done(work types.UID) {
	b.granted.Done(work)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds(work, false)
}

// Recent reports whether a removal that is held since a time still counts among those that are wanted at the same
// time.
func (b *Brake) Recent(since time.Time) bool { return b.Now().Sub(since) < b.Limit.Window }

// On reports whether anything is limited.
func (b *Brake) On() bool { return !b.Limit.None() }

// removed is how many objects were removed within the window.
func (b *Brake) removed(now time.Time) (sum int) {
	for _, c := range b.counts {
		if now.Sub(c.at) < b.Limit.Window {
			sum += c.objects
		}
	}
	return sum
}

// read reads the record, if that was not done yet. One that cannot be parsed is an error: it may have been anything.
func (b *Brake) read(ctx context.Context) error {
	if b.record != nil {
		return nil
	}
	record := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Record.Namespace, Name: Record.Name}}
	if err := b.Client.Get(ctx, Record, record); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the record of removals: %w", err)
	}
	var counts []count
	for _, key := range slices.Sorted(maps.Keys(record.Data)) {
		at, err := time.Parse(timeKey, key)
		objects, malformed := strconv.Atoi(record.Data[key])
		if err != nil || malformed != nil || objects < 0 {
			return fmt.Errorf("the record of removals, ConfigMap %s, is damaged at key %q, so nothing is removed; delete the ConfigMap to count anew", Record, key)
		}
		counts = append(counts, count{at, objects})
	}
	b.record, b.counts = record, counts
	return nil
}

// add records a removal.
func (b *Brake) add(ctx context.Context, objects int, now time.Time) error {
	counts := slices.DeleteFunc(slices.Clone(b.counts), func(c count) bool { return now.Sub(c.at) >= b.Limit.Window })
	part := max(time.Second, b.Limit.Window/mostCounts).Truncate(time.Second)
	end := now.UTC().Truncate(part).Add(part)
	if i := slices.IndexFunc(counts, func(c count) bool { return c.at.Equal(end) }); i >= 0 {
		counts[i].objects += objects
	} else {
		counts = append(counts, count{end, objects})
	}
	record := b.record.DeepCopy()
	record.Data = map[string]string{}
	for _, c := range counts {
		record.Data[c.at.Format(timeKey)] = strconv.Itoa(c.objects)
	}
	var err error
	if record.ResourceVersion == "" {
		err = b.Client.Create(ctx, record, client.FieldOwner(contract.ManagerMember))
	} else {
		err = b.Client.Update(ctx, record, client.FieldOwner(contract.ManagerMember))
	}
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			b.record = nil // read it again
		}
		return fmt.Errorf("write the record of removals: %w", err)
	}
	b.record, b.counts = record, counts
	return nil
}
