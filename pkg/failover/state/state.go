// Package state decides what a placement takes along when another cluster replaces one (policy.failover.state): the
// policy's rules and the statuses that the Works of the cluster report become annotations of the same objects, and a
// list of what is missing. The scheduler stores the annotations in the binding of the other cluster, and package work
// sets them on the objects there.
//
// The statuses are what a member reports. Nothing in them can make the decision fail, or cost more than it may.
package state

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Bounds of what one exchange takes along. The first two are in the schema of bindings, too.
const (
	// MostValue is how many bytes a value may have.
	MostValue = 4096
	// MostValues is how many values there may be.
	MostValues = 200
	// MostBytes is how many bytes all values together may have.
	MostBytes = 64 << 10

	// mostStatus is how many bytes the status of an object may have, and mostStatuses those of all objects together.
	mostStatus   = 256 << 10
	mostStatuses = 4 << 20
	// mostMissing is how many missing values are listed.
	mostMissing = 100
)

// Taken is what an exchange takes along.
type Taken struct {
	// Values are in the order of the rules, and then of the objects in the Works.
	Values []v1beta1.ObjectAnnotation
	// Missing is what is left out, at most 100 of them. More are only counted.
	Missing []Missing
	More    int
}

// Missing is a value that is left out.
type Missing struct {
	Rule v1beta1.FailoverState
	// Object names the object, without its kind; empty if it is about all objects that the rule selects.
	Object string
	// Why is a part of a sentence that quotes no value.
	Why string
}

// String describes what is missing for a user.
func (m Missing) String() string {
	about := m.Rule.Kind
	if m.Object != "" {
		about += " " + m.Object
	}
	return about + ", " + m.Rule.JSONPath + ": " + m.Why
}

// mostText is how many bytes of a missing value a message has: three of them fit in an event.
const mostText = 270

// WhatMisses describes the first most missing values, and says how many others there are.
func (t Taken) WhatMisses(most int) string {
	var out []string
	for i, m := range t.Missing {
		if i == most {
			return fmt.Sprintf("%s; and %d more", strings.Join(out, "; "), len(t.Missing)+t.More-most)
		}
		text := strings.ToValidUTF8(m.String(), "?")
		if len(text) > mostText {
			text = strings.ToValidUTF8(text[:mostText], "") + "..."
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// Take returns what a placement takes along from a cluster. works are those that were made for the cluster's binding,
// in any order. had is what the cluster itself got when it replaced another one: it is passed on where the cluster has
// not reported a value of its own.
func Take(rules []v1beta1.FailoverState, works []*v1beta1.Work, had []v1beta1.ObjectAnnotation) Taken {
	t := taking{objects: objectsOf(works, rules), had: had, seen: map[key]bool{}}
	for _, rule := range rules {
		if wrong := validate.StateRule(rule, field.NewPath("state")); len(wrong) > 0 {
			t.miss(Missing{Rule: rule, Why: "the rule is refused: " + wrong.ToAggregate().Error()}, key{})
			continue
		}
		t.follow(rule)
	}
	return t.finish()
}

// key identifies an annotation of an object.
type key struct{ group, kind, namespace, name, annotation string }

func keyOf(v v1beta1.ObjectAnnotation) key {
	return key{v.Group, v.Kind, v.Namespace, v.Name, v.Annotation}
}

// taking is the state of one Take.
type taking struct {
	objects []*object
	had     []v1beta1.ObjectAnnotation
	taken   Taken
	// seen are the annotations that have a value: the first one counts.
	seen map[key]bool
	// missing are about the annotation of the same index, or about none.
	missing []Missing
	about   []key
	bytes   int
}

// follow takes the values of one rule.
func (t *taking) follow(rule v1beta1.FailoverState) {
	read, selected, reported := pathOf(rule.JSONPath), false, map[key]bool{}
	for _, o := range t.objects {
		if !o.selectedBy(rule) {
			continue
		}
		at := o.annotation(rule)
		selected, reported[keyOf(at)] = true, true
		value, why := o.value(read)
		if why == "" {
			at.Value = value
			why = t.take(at)
		} else if t.passOn(at) {
			continue
		}
		if why != "" {
			t.miss(Missing{Rule: rule, Object: o.String(), Why: why}, keyOf(at))
		}
	}
	// What the cluster got may be about objects that it has not reported at all.
	for _, v := range t.had {
		if selects(rule, v.Group, v.Kind, v.Namespace, v.Name) && v.Annotation == rule.Annotation && !reported[keyOf(v)] {
			selected = t.take(v) == "" || selected
		}
	}
	if !selected {
		t.miss(Missing{Rule: rule, Why: "the cluster has reported no such object"}, key{})
	}
}

// passOn takes what the cluster got itself, if it got that annotation, and reports whether it did.
func (t *taking) passOn(at v1beta1.ObjectAnnotation) bool {
	i := slices.IndexFunc(t.had, func(v v1beta1.ObjectAnnotation) bool { return keyOf(v) == keyOf(at) })
	return i >= 0 && t.take(t.had[i]) == ""
}

// take adds a value, and returns why it is left out; empty if it is not.
func (t *taking) take(v v1beta1.ObjectAnnotation) (why string) {
	if t.seen[keyOf(v)] {
		return ""
	}
	switch {
	case len(v.Value) > MostValue:
		return "the value has more than 4096 bytes"
	case !printable(v.Value):
		return "the value has control characters, or is not valid UTF-8"
	case len(t.taken.Values) >= MostValues:
		return "there are more than 200 values"
	case t.bytes+len(v.Value) > MostBytes:
		return "all values together have more than 64 KiB"
	}
	t.bytes += len(v.Value)
	t.seen[keyOf(v)] = true
	t.taken.Values = append(t.taken.Values, v)
	return ""
}

func (t *taking) miss(m Missing, about key) {
	t.missing, t.about = append(t.missing, m), append(t.about, about)
}

// finish leaves out of what is missing the annotations that another rule, or another Work, has a value for.
func (t *taking) finish() Taken {
	for i, m := range t.missing {
		switch {
		case t.seen[t.about[i]]:
		case len(t.taken.Missing) < mostMissing:
			t.taken.Missing = append(t.taken.Missing, m)
		default:
			t.taken.More++
		}
	}
	return t.taken
}

// selects reports whether a rule is about an object.
func selects(rule v1beta1.FailoverState, group, kind, namespace, name string) bool {
	return rule.Group == group && rule.Kind == kind && (rule.Namespace == "" || rule.Namespace == namespace) && (rule.Name == "" || rule.Name == name)
}

// sorted returns the Works in the order of their names.
func sorted(works []*v1beta1.Work) []*v1beta1.Work {
	out := slices.Clone(works)
	slices.SortStableFunc(out, func(a, b *v1beta1.Work) int { return strings.Compare(a.Name, b.Name) })
	return out
}
