package loop

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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

func TestRangesNameTheFlag(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"inside":               {err: Between("resync-period", 2*time.Hour, time.Hour, 12*time.Hour)},
		"below":                {err: Between("resync-period", time.Second, time.Hour, 12*time.Hour), want: "--resync-period is 1s; it must be between 1h0m0s and 12h0m0s"},
		"above":                {err: Between("max-fleet-size", 201, 30, 200), want: "--max-fleet-size is 201; it must be between 30 and 200"},
		"no throttle":          {err: Throttle("qps", -1, 10, "burst", 0, 10)},
		"burst less than rate": {err: Throttle("qps", 100, 1000, "burst", 50, 1000), want: "--burst is 50; it must not be less than --qps, which is 100"},
		"rate of zero":         {err: Throttle("qps", 0, 1000, "burst", 50, 1000), want: "--qps is 0; it must be between 10 and 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if tc.err != nil {
				got = tc.err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
