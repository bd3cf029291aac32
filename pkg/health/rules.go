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
	// mostRule is how long a rule may be, in bytes: compiling costs time and memory too.
	mostRule = 4096
	// mostCost is what one answer may cost, in the units of CEL: about ten milliseconds of one core.
	mostCost = 100_000
	// mostRules is how many compiled rules are kept.
	mostRules = 256
)

// Rules evaluates rules. It keeps those it has compiled, because one rule usually judges many objects, many times.
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

// holds reports whether a rule is true of an object. The error is the rule's and quotes no more of the object than CEL does.
func (r *Rules) holds(rule string, object map[string]any) (bool, error) {
	program, err := r.program(rule)
	if err != nil {
		return false, err
	}
	out, _, err := program.Eval(map[string]any{"object": object})
	if err != nil {
		return false, fmt.Errorf("cannot be answered: %s", oneLine(err))
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
		return nil, fmt.Errorf("is not understood: %s", oneLine(err))
	}
	if kind := ast.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("is %s, and must be true or false", kind)
	}
	program, err := r.env.Program(ast, cel.CostLimit(mostCost), cel.InterruptCheckFrequency(0))
	if err != nil {
		return nil, fmt.Errorf("is not understood: %s", oneLine(err))
	}
	return program, nil
}

// oneLine is the first line of an error of CEL, which goes on with a drawing of the place.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(text, "ERROR: ")
}
