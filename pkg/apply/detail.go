package apply

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

const (
	// mostDetails is how many differences of one object are reported.
	mostDetails = 100
	// mostValue is how many bytes of a value are shown, lead how many of them precede the first difference.
	mostValue, lead = 1024, 64
)

// details lists the differences between the member's object and the manifest, ordered by path. Values are redacted if
// either side is a Secret: the kind that the server returns counts, whatever kind the manifest has.
func details(hub, member *unstructured.Unstructured) []v1beta1.PatchDetail {
	d := &differ{}
	d.compare("", comparable(hub), comparable(member))
	if isSecret(hub) || isSecret(member) {
		return secrecy.Redact(d.found)
	}
	return d.found
}

func isSecret(obj *unstructured.Unstructured) bool {
	return secrecy.Covers(obj.GroupVersionKind().GroupKind())
}

// comparable is the compared part of an object. Null and absent are the same.
func comparable(obj *unstructured.Unstructured) any { return withoutNulls(content(obj)) }

type differ struct {
	found []v1beta1.PatchDetail
}

// compare walks both sides. Nil stands for an absent value.
func (d *differ) compare(path string, hub, member any) {
	if len(d.found) == mostDetails {
		return
	}
	switch h := hub.(type) {
	case map[string]any:
		if m, ok := member.(map[string]any); ok {
			for _, key := range names(h, m) {
				d.compare(path+"/"+escape.Replace(key), h[key], m[key])
			}
			return
		}
	case []any:
		if m, ok := member.([]any); ok {
			d.compareLists(path, h, m)
			return
		}
	}
	if !sameText(hub, member) {
		d.add(path, hub, member)
	}
}

// compareLists compares by index. As in a JSON patch, items that only the member has are added at its end, and items
// that only the hub has are removed where the member's list ends.
func (d *differ) compareLists(path string, hub, member []any) {
	both := min(len(hub), len(member))
	for i := range both {
		d.compare(path+"/"+strconv.Itoa(i), hub[i], member[i])
	}
	for _, value := range member[both:] {
		d.add(path+"/-", nil, value)
	}
	for _, value := range hub[both:] {
		d.add(path+"/"+strconv.Itoa(both), value, nil)
	}
}

func (d *differ) add(path string, hub, member any) {
	if len(d.found) == mostDetails {
		return
	}
	h, m := window(printed(hub), printed(member))
	d.found = append(d.found, v1beta1.PatchDetail{Path: path, ValueInHub: h, ValueInMember: m})
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func printed(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// window cuts long values to the part around the first difference.
func window(a, b string) (string, string) {
	if len(a) <= mostValue && len(b) <= mostValue {
		return a, b
	}
	first := 0
	for first < min(len(a), len(b)) && a[first] == b[first] {
		first++
	}
	return excerpt(a, first), excerpt(b, first)
}

func excerpt(s string, first int) string {
	if len(s) <= mostValue && first <= mostValue {
		return s
	}
	from := max(0, min(first, len(s))-lead)
	to := min(len(s), from+mostValue)
	for from > 0 && !utf8.RuneStart(s[from]) {
		from--
	}
	for to < len(s) && !utf8.RuneStart(s[to]) {
		to--
	}
	out := strings.ToValidUTF8(s[from:to], "?")
	if from > 0 {
		out = "…" + out
	}
	if to < len(s) {
		out += "…"
	}
	return fmt.Sprintf("%s (%d bytes)", out, len(s))
}
