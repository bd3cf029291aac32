package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

const (
	markPrefix        = "// +flagship:"
	markVersions      = "versions"
	markNotIn         = "not-in"
	markTypeIn        = "type-in"
	markPreviousNotIn = "previous-not-in"
	markOnlyIn        = "only-in"

	storageMarker = "// +kubebuilder:storageversion"
)

// marker is a comment line that describes how versions differ.
type marker struct {
	pos      token.Pos
	name     string
	versions []string
	text     string // what follows the versions, for those markers that have it
}

// in reports whether the marker applies to version.
func (m marker) in(version string) bool { return slices.Contains(m.versions, version) }

// check returns an error if the marker is invalid; served are the existing versions.
func (m marker) check(served []string) error {
	switch m.name {
	case markVersions, markNotIn, markPreviousNotIn:
		if m.text != "" {
			return fmt.Errorf("marker %s takes only versions, found %q", m.name, m.text)
		}
	case markTypeIn, markOnlyIn:
		if m.text == "" {
			return fmt.Errorf("marker %s needs something after its versions", m.name)
		}
	default:
		return fmt.Errorf("unknown marker %q", m.name)
	}
	for _, version := range m.versions {
		if !slices.Contains(served, version) {
			return fmt.Errorf("marker %s names version %q, which no kind is served in", m.name, version)
		}
	}
	return nil
}

// parseMarker reads a comment line; ok is false if it is none of our markers.
func parseMarker(comment *ast.Comment) (m marker, ok bool) {
	rest, ok := strings.CutPrefix(comment.Text, markPrefix)
	if !ok {
		return marker{}, false
	}
	name, value, _ := strings.Cut(rest, "=")
	versions, text, _ := strings.Cut(value, " ")
	return marker{
		pos:      comment.Pos(),
		name:     name,
		versions: strings.Split(versions, ","),
		text:     strings.TrimSpace(text),
	}, true
}

// markersOf lists the markers in a comment, which may be nil.
func markersOf(group *ast.CommentGroup) []marker {
	if group == nil {
		return nil
	}
	var found []marker
	for _, comment := range group.List {
		if m, ok := parseMarker(comment); ok {
			found = append(found, m)
		}
	}
	return found
}

// find returns the marker with that name in a comment that applies to version.
func find(group *ast.CommentGroup, name, version string) (marker, bool) {
	for _, m := range markersOf(group) {
		if m.name == name && m.in(version) {
			return m, true
		}
	}
	return marker{}, false
}
