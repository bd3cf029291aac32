// Package property reads and compares the properties that member clusters report. schedule uses it.
package property

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Value returns the property of cluster with the given name. Names that begin with contract.PropertyResourcePrefix
// read the resource usage, all others the reported properties. The error is for a user: the property is absent, or is
// not a quantity.
func Value(cluster *clusterv1beta1.MemberCluster, name string) (resource.Quantity, error) {
	if strings.HasPrefix(name, contract.PropertyResourcePrefix) {
		return usageOf(cluster, name)
	}
	reported, ok := cluster.Status.Properties[clusterv1beta1.PropertyName(name)]
	if !ok {
		return resource.Quantity{}, &missing{property: name}
	}
	value, ok := decode.Quantity(reported.Value)
	if !ok {
		return resource.Quantity{}, &unreadable{property: name, value: reported.Value}
	}
	return value, nil
}

// usageOf reads a property of the resource usage. The error is for a user.
func usageOf(cluster *clusterv1beta1.MemberCluster, name string) (resource.Quantity, error) {
	figure, of, err := validate.UsageProperty(name)
	if err != nil {
		return resource.Quantity{}, err
	}
	list := usageList(cluster, figure)
	value, ok := (*list)[corev1.ResourceName(of)]
	if !ok {
		return resource.Quantity{}, &missing{property: name}
	}
	if !decode.Countable(value) {
		return resource.Quantity{}, &unreadable{property: name, value: "out of range"}
	}
	return value, nil
}

func usageList(cluster *clusterv1beta1.MemberCluster, figure validate.Figure) *corev1.ResourceList {
	switch figure {
	case validate.FigureTotal:
		return &cluster.Status.ResourceUsage.Capacity
	case validate.FigureAllocatable:
		return &cluster.Status.ResourceUsage.Allocatable
	default:
		return &cluster.Status.ResourceUsage.Available
	}
}

// missing is the error for a cluster without a property.
type missing struct{ property string }

func (m *missing) Error() string { return "it does not report property " + m.property }

// unreadable is the error for a cluster whose property cannot be compared.
type unreadable struct{ property, value string }

func (u *unreadable) Error() string {
	return fmt.Sprintf("its property %s is not a quantity", u.property)
}

// Detail adds the value, which the member reported and may be long.
func (u *unreadable) Detail() string {
	const most = 40
	value := u.value
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	return fmt.Sprintf("%s: %q", u, value)
}

// unmet is the error for a cluster whose property does not have the required value.
type unmet struct {
	*Requirement
	value resource.Quantity
}

func (u *unmet) Error() string {
	return fmt.Sprintf("its property %s must be %s %s", u.name, words[u.operator], u.Requirement.value.String())
}

// Detail adds the value.
func (u *unmet) Detail() string { return fmt.Sprintf("%s; it is %s", u, u.value.String()) }

var words = map[v1beta1.PropertySelectorOperator]string{
	v1beta1.PropertySelectorOperatorEq: "exactly",
	v1beta1.PropertySelectorOperatorNe: "anything but",
	v1beta1.PropertySelectorOperatorGt: "more than",
	v1beta1.PropertySelectorOperatorGe: "at least",
	v1beta1.PropertySelectorOperatorLt: "less than",
	v1beta1.PropertySelectorOperatorLe: "at most",
}

// Changed returns the sorted names of the properties whose values differ between two states of a cluster. Observation
// times and the notation of quantities do not matter.
func Changed(was, is *clusterv1beta1.MemberCluster) []string {
	names := map[string]bool{}
	for _, c := range []*clusterv1beta1.MemberCluster{was, is} {
		for name := range c.Status.Properties {
			names[string(name)] = true
		}
		for _, figure := range validate.Figures {
			for of := range *usageList(c, figure) {
				names[contract.PropertyResourcePrefix+string(figure)+"-"+string(of)] = true
			}
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return same(was, is, name) })
	return slices.Sorted(maps.Keys(names))
}

func same(was, is *clusterv1beta1.MemberCluster, name string) bool {
	before, errBefore := Value(was, name)
	after, errAfter := Value(is, name)
	if errBefore != nil || errAfter != nil {
		return errBefore != nil && errAfter != nil && errBefore.Error() == errAfter.Error()
	}
	return before.Cmp(after) == 0
}

// Requirement is one parsed expression of a property selector.
type Requirement struct {
	name     string
	operator v1beta1.PropertySelectorOperator
	value    resource.Quantity
	// wrong is set if the expression itself is invalid; then no cluster meets it.
	wrong error
}

// Parse parses one expression. It keeps the error of an invalid one, so that Check can return the error for every
// cluster.
func Parse(r v1beta1.PropertySelectorRequirement) Requirement {
	out := Requirement{name: r.Name, operator: r.Operator}
	if wrong := validate.PropertyRequirement(r, nil); len(wrong) > 0 {
		out.wrong = errors.New(wrong[0].Detail)
		return out
	}
	out.value, _ = decode.Quantity(r.Values[0])
	return out
}

// Name returns the property that is compared.
func (r *Requirement) Name() string { return r.name }

// Wrong returns what is invalid in the expression; nil if nothing is.
func (r *Requirement) Wrong() error { return r.wrong }

// Want describes the values that meet the requirement, like "at least 4".
func (r *Requirement) Want() string { return words[r.operator] + " " + r.value.String() }

// Nearest returns a value that meets the requirement, close to the value in the requirement; ok is false if there is
// none.
func (r *Requirement) Nearest() (value resource.Quantity, ok bool) {
	if r.wrong != nil {
		return resource.Quantity{}, false
	}
	value = r.value.DeepCopy()
	one := *resource.NewMilliQuantity(1000, value.Format)
	switch r.operator {
	case v1beta1.PropertySelectorOperatorGt, v1beta1.PropertySelectorOperatorNe:
		value.Add(one)
	case v1beta1.PropertySelectorOperatorLt:
		value.Sub(one)
	}
	return value, true
}

// Set sets a property of cluster. It returns false for a name that no cluster can have.
func Set(cluster *clusterv1beta1.MemberCluster, name string, value resource.Quantity) bool {
	if !strings.HasPrefix(name, contract.PropertyResourcePrefix) {
		if cluster.Status.Properties == nil {
			cluster.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{}
		}
		cluster.Status.Properties[clusterv1beta1.PropertyName(name)] = clusterv1beta1.PropertyValue{Value: value.String()}
		return true
	}
	figure, of, err := validate.UsageProperty(name)
	if err != nil || of == "" {
		return false
	}
	list := usageList(cluster, figure)
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[corev1.ResourceName(of)] = value
	return true
}

// Check returns nil if cluster meets the requirement, and otherwise the reason. A cluster without the property meets
// no requirement, including Ne.
func (r *Requirement) Check(cluster *clusterv1beta1.MemberCluster) error {
	if r.wrong != nil {
		return r.wrong
	}
	value, err := Value(cluster, r.name)
	if err != nil {
		return err
	}
	if !r.met(value) {
		return &unmet{r, value}
	}
	return nil
}

func (r *Requirement) met(value resource.Quantity) bool {
	order := value.Cmp(r.value)
	switch r.operator {
	case v1beta1.PropertySelectorOperatorEq:
		return order == 0
	case v1beta1.PropertySelectorOperatorNe:
		return order != 0
	case v1beta1.PropertySelectorOperatorGt:
		return order > 0
	case v1beta1.PropertySelectorOperatorGe:
		return order >= 0
	case v1beta1.PropertySelectorOperatorLt:
		return order < 0
	case v1beta1.PropertySelectorOperatorLe:
		return order <= 0
	default:
		return false
	}
}

// Range is the lowest and the highest value of a property in the fleet.
type Range struct {
	name      string
	low, high float64
}

// RangeOf uses every cluster with the property, even those that cannot be picked.
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

// Share returns the position of cluster's value in the range, from 0 for the lowest value to 1 for the highest. ok is
// false for a cluster without the property, and for all clusters if every value is the same.
func (r Range) Share(cluster *clusterv1beta1.MemberCluster) (share float64, ok bool) {
	quantity, err := Value(cluster, r.name)
	if err != nil || r.low == r.high {
		return 0, false
	}
	return (quantity.AsApproximateFloat64() - r.low) / (r.high - r.low), true
}
