package hub

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
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
		"a webhook is reached by url or service, in any case": {args: []string{"--webhook-client-connection-type=Service"}},
		"an empty way to a webhook is url":                    {args: []string{"--webhook-client-connection-type="}},
		"another way to a webhook": {
			args: []string{"--webhook-client-connection-type=dns"},
			want: []string{`--webhook-client-connection-type is "dns"; it must be url or service`},
		},
		"webhooks need a service": {
			args: []string{"--enable-webhook", "--webhook-service-name="}, want: []string{"--webhook-service-name is empty"},
		},
		"no webhooks need no service": {args: []string{"--enable-webhook=false", "--webhook-service-name=", "--webhook-port=0"}},
		"webhooks have a port": {
			args: []string{"--enable-webhook", "--webhook-port=65536"}, want: []string{"--webhook-port is 65536; it must be between 1 and 65535"},
		},
		"an address of webhooks": {args: []string{"--webhook-url=https://hub.example:30443/fleet"}},
		"an address without TLS": {
			args: []string{"--webhook-url=http://hub.example"}, want: []string{`--webhook-url is "http://hub.example"; it must have the form https://`},
		},
		"an address with a query": {
			args: []string{"--webhook-url=https://hub.example?a=b"}, want: []string{"--webhook-url is"},
		},
		"an address beside a service": {
			args: []string{"--webhook-url=https://hub.example", "--webhook-client-connection-type=service"},
			want: []string{"--webhook-url has a meaning only with --webhook-client-connection-type=url"},
		},
		"cert-manager runs on the hub": {
			args: []string{"--use-cert-manager"}, want: []string{"--use-cert-manager needs --enable-workload"},
		},
		"a removal policy": {args: []string{"--removal-max=20%", "--removal-protect=Namespace,CustomResourceDefinition.apiextensions.k8s.io"}},
		"a removal policy that is none": {
			args: []string{"--removal-max=many"}, want: []string{`--removal-max, --removal-protect: "many" is neither a number`},
		},
		"a domain that can fail":  {args: []string{"--failover-domain-label=example.org/site"}},
		"no domain that can fail": {args: []string{"--failover-domain-label="}},
		"a label that cannot exist": {
			args: []string{"--failover-domain-label=a/b/c"}, want: []string{`--failover-domain-label is "a/b/c"; it must be the key of a label`},
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

// parsed are the options of valid flags.
func parsed(t *testing.T, args ...string) *Options {
	t.Helper()
	var o Options
	fs := flag.NewFlagSet("hubagent", flag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return &o
}

func TestWebhookOptions(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "fleet-hub")
	for name, c := range map[string]struct {
		args  []string
		want  webhook.Options
		hosts []string
	}{
		"defaults": {
			nil,
			webhook.Options{PodDisruptionBudgets: true, Client: webhook.Client{
				URL: "https://fleetwebhook.fleet-hub.svc.cluster.local:9443", Namespace: "fleet-hub", Service: "fleetwebhook", Port: 9443,
			}},
			[]string{"fleetwebhook.fleet-hub.svc", "fleetwebhook.fleet-hub.svc.cluster.local"},
		},
		"a service, whose port is not the agent's": {
			[]string{
				"--webhook-client-connection-type=service", "--webhook-service-name=hooks", "--webhook-port=10250", "--enable-guard-rail",
				"--enable-pdbs=false", "--networking-agents-enabled",
			},
			webhook.Options{GuardRail: true, Networking: true, Client: webhook.Client{Namespace: "fleet-hub", Service: "hooks", Port: 9443}},
			[]string{"hooks.fleet-hub.svc", "hooks.fleet-hub.svc.cluster.local"},
		},
		"pods and replica sets of users": {
			[]string{"--deny-workloads=false"},
			webhook.Options{Workloads: true, PodDisruptionBudgets: true, Client: webhook.Client{
				URL: "https://fleetwebhook.fleet-hub.svc.cluster.local:9443", Namespace: "fleet-hub", Service: "fleetwebhook", Port: 9443,
			}},
			[]string{"fleetwebhook.fleet-hub.svc", "fleetwebhook.fleet-hub.svc.cluster.local"},
		},
		"an address": {
			[]string{"--webhook-url=https://203.0.113.7:30443/fleet/"},
			webhook.Options{PodDisruptionBudgets: true, Client: webhook.Client{
				URL: "https://203.0.113.7:30443/fleet", Namespace: "fleet-hub", Service: "fleetwebhook", Port: 9443,
			}},
			[]string{"fleetwebhook.fleet-hub.svc", "fleetwebhook.fleet-hub.svc.cluster.local", "203.0.113.7"},
		},
		"cert-manager": {
			[]string{"--use-cert-manager", "--enable-workload", "--webhook-client-connection-type=service"},
			webhook.Options{
				Workloads: true, PodDisruptionBudgets: true, InjectFrom: "fleet-hub/fleet-webhook-certificate",
				Client: webhook.Client{Namespace: "fleet-hub", Service: "fleetwebhook", Port: 9443},
			},
			[]string{"fleetwebhook.fleet-hub.svc", "fleetwebhook.fleet-hub.svc.cluster.local"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := parsed(t, c.args...)
			if diff := cmp.Diff(c.want, o.webhooks()); diff != "" {
				t.Errorf("webhooks (-want +got):\n%s", diff)
			}
			if hosts := o.webhookHosts(); !slices.Equal(hosts, c.hosts) {
				t.Errorf("hosts %q, want %q", hosts, c.hosts)
			}
		})
	}
}

func TestWebhooksAreServedIfAFlagTurnsThemOn(t *testing.T) {
	if parsed(t).Webhook || !parsed(t, "--enable-webhook=true").Webhook {
		t.Error("the default or the flag has no effect")
	}
}

func TestAdmins(t *testing.T) {
	for flags, want := range map[string]sets.Set[string]{
		"": {}, " , ": {}, "ada, system:serviceaccount:fleet-system:hub-agent-sa,": sets.New("ada", "system:serviceaccount:fleet-system:hub-agent-sa"),
	} {
		if got := parsed(t, "--whitelisted-users="+flags).admins(); !got.Equal(want) {
			t.Errorf("%q are %v, want %v", flags, got, want)
		}
	}
}
