package hub

import (
	"flag"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string // parts of the error; none: valid
	}{
		"defaults are valid": {},
		"existing manifests start": {args: []string{"--enable-webhook=true", "--webhook-service-name=x", "--whitelisted-users=a",
			"--rate-limiter-qps=20", "--use-cert-manager", "--enable-workload", "--cluster-unhealthy-threshold=3m", "--work-pending-grace-period=1h"}},
		"every wrong value is named": {
			args: []string{"--hub-api-qps=5", "--force-delete-wait-time=1s", "--max-fleet-size=1000"},
			want: []string{"--hub-api-qps is 5", "--force-delete-wait-time is 1s; it must be between 30s and 1h0m0s", "--max-fleet-size is 1000"},
		},
		"lists of APIs exclude each other": {
			args: []string{"--skipped-propagating-apis=a", "--allowed-propagating-apis=b"},
			want: []string{"--skipped-propagating-apis and --allowed-propagating-apis exclude each other"},
		},
		"no throttle":                  {args: []string{"--hub-api-qps=-1"}},
		"the stored version is served": {args: []string{"--enable-v1beta1-apis=false"}, want: []string{"--enable-v1beta1-apis"}},
	} {
		t.Run(name, func(t *testing.T) {
			var o Options
			fs := flag.NewFlagSet("hubagent", flag.ContinueOnError)
			o.AddFlags(fs)
			if err := fs.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			err := o.Validate()
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("error %v; want %v", err, tc.want)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}
