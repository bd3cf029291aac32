package work

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Scopes reports whether the hub serves a kind as a cluster-scoped one; false for a kind that the hub does not serve.
// The error means that the hub's kinds are unknown.
type Scopes func(schema.GroupKind) (clusterScoped bool, err error)

// StrayError means that the content of a namespaced placement has an object outside of its namespace.
type StrayError struct {
	Object    string
	Placement string
	Namespace string
	Problem   string
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("%s %s, and ResourcePlacement %s places objects of namespace %s only: remove it from the resource snapshot or the "+
		"envelope that contains it, or use a ClusterResourcePlacement", e.Object, e.Problem, e.Placement, e.Namespace)
}

// Within reports whether all content that c would write is in the namespace of the placement of order, whatever
// created its snapshots; it checks the content as it would be written, after overrides and unwrapped from envelopes.
// The error is a *StrayError, or that of scopes. Content of cluster-wide placements is not restricted.
//
// The member makes the same check with its own kinds; a kind that only the member serves is checked there alone.
func (c Changes) Within(order Order, scopes Scopes) error {
	if order.Placement.Namespace == "" {
		return nil
	}
	for _, w := range append(c.Create[:len(c.Create):len(c.Create)], c.Update...) {
		for _, m := range w.Spec.Workload.Manifests {
			problem, err := outside(m.Raw, order.Placement.Namespace, scopes)
			if err != nil {
				return err
			}
			if problem != "" {
				return &StrayError{Object: describe(m.Raw), Placement: order.Placement.String(), Namespace: order.Placement.Namespace, Problem: problem}
			}
		}
	}
	return nil
}

// outside is why an object is not in namespace; "" if it is.
func outside(raw []byte, namespace string, scopes Scopes) (problem string, err error) {
	h, err := decode.HeaderOf(raw)
	if err != nil {
		return "cannot be read: " + err.Error(), nil //nolint:nilerr // the error is the problem
	}
	clusterScoped, err := scopes(schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).GroupKind())
	switch {
	case err != nil:
		return "", fmt.Errorf("find the scope of %s: %w", describe(raw), err)
	case clusterScoped:
		return "is cluster-scoped", nil
	case h.Metadata.Namespace == "":
		return "has no namespace", nil
	case h.Metadata.Namespace != namespace:
		return "is in another namespace", nil
	}
	return "", nil
}
