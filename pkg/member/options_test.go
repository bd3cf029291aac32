package member

import (
	"flag"
	"io"
	"strings"
	"testing"
)

func parse(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	var o Options
	fs := flag.NewFlagSet("memberagent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return &o, o.Validate()
}

// The flags that manifests in the field may use, with the values they have when they are not used.
func TestFlagsAndTheirDefaults(t *testing.T) {
	var o Options
	fs := flag.NewFlagSet("memberagent", flag.ContinueOnError)
	o.AddFlags(fs)
	for name, value := range map[string]string{
		"use-ca-auth": "false", "tls-insecure": "false",
		"hub-health-probe-bind-address": ":8081", "hub-metrics-bind-address": ":8080", "hub-pprof-port": "6066",
		"hub-api-qps": "50", "hub-api-burst": "500",
		"health-probe-bind-address": ":8091", "metrics-bind-address": ":8090", "pprof-port": "6065",
		"member-api-qps": "250", "member-api-burst": "1000", "enable-pprof": "false",
		"leader-elect": "false", "leader-lease-duration": "15s", "leader-renew-deadline": "10s", "leader-retry-period": "2s",
		"leader-election-namespace": "kube-system", "deletion-wait-time": "5",
		"removal-max": "", "removal-protect": "", "removal-window": "1h0m0s",
		"enable-work-applier-priority-queue": "false", "work-applier-priority-linear-equation-coeff-a": "-3",
		"work-applier-priority-linear-equation-coeff-b":                                                   "100",
		"work-applier-requeue-rate-limiter-attempts-with-fixed-delay":                                     "1",
		"work-applier-requeue-rate-limiter-fixed-delay-seconds":                                           "5",
		"work-applier-requeue-rate-limiter-exponential-base-for-slow-backoff":                             "1.2",
		"work-applier-requeue-rate-limiter-initial-slow-backoff-delay-seconds":                            "2",
		"work-applier-requeue-rate-limiter-max-slow-backoff-delay-seconds":                                "15",
		"work-applier-requeue-rate-limiter-exponential-base-for-fast-backoff":                             "1.5",
		"work-applier-requeue-rate-limiter-max-fast-backoff-delay-seconds":                                "900",
		"work-applier-requeue-rate-limiter-skip-to-fast-backoff-for-available-or-diff-reported-work-objs": "true",
		"property-provider": "none", "region": "", "cloud-config": "/etc/kubernetes/provider/config.json",
		"use-cost-properties-in-azure-provider": "true", "use-available-res-properties-in-azure-provider": "true",
		"enable-namespace-collection-in-property-provider": "false", "enable-v1beta1-apis": "true",
	} {
		if f := fs.Lookup(name); f == nil {
			t.Errorf("there is no --%s", name)
		} else if f.DefValue != value {
			t.Errorf("--%s is %q by default; want %q", name, f.DefValue, value)
		}
	}
	if err := o.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestValidate(t *testing.T) {
	const limiter = "work-applier-requeue-rate-limiter-"
	for name, tc := range map[string]struct {
		args  []string
		wrong []string
	}{
		"no limit to the hub":               {args: []string{"--hub-api-qps=-1", "--hub-api-burst=0"}},
		"an unknown property provider":      {args: []string{"--property-provider=azure"}},
		"a burst below the rate":            {[]string{"--hub-api-qps=100", "--hub-api-burst=50"}, []string{"--hub-api-burst is 50", "--hub-api-qps"}},
		"too much to the hub":               {[]string{"--hub-api-qps=5000", "--hub-api-burst=5000"}, []string{"--hub-api-qps", "--hub-api-burst"}},
		"more is possible to the member":    {args: []string{"--member-api-qps=5000", "--member-api-burst=20000"}},
		"more than everything":              {[]string{"--removal-max=101%"}, []string{`--removal-max, --removal-protect: "101%" is neither a number`}},
		"a window of a second":              {[]string{"--removal-window=1s"}, []string{"--removal-window is 1s; it must be between 1m0s and 168h0m0s"}},
		"a wait of nothing":                 {[]string{"--deletion-wait-time=0"}, []string{"--deletion-wait-time is 0; it must be between 1 and 60"}},
		"an obsolete flag is still checked": {[]string{"--" + limiter + "fixed-delay-seconds=1"}, []string{"fixed-delay-seconds is 1"}},
		"delays in the wrong order": {[]string{"--" + limiter + "initial-slow-backoff-delay-seconds=20", "--" + limiter + "max-fast-backoff-delay-seconds=10"},
			[]string{"max-slow-backoff-delay-seconds is 15", "max-fast-backoff-delay-seconds is 10"}},
		"a fast base below the slow one": {[]string{"--" + limiter + "exponential-base-for-fast-backoff=1.1"}, []string{"must not be less than the slow one"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tc.args...)
			if (err != nil) != (tc.wrong != nil) {
				t.Fatalf("error %v; want one: %v", err, tc.wrong != nil)
			}
			for _, part := range tc.wrong {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}
