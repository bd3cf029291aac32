package property

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// stub is a Provider that answers when it is told to.
type stub struct {
	answer chan *report.Inventory
}

func (s *stub) Start(context.Context) error { return nil }
func (s *stub) Changes() <-chan struct{}    { return nil }
func (s *stub) Collect(context.Context) (*report.Inventory, error) {
	return <-s.answer, nil
}

func TestAProviderThatHangsHoldsNobodyUp(t *testing.T) {
	s := &stub{answer: make(chan *report.Inventory)}
	p := bound(s)
	collect := func(patience time.Duration) (*report.Inventory, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return p.Collect(ctx)
	}
	for i := range mostCalls {
		if got, err := collect(time.Millisecond); !errors.Is(err, errLate) || !got.Partial || got.Conditions[0].Reason != "TimedOut" {
			t.Errorf("call %d: %+v, %v", i, got, err)
		}
	}
	if got, err := collect(time.Minute); !errors.Is(err, errBusy) || !got.Partial || got.Conditions[0].Reason != "TooManyCalls" {
		t.Errorf("one call too many: %+v, %v", got, err)
	}
	// When they come back, there is room again.
	for range mostCalls {
		s.answer <- &report.Inventory{}
	}
	want := &report.Inventory{}
	go func() { s.answer <- want }()
	for end := time.Now().Add(time.Minute); ; {
		got, err := collect(time.Minute)
		if got == want && err == nil {
			return
		}
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			t.Fatal(fmt.Errorf("%+v, %w", got, err))
		}
		time.Sleep(time.Millisecond) // the calls that were given up are about to end
	}
}
