package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/client-go/util/jsonpath"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// object is an object that a cluster has reported, with its status if that can be used.
type object struct {
	id v1beta1.WorkResourceIdentifier
	// status has the only field status. It is nil if the status cannot be used; why says so.
	status map[string]any
	why    string
}

// objectsOf returns the objects of Works that any of the rules selects.
func objectsOf(works []*v1beta1.Work, rules []v1beta1.FailoverState) (out []*object) {
	left := mostStatuses
	for _, w := range sorted(works) {
		for i := range w.Status.ManifestConditions {
			m := &w.Status.ManifestConditions[i]
			o := &object{id: m.Identifier}
			if !o.selectedByAny(rules) {
				continue
			}
			o.read(m.BackReportedStatus, &left)
			out = append(out, o)
		}
	}
	return out
}

func (o *object) selectedByAny(rules []v1beta1.FailoverState) bool {
	for _, rule := range rules {
		if o.selectedBy(rule) {
			return true
		}
	}
	return false
}

// selectedBy reports whether the rule is about the object, and the object has a name that an object can have: a member
// could report any.
func (o *object) selectedBy(rule v1beta1.FailoverState) bool {
	return named(o.id.Name, mostName) && (o.id.Namespace == "" || named(o.id.Namespace, mostNamespace)) && selects(rule, o.id.Group, o.id.Kind, o.id.Namespace, o.id.Name)
}

// The longest names, as the schema of bindings has them.
const (
	mostName      = 253
	mostNamespace = 63
)

func named(text string, most int) bool { return text != "" && len(text) <= most && printable(text) }

// read decodes the status. left is how many bytes of statuses are decoded at most.
func (o *object) read(reported *v1beta1.BackReportedStatus, left *int) {
	if reported == nil || len(reported.ObservedStatus.Raw) == 0 {
		o.why = "the cluster has not reported its status"
		return
	}
	raw := reported.ObservedStatus.Raw
	switch *left -= len(raw); {
	case len(raw) > mostStatus:
		o.why = fmt.Sprintf("the status has more than %d KiB", mostStatus>>10)
		return
	case *left < 0:
		o.why = fmt.Sprintf("all statuses together have more than %d MiB", mostStatuses>>20)
		return
	case !utf8.Valid(raw):
		o.why = "the status is not valid UTF-8"
		return
	}
	var content struct {
		Status map[string]any `json:"status"`
	}
	if err := decode.JSON(raw, &content); err != nil {
		o.why = "the status cannot be read: " + err.Error()
		return
	}
	o.status = map[string]any{"status": content.Status}
}

func (o *object) String() string {
	if o.id.Namespace == "" {
		return o.id.Name
	}
	return o.id.Namespace + "/" + o.id.Name
}

// annotation is that of a rule on the object, without a value.
func (o *object) annotation(rule v1beta1.FailoverState) v1beta1.ObjectAnnotation {
	return v1beta1.ObjectAnnotation{
		Group: o.id.Group, Kind: o.id.Kind, Namespace: o.id.Namespace, Name: o.id.Name, Annotation: rule.Annotation,
	}
}

// value returns what is at a path of the object, or why it has none.
func (o *object) value(at path) (text, why string) {
	if o.status == nil {
		return "", o.why
	}
	return at(o.status)
}

// path finds the value in an object.
type path func(map[string]any) (text, why string)

// pathOf returns a path that package validate accepts. It must not be used by two goroutines at once.
func pathOf(text string) path {
	parsed := jsonpath.New("jsonPath").AllowMissingKeys(true)
	if err := parsed.Parse("{" + text + "}"); err != nil {
		return func(map[string]any) (string, string) { return "", unfit }
	}
	return func(object map[string]any) (value, why string) {
		defer func() { // no status may stop the scheduler
			if recover() != nil {
				value, why = "", unfit
			}
		}()
		found, err := parsed.FindResults(object)
		if err != nil { // it may quote values
			return "", unfit
		}
		return one(found)
	}
}

const unfit = "the path does not fit the status"

// one returns the only value that was found.
func one(found [][]reflect.Value) (text, why string) {
	if len(found) != 1 || len(found[0]) == 0 {
		return "", "the status has no such value"
	}
	if n := len(found[0]); n > 1 {
		return "", fmt.Sprintf("the path finds %d values in the status, and must find one", n)
	}
	switch v := found[0][0].Interface().(type) {
	case nil:
		return "", "the value is null"
	case string:
		return v, ""
	case bool, int64, float64, map[string]any, []any:
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return "", unfit
		}
		return strings.TrimSuffix(b.String(), "\n"), ""
	}
	return "", unfit
}

// printable reports whether the text has neither control characters nor invalid UTF-8, not even as decoders write it.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}
