package hublink

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// heard collects what patience reports.
type heard struct {
	mu   sync.Mutex
	said []string
}

func (h *heard) say(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.said) == 0 || h.said[len(h.said)-1] != why {
		h.said = append(h.said, why)
	}
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.said, " | ")
}

// scripted answers with one status code after the other, the last one for ever; 0 is a connection that fails.
func scripted(codes ...int) (http.RoundTripper, *int) {
	sent := 0
	return roundTripper(func(*http.Request) (*http.Response, error) {
		code := codes[min(sent, len(codes)-1)]
		sent++
		if code == 0 {
			return nil, errors.New("connection refused")
		}
		body := `{"kind":"Status","message":"you may not"}`
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body))}, nil
	}), &sent
}

func TestPatience(t *testing.T) {
	// Every wait ends at once.
	woken := make(chan struct{})
	close(woken)
	wake := func() <-chan struct{} { return woken }

	for name, tc := range map[string]struct {
		method string
		codes  []int
		access bool
		code   int // of the answer; 0: an error
		sent   int
		said   string
	}{
		"a read waits for the server":             {http.MethodGet, []int{0, 0, 200}, false, 200, 3, "connection refused | "},
		"a read waits while it is overloaded":     {http.MethodGet, []int{503, 200}, false, 200, 2, "answers Service Unavailable | "},
		"a read waits for better credentials":     {http.MethodGet, []int{401, 200}, false, 200, 2, "does not accept the credentials (Unauthorized): they have expired, or are for another cluster | "},
		"a read that is refused is told so":       {http.MethodGet, []int{403, 200}, false, 403, 1, ""},
		"unless it is to wait for access":         {http.MethodGet, []int{403, 200}, true, 200, 2, "you may not | "},
		"an error of the server itself is passed": {http.MethodGet, []int{500, 200}, false, 500, 1, ""},
		"a write is not repeated":                 {http.MethodPut, []int{0, 200}, false, 0, 1, "connection refused"},
		"nor with bad credentials":                {http.MethodPut, []int{401, 200}, false, 401, 1, "does not accept the credentials (Unauthorized): they have expired, or are for another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			var told heard
			next, sent := scripted(tc.codes...)
			request, err := http.NewRequestWithContext(t.Context(), tc.method, "http://hub", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := patience{trouble: told.say, woken: wake, forbiddenToo: tc.access}.wrap(next).RoundTrip(request)
			code := 0
			if err == nil {
				code = response.StatusCode
				response.Body.Close()
			}
			if code != tc.code || *sent != tc.sent || told.all() != tc.said {
				t.Errorf("answer %d after %d requests, said %q; want %d, %d, %q", code, *sent, told.all(), tc.code, tc.sent, tc.said)
			}
		})
	}
}

func TestPatienceEndsWithItsContext(t *testing.T) {
	next, _ := scripted(0)
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://hub", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := patience{trouble: func(string) { cancel() }}.wrap(next).RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want the context's", err)
	}
}

func TestPatienceMeetsAServerThatComesUp(t *testing.T) {
	address, err := testworld.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	var told heard
	client := http.Client{Transport: patience{trouble: told.say}.wrap(http.DefaultTransport)}
	reading := testworld.Go(t, "the read", func(context.Context) error {
		response, err := client.Get("http://" + address)
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	testworld.Await(t, testworld.Soon, "a word about a server that is not there", func(context.Context) error {
		if told.all() == "" {
			return errors.New("nothing is said")
		}
		return nil
	})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Listener.Close()
	if server.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer server.Close()
	if err := reading.Wait(); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper, header http.Header) (http.Header, error) {
	t.Helper()
	var got http.Header
	next := roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://hub", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header.Clone()
	response, err := wrap(next).RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	if request.Header.Get("Authorization") != "" {
		t.Error("the caller's request was changed")
	}
	return got, err
}

func TestTokenOfEveryRequestIsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	wrap := bearer(&fileTokens{path: path})
	write := func(token string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := send(t, wrap, http.Header{}); !errors.Is(err, errNoToken) || !strings.Contains(err.Error(), path) {
		t.Fatalf("without a file: error %v; want errNoToken that names it", err)
	}
	for i, step := range []struct{ token, want string }{
		{"one\n", "Bearer one"},
		{"two", "Bearer two"},
		{"", "Bearer two"}, // being rewritten
		{"six", "Bearer six"},
	} {
		write(step.token, time.Unix(int64(1000+i), 0))
		header, err := send(t, wrap, http.Header{})
		if err != nil || header.Get("Authorization") != step.want {
			t.Errorf("file holds %q: sent %q, error %v; want %q", step.token, header.Get("Authorization"), err, step.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if header, err := send(t, wrap, http.Header{}); err != nil || header.Get("Authorization") != "Bearer six" {
		t.Errorf("file is gone: sent %q, error %v; want the last token", header.Get("Authorization"), err)
	}
}

func TestSecretTokens(t *testing.T) {
	s := &secretTokens{name: types.NamespacedName{Namespace: "n", Name: "s"}, problem: "not read yet", changed: make(chan struct{})}
	changed := s.Changed()
	if _, err := s.Token(); !errors.Is(err, errNoToken) || !strings.Contains(err.Error(), "Secret n/s") {
		t.Errorf("error %v; want errNoToken that names the Secret", err)
	}
	s.set("one", "")
	select {
	case <-changed:
	default:
		t.Error("nobody was woken for the token")
	}
	s.set("", "does not exist")
	if token, err := s.Token(); token != "one" || err != nil {
		t.Errorf("after the Secret was deleted the token is %q (%v); want the last one", token, err)
	}
}

func TestHeadersNeverReplace(t *testing.T) {
	wrap := withHeaders(http.Header{"X-Tenant": {"a"}})
	if got, err := send(t, wrap, http.Header{}); err != nil || got.Get("X-Tenant") != "a" {
		t.Errorf("sent %v, error %v", got, err)
	}
	if _, err := send(t, wrap, http.Header{"X-Tenant": {"b"}}); err == nil || !strings.Contains(err.Error(), "HUB_KUBE_HEADER") {
		t.Errorf("error %v; want one that names the variable", err)
	}
}

func TestUnreachable(t *testing.T) {
	s := Settings{Server: "https://hub", Member: "m"}
	for name, tc := range map[string]struct {
		err  error
		want []string
	}{
		"an unknown authority":  {x509.UnknownAuthorityError{}, []string{"https://hub is not trusted", "HUB_CERTIFICATE_AUTHORITY", "CA_BUNDLE"}},
		"nothing there":         {errors.New("connection refused"), []string{"https://hub is unreachable: connection refused"}},
		"no token":              {errNoToken, []string{"no token"}},
		"another server's name": {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "hub"}, []string{"HUB_SERVER_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.unreachable(tc.err)
			for _, part := range tc.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q does not say %q", got, part)
				}
			}
		})
	}
}
