package hublink

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// patienceWait is how long a read that found no server waits before it retries. The readers of the hub are caches,
// which by themselves would back off for up to a minute and come back that much later than the hub.
const patienceWait = time.Second

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// bearer adds the newest token to every request.
func bearer(source tokens) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			token, err := source.Token()
			if err != nil {
				return nil, err
			}
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+token)
			return next.RoundTrip(r)
		})
	}
}

// withHeaders adds headers that a gateway before the hub requires. It never replaces one: an ambiguous request must
// not be sent.
func withHeaders(headers http.Header) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			for name, values := range headers {
				if _, taken := r.Header[name]; taken {
					return nil, fmt.Errorf("%s sets header %s, which the request already has: remove it from the variable", headerLines, name)
				}
				r.Header[name] = values
			}
			return next.RoundTrip(r)
		})
	}
}

// patience makes reads wait for their server. A GET that cannot reach it, or is temporarily refused, is sent again
// once a second, or as soon as woken is closed, until it gets an answer or its context ends. Writes are never
// repeated: their caller must read again first.
type patience struct {
	// trouble receives what reads wait for, and "" when they succeed again. It is called for every answer.
	trouble func(why string)
	// explain turns an error into a message for the user; nil: the error's text.
	explain func(error) string
	// woken ends a wait early; nil: nothing does.
	woken func() <-chan struct{}
	// forbiddenToo makes reads wait for access as well, not only for the server.
	forbiddenToo bool
}

func (p patience) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		for {
			var woken <-chan struct{}
			if p.woken != nil {
				woken = p.woken()
			}
			response, err := next.RoundTrip(r)
			why := p.waitFor(response, err)
			if r.Context().Err() != nil {
				return response, err
			}
			p.trouble(why)
			if why == "" || r.Method != http.MethodGet {
				return response, err
			}
			if response != nil {
				_ = response.Body.Close()
			}
			if !pause(r.Context(), patienceWait, woken) {
				return nil, r.Context().Err()
			}
		}
	})
}

// waitFor is "" for an answer to pass on, else what is wrong.
func (p patience) waitFor(response *http.Response, err error) string {
	if err != nil {
		if p.explain != nil {
			return p.explain(err)
		}
		return err.Error()
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "answers " + response.Status
	case http.StatusUnauthorized:
		return "does not accept the credentials (" + response.Status + "): they have expired, or are for another cluster"
	case http.StatusForbidden:
		if p.forbiddenToo {
			return message(response)
		}
	}
	return ""
}

// message is the API server's message in a response; its status if there is none.
func message(response *http.Response) string {
	const most = 1 << 16
	text, err := io.ReadAll(io.LimitReader(response.Body, most))
	var status metav1.Status
	if err != nil || decode.JSON(text, &status) != nil || status.Message == "" {
		return response.Status
	}
	return status.Message
}

// pause waits for d or until woken is closed, and reports whether ctx is still active.
func pause(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
