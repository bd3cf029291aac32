package work

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Changes lead from the existing Works to the wanted ones. Each list is in a fixed order; the lists may be written in
// any.
type Changes struct {
	Create []*v1beta1.Work
	// Update replaces content: spec, labels and annotations. Each is a modified copy with the resourceVersion that was
	// read.
	Update []*v1beta1.Work
	// Retune changes only the strategies of a Work. Each is a modified copy; its manifests may be missing if the
	// reader dropped them, so it must be written as a patch of its difference.
	Retune []*v1beta1.Work
	Delete []*v1beta1.Work
	// Await are Works that must be gone before they can be created again.
	Await []string
}

// None reports whether there is nothing to change.
func (c Changes) None() bool {
	return len(c.Create)+len(c.Update)+len(c.Retune)+len(c.Delete)+len(c.Await) == 0
}

// DuplicateError means that several Works were made for one envelope of a binding; it is unknown which one counts.
type DuplicateError struct {
	Envelope string
	Works    []string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("several works hold the envelope %s: %s; delete all but one", e.Envelope, strings.Join(e.Works, ", "))
}

// ForeignError means that an existing Work of a wanted name belongs to another binding of the placement, or to none.
type ForeignError struct{ Work, Owner string }

func (e *ForeignError) Error() string {
	if e.Owner == "" {
		return fmt.Sprintf("work %s already exists and belongs to no binding: delete it", e.Work)
	}
	return fmt.Sprintf("work %s already exists and belongs to binding %s: delete the binding if the placement did not create it", e.Work, e.Owner)
}

// Compare returns the changes. seen are the binding's Works and any others with a name that a wanted one may get; they
// are not modified. wanted, which Compare may rename, must be complete: Works of the binding that it lacks are
// deleted. orphans names those of seen whose binding is gone: those of the same placement are taken over, because no
// other binding ever will.
func Compare(wanted, seen []*v1beta1.Work, orphans map[string]bool) (Changes, error) {
	if len(wanted) == 0 {
		return Changes{}, fmt.Errorf("no works are wanted: a binding has at least one")
	}
	if err := settleNames(wanted, seen); err != nil {
		return Changes{}, err
	}
	byName := map[string]*v1beta1.Work{}
	for _, s := range seen {
		byName[s.Name] = s
	}
	var changes Changes
	keep := map[string]bool{}
	for _, w := range wanted {
		keep[w.Name] = true
		if err := changes.add(w, byName[w.Name], orphans[w.Name]); err != nil {
			return Changes{}, err
		}
	}
	for _, s := range seen {
		if !keep[s.Name] && s.DeletionTimestamp.IsZero() && sameOwner(wanted[0], s) {
			changes.Delete = append(changes.Delete, s)
		}
	}
	sortByName(changes.Delete)
	return changes, nil
}

// add compares one wanted Work with the existing one, if any.
func (c *Changes) add(wanted, seen *v1beta1.Work, orphan bool) error {
	switch {
	case seen == nil:
		c.Create = append(c.Create, wanted)
	case !seen.DeletionTimestamp.IsZero():
		c.Await = append(c.Await, seen.Name)
	case !samePlacement(wanted, seen) || (!sameOwner(wanted, seen) && !orphan):
		return &ForeignError{Work: seen.Namespace + "/" + seen.Name, Owner: seen.Labels[contract.LabelBinding]}
	case !sameOwner(wanted, seen) || !includes(seen.Labels, wanted.Labels) || !holds(seen, wanted):
		c.Update = append(c.Update, replaced(seen, wanted))
	case !sameManner(seen, wanted) || !sameMark(seen, wanted):
		c.Retune = append(c.Retune, retuned(seen, wanted))
	}
	return nil
}

// Restore rewrites the content of existing Works that another client modified without changing their annotations:
// edited holds their names. wanted and seen are those of Compare.
func (c *Changes) Restore(wanted, seen []*v1beta1.Work, edited map[string]bool) {
	named := func(list []*v1beta1.Work, name string) bool {
		return slices.ContainsFunc(list, func(w *v1beta1.Work) bool { return w.Name == name })
	}
	for _, w := range wanted {
		if !edited[w.Name] || named(c.Update, w.Name) || named(c.Create, w.Name) || slices.Contains(c.Await, w.Name) {
			continue
		}
		c.Retune = slices.DeleteFunc(c.Retune, func(r *v1beta1.Work) bool { return r.Name == w.Name })
		at := slices.IndexFunc(seen, func(s *v1beta1.Work) bool { return s.Name == w.Name })
		c.Update = append(c.Update, replaced(seen[at], w))
	}
}

// Leave makes Compare keep the content of Works that were made for the order of wanted, although its result is
// different now: only the labels of the cluster have changed since, and other agents decide when the cluster gets the
// new result. It reports whether a Work has other shares of replicas than wanted, or another state, which have to wait
// for that, too.
func Leave(wanted, seen []*v1beta1.Work) (waits bool) {
	if settleNames(wanted, seen) != nil {
		return false // Compare returns the same error
	}
	for _, w := range wanted {
		for _, s := range seen {
			if s.Name != w.Name || !includes(s.Labels, w.Labels) {
				continue
			}
			want := w.Annotations
			w.Annotations = copied(want)
			w.Annotations[contract.AnnotationManifests] = s.Annotations[contract.AnnotationManifests]
			for _, own := range ownHashes {
				copyMark(w.Annotations, s.Annotations, own)
			}
			if !holds(s, w) {
				w.Annotations = want
				continue
			}
			waits = waits || !sameOwn(s.Annotations, want)
		}
	}
	return waits
}

// ownHashes are the annotations of Works with hashes of what is the cluster's alone. They are absent if there is none.
var ownHashes = []string{contract.AnnotationShares, contract.AnnotationFailoverState}

// sameOwn reports whether two Works with these annotations have the same of what is the cluster's alone.
func sameOwn(a, b map[string]string) bool {
	return !slices.ContainsFunc(ownHashes, func(own string) bool { return a[own] != b[own] })
}

// copyMark sets an annotation to what it is in from, which may not have it.
func copyMark(to, from map[string]string, annotation string) {
	delete(to, annotation)
	if value := from[annotation]; value != "" {
		to[annotation] = value
	}
}

// settleNames sets the names under which wanted Works are written. A second call changes nothing.
func settleNames(wanted, seen []*v1beta1.Work) error {
	if len(wanted) == 0 {
		return nil
	}
	byName := map[string]*v1beta1.Work{}
	for _, s := range seen {
		byName[s.Name] = s
	}
	for _, w := range wanted {
		giveWay(w, byName)
	}
	return keepNames(wanted, seen)
}

// keepNames gives the wanted Work of an envelope the name of the existing one for the same envelope. The name depends
// on the snapshot that contains the envelope, and must not change with it: deleting the old Work would delete its
// objects on the member.
func keepNames(wanted, seen []*v1beta1.Work) error {
	holders := map[string][]string{}
	for _, s := range seen {
		if key := envelopeKey(s); key != "" && s.DeletionTimestamp.IsZero() && sameOwner(wanted[0], s) {
			holders[key] = append(holders[key], s.Name)
		}
	}
	for _, w := range wanted {
		key := envelopeKey(w)
		names := holders[key]
		if key == "" || len(names) == 0 {
			continue
		}
		if len(names) > 1 {
			slices.Sort(names)
			return &DuplicateError{Envelope: key, Works: names}
		}
		w.Name = names[0]
	}
	return nil
}

// NamesOf are the names that a wanted Work may get.
func NamesOf(wanted *v1beta1.Work) []string {
	return []string{wanted.Name, contract.OtherWorkName(wanted.Name, wanted.Labels[contract.LabelPlacementNamespace])}
}

// giveWay gives a wanted Work its other name if its usual one is taken by a Work of another placement, or if its
// placement's Work already has the other name: whichever Work came first, neither waits for the other, and no Work
// changes its name.
func giveWay(wanted *v1beta1.Work, seen map[string]*v1beta1.Work) {
	other := NamesOf(wanted)[1]
	usual, moved := seen[wanted.Name], seen[other]
	taken := usual != nil && usual.Labels[contract.LabelPlacement] != "" && !samePlacement(wanted, usual)
	if taken || usual == nil && moved != nil && samePlacement(wanted, moved) {
		wanted.Name = other
	}
}

// envelopeKey identifies the envelope of a Work; empty if there is none.
func envelopeKey(w *v1beta1.Work) string {
	kind := w.Labels[contract.LabelEnvelopeKind]
	if kind == "" {
		return ""
	}
	return kind + " " + joined(w.Labels[contract.LabelEnvelopeNamespace], w.Labels[contract.LabelEnvelopeName])
}

// sameOwner reports whether seen was made for the binding of wanted, or by a version that did not mark Works.
func sameOwner(wanted, seen *v1beta1.Work) bool {
	return samePlacement(wanted, seen) && wanted.Labels[contract.LabelBinding] == seen.Labels[contract.LabelBinding] &&
		(sameMark(wanted, seen) || unmarked(seen))
}

func samePlacement(a, b *v1beta1.Work) bool {
	return a.Labels[contract.LabelPlacement] == b.Labels[contract.LabelPlacement] &&
		a.Labels[contract.LabelPlacementNamespace] == b.Labels[contract.LabelPlacementNamespace]
}

// holds reports whether seen has the content of wanted, according to its annotations. A missing mark is no difference
// in content: a mark alone is patched, so that an upgrade rewrites nothing. Nor are origins, which are as old as the
// content.
func holds(seen, wanted *v1beta1.Work) bool {
	want := copied(wanted.Annotations)
	delete(want, contract.AnnotationBindingUID)
	delete(want, contract.AnnotationOrigins)
	return includes(seen.Annotations, want) && sameOwn(seen.Annotations, want) &&
		seen.Annotations[contract.AnnotationHeldRemoval] == want[contract.AnnotationHeldRemoval]
}

// includes reports whether have has all entries of want.
func includes(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func sameManner(a, b *v1beta1.Work) bool {
	return equality.Semantic.DeepEqual(a.Spec.ApplyStrategy, b.Spec.ApplyStrategy) &&
		equality.Semantic.DeepEqual(a.Spec.ReportBackStrategy, b.Spec.ReportBackStrategy) &&
		equality.Semantic.DeepEqual(a.Spec.DeleteStrategy, b.Spec.DeleteStrategy)
}

// replaced is seen with the content of wanted. Other labels and annotations stay.
func replaced(seen, wanted *v1beta1.Work) *v1beta1.Work {
	out := seen.DeepCopy()
	out.Spec = wanted.Spec
	out.Labels = merged(out.Labels, wanted.Labels)
	out.Annotations = merged(out.Annotations, wanted.Annotations)
	for _, optional := range append([]string{
		contract.AnnotationOverrides, contract.AnnotationOverrideFingerprint, contract.AnnotationOverrideContent, contract.AnnotationOrigins,
		contract.AnnotationHeldRemoval,
	}, ownHashes...) {
		if _, wants := wanted.Annotations[optional]; !wants {
			delete(out.Annotations, optional)
		}
	}
	return out
}

func merged(have, want map[string]string) map[string]string {
	out := copied(have)
	for k, v := range want {
		out[k] = v
	}
	return out
}

// retuned is seen with everything of like except the manifests: its strategies, and its mark.
func retuned(seen, like *v1beta1.Work) *v1beta1.Work {
	out := seen.DeepCopy()
	out.Spec.ApplyStrategy = like.Spec.ApplyStrategy.DeepCopy()
	out.Spec.ReportBackStrategy = like.Spec.ReportBackStrategy.DeepCopy()
	out.Spec.DeleteStrategy = like.Spec.DeleteStrategy.DeepCopy()
	if !sameMark(out, like) {
		out.Annotations = merged(out.Annotations, map[string]string{contract.AnnotationBindingUID: like.Annotations[contract.AnnotationBindingUID]})
	}
	return out
}

// Tune returns the changes that give seen the strategies of order, without changing content. It serves an order whose
// content cannot be resolved.
func Tune(order Order, seen []*v1beta1.Work) Changes {
	var changes Changes
	like := &v1beta1.Work{Spec: v1beta1.WorkSpec{ApplyStrategy: order.Content.ApplyStrategy, ReportBackStrategy: order.ReportBack, DeleteStrategy: order.Delete}}
	like.Annotations = map[string]string{contract.AnnotationBindingUID: string(order.UID)}
	for _, s := range seen {
		if s.DeletionTimestamp.IsZero() && (!sameManner(s, like) || !sameMark(s, like)) {
			changes.Retune = append(changes.Retune, retuned(s, like))
		}
	}
	sortByName(changes.Retune)
	return changes
}

// Holds reports whether the binding's Works already have the content of order. It serves an order whose snapshot has
// been pruned.
func Holds(order Order, seen []*v1beta1.Work) bool {
	want, err := source(order)
	if err != nil {
		return false
	}
	live := 0
	for _, s := range seen {
		if !s.DeletionTimestamp.IsZero() || s.Annotations[contract.AnnotationHeldRemoval] != "" {
			continue
		}
		if live++; !includes(s.Annotations, want) {
			return false
		}
	}
	return live > 0
}

func sortByName(works []*v1beta1.Work) {
	slices.SortFunc(works, func(a, b *v1beta1.Work) int { return strings.Compare(a.Name, b.Name) })
}
