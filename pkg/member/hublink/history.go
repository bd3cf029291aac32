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

// history keeps a hub that was away from being taken for what it was before. It may come back from a backup, with older versions than
// were seen: a watch that went on from there would wait for them to be reached again, and never hear of what is different. So after the
// hub was away no watch goes on; it is told that its version has expired, and what is there is read anew.
type history struct {
	mu sync.Mutex
	// breaks is how often the hub was found to be away.
	breaks int
}

// broke notes that the hub is away.
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
	listed := map[string]int{} // by path: the breaks before it was last read as a whole
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
			if err == nil && h.now() != before { // it was away while this request waited
				_ = response.Body.Close()
				return expired(r)
			}
			return response, err
		})
	}
}

// newest is r without a version that the answer must have reached: the hub may be behind it.
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

// expired is the answer to a watch that must not go on.
func expired(r *http.Request) (*http.Response, error) {
	status := apierrors.NewResourceExpired("the hub was away, and may have come back with an older state").ErrStatus
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
