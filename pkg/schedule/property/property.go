// Package property reads and compares the properties that member clusters report about themselves. schedule uses it.
package property

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Value returns the property of cluster that name asks for. Names that begin with contract.PropertyResourcePrefix read the
// resource usage, all others the reported properties. The error says, for a user, why there is no value to compare: a property
// that is absent, or one that is not a quantity.
func Value(cluster *clusterv1beta1.MemberCluster, name string) (resource.Quantity, error) {
	if usage, ok := strings.CutPrefix(name, contract.PropertyResourcePrefix); ok {
		return usageOf(cluster, usage)
	}
	reported, ok := cluster.Status.Properties[clusterv1beta1.PropertyName(name)]
	if !ok {
		return resource.Quantity{}, fmt.Errorf("it does not report property %s", name)
	}
	value, err := resource.ParseQuantity(reported.Value)
	if err != nil {
		return resource.Quantity{}, fmt.Errorf("its property %s is not a quantity", name)
	}
	return value, nil
}

// usageOf reads <total|allocatable|available>-<resource>. Resources have dashes of their own (ephemeral-storage): the first one cuts.
func usageOf(cluster *clusterv1beta1.MemberCluster, name string) (resource.Quantity, error) {
	figure, of, ok := strings.Cut(name, "-")
	if !ok {
		return resource.Quantity{}, fmt.Errorf("%s%s names no resource", contract.PropertyResourcePrefix, name)
	}
	var list corev1.ResourceList
	switch figure {
	case "total":
		list = cluster.Status.ResourceUsage.Capacity
	case "allocatable":
		list = cluster.Status.ResourceUsage.Allocatable
	case "available":
		list = cluster.Status.ResourceUsage.Available
	default:
		return resource.Quantity{}, fmt.Errorf("%s%s is none of total-, allocatable- and available-", contract.PropertyResourcePrefix, name)
	}
	value, ok := list[corev1.ResourceName(of)]
	if !ok {
		return resource.Quantity{}, fmt.Errorf("it does not report %s %s", figure, of)
	}
	return value, nil
}

// Requirement is one parsed expression of a property selector.
type Requirement struct {
	name     string
	operator v1beta1.PropertySelectorOperator
	value    resource.Quantity
	// wrong is set if the expression itself makes no sense; then no cluster meets it.
	wrong error
}

// Parse reads one expression. A wrong one is kept, so that it can say so for every cluster it is asked about.
func Parse(r v1beta1.PropertySelectorRequirement) Requirement {
	out := Requirement{name: r.Name, operator: r.Operator}
	if len(r.Values) != 1 {
		out.wrong = fmt.Errorf("the policy compares property %s with %d values instead of one", r.Name, len(r.Values))
		return out
	}
	value, err := resource.ParseQuantity(r.Values[0])
	if err != nil {
		out.wrong = fmt.Errorf("the policy compares property %s with %q, which is not a quantity", r.Name, r.Values[0])
	}
	out.value = value
	return out
}

// Check returns nil if cluster meets the requirement, and otherwise why it does not. A cluster without the property meets none,
// Ne included.
func (r Requirement) Check(cluster *clusterv1beta1.MemberCluster) error {
	if r.wrong != nil {
		return r.wrong
	}
	value, err := Value(cluster, r.name)
	if err != nil {
		return err
	}
	order := value.Cmp(r.value)
	var met bool
	switch r.operator {
	case v1beta1.PropertySelectorOperatorEq:
		met = order == 0
	case v1beta1.PropertySelectorOperatorNe:
		met = order != 0
	case v1beta1.PropertySelectorOperatorGt:
		met = order > 0
	case v1beta1.PropertySelectorOperatorGe:
		met = order >= 0
	case v1beta1.PropertySelectorOperatorLt:
		met = order < 0
	case v1beta1.PropertySelectorOperatorLe:
		met = order <= 0
	default:
		return fmt.Errorf("the policy compares property %s with the unknown operator %q", r.name, r.operator)
	}
	if !met {
		return fmt.Errorf("its property %s is not %s %s", r.name, r.operator, r.value.String())
	}
	return nil
}

// Range is the lowest and the highest value of a property in the fleet.
type Range struct {
	name      string
	low, high float64
}

// RangeOf looks at every cluster that has the property, whether it could be chosen or not.
func RangeOf(clusters []*clusterv1beta1.MemberCluster, name string) Range {
	r, found := Range{name: name}, false
	for _, cluster := range clusters {
		quantity, err := Value(cluster, name)
		if err != nil {
			continue
		}
		value := quantity.AsApproximateFloat64()
		if !found {
			r.low, r.high, found = value, value, true
		}
		r.low, r.high = min(r.low, value), max(r.high, value)
	}
	return r
}

// Share returns where in the range cluster stands, from 0 for the lowest value to 1 for the highest. ok is false for a cluster
// without the property, and for all if every value is the same.
func (r Range) Share(cluster *clusterv1beta1.MemberCluster) (share float64, ok bool) {
	quantity, err := Value(cluster, r.name)
	if err != nil || r.low == r.high {
		return 0, false
	}
	return (quantity.AsApproximateFloat64() - r.low) / (r.high - r.low), true
}
