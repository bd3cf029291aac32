package work

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Scopes says whether the hub serves a kind as a cluster-scoped one. A kind that the hub does not serve is none. The error means that the hub's
// kinds are not known.
type Scopes func(schema.GroupKind) (clusterScoped bool, err error)

// StrayError says that a namespaced placement was to place an object that is not of its namespace.
type StrayError struct {
	Object    string
	Placement string
	Namespace string
	Problem   string
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("%s %s, and ResourcePlacement %s places objects of namespace %s only: take it out of the resource snapshot or the "+
		"envelope that holds it, or use a ClusterResourcePlacement", e.Object, e.Problem, e.Placement, e.Namespace)
}

// Within says whether all content that c would write stays in the namespace of the placement of order, whatever made the snapshots that it is
// from; content is looked at as it would be written, after overrides and out of its envelopes. The error is a *StrayError, or that of
// scopes. Content of cluster-wide placements goes everywhere.
//
// The member looks at the same, by its own kinds: one that only the member has is for the member to judge.
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

// outside says why an object is not one of namespace; "" if it is.
func outside(raw []byte, namespace string, scopes Scopes) (problem string, err error) {
	h, err := decode.HeaderOf(raw)
	if err != nil {
		return "cannot be read: " + err.Error(), nil //nolint:nilerr // that is what is wrong with it
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
