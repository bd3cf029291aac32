package secrecy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reword returns err with another text; errors.Is and errors.As still find the causes of err.
func Reword(err error, text string) error { return &reworded{text, err} }

type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.err }

// Discreet returns err with a text that quotes no values.
func Discreet(err error) error {
	if err == nil {
		return nil
	}
	if text := WithoutValues(err.Error()); text != err.Error() {
		return Reword(err, text)
	}
	return err
}

// Refused is a message for an API server's answer about a Secret: it names the rejected fields and quotes nothing
// else, because servers and webhooks quote values anywhere.
func Refused(s metav1.Status) string {
	out := fmt.Sprintf("the API server answered %s (details of Secrets are not shown)", s.Reason)
	if s.Details == nil {
		return out
	}
	var fields []string
	for _, cause := range s.Details.Causes {
		field := cause.Field
		if cause.Type == metav1.CauseTypeFieldManagerConflict { // its message names the manager, no value
			field = fmt.Sprintf("%s (%s)", field, cause.Message)
		}
		if cause.Field != "" && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	if len(fields) == 0 {
		return out
	}
	slices.Sort(fields)
	return out + ": " + strings.Join(fields, ", ")
}

// quoting matches the text before a rejected value in an API server's message: the types of field errors, as
// k8s.io/apimachinery/pkg/util/validation/field prints them.
var quoting = regexp.MustCompile(`(Invalid value|Unsupported value|Duplicate value|Not found|Too many|Too few): `)

// patch is the text before a whole object that results from a patch and that the API server cannot decode.
const patch = "patch: Invalid value: "

// WithoutObject returns an API server's message without an object that it quotes whole.
func WithoutObject(message string) string {
	before, rest, found := strings.Cut(message, patch)
	if !found {
		return message
	}
	if why, ok := afterValue(rest); ok && why != "" {
		return strings.TrimPrefix(why, ": ")
	}
	return before + "the patch results in an object that cannot be decoded"
}

// WithoutValues returns an API server's message without the values that it quotes: the object of the message, such as
// a Work, may contain Secrets. If the end of a value cannot be determined, the rest of the message is left out as
// well.
func WithoutValues(message string) string {
	message = WithoutObject(message)
	var out strings.Builder
	for {
		at := quoting.FindStringSubmatchIndex(message)
		if at == nil {
			return out.String() + message
		}
		out.WriteString(message[:at[3]])
		rest, ok := afterValue(message[at[1]:])
		if !ok {
			return out.String()
		}
		message = rest
	}
}

// scalar matches a number or word of JSON and the end of a value.
var scalar = regexp.MustCompile(`^(-?[0-9][0-9.eE+-]*|true|false|null)(:|,|\]|\s|$)`)

// afterValue is the rest of a text after the value at its beginning: a quoted string or a value in JSON. ok is false
// if it begins with neither.
func afterValue(text string) (rest string, ok bool) {
	if quoted, err := strconv.QuotedPrefix(text); err == nil {
		return text[len(quoted):], true
	}
	if at := scalar.FindStringSubmatchIndex(text); at != nil {
		return text[at[3]:], true
	}
	if text == "" || text[0] != '{' && text[0] != '[' {
		return "", false
	}
	open := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			quoted, err := strconv.QuotedPrefix(text[i:])
			if err != nil {
				return "", false
			}
			i += len(quoted) - 1
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return text[i+1:], true
			}
		}
	}
	return "", false
}
