package work

import (
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Doubtful returns the existing Works whose manifests must be known to decide what changes remove: those that get
// another content or are deleted. A Work that has the wanted content by its annotations has its objects; that another
// client edits it is no change of the placement. If something is held already, the annotations do not show it, so all
// Works of the binding are needed. wanted and seen are those of Compare.
func (c Changes) Doubtful(wanted, seen []*v1beta1.Work, held bool) []*v1beta1.Work {
	var out []*v1beta1.Work
	for _, s := range seen {
		if !s.DeletionTimestamp.IsZero() {
			continue
		}
		changes := slices.ContainsFunc(c.Update, func(w *v1beta1.Work) bool { return w.Name == s.Name })
		if w := named(wanted, s.Name); changes && w != nil && holds(s, w) && sameOwner(w, s) {
			changes = false
		}
		if changes || held && sameOwner(wanted[0], s) || named(c.Delete, s.Name) != nil {
			out = append(out, s)
		}
	}
	return out
}

func named(works []*v1beta1.Work, name string) *v1beta1.Work {
	if i := slices.IndexFunc(works, func(w *v1beta1.Work) bool { return w.Name == name }); i >= 0 {
		return works[i]
	}
	return nil
}

// Leaving returns which objects the changes to wanted remove from the cluster, and how many there are now. seen are
// the existing Works, and read those that Doubtful returned, with their manifests: one that no longer exists, or is
// being deleted, is not among them. The objects of a Work whose manifests another client has changed in number are not
// known; it counts as one object that cannot be read.
func Leaving(wanted, seen, read []*v1beta1.Work) (leaving []removal.Object, total int) {
	after := sets.New[removal.Object]()
	for _, w := range wanted {
		after.Insert(objectsOf(w)...)
	}
	before := sets.New[removal.Object]()
	for _, s := range seen {
		switch r, w := named(read, s.Name), named(wanted, s.Name); {
		case !s.DeletionTimestamp.IsZero():
		case r != nil && altered(r):
			before.Insert(removal.Unknown(r))
		case r != nil:
			before.Insert(objectsOf(r)...)
		case w != nil:
			before.Insert(objectsOf(w)...)
		}
	}
	return before.Difference(after).UnsortedList(), before.Len()
}

// altered reports whether a Work has another number of manifests than the dispatcher wrote.
func altered(w *v1beta1.Work) bool {
	given, ok := w.Annotations[contract.AnnotationManifests]
	return ok && given != strconv.Itoa(len(w.Spec.Workload.Manifests))
}

func objectsOf(w *v1beta1.Work) []removal.Object {
	out := make([]removal.Object, len(w.Spec.Workload.Manifests))
	for i, m := range w.Spec.Workload.Manifests {
		out[i] = removal.Identify(m.Raw)
	}
	return out
}

// Keeping returns the wanted Works with everything that leaves the cluster: each object stays, as it is, in the Work
// that has it. A Work that would be deleted stays with what leaves alone. frozen names the Works whose objects are not
// known; they must not change. left are Works whose content Leave keeps: they have everything already.
func Keeping(wanted, read []*v1beta1.Work, leaving []removal.Object, left bool) (out []*v1beta1.Work, frozen map[string]bool) {
	leaves := sets.New(leaving...)
	out, frozen = slices.Clone(wanted), map[string]bool{}
	for _, r := range read {
		if altered(r) {
			frozen[r.Name] = true
			continue
		}
		at := slices.IndexFunc(out, func(w *v1beta1.Work) bool { return w.Name == r.Name })
		if at >= 0 && left && holds(r, out[at]) {
			continue
		}
		kept := keptOf(r, leaves)
		switch {
		case len(kept) == 0:
		case at >= 0:
			out[at] = withKept(out[at], r, kept)
		default:
			out = append(out, keptAlone(wanted[0], r, kept))
		}
	}
	return out, frozen
}

// keptOf returns the indices of the manifests of a Work that leave.
func keptOf(w *v1beta1.Work, leaves sets.Set[removal.Object]) []int {
	var out []int
	for i, o := range objectsOf(w) {
		if leaves.Has(o) {
			out = append(out, i)
		}
	}
	return out
}

// withKept is wanted with manifests of the existing Work at its end.
func withKept(wanted, existing *v1beta1.Work, kept []int) *v1beta1.Work {
	out := wanted.DeepCopy()
	origins := originsOf(out)
	out.Spec.Workload.Manifests = append(out.Spec.Workload.Manifests, manifestsAt(existing, kept)...)
	setOrigins(out, append(origins, at(originsOf(existing), kept)...))
	return out
}

// keptAlone is an existing Work that is not wanted, with some of its manifests, and the strategies of a wanted one. It
// keeps the name of its revision, so that it does not count as one of the Works of the wanted revision.
func keptAlone(wanted, existing *v1beta1.Work, kept []int) *v1beta1.Work {
	out := retuned(existing, wanted)
	origins := originsOf(existing)
	out.Annotations = copied(out.Annotations)
	out.Spec.Workload.Manifests = manifestsAt(existing, kept)
	out.Annotations[contract.AnnotationHeldRemoval] = "true"
	setOrigins(out, at(origins, kept))
	return out
}

func manifestsAt(w *v1beta1.Work, indices []int) []v1beta1.Manifest {
	return at(w.Spec.Workload.Manifests, indices)
}

func at[T any](all []T, indices []int) []T {
	out := make([]T, len(indices))
	for i, n := range indices {
		out[i] = all[n]
	}
	return out
}

// originsOf returns the origin of each manifest of a Work; those that are not known are empty.
func originsOf(w *v1beta1.Work) []string {
	n := len(w.Spec.Workload.Manifests)
	if known := contract.SplitOrigins(w.Annotations[contract.AnnotationOrigins], n); known != nil {
		return known
	}
	return make([]string, n)
}

// setOrigins sets the annotations about the manifests of a Work.
func setOrigins(w *v1beta1.Work, origins []string) {
	w.Annotations = copied(w.Annotations)
	w.Annotations[contract.AnnotationManifests] = strconv.Itoa(len(w.Spec.Workload.Manifests))
	delete(w.Annotations, contract.AnnotationOrigins)
	if text := contract.JoinOrigins(origins); text != "" {
		w.Annotations[contract.AnnotationOrigins] = text
	}
}

// Without returns the changes without those of some Works, which stay as they are.
func (c Changes) Without(frozen map[string]bool) Changes {
	drop := func(works []*v1beta1.Work) []*v1beta1.Work {
		return slices.DeleteFunc(slices.Clone(works), func(w *v1beta1.Work) bool { return frozen[w.Name] })
	}
	c.Update, c.Retune, c.Delete = drop(c.Update), drop(c.Retune), drop(c.Delete)
	return c
}

// Placed counts what a placement has on clusters, from its Works in any order. Other Works do not count, and neither
// do those that are being deleted.
type Placed struct {
	orders   map[types.NamespacedName]Order
	objects  sets.Set[removal.Object]
	clusters sets.Set[string]
}

// PlacedBy counts what was placed by bindings.
func PlacedBy(bindings []v1beta1.BindingObject) *Placed {
	out := &Placed{map[types.NamespacedName]Order{}, sets.New[removal.Object](), sets.New[string]()}
	for _, b := range bindings {
		if order, ok := OrderOf(b, nil); ok {
			out.orders[order.Binding] = order
		}
	}
	return out
}

// Add counts the objects of a Work. If another client has changed the number of its manifests, its objects are not
// known; it counts as one object that cannot be read.
func (p *Placed) Add(w *v1beta1.Work) {
	key, _ := scope.BindingOf(w)
	order, ok := p.orders[key]
	if !ok || !order.Adopts(w) || !w.DeletionTimestamp.IsZero() {
		return
	}
	has := objectsOf(w)
	if altered(w) {
		has = []removal.Object{removal.Unknown(w)}
	}
	p.objects.Insert(has...)
	if len(has) > 0 {
		p.clusters.Insert(order.Cluster)
	}
}

// All is everything that was counted.
func (p *Placed) All() removal.DeletedFrom {
	return removal.DeletedFrom{Objects: p.objects.UnsortedList(), Clusters: p.clusters.Len()}
}
