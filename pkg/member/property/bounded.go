package property

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/pkg/report"
)

const (
	// mostCalls is how many calls of a provider may run at the same time.
	mostCalls = 3
	// lateBy is how long after its deadline a provider may still return an incomplete inventory.
	lateBy = time.Second
)

var (
	errLate = errors.New("the property provider does not answer")
	errBusy = errors.New("earlier calls of the property provider have not returned")
)

// bounded is a Provider that returns in time, even if the wrapped one does not.
type bounded struct {
	Provider
	calls chan struct{}
}

func bound(p Provider) Provider { return &bounded{Provider: p, calls: make(chan struct{}, mostCalls)} }

// Collect calls the wrapped provider. The result of a call that times out is lost; the next call collects again.
func (b *bounded) Collect(ctx context.Context) (*report.Inventory, error) {
	select {
	case b.calls <- struct{}{}:
	default:
		return unknown(report.CollectionBusy(mostCalls)), errBusy
	}
	type answer struct {
		inventory *report.Inventory
		err       error
	}
	answered := make(chan answer, 1)
	go func() {
		inventory, err := b.Provider.Collect(ctx)
		<-b.calls
		answered <- answer{inventory, err}
	}()
	select {
	case a := <-answered:
		return a.inventory, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answered:
		return a.inventory, a.err
	case <-time.After(lateBy):
		return unknown(report.CollectionLate(errLate.Error())), errLate
	}
}

// unknown is the report if nothing is known.
func unknown(why metav1.Condition) *report.Inventory {
	return &report.Inventory{Partial: true, Conditions: []metav1.Condition{why}}
}
