// Package naming is how the commands of kubectl fleet write what they are about: objects, and commands for the reader
// to type.
package naming

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Placement is a placement with its kind, which the key's namespace decides.
func Placement(key types.NamespacedName) string {
	return scope.Placements.Kind(key) + " " + Object(key)
}

// Object is an object without its kind: <namespace>/<name>, or the name alone where there is no namespace.
func Object(key types.NamespacedName) string { return strings.TrimPrefix(key.String(), "/") }

// Command is a command of kubectl, or with "fleet" as its first word of this plugin, about an object in a namespace;
// an object without one needs no flag.
func Command(namespace string, words ...string) string {
	out := "kubectl " + strings.Join(words, " ")
	if namespace != "" {
		out += " -n " + namespace
	}
	return out
}
