package verb

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// steps notes what is called, and fails at one of the steps.
type steps struct {
	called []string
	fails  string
}

var errStep = errors.New("no")

func (s *steps) step(name string) error {
	s.called = append(s.called, name)
	if name == s.fails {
		return errStep
	}
	return nil
}

func (s *steps) Complete(args []string) error { return s.step("complete " + args[0]) }
func (s *steps) Validate() error              { return s.step("validate") }
func (s *steps) Run(context.Context) error    { return s.step("run") }

func TestNothingRunsThatIsNotValid(t *testing.T) {
	for fails, want := range map[string][]string{
		"":             {"complete web", "validate", "run"},
		"complete web": {"complete web"},
		"validate":     {"complete web", "validate"},
		"run":          {"complete web", "validate", "run"},
	} {
		s := &steps{fails: fails}
		cmd := &cobra.Command{Use: "test", RunE: Run(s), SilenceErrors: true, SilenceUsage: true}
		cmd.SetArgs([]string{"web"})
		if err := cmd.ExecuteContext(t.Context()); errors.Is(err, errStep) != (fails != "") || !slices.Equal(s.called, want) {
			t.Errorf("fails at %q: called %q, error %v", fails, s.called, err)
		}
	}
}
