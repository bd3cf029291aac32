package objects

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/selection"
)

// index leads from an object to the placements to which it can matter, without looking at the others.
type index struct {
	kinds map[schema.GroupKind]*kindIndex
	// contents are the placements to which everything in some namespaces matters, by a namespace's name and by labels of namespaces.
	contents kindIndex
	// resolved remembers, for a namespace, whose contents it is. It holds as long as the namespace and the followers stay as they are.
	resolved map[string][]*follower
}

// kindIndex leads from objects of one kind to followers.
type kindIndex struct {
	byName   map[types.NamespacedName][]*follower
	byLabels map[string][]labelled
}

// labelled is a follower of all objects with some labels.
type labelled struct {
	matches labels.Selector
	*follower
}

func newIndex() index {
	return index{kinds: map[schema.GroupKind]*kindIndex{}, contents: newKindIndex(), resolved: map[string][]*follower{}}
}

func newKindIndex() kindIndex {
	return kindIndex{byName: map[types.NamespacedName][]*follower{}, byLabels: map[string][]labelled{}}
}

// add files one interest of a follower. namespaced is false for a kind that is known to be cluster-scoped.
func (x *index) add(f *follower, interest selection.Interest, namespaced bool) {
	if !namespaced {
		interest.Namespace = ""
	}
	kind := x.kinds[interest.Kind]
	if kind == nil {
		made := newKindIndex()
		kind = &made
		x.kinds[interest.Kind] = kind
	}
	kind.add(f, interest)
	if interest.Contents {
		x.contents.add(f, interest)
		clear(x.resolved)
	}
}

func (k *kindIndex) add(f *follower, interest selection.Interest) {
	if interest.Name != "" {
		key := types.NamespacedName{Namespace: interest.Namespace, Name: interest.Name}
		k.byName[key] = append(k.byName[key], f)
		return
	}
	k.byLabels[interest.Namespace] = append(k.byLabels[interest.Namespace], labelled{interest.Matches, f})
}

// find calls found for the followers of an object that has the labels of any of states. One may be found more than once.
func (k *kindIndex) find(namespace, name string, found func(*follower), states ...*entry) {
	for _, f := range k.byName[types.NamespacedName{Namespace: namespace, Name: name}] {
		found(f)
	}
	for _, l := range k.byLabels[namespace] {
		for _, state := range states {
			if state != nil && l.matches.Matches(state.Labels) {
				found(l.follower)
				break
			}
		}
	}
}

// followersOf returns the placements that follow the contents of a namespace.
func (x *index) followersOf(namespace string, state *entry) []*follower {
	if known, ok := x.resolved[namespace]; ok {
		return known
	}
	var out []*follower
	x.contents.find("", namespace, func(f *follower) { out = append(out, f) }, state)
	x.resolved[namespace] = out
	return out
}
