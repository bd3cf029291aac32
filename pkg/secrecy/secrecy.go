// Package secrecy decides which parts of a Secret may be shown, and of an error about an object that may contain one:
// differences and errors come in, and come out without secret values. Statuses, events and logs show no others. The
// member's applier uses it before it reports, and the hub again before it copies a report.
package secrecy

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Covers reports whether the contents of objects of a kind are secret.
func Covers(kind schema.GroupKind) bool { return kind == schema.GroupKind{Kind: "Secret"} }

// Redact returns differences of a Secret without its contents. Redacted values stay.
func Redact(details []v1beta1.PatchDetail) []v1beta1.PatchDetail {
	if details == nil {
		return nil
	}
	out := make([]v1beta1.PatchDetail, len(details))
	for i, d := range details {
		if confidential(d.Path) {
			d.ValueInHub, d.ValueInMember = redacted(d.ValueInHub), redacted(d.ValueInMember)
		}
		out[i] = d
	}
	return out
}

// confidential reports whether a path of a Secret may lead to its contents. Annotations count: tools store copies of
// applied objects there.
func confidential(path string) bool {
	fields := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	switch fields[0] {
	case "apiVersion", "kind", "type", "immutable":
		return false
	case "metadata":
		return len(fields) < 2 || fields[1] != "labels"
	}
	return true
}

func redacted(value string) string {
	switch value {
	case "", contract.TextWholeObject, contract.TextOmitted:
		return value
	}
	return contract.TextRedacted
}
