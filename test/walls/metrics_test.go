package walls

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Metrics name what is placed: they are for those who may read them on the agent's own cluster, not for all who reach
// its port.
func TestMetricsAreForThoseWhoMayReadThem(t *testing.T) {
	t.Parallel()
	for _, name := range append(local.Members(), local.Hub()) {
		for who, try := range map[string]struct{ token, answer string }{
			"without a token":     {"", "401"},
			"with a forged token": {"forged", "500"}, // it could not be authenticated, which the filter takes for a fault
		} {
			if body, err := local.MetricsAs(t.Context(), name, try.token); err == nil || !strings.Contains(err.Error(), try.answer) {
				t.Errorf("%s, the agent of %s answers %.100q, error %v; want %s", who, name, body, err, try.answer)
			}
		}
		testworld.Await(t, testworld.Soon, "metrics of "+name, func(ctx context.Context) error {
			body, err := local.Metrics(ctx, name)
			if err == nil && !strings.Contains(body, "rest_client_requests_total") {
				err = errors.New("they do not count requests")
			}
			return err
		})
	}
	for _, who := range []actor{m1.onHub, theTenant.actor} {
		if _, err := local.MetricsAs(t.Context(), local.Hub(), who.config.BearerToken); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s, at the hub agent: %v; want 403", who.name, err)
		}
	}
}
