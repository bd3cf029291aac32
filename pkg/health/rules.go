package health

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"k8s.io/utils/lru"
)

const (
	// mostRule is the maximal length of a rule in bytes: compiling takes time and memory.
	mostRule = 4096
	// mostCost is the maximal cost of one evaluation, in the units of CEL: about ten milliseconds of one core.
	mostCost = 100_000
	// mostRules is the number of compiled rules in the cache.
	mostRules = 256
)

// Rules evaluates rules. It caches compiled ones, because one rule is usually evaluated for many objects, many times.
type Rules struct {
	env      *cel.Env
	compiled *lru.Cache // of compiled, by text
}

type compiled struct {
	program cel.Program
	err     error
}

// NewRules returns an empty set of rules.
func NewRules() (*Rules, error) {
	env, err := cel.NewEnv(
		cel.Variable("object", cel.DynType),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		ext.Strings(), ext.Sets(), ext.Lists(), ext.Math(),
	)
	if err != nil {
		return nil, fmt.Errorf("set up rules: %w", err)
	}
	return &Rules{env: env, compiled: lru.New(mostRules)}, nil
}

// holds reports whether a rule is true for an object. The error is about the rule and quotes no more of the object
// than CEL does.
func (r *Rules) holds(rule string, object map[string]any) (bool, error) {
	program, err := r.program(rule)
	if err != nil {
		return false, err
	}
	out, _, err := program.Eval(map[string]any{"object": object})
	if err != nil {
		return false, fmt.Errorf("cannot be evaluated: %s", oneLine(err))
	}
	yes, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("is %s, and must be true or false", out.Type().TypeName())
	}
	return bool(yes), nil
}

func (r *Rules) program(rule string) (cel.Program, error) {
	if known, ok := r.compiled.Get(rule); ok {
		if c, ok := known.(compiled); ok {
			return c.program, c.err
		}
	}
	program, err := r.compile(rule)
	if len(rule) <= mostRule {
		r.compiled.Add(rule, compiled{program, err})
	}
	return program, err
}

func (r *Rules) compile(rule string) (cel.Program, error) {
	if len(rule) > mostRule {
		return nil, fmt.Errorf("is %d bytes long, and may be %d", len(rule), mostRule)
	}
	ast, issues := r.env.Compile(rule)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("does not compile: %s", oneLine(err))
	}
	if kind := ast.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("is %s, and must be true or false", kind)
	}
	program, err := r.env.Program(ast, cel.CostLimit(mostCost), cel.InterruptCheckFrequency(0))
	if err != nil {
		return nil, fmt.Errorf("does not compile: %s", oneLine(err))
	}
	return program, nil
}

// oneLine is the first line of an error of CEL; the following lines show the position.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(text, "ERROR: ")
}
