package hublink

import (
	"net/http"
	"testing"
)

// After an outage of the hub a watch does not continue from its last version: everything is listed anew, without a
// version that the hub may not have.
func TestNoWatchResumesAfterAnOutage(t *testing.T) {
	const works, others = "http://hub/works", "http://hub/others"
	var h history
	var asked []string
	during := func() {}
	hub := h.reader()(roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.RawQuery)
		during()
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	want := func(url string, code int, query string) {
		t.Helper()
		asked = nil
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := hub.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != code || code == http.StatusOK && asked[0] != query || code != http.StatusOK && query == "" && len(asked) > 0 {
			t.Errorf("%s: answer %d after asking for %q; want %d and %q", url, response.StatusCode, asked, code, query)
		}
	}
	const onward = "?resourceVersion=70&watch=true"
	want(works+"?resourceVersion=0", http.StatusOK, "resourceVersion=0")
	want(others+"?sendInitialEvents=true&watch=true", http.StatusOK, "sendInitialEvents=true&watch=true")
	want(works+onward, http.StatusOK, onward[1:])
	want(others+onward, http.StatusOK, onward[1:])

	h.broke()
	want(works+onward, http.StatusGone, "")
	want(others+onward, http.StatusGone, "")
	want(works+"?resourceVersion=70&resourceVersionMatch=NotOlderThan", http.StatusOK, "")
	want(works+onward, http.StatusOK, onward[1:])
	want(others+onward, http.StatusGone, "")
	want(others+"?resourceVersion=70&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true", http.StatusOK,
		"resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true")
	want(others+onward, http.StatusOK, onward[1:])

	// It goes away while a request is under way: what comes after counts.
	during = h.broke
	want(works+onward, http.StatusGone, onward[1:])
	want(works+"?limit=500", http.StatusOK, "limit=500")
	during = func() {}
	want(works+onward, http.StatusGone, "")
}
