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

// Fault is an object that cannot be read, or not wholly.
type Fault struct {
	Kind string
	// Why is the decoder's message, which names the field if the decoder does.
	Why string
	// StatusOnly is whether the object is served, without its status.
	StatusOnly bool

	version string
	meta    metav1.ObjectMeta
	// readable is the version in which the object can be read again, while the cache does not hold that version yet.
	readable string
	// round is the last list that showed the object.
	round int
}

// String names the object and why it cannot be read.
func (f *Fault) String() string {
	return fmt.Sprintf("%s %s cannot be read: %s", f.Kind, types.NamespacedName{Namespace: f.meta.Namespace, Name: f.meta.Name}, f.Why)
}

// about says whether another fault is about the same object.
func (f *Fault) about(other *Fault) bool {
	return f.meta.Namespace == other.meta.Namespace && f.meta.Name == other.meta.Name
}

// reference is what an event about the object refers to.
func (f *Fault) reference() corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: f.version, Kind: f.Kind, Namespace: f.meta.Namespace, Name: f.meta.Name, UID: f.meta.UID, ResourceVersion: f.meta.ResourceVersion,
	}
}

// Unreadable is the error of a read that an unreadable object stands in the way of.
type Unreadable struct{ Fault Fault }

func (u *Unreadable) Error() string {
	return u.Fault.String() + "; correct or delete the object"
}

// Faults are the objects that caches cannot read. The zero value has none.
type Faults struct {
	mu      sync.Mutex
	ledgers []*ledger
}

// mostNotes is how many faults Notes names.
const mostNotes = 20

// Notes names what cannot be read, in order, the first of many.
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

// Reset forgets everything, for caches that begin anew.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledgers = nil
	unreadable.Reset()
}

func (f *Faults) ledger(gvk schema.GroupVersionKind, tell func(Fault)) *ledger {
	l := &ledger{gvk: gvk, tell: tell, faults: map[types.NamespacedName]*Fault{}}
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ledgers = append(f.ledgers, l)
	}
	return l
}

// ledger holds the faults of one informer.
type ledger struct {
	gvk  schema.GroupVersionKind
	tell func(Fault)

	mu     sync.Mutex
	faults map[types.NamespacedName]*Fault
	round  int
}

// begin starts a list of everything; end ends it, and forgets what it did not show.
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

// bad notes a fault, before the cache learns of anything that follows it.
func (l *ledger) bad(f Fault) {
	key := types.NamespacedName{Namespace: f.meta.Namespace, Name: f.meta.Name}
	l.mu.Lock()
	f.round = l.round
	was := l.faults[key]
	l.faults[key] = &f
	l.count()
	l.mu.Unlock()
	if was == nil || was.Why != f.Why || was.meta.UID != f.meta.UID {
		l.tell(f)
	}
}

// good notes that an object can be read. If it could not, it goes on counting as unreadable until the cache holds it.
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
		again := *f // what was handed out stays as it was
		again.readable, again.round = meta.GetResourceVersion(), l.round
		l.faults[key] = &again
	}
}

// gone notes that an object was deleted.
func (l *ledger) gone(meta client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.faults, client.ObjectKeyFromObject(meta))
	l.count()
}

// stored is told what the cache holds.
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

// of returns the fault that keeps an object from being read.
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
