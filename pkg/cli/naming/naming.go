// Package naming formats objects, and commands for the user to type, in the output of kubectl fleet.
package naming

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Placement is "<kind> <name>" of a placement; the key's namespace determines the kind.
func Placement(key types.NamespacedName) string {
	return scope.Placements.Kind(key) + " " + Object(key)
}

// PlacementOf returns the placement that an argument of a command names. namespace is that of the command's flag; it may
// be empty. The name may have the kind before it, in any form that kubectl takes, as in crp/web. The kind must fit the
// namespace: a ClusterResourcePlacement has none.
func PlacementOf(arg, namespace string) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: arg}
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return key, nil
	}
	key.Name = name
	form, group, _ := strings.Cut(strings.ToLower(kind), ".")
	if version, rest, ok := strings.Cut(group, "."); ok && slices.Contains([]string{"v1", v1beta1.GroupVersion.Version}, version) {
		group = rest
	}
	known := group == "" || group == v1beta1.GroupVersion.Group
	switch {
	case name == "" || strings.Contains(name, "/"):
		return key, fmt.Errorf("%q does not name a placement: use NAME, crp/NAME or rp/NAME", arg)
	case known && slices.Contains([]string{"crp", "clusterresourceplacement", "clusterresourceplacements"}, form):
		if namespace != "" {
			return key, fmt.Errorf("--namespace %s: a ClusterResourcePlacement has no namespace; leave the flag out, or name rp/%s", namespace, name)
		}
	case known && slices.Contains([]string{"rp", "resourceplacement", "resourceplacements"}, form):
		if namespace == "" {
			return key, errors.New("a ResourcePlacement needs --namespace")
		}
	default:
		return key, fmt.Errorf("kind %q is no kind of placements: use crp/%s for a ClusterResourcePlacement, and rp/%s with --namespace for a ResourcePlacement",
			kind, name, name)
	}
	return key, nil
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
