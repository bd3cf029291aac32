package applier

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// longCause is the size in bytes up to which a cause is shown with the value that it quotes. API servers quote whole
// structs before they report the fault.
const longCause = 256

// refused is why an API server refused a request: its message or, if that quotes too much, each field with its fault.
func refused(s metav1.Status) string {
	if s.Details == nil || !slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool { return len(c.Message) > longCause }) {
		return cut(secrecy.WithoutObject(s.Message))
	}
	var found []string
	for _, cause := range s.Details.Causes {
		text := fault(cause)
		if cause.Field != "" {
			text = cause.Field + ": " + text
		}
		if !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	return cut(fmt.Sprintf("%s %q is invalid: %s", s.Details.Kind, s.Details.Name, strings.Join(found, "; ")))
}

// fault is the message of a cause, which is "<type>: <value>: <detail>", without a long value.
func fault(cause metav1.StatusCause) string {
	kind, rest, ok := strings.Cut(cause.Message, ": ")
	if len(cause.Message) <= longCause || !ok {
		return cause.Message
	}
	detail := ""
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		detail = strings.TrimPrefix(rest[len(quoted):], ": ")
	} else if end := max(strings.LastIndex(rest, "}: "), strings.LastIndex(rest, "]: ")); end >= 0 {
		detail = rest[end+len("}: "):]
	}
	if detail == "" {
		return kind
	}
	return kind + ": " + detail
}
