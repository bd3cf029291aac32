// Package naming formats objects, and commands for the user to type, in the output of kubectl fleet.
package naming

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Placement is "<kind> <name>" of a placement; the key's namespace determines the kind.
func Placement(key types.NamespacedName) string {
	return scope.Placements.Kind(key) + " " + Object(key)
}

// Object is an object without its kind: <namespace>/<name>, or the name alone where there is no namespace.
func Object(key types.NamespacedName) string { return strings.TrimPrefix(key.String(), "/") }

// Command is a command of kubectl about an object in a namespace, without -n if that is empty. With "fleet" as its
// first word it is a command of this plugin.
func Command(namespace string, words ...string) string {
	out := "kubectl " + strings.Join(words, " ")
	if namespace != "" {
		out += " -n " + namespace
	}
	return out
}
