package validate

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// operators compare a property with a value.
var operators = []v1beta1.PropertySelectorOperator{
	v1beta1.PropertySelectorOperatorEq, v1beta1.PropertySelectorOperatorNe, v1beta1.PropertySelectorOperatorGt,
	v1beta1.PropertySelectorOperatorGe, v1beta1.PropertySelectorOperatorLt, v1beta1.PropertySelectorOperatorLe,
}

// PropertyRequirement returns why no cluster can be compared with a requirement: its operator or its value. The name
// of the property is not looked at, since a name that admission refuses is one that no cluster reports.
func PropertyRequirement(r v1beta1.PropertySelectorRequirement, path *field.Path) field.ErrorList {
	switch {
	case len(r.Values) != 1:
		return field.ErrorList{field.Invalid(path.Child("values"), r.Values,
			fmt.Sprintf("the policy compares property %s with %d values instead of one", r.Name, len(r.Values)))}
	case !slices.Contains(operators, r.Operator):
		return field.ErrorList{field.Invalid(path.Child("operator"), r.Operator,
			fmt.Sprintf("the policy compares property %s with the unknown operator %q: use Eq, Ne, Gt, Ge, Lt or Le", r.Name, r.Operator))}
	}
	if _, ok := decode.Quantity(r.Values[0]); !ok {
		return field.ErrorList{field.Invalid(path.Child("values").Index(0), r.Values[0],
			fmt.Sprintf("the policy compares property %s with %q, which is not a quantity", r.Name, r.Values[0]))}
	}
	return nil
}

// UsageProperty splits the name of a property that is read from the resource usage,
// resources.kubernetes-fleet.io/<figure>-<resource>. Resources have dashes of their own (ephemeral-storage): the first
// one cuts.
func UsageProperty(name string) (figure Figure, of string, err error) {
	text, of, ok := strings.Cut(strings.TrimPrefix(name, contract.PropertyResourcePrefix), "-")
	switch figure = Figure(text); {
	case !ok:
		return "", "", fmt.Errorf("%s names no resource", name)
	case !slices.Contains(Figures, figure):
		return "", "", fmt.Errorf("%s is none of total-, allocatable- and available-", name)
	}
	return figure, of, nil
}

// Figure is which amount of a resource a property is.
type Figure string

// Figures of a resource.
const (
	FigureTotal       Figure = "total"
	FigureAllocatable Figure = "allocatable"
	FigureAvailable   Figure = "available"
)

// Figures are all of them.
var Figures = []Figure{FigureTotal, FigureAllocatable, FigureAvailable}

func propertyName(name string, path *field.Path) (wrong field.ErrorList) {
	refuse := func(problems ...string) {
		for _, problem := range problems {
			wrong = append(wrong, field.Invalid(path, name, problem))
		}
	}
	if strings.HasPrefix(name, contract.PropertyResourcePrefix) {
		if _, _, err := UsageProperty(name); err != nil {
			refuse(err.Error())
		}
		refuse(validation.IsQualifiedName(name)...)
		return wrong
	}
	for i, segment := range strings.Split(name, "/") {
		if i == 0 && len(validation.IsDNS1123Subdomain(segment)) == 0 {
			continue
		}
		refuse(validation.IsQualifiedName(segment)...)
	}
	return wrong
}

func propertySelector(s v1beta1.PropertySelector, path *field.Path) (wrong field.ErrorList) {
	ranges := map[string]*interval{}
	for i, r := range s.MatchExpressions {
		at := path.Index(i)
		wrong = append(wrong, propertyName(r.Name, at.Child("name"))...)
		if mistakes := PropertyRequirement(r, at); len(mistakes) > 0 {
			wrong = append(wrong, mistakes...)
			continue
		}
		if ranges[r.Name] == nil {
			ranges[r.Name] = &interval{}
		}
		value, _ := decode.Quantity(r.Values[0])
		if in := ranges[r.Name]; !in.empty {
			in.narrow(r.Operator, value)
			if in.empty {
				wrong = append(wrong, field.Invalid(at, fmt.Sprintf("%s %s %s", r.Name, r.Operator, r.Values[0]),
					"no value meets this and the requirements on the same property before it; change or remove one of them"))
			}
		}
	}
	return wrong
}

// interval is the values that meet several requirements on one property.
type interval struct {
	low, high         *resource.Quantity
	lowOpen, highOpen bool
	except            []resource.Quantity
	empty             bool
}

func (in *interval) narrow(operator v1beta1.PropertySelectorOperator, value resource.Quantity) {
	switch operator {
	case v1beta1.PropertySelectorOperatorNe:
		in.except = append(in.except, value)
	case v1beta1.PropertySelectorOperatorEq:
		in.above(value, false)
		in.below(value, false)
	case v1beta1.PropertySelectorOperatorGt, v1beta1.PropertySelectorOperatorGe:
		in.above(value, operator == v1beta1.PropertySelectorOperatorGt)
	case v1beta1.PropertySelectorOperatorLt, v1beta1.PropertySelectorOperatorLe:
		in.below(value, operator == v1beta1.PropertySelectorOperatorLt)
	}
	if in.low == nil || in.high == nil {
		return
	}
	switch order := in.low.Cmp(*in.high); {
	case order > 0, order == 0 && (in.lowOpen || in.highOpen):
		in.empty = true
	case order == 0:
		in.empty = slices.ContainsFunc(in.except, func(q resource.Quantity) bool { return q.Cmp(*in.low) == 0 })
	}
}

// above raises the lower end to value; open leaves value itself out.
func (in *interval) above(value resource.Quantity, open bool) {
	order := 1
	if in.low != nil {
		order = value.Cmp(*in.low)
	}
	switch {
	case order > 0:
		in.low, in.lowOpen = &value, open
	case order == 0:
		in.lowOpen = in.lowOpen || open
	}
}

// below lowers the upper end to value; open leaves value itself out.
func (in *interval) below(value resource.Quantity, open bool) {
	order := -1
	if in.high != nil {
		order = value.Cmp(*in.high)
	}
	switch {
	case order < 0:
		in.high, in.highOpen = &value, open
	case order == 0:
		in.highOpen = in.highOpen || open
	}
}
