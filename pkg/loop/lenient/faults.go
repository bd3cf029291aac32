package lenient

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/metrics"
)

var unreadable = metrics.Gauge(metrics.Definition{
	Name: "fleet_unreadable_objects",
	Help: "Stored objects that the agent cannot decode. `/readyz` and the event `CannotBeRead` name them.",
	Labels: []metrics.Label{
		{Name: "kind", Values: "kind of the objects"},
		{Name: "part", Values: "`status` if the agent ignores only the status; `object` if it ignores the object"},
	},
	Agents: []metrics.Agent{metrics.Hub, metrics.Member},
})

// Fault is an object that cannot be read, or whose status cannot be read.
type Fault struct {
	Kind string
	// Why is the decoder's message, which names the field if the decoder does.
	Why string
	// StatusOnly is whether the object is served without its status.
	StatusOnly bool

	version string
	meta    metav1.ObjectMeta
	// readable is the resource version in which the object can be read again, as long as the cache lacks that version.
	readable string
	// round is the number of the last list that contained the object.
	round int
}

// String names the object and why it cannot be read.
func (f *Fault) String() string {
	return fmt.Sprintf("%s %s cannot be read: %s", f.Kind, types.NamespacedName{Namespace: f.meta.Namespace, Name: f.meta.Name}, f.Why)
}

// about reports whether another fault is about the same object.
func (f *Fault) about(other *Fault) bool {
	return f.meta.Namespace == other.meta.Namespace && f.meta.Name == other.meta.Name
}

// reference is the involved object of an event.
func (f *Fault) reference() corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: f.version, Kind: f.Kind, Namespace: f.meta.Namespace, Name: f.meta.Name, UID: f.meta.UID, ResourceVersion: f.meta.ResourceVersion,
	}
}

// Unreadable is the error of a read that fails because of an unreadable object.
type Unreadable struct{ Fault Fault }

func (u *Unreadable) Error() string {
	return u.Fault.String() + "; correct or delete the object"
}

// Faults are the objects that caches cannot read. The zero value is empty and ready.
type Faults struct {
	mu      sync.Mutex
	ledgers []*ledger
}

// mostNotes is the most faults that Notes returns.
const mostNotes = 20

// Notes describes the objects that cannot be read, sorted, at most mostNotes of them.
func (f *Faults) Notes() []string {
	f.mu.Lock()
	ledgers := slices.Clone(f.ledgers)
	f.mu.Unlock()
	var out []string
	for _, l := range ledgers {
		for _, fault := range l.all() {
			out = append(out, fault.String())
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if more := len(out) - mostNotes; more > 0 {
		out = append(out[:mostNotes], fmt.Sprintf("and %d more", more))
	}
	return out
}

// Reset forgets all faults, before caches are created again.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledgers = nil
	unreadable.Reset()
}

func (f *Faults) ledger(gvk schema.GroupVersionKind, notify func(Fault)) *ledger {
	l := &ledger{gvk: gvk, notify: notify, faults: map[types.NamespacedName]*Fault{}}
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ledgers = append(f.ledgers, l)
	}
	return l
}

// ledger holds the faults of one informer.
type ledger struct {
	gvk    schema.GroupVersionKind
	notify func(Fault)

	mu     sync.Mutex
	faults map[types.NamespacedName]*Fault
	round  int
}

// begin starts a list of all objects; end ends it, and forgets faults of objects that it did not contain.
func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
}

func (l *ledger) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, f := range l.faults {
		if f.round < l.round {
			delete(l.faults, key)
		}
	}
	l.count()
}

// bad stores a fault, before the cache gets any later event.
func (l *ledger) bad(f Fault) {
	key := types.NamespacedName{Namespace: f.meta.Namespace, Name: f.meta.Name}
	l.mu.Lock()
	f.round = l.round
	was := l.faults[key]
	l.faults[key] = &f
	l.count()
	l.mu.Unlock()
	if was == nil || was.Why != f.Why || was.meta.UID != f.meta.UID {
		l.notify(f)
	}
}

// good records that an object can be read. If it was unreadable, it stays so until the cache holds it.
func (l *ledger) good(meta client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := client.ObjectKeyFromObject(meta)
	f := l.faults[key]
	switch {
	case f == nil:
	case f.StatusOnly:
		delete(l.faults, key)
		l.count()
	default:
		changed := *f // a copy, because callers may still hold f
		changed.readable, changed.round = meta.GetResourceVersion(), l.round
		l.faults[key] = &changed
	}
}

// gone records that an object was deleted.
func (l *ledger) gone(meta client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.faults, client.ObjectKeyFromObject(meta))
	l.count()
}

// stored takes an object that the cache holds now.
func (l *ledger) stored(stored any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) == 0 {
		return
	}
	obj, ok := stored.(client.Object)
	if !ok {
		return
	}
	key := client.ObjectKeyFromObject(obj)
	f := l.faults[key]
	if f == nil || f.readable == "" {
		return
	}
	if order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), f.readable); err == nil && order < 0 {
		return
	}
	delete(l.faults, key)
	l.count()
}

// of returns the fault that makes an object unreadable; nil if it can be read.
func (l *ledger) of(key types.NamespacedName) *Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.faults[key]; f != nil && !f.StatusOnly {
		return f
	}
	return nil
}

// all returns the faults in order of their names.
func (l *ledger) all() []*Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*Fault, 0, len(l.faults))
	for _, f := range l.faults {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *Fault) int {
		return cmp.Or(strings.Compare(a.meta.Namespace, b.meta.Namespace), strings.Compare(a.meta.Name, b.meta.Name))
	})
	return out
}

func (l *ledger) count() {
	parts := map[bool]int{}
	for _, f := range l.faults {
		parts[f.StatusOnly]++
	}
	unreadable.WithLabelValues(l.gvk.Kind, "object").Set(float64(parts[false]))
	unreadable.WithLabelValues(l.gvk.Kind, "status").Set(float64(parts[true]))
}
