package property

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// stub is a Provider that answers on request.
type stub struct {
	answer chan *report.Inventory
}

func (s *stub) Start(context.Context) error { return nil }
func (s *stub) Changes() <-chan struct{}    { return nil }
func (s *stub) Collect(context.Context) (*report.Inventory, error) {
	return <-s.answer, nil
}

func TestHangingProviderDelaysNothing(t *testing.T) {
	s := &stub{answer: make(chan *report.Inventory)}
	p := bound(s)
	collect := func(patience time.Duration) (*report.Inventory, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience) //nolint:forbidigo // what is tested is what happens then
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
	// The calls that were given up are about to end.
	testworld.Await(t, testworld.Soon, "room", func(context.Context) error {
		got, err := collect(time.Minute)
		if err == nil && got != want {
			t.Fatalf("%+v", got)
		}
		return err
	})
}
