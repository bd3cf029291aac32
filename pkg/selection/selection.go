// Package selection decides which objects of the hub a placement propagates. It takes selectors and the known kinds
// and objects of the hub, and returns an ordered list of objects without duplicates, or an error for the user that
// names the invalid selector. It also returns the objects whose changes may affect a placement (Interests), and the
// propagated form of an object (Manifest).
//
// Select uses only metadata. The content of selected objects is read afterwards, and LeftOut decides by the content.
// Two tables, which docs/selection.md shows, contain what belongs to one cluster: owns lists the objects that stay on
// the hub, stripped the fields.
package selection

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Kind is a kind as the hub serves it.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the plural name of the served resource.
	Resource   string
	Namespaced bool
}

// GVR returns the group, version and resource of the kind.
func (k Kind) GVR() schema.GroupVersionResource { return k.GroupVersion().WithResource(k.Resource) }

// Object is the metadata of an object that selection needs.
type Object struct {
	Namespace, Name string
	UID             types.UID
	// Version changes whenever a propagated part of the object may have changed.
	Version  string
	Labels   labels.Set
	Owners   []metav1.OwnerReference
	Deleting bool
}

// controller returns the UID of the object that controls this one; empty if there is none.
func (o *Object) controller() types.UID {
	for i := range o.Owners {
		if controls := o.Owners[i].Controller; controls != nil && *controls {
			return o.Owners[i].UID
		}
	}
	return ""
}

// Ref is a selected object, with the observed version.
type Ref struct {
	Kind            Kind
	Namespace, Name string
	UID             types.UID
	Version         string
	// Named is true if a selector names the object.
	Named bool
}

// Content is the content of a selected object at the time of reading.
type Content struct {
	// Raw is the propagated form; nil if the object no longer exists, or is not propagated because of its content.
	Raw []byte
	// LeftOut is why an existing object is not propagated, and Listed whether the placement lists it even if no
	// selector names it.
	LeftOut string
	Listed  bool
	// UID and Version correspond to a Ref to the object as read. It may be another object than the selected one,
	// created since with the same name.
	UID     types.UID
	Version string
}

// Identifier returns the identifier of the object in a placement's status.
func (r Ref) Identifier() v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Group: r.Kind.Group, Version: r.Kind.Version, Kind: r.Kind.Kind, Name: r.Name, Namespace: r.Namespace}
}

// Selection is the result of selecting objects for a placement.
type Selection struct {
	// Refs are in the order in which they are stored.
	Refs []Ref
	// LeftOut are the objects that stay on the hub and that the placement lists, and selectors that can select nothing.
	// They are in no order.
	LeftOut []LeftOut
	// Unread are kinds whose objects could not be listed, although some of them in the selected namespaces may belong
	// to the selection. A kind without a name stands for all kinds of its group. Callers must not remove placed
	// objects of these kinds because of the selection.
	Unread []schema.GroupKind
	// Cause is the error that made kinds Unread.
	Cause error
}

// World is the known state of the hub.
type World interface {
	// Kind finds a kind. The error is ErrUnknownKind only if the hub definitely does not serve it; the error it wraps
	// is for the user.
	Kind(schema.GroupVersionKind) (Kind, error)
	// Contents returns the kinds with objects in namespaces, in any order, and the kinds for which this is unknown.
	// The caller lists each returned kind in these namespaces afterwards.
	Contents(namespaces []string) (kinds []Kind, unread []schema.GroupKind, cause error)
	// Get finds one object. An error means that it is unknown whether it exists.
	Get(kind Kind, namespace, name string) (*Object, error)
	// List returns the objects of a kind, in any order: those in namespace, or all of a cluster-scoped kind. An
	// UnreadableError may be permanent; any other error is temporary.
	List(kind Kind, namespace string) ([]*Object, error)
}

// ErrNotListed is the error for a kind whose objects will be known soon; the World notifies placements that wait for
// it.
var ErrNotListed = errors.New("the objects are not listed yet")

// ErrUnknownKind is a kind that the hub does not serve.
var ErrUnknownKind = errors.New("the hub does not serve this kind and version, or cannot list and watch it")

// UnreadableError is the error for a kind that the hub serves, or should serve, but whose objects it does not list.
type UnreadableError struct {
	Kind  schema.GroupKind
	Cause error
}

func (e *UnreadableError) Error() string { return fmt.Sprintf("list %s: %v", e.Kind, e.Cause) }
func (e *UnreadableError) Unwrap() error { return e.Cause }

// UserError is an error in the selectors, which only an edit of the placement, or of the selected objects, can
// resolve.
type UserError struct{ text string }

func (e *UserError) Error() string { return e.text }

func mistake(format string, args ...any) error { return &UserError{text: fmt.Sprintf(format, args...)} }

var namespaceKind = schema.GroupKind{Kind: "Namespace"}

// selector is a parsed term of a placement.
type selector struct {
	v1beta1.ResourceSelectorTerm
	matches labels.Selector
}

func parse(term v1beta1.ResourceSelectorTerm) (selector, error) {
	s := selector{ResourceSelectorTerm: term, matches: labels.Everything()}
	if term.LabelSelector == nil {
		return s, nil
	}
	if wrong := validate.LabelSelector(term.LabelSelector, nil); len(wrong) > 0 {
		s.LabelSelector = nil // it cannot even be formatted
		return s, mistake("%s with labels: the label selector is not valid: %v", s, wrong.ToAggregate())
	}
	parsed, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	if err != nil {
		return s, err
	}
	s.matches = parsed
	return s, nil
}

func (s selector) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}
}

func (s selector) ofNamespaces() bool { return validate.IsNamespaces(s.ResourceSelectorTerm) }

// withContents reports whether a selector of namespaces also selects their contents.
func (s selector) withContents() bool {
	return s.SelectionScope == "" || s.SelectionScope == v1beta1.SelectionScopeNamespaceWithResources
}

// narrows reports whether the selector names the namespace to which the other selectors apply.
func (s selector) narrows() bool { return validate.Narrows(s.ResourceSelectorTerm) }

func (s selector) String() string {
	what := s.gvk().GroupVersion().String() + " " + s.Kind
	switch {
	case s.Name != "":
		return what + " " + s.Name
	case s.LabelSelector != nil:
		return what + " with labels " + metav1.FormatLabelSelector(s.LabelSelector)
	}
	return what
}

// Select returns the objects that terms select for a placement in namespace, or for a cluster-wide placement if
// namespace is empty. A UserError is for the user; any other error means that the result is unknown.
func (r Rules) Select(terms []v1beta1.ResourceSelectorTerm, namespace string, w World) (Selection, error) {
	p := picker{rules: r, world: w, namespace: namespace, selected: map[objectKey]selector{}}
	selectors := make([]selector, len(terms))
	for i, term := range terms {
		s, err := parse(term)
		if err != nil {
			return Selection{}, err
		}
		selectors[i] = s
	}
	if namespace == "" {
		if err := p.narrow(selectors); err != nil {
			return Selection{}, err
		}
	}
	for _, s := range selectors {
		if err := p.pick(s); err != nil {
			return Selection{}, err
		}
	}
	p.dropControlled()
	slices.SortFunc(p.out.Refs, compare)
	return p.out, nil
}

// objectKey identifies an object, regardless of the selected version.
type objectKey struct {
	kind schema.GroupKind
	name types.NamespacedName
}

type picker struct {
	rules Rules
	world World
	// namespace is the namespace for namespaced kinds: the placement's own, or the one to which a selector narrows the
	// search.
	namespace string
	narrowed  bool
	// selected are the objects selected so far, each with its selector.
	selected map[objectKey]selector
	// controllers are the UIDs of the objects that control each of out.Refs, if any.
	controllers []types.UID
	out         Selection
}

// narrow finds a selector of scope NamespaceWithResourceSelectors, which must match exactly one namespace.
func (p *picker) narrow(selectors []selector) error {
	for _, s := range selectors {
		if !s.narrows() || p.rules.disabled(s.gvk()) {
			continue
		}
		kind, err := p.kind(s)
		if err != nil {
			return err
		}
		found, err := p.matching(kind, "", s)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(o *Object) bool { return p.rules.ReservedNamespace(o.Name) })
		switch len(found) {
		case 0:
			return mistake("NamespaceWithResourceSelectors mode requires exactly one namespace, but no namespaces were selected by %s: "+
				"it does not exist, is being deleted, or is never placed", s)
		case 1:
			p.namespace, p.narrowed = found[0].Name, true
		default:
			return mistake("NamespaceWithResourceSelectors mode requires exactly one namespace, but %d were selected by %s", len(found), s)
		}
	}
	return nil
}

func (p *picker) pick(s selector) error {
	if p.rules.disabled(s.gvk()) {
		p.out.LeftOut = append(p.out.LeftOut, LeftOut{s.String(), p.rules.why(s.gvk())})
		return nil
	}
	kind, err := p.kind(s)
	if err != nil {
		return err
	}
	if why := validate.KindScope(p.reach(), kind.Namespaced); why != "" {
		return mistake("%s: %s", s, why)
	}
	switch {
	case s.ofNamespaces():
		return p.pickNamespaces(kind, s)
	case kind.Namespaced:
		return p.pickMatching(kind, p.namespace, s)
	}
	return p.pickMatching(kind, "", s)
}

// reach is which kinds the placement may select.
func (p *picker) reach() validate.Reach {
	switch {
	case p.narrowed:
		return validate.ReachNarrowed
	case p.namespace == "":
		return validate.ReachCluster
	}
	return validate.ReachNamespace
}

// kind looks up the kind of a selector.
func (p *picker) kind(s selector) (Kind, error) {
	kind, err := p.world.Kind(s.gvk())
	if errors.Is(err, ErrUnknownKind) {
		return Kind{}, mistake("%s: %v", s, err)
	}
	return kind, err
}

func (p *picker) pickMatching(kind Kind, namespace string, s selector) error {
	found, err := p.matching(kind, namespace, s)
	if err != nil {
		return err
	}
	for _, o := range found {
		if err := p.take(kind, o, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) pickNamespaces(kind Kind, s selector) error {
	if reserved := p.rules.reserved(s.Name); reserved != "" {
		return mistake("%s: %s", s, reserved)
	}
	found, err := p.matching(kind, "", s)
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b *Object) int { return strings.Compare(a.Name, b.Name) }) // always report the same one of several errors
	var names []string
	for _, namespace := range found {
		if reserved := p.rules.reserved(namespace.Name); reserved != "" {
			return mistake("%s: %s", s, reserved)
		}
		if err := p.take(kind, namespace, s); err != nil {
			return err
		}
		names = append(names, namespace.Name)
	}
	if s.withContents() {
		return p.pickContents(names, s)
	}
	return nil
}

// pickContents selects everything in namespaces that may be propagated.
func (p *picker) pickContents(namespaces []string, s selector) error {
	if len(namespaces) == 0 {
		return nil
	}
	kinds, unread, cause := p.world.Contents(namespaces)
	p.miss(cause, unread...)
	for _, namespace := range namespaces {
		if err := p.pickContentsOf(namespace, kinds, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) pickContentsOf(namespace string, kinds []Kind, s selector) error {
	for _, kind := range kinds {
		if p.rules.disabled(kind.GroupVersionKind) {
			continue
		}
		objects, err := p.world.List(kind, namespace)
		var unreadable *UnreadableError
		if errors.As(err, &unreadable) {
			p.miss(err, kind.GroupKind())
			continue
		}
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := p.take(kind, o, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// miss records kinds that could not be read, and the first cause.
func (p *picker) miss(cause error, kinds ...schema.GroupKind) {
	for _, kind := range kinds {
		if !slices.Contains(p.out.Unread, kind) {
			p.out.Unread = append(p.out.Unread, kind)
		}
	}
	if p.out.Cause == nil {
		p.out.Cause = cause
	}
}

// matching returns the objects that s selects, except those being deleted.
func (p *picker) matching(kind Kind, namespace string, s selector) ([]*Object, error) {
	if s.Name != "" {
		o, err := p.world.Get(kind, namespace, s.Name)
		if err == nil && o == nil {
			p.absent(kind, namespace, s)
		}
		if err != nil || o == nil || o.Deleting {
			return nil, err
		}
		return []*Object{o}, nil
	}
	all, err := p.world.List(kind, namespace)
	if err != nil {
		return nil, err
	}
	var out []*Object
	for _, o := range all {
		if !o.Deleting && s.matches.Matches(o.Labels) {
			out = append(out, o)
		}
	}
	return out, nil
}

// absent records why the World does not know an object that a selector names, if the World may omit the object because
// controllers create it.
func (p *picker) absent(kind Kind, namespace string, s selector) {
	what := named(kind.Kind, namespace, s.Name)
	if row := p.rules.own(kind.GroupKind(), &Object{Namespace: namespace, Name: s.Name}); row != nil {
		p.out.LeftOut = append(p.out.LeftOut, LeftOut{what, row.why})
		return
	}
	for i := range owns {
		if row := &owns[i]; row.made && !row.byName && slices.Contains(row.kinds, kind.GroupKind()) {
			p.out.LeftOut = append(p.out.LeftOut, LeftOut{what, "it does not exist, or " + row.why})
			return
		}
	}
}

// take adds an object to the selection unless it is never propagated.
func (p *picker) take(kind Kind, o *Object, s selector) error {
	if o.Deleting {
		return nil
	}
	isNamed := s.Name != "" && s.Kind == kind.Kind && s.Group == kind.Group
	if row := p.rules.own(kind.GroupKind(), o); row != nil {
		if row.listed || isNamed {
			p.out.LeftOut = append(p.out.LeftOut, LeftOut{named(kind.Kind, o.Namespace, o.Name), row.why})
		}
		return nil
	}
	key := objectKey{kind: kind.GroupKind(), name: types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}
	if before, ok := p.selected[key]; ok {
		name := strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
		return mistake("%s %s is selected more than once, by %q and by %q: change the selectors so that only one selects it", kind.Kind, name, before, s)
	}
	p.selected[key] = s
	p.controllers = append(p.controllers, o.controller())
	p.out.Refs = append(p.out.Refs, Ref{Kind: kind, Namespace: o.Namespace, Name: o.Name, UID: o.UID, Version: o.Version,
		Named: isNamed})
	return nil
}

// dropControlled omits objects that a controller creates for another selected object: the same controller creates them
// on the members, too, and would conflict with the fleet.
func (p *picker) dropControlled() {
	selected := make(map[types.UID]bool, len(p.out.Refs))
	for _, ref := range p.out.Refs {
		selected[ref.UID] = true
	}
	kept := p.out.Refs[:0]
	for i, ref := range p.out.Refs {
		switch controller := p.controllers[i]; {
		case controller == "" || !selected[controller]:
			kept = append(kept, ref)
		case ref.Named:
			p.out.LeftOut = append(p.out.LeftOut, ref.LeftOut("its owner is selected, and creates it on every cluster"))
		}
	}
	p.out.Refs = kept
}
