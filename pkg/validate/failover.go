package validate

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// failoverState checks what a placement takes along when it leaves a cluster.
func failoverState(f *v1beta1.Failover, path *field.Path) (wrong field.ErrorList) {
	if f == nil {
		return nil
	}
	for i, rule := range f.State {
		wrong = append(wrong, StateRule(rule, path.Child("state").Index(i))...)
	}
	duplicates(f.State, func(rule v1beta1.FailoverState) v1beta1.FailoverState { return rule }, func(i int) {
		wrong = append(wrong, field.Duplicate(path.Child("state").Index(i), f.State[i].JSONPath))
	})
	return wrong
}

// StateRule returns what is wrong with one value that a placement takes along.
func StateRule(rule v1beta1.FailoverState, path *field.Path) (wrong field.ErrorList) {
	if rule.Kind == "" {
		wrong = append(wrong, field.Required(path.Child("kind"), "name the kind of the object"))
	}
	if err := statePath(rule.JSONPath); err != nil {
		wrong = append(wrong, field.Invalid(path.Child("jsonPath"), rule.JSONPath, err.Error()))
	}
	at := path.Child("annotation")
	for _, problem := range validation.IsQualifiedName(strings.ToLower(rule.Annotation)) {
		wrong = append(wrong, field.Invalid(at, rule.Annotation, problem))
	}
	if domain, _, ok := strings.Cut(rule.Annotation, "/"); ok && reservedDomain(domain) {
		wrong = append(wrong, field.Invalid(at, rule.Annotation, "kubernetes.io, k8s.io and kubernetes-fleet.io are reserved; use a domain of your own"))
	}
	return wrong
}

// reservedDomain reports whether keys of a domain belong to Kubernetes or to the fleet.
func reservedDomain(domain string) bool {
	for _, reserved := range []string{"kubernetes.io", "k8s.io", "kubernetes-fleet.io"} {
		if domain == reserved || strings.HasSuffix(domain, "."+reserved) {
			return true
		}
	}
	return false
}

// mostPath is the longest path, as the schema has it.
const mostPath = 256

// statePath returns why a path to a value in a status cannot be used, and what to write instead. An accepted path
// visits each part of a status at most once for each step, apart from the fields that a filter compares: the status is
// from a member, which could make other paths as costly as it likes.
func statePath(path string) error {
	switch {
	case len(path) > mostPath:
		return fmt.Errorf("it has more than %d bytes; shorten it", mostPath)
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		return errors.New("it has a control character; remove it")
	}
	parsed, err := parsePath(path)
	if err != nil {
		return err
	}
	if len(parsed.Nodes) != 1 {
		return errors.New("it must be one path without braces, such as .status.checkpoint")
	}
	list, ok := parsed.Nodes[0].(*jsonpath.ListNode)
	if !ok || len(list.Nodes) < 2 {
		return errors.New("it must name a value in the status, such as .status.checkpoint")
	}
	if first, ok := list.Nodes[0].(*jsonpath.FieldNode); !ok || first.Value != "status" {
		return errors.New("it must begin with .status, because the hub knows only the status of objects on members")
	}
	for _, node := range list.Nodes {
		if err := pathStep(node); err != nil {
			return err
		}
	}
	return nil
}

func parsePath(path string) (root *jsonpath.ListNode, err error) {
	defer func() { // the parser is not made for any text
		if recover() != nil {
			root, err = nil, errors.New("it is no JSONPath; see the documentation of kubectl")
		}
	}()
	parser, err := jsonpath.Parse("jsonPath", "{"+path+"}")
	if err != nil {
		return nil, fmt.Errorf("it is no JSONPath: %w; write it as for \"kubectl get -o jsonpath\", without braces", err)
	}
	return parser.Root, nil
}

func pathStep(node jsonpath.Node) error {
	switch n := node.(type) {
	case *jsonpath.FieldNode:
		return pathField(n)
	case *jsonpath.ArrayNode, *jsonpath.WildcardNode:
		return nil
	case *jsonpath.FilterNode:
		return errors.Join(filterOperator(n.Operator), operand(n.Left), operand(n.Right))
	case *jsonpath.RecursiveNode:
		return errors.New("it must not search with \"..\"; write all fields on the way to the value")
	case *jsonpath.UnionNode:
		return errors.New("it must not list several fields or indexes in brackets; use one entry of state for each value")
	}
	return errors.New("it must consist of fields, indexes and filters, such as .status.conditions[?(@.type==\"Saved\")].message")
}

func pathField(n *jsonpath.FieldNode) error {
	if n.Value == "" {
		return errors.New("it has a field without a name; remove the dot, or write the name after it")
	}
	return nil
}

func filterOperator(operator string) error {
	switch operator {
	case "==", "!=", "<", "<=", ">", ">=", "exists":
		return nil
	}
	return fmt.Errorf("it compares with %q; use ==, !=, <, <=, > or >=", operator)
}

// operand checks one side of a filter: a constant, or fields of the element.
func operand(list *jsonpath.ListNode) error {
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *jsonpath.FieldNode:
			if err := pathField(n); err != nil {
				return err
			}
		case *jsonpath.TextNode, *jsonpath.IntNode, *jsonpath.FloatNode, *jsonpath.BoolNode:
		default:
			return errors.New("its filter must compare a field of each element, such as @.type, with a text, a number, true or false")
		}
	}
	return nil
}
