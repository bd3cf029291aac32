// Package decode decodes JSON and quantities from other clients: users' objects in snapshots, envelopes, overrides and
// Works, statuses that members report, annotations. It takes bytes and returns values, or an error that quotes no
// value.
//
// Go's encoding/json matches field names case-insensitively, so it may find an object's namespace where an API server
// finds none. This package matches field names exactly, as API servers do. It refuses objects with duplicate fields,
// and objects that are nested deeper or larger than every part of the fleet can store and read again. Every package
// that decodes JSON from other clients must use this package; the linter enforces it.
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
	// MaxDepth is the maximum nesting of objects and lists in JSON, including the outermost. Go's limit is 10,000, but
	// objects are copied into other objects, where they are nested deeper, and an object that was just decoded could
	// not be read again.
	MaxDepth = 100
	// MaxBytes is the maximum size of a text: the request limit of an API server.
	MaxBytes = 3 << 20
)

// Errors about a text as a whole.
var (
	ErrDeep   = fmt.Errorf("it is nested deeper than %d levels; reduce the nesting", MaxDepth)
	ErrLarge  = fmt.Errorf("it has more than %d bytes; reduce its size", MaxBytes)
	ErrSyntax = errors.New("it is not valid JSON")
)

// DuplicateError is a field that appears twice in an object. Decoders differ in which of the two they use.
type DuplicateError struct{ Field string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("the field %s appears twice; remove one of them", ascii(e.Field))
}

// LookalikeError is a field that some decoders mistake for another field and API servers drop.
type LookalikeError struct{ Field, Of string }

func (e *LookalikeError) Error() string {
	return fmt.Sprintf("the field %s is spelled like %s, but is a different field; remove or rename it", ascii(e.Field), e.Of)
}

// TypeError is a field whose value has the wrong type.
type TypeError struct{ Field, Is string }

func (e *TypeError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("it must not be a %s", e.Is)
	}
	return fmt.Sprintf("its %s must not be a %s", e.Field, e.Is)
}

// ascii quotes the name of a field in ASCII, so that similar letters can be distinguished.
func ascii(field string) string {
	const most = 128
	if len(field) > most {
		field = field[:most] + "..."
	}
	return strconv.QuoteToASCII(field)
}

// Header contains the fields that identify an object.
type Header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace    string `json:"namespace"`
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
	} `json:"metadata"`
}

// JSON decodes raw into a value like encoding/json, but with the strictness of this package.
func JSON(raw []byte, into any) error {
	if _, err := survey(raw); err != nil {
		return err
	}
	return read(raw, into)
}

// Object decodes a Kubernetes object. It refuses a field whose name resembles one of the fields that every object has.
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

// HeaderOf decodes the header of an object, with the checks of Object. If it returns an error, the header contains the
// fields that could be decoded, so that a message can name the object.
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

// Deep reports whether raw, which need not be valid, is nested deeper than MaxDepth.
func Deep(raw []byte) bool { return depth(raw) > MaxDepth }

// Check reports why raw cannot be decoded, or nil.
func Check(raw []byte) error {
	_, err := survey(raw)
	return err
}

// Named adds the name of the object to err, as far as the name can be decoded.
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

// read decodes what survey has accepted. It hides the errors of the decoder, which may quote values.
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

// common are the fields that every object has, and the fields of its metadata.
var common = [...][]string{
	{"apiVersion", "kind", "metadata"},
	{"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers", "managedFields"},
}

// survey checks all of raw, whatever the caller decodes afterwards. It returns an error if raw must be refused, and
// also the first field of the object, or of its metadata, that resembles a common field.
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

// surveyor is the state of a survey.
type surveyor struct {
	open      []level
	lookalike *LookalikeError
}

// level is an object or list that is not closed yet.
type level struct {
	object bool
	// key: in an object, the next text is the name of a field.
	key bool
	// field is the last field, seen are all fields of the object.
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

// compare checks whether a field resembles a common field at its place.
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

// path is the path of the current field.
func (s *surveyor) path() string {
	var fields []string
	for _, l := range s.open {
		if l.object {
			fields = append(fields, l.field)
		}
	}
	return strings.Join(fields, ".")
}

// unquoted returns the text of a valid JSON string, as a decoder reads it.
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

// depth returns the maximum nesting of raw, which need not be valid.
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
