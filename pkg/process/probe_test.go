package process

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func TestProbesSayWhatIsWaitedFor(t *testing.T) {
	var gates Gates
	gates.Close("crds", "works is not established")
	gates.Close("hub", "no answer")
	addr, err := testworld.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if err := ServeProbes(t.Context(), addr, &gates); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz is %d while waiting; want alive", code)
	}
	if code, said := get("/readyz"); code != http.StatusServiceUnavailable || said != "waiting for crds: works is not established; hub: no answer" {
		t.Errorf("/readyz is %d, %q", code, said)
	}
	gates.Open("crds")
	gates.Open("hub")
	if code, said := get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz is %d, %q with nothing to wait for", code, said)
	}
	if err := ServeProbes(t.Context(), addr, &gates); err == nil || !strings.Contains(err.Error(), "health-probe-bind-address") {
		t.Errorf("a taken address gives %v; want an error that names the flag", err)
	}
}
