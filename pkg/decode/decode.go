// Package decode reads JSON and quantities that others wrote: users' objects in snapshots, envelopes, overrides and Works, statuses that
// members report, annotations. Bytes come in; values, or an error that quotes no value, go out.
//
// Go's encoding/json takes a field by any spelling that folds to its name, so that one reader finds the namespace of an object where
// an API server finds none. Here the names of fields are exact, as they are to an API server. No object has a field twice, and none is
// deeper or larger than what every part of the fleet can store and read again. Every package that reads foreign JSON uses this one;
// the linter holds that.
package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
)

const (
	// MaxDepth is how many objects and lists of JSON may lie within each other, the outermost counted. Go stops at 10,000, but an
	// object is copied into others, where it lies deeper: what was just read could not be read again.
	MaxDepth = 100
	// MaxBytes is how long a text may be: what an API server takes in one request.
	MaxBytes = 3 << 20
)

// Errors about a text as a whole.
var (
	ErrDeep   = fmt.Errorf("it is nested deeper than %d levels; make it flatter", MaxDepth)
	ErrLarge  = fmt.Errorf("it has more than %d bytes; make it smaller", MaxBytes)
	ErrSyntax = errors.New("it is not valid JSON")
)

// DuplicateError is a field that an object has twice. Readers differ in which of the two counts.
type DuplicateError struct{ Field string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("the field %s is there twice; remove one of the two", ascii(e.Field))
}

// LookalikeError is a field that some readers take for another one and API servers drop.
type LookalikeError struct{ Field, Of string }

func (e *LookalikeError) Error() string {
	return fmt.Sprintf("the field %s is spelled like %s and is not the same; remove or rename it", ascii(e.Field), e.Of)
}

// TypeError is a field that holds a value of another type than it must.
type TypeError struct{ Field, Is string }

func (e *TypeError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("it must not be a %s", e.Is)
	}
	return fmt.Sprintf("its %s must not be a %s", e.Field, e.Is)
}

// ascii quotes the name of a field so that letters that only look alike can be told apart.
func ascii(field string) string {
	const most = 128
	if len(field) > most {
		field = field[:most] + "..."
	}
	return strconv.QuoteToASCII(field)
}

// Header is as much of an object as tells which one it is.
type Header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace    string `json:"namespace"`
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
	} `json:"metadata"`
}

// JSON reads raw into a value, as encoding/json does but for the strictness of this package.
func JSON(raw []byte, into any) error {
	if _, err := survey(raw); err != nil {
		return err
	}
	return read(raw, into)
}

// Object reads a Kubernetes object. One with a field that looks like one of those that every object has is refused.
func Object(raw []byte) (*unstructured.Unstructured, error) {
	lookalike, err := survey(raw)
	if err == nil && lookalike != nil {
		err = lookalike
	}
	if err != nil {
		return nil, err
	}
	out := &unstructured.Unstructured{}
	if err := read(raw, &out.Object); err != nil {
		return nil, err
	}
	if out.Object == nil {
		return nil, &TypeError{Is: "null"}
	}
	return out, nil
}

// HeaderOf reads the header of what Object reads. Beside an error it returns the header as far as it can be read, by which a message
// may name the object.
func HeaderOf(raw []byte) (Header, error) {
	var out Header
	lookalike, err := survey(raw)
	if err == nil && lookalike != nil {
		err = lookalike
	}
	if readable := read(raw, &out); err == nil {
		err = readable
	}
	return out, err
}

// Deep says whether raw, which need not be valid, is nested deeper than MaxDepth.
func Deep(raw []byte) bool { return depth(raw) > MaxDepth }

// Check says whether raw can be read at all.
func Check(raw []byte) error {
	_, err := survey(raw)
	return err
}

// Named says what is wrong with an object, by the name that it bears as far as that can be read.
func Named(raw []byte, err error) error {
	h, _ := HeaderOf(raw)
	if h.Kind == "" {
		return fmt.Errorf("an object without a readable kind: %w", err)
	}
	name := h.Metadata.Name
	if h.Metadata.Namespace != "" {
		name = h.Metadata.Namespace + "/" + name
	}
	return fmt.Errorf("%s %s: %w", h.Kind, name, err)
}

// read decodes what survey has found sound. The errors of the decoder may quote values, so they do not get out.
func read(raw []byte, into any) error {
	err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into)
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistyped):
		is, _, _ := strings.Cut(mistyped.Value, " ") // of a number, the rest is its text
		if is == "array" {
			is = "list"
		}
		return &TypeError{Field: mistyped.Field, Is: is}
	}
	return ErrSyntax
}

// common are the fields that every object has, and those of its metadata.
var common = [...][]string{
	{"apiVersion", "kind", "metadata"},
	{"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers", "managedFields"},
}

// survey goes over all of raw, whatever of it is read afterwards. Beside what makes it unreadable it returns the first field of the
// object, or of its metadata, that looks like one of theirs.
func survey(raw []byte) (*LookalikeError, error) {
	switch {
	case len(raw) > MaxBytes:
		return nil, ErrLarge
	case Deep(raw):
		return nil, ErrDeep
	case !json.Valid(raw):
		return nil, ErrSyntax
	}
	s := surveyor{}
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			s.open = append(s.open, level{object: raw[i] == '{', key: true})
		case '}', ']':
			s.open = s.open[:len(s.open)-1]
		case ',':
			s.open[len(s.open)-1].key = true
		case '"':
			end := i + 1
			for ; raw[end] != '"'; end++ {
				if raw[end] == '\\' {
					end++
				}
			}
			if err := s.text(raw[i : end+1]); err != nil {
				return nil, err
			}
			i = end
		}
	}
	return s.lookalike, nil
}

// surveyor is where a survey is.
type surveyor struct {
	open      []level
	lookalike *LookalikeError
}

// level is an object or list that is not closed yet.
type level struct {
	object bool
	// key: the next text, in an object, is the name of a field.
	key bool
	// field is the last one, seen all of the object.
	field string
	seen  map[string]struct{}
}

func (s *surveyor) text(quoted []byte) error {
	if len(s.open) == 0 {
		return nil
	}
	at := &s.open[len(s.open)-1]
	if !at.object || !at.key {
		return nil
	}
	at.key = false
	at.field = unquoted(quoted)
	if _, twice := at.seen[at.field]; twice {
		return &DuplicateError{Field: s.path()}
	}
	if at.seen == nil {
		at.seen = map[string]struct{}{}
	}
	at.seen[at.field] = struct{}{}
	s.compare(at.field)
	return nil
}

// compare looks whether a field is spelled like another one that is known where it is.
func (s *surveyor) compare(field string) {
	at := len(s.open) - 1
	if s.lookalike != nil || at >= len(common) || at == 1 && s.open[0].field != "metadata" {
		return
	}
	for _, known := range common[at] {
		if field != known && strings.EqualFold(field, known) {
			s.lookalike = &LookalikeError{Field: s.path(), Of: known}
			return
		}
	}
}

// path names the field that the survey is at.
func (s *surveyor) path() string {
	var fields []string
	for _, l := range s.open {
		if l.object {
			fields = append(fields, l.field)
		}
	}
	return strings.Join(fields, ".")
}

// unquoted is the text of a valid JSON string, as a decoder reads it.
func unquoted(quoted []byte) string {
	if !bytes.ContainsRune(quoted, '\\') {
		return strings.ToValidUTF8(string(quoted[1:len(quoted)-1]), "\ufffd")
	}
	var out string
	if json.Unmarshal(quoted, &out) != nil {
		return string(quoted)
	}
	return out
}

// depth is how deep raw is, which need not be valid.
func depth(raw []byte) int {
	now, most, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}
