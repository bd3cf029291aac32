package hublink

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// history detects that the hub may have gone back in time. After an outage it may have been restored from a backup,
// with older versions than the agent has seen: a watch that continued from a newer version would wait until the hub
// reaches it again and miss all changes until then. So after an outage no watch continues; it gets the answer that its
// version has expired, and the objects are listed anew.
type history struct {
	mu sync.Mutex
	// breaks is how often the hub was found unreachable.
	breaks int
}

// broke records that the hub is unreachable.
func (h *history) broke() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.breaks++
}

func (h *history) now() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.breaks
}

// reader returns a wrapper for the requests of one reader: one set of caches.
func (h *history) reader() func(http.RoundTripper) http.RoundTripper {
	var mu sync.Mutex
	listed := map[string]int{} // by path: the breaks before it was last listed
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			query := r.URL.Query()
			before := h.now()
			switch {
			case r.Method != http.MethodGet:
				return next.RoundTrip(r)
			case query.Get("watch") == "" || query.Get("sendInitialEvents") != "":
				response, err := next.RoundTrip(newest(r, query))
				if err == nil && response.StatusCode == http.StatusOK {
					mu.Lock()
					listed[r.URL.Path] = before
					mu.Unlock()
				}
				return response, err
			}
			mu.Lock()
			known := listed[r.URL.Path]
			mu.Unlock()
			if known != before {
				return expired(r)
			}
			response, err := next.RoundTrip(r)
			if err == nil && h.now() != before { // the hub was unreachable while this request waited
				_ = response.Body.Close()
				return expired(r)
			}
			return response, err
		})
	}
}

// newest is r without a minimal version for the answer: the hub may be behind it.
func newest(r *http.Request, query url.Values) *http.Request {
	if version := query.Get("resourceVersion"); version == "" || version == "0" {
		return r
	}
	query.Del("resourceVersion")
	if query.Get("sendInitialEvents") == "" {
		query.Del("resourceVersionMatch")
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = query.Encode()
	return r
}

// expired is the answer to a watch that must not continue.
func expired(r *http.Request) (*http.Response, error) {
	status := apierrors.NewResourceExpired("the hub was unreachable, and may have been restored to an older state").ErrStatus
	status.Kind, status.APIVersion = "Status", "v1"
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(http.StatusGone), StatusCode: http.StatusGone, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)), Request: r,
	}, nil
}
