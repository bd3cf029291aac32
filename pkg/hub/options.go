package hub

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/flagship-fleet/flagship/pkg/admission/policy"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// Options are the hub agent's flags. Names, defaults and ranges are part of the contract with existing charts.
type Options struct {
	ProbeAddress, MetricsAddress string
	MetricsSecure                bool
	Pprof                        bool
	PprofPort                    int

	QPS    float64
	Burst  int
	Resync time.Duration

	LeaderElect                             bool
	LeaseDuration, RenewDeadline, RetryWait time.Duration
	LeaderNamespace                         string
	LeaderQPS                               float64
	LeaderBurst                             int

	ForceDeleteWait     time.Duration
	ResourcePlacement   bool
	SkippedAPIs         string
	AllowedAPIs         string
	SkippedNamespaces   string
	Workload            bool
	ResourceChangeSyncs int
	FleetSize           int
	Placements          int
	SnapshotInterval    time.Duration
	SnapshotCollection  time.Duration
	NetworkingAgents    bool
	StagedRuns          bool
	Evictions           bool

	// Inventory is whether ClusterProfiles are written, and Silence the age of a heartbeat from which they report its
	// agent as lost.
	Inventory bool
	Silence   time.Duration

	// AdmissionPolicies is whether admission policies are written at start, and AdmissionPolicyConfig the file that
	// configures them.
	AdmissionPolicies     bool
	AdmissionPolicyConfig string

	later later
}

// later are flags without an effect in this release. They are accepted, so that existing manifests start; Run logs
// those whose value requests a capability that is missing.
type later struct {
	webhook, guardRail, certManager, denyLabels, v1beta1, pdbs bool
	webhookConnection, webhookService, whitelist               string
	pending, baseDelay, maxDelay                               time.Duration
	limiterQPS, limiterBucket                                  int
}

// AddFlags declares every flag on fs.
func (o *Options) AddFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 disables them")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "address of /metrics; 0 disables it")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", true, process.MetricsSecureUsage)
	fs.BoolVar(&o.Pprof, "enable-pprof", false, "serve Go profiles on localhost")
	fs.IntVar(&o.PprofPort, "pprof-port", 6065, "port of the Go profiles")

	fs.Float64Var(&o.QPS, "hub-api-qps", 250, "requests per second to the hub, 10 to 10000; negative: no limit")
	fs.IntVar(&o.Burst, "hub-api-burst", 1000, "burst of requests to the hub, 10 to 20000, not less than --hub-api-qps")
	fs.DurationVar(&o.Resync, "resync-period", 6*time.Hour, "resync period of caches, 1h to 12h; no feature depends on it")

	fs.BoolVar(&o.LeaderElect, "leader-elect", false, "elect a leader, so that only one of several replicas is active")
	fs.DurationVar(&o.LeaseDuration, "leader-lease-duration", 60*time.Second, "lease duration; a standby takes over after this time if the leader crashes (a clean shutdown releases the lease)")
	fs.DurationVar(&o.RenewDeadline, "leader-renew-deadline", 45*time.Second, "how long a leader retries to renew its lease before it stops leading")
	fs.DurationVar(&o.RetryWait, "leader-retry-period", 5*time.Second, "time between attempts to acquire or renew the lease")
	fs.StringVar(&o.LeaderNamespace, "leader-election-namespace", contract.NamespaceSystem, "namespace of the lease")
	fs.Float64Var(&o.LeaderQPS, "leader-election-qps", 250, "requests per second for the lease, 10 to 1000; zero or negative: no limit")
	fs.IntVar(&o.LeaderBurst, "leader-election-burst", 1000, "burst of requests for the lease, 10 to 2000")

	fs.DurationVar(&o.ForceDeleteWait, "force-delete-wait-time", 15*time.Minute, "how long a deleted MemberCluster waits for its agent before the hub agent cleans up without it, 30s to 1h")
	fs.BoolVar(&o.ResourcePlacement, "enable-resource-placement", true, "serve namespaced ResourcePlacements")
	fs.StringVar(&o.SkippedAPIs, "skipped-propagating-apis", "", "APIs that are never placed, in addition to the built-in list; separated by ';': group, group/version, group/version/Kind,Kind, v1/Kind; not with --allowed-propagating-apis")
	fs.StringVar(&o.AllowedAPIs, "allowed-propagating-apis", "", "the only APIs that are placed, in the same form; replaces the built-in list of skipped APIs")
	fs.StringVar(&o.SkippedNamespaces, "skipped-propagating-namespaces", "", "namespaces that are never placed, in addition to default, fleet-* and kube-*; separated by ';' or ','")
	fs.BoolVar(&o.Workload, "enable-workload", false, "the hub runs its own workloads: volume claims on it are not placed")
	fs.IntVar(&o.ResourceChangeSyncs, "concurrent-resource-change-syncs", 20, "workers for changed objects, 1 to 100")
	fs.IntVar(&o.FleetSize, "max-fleet-size", 100, "expected number of members, 30 to 200; sizes worker pools only")
	fs.IntVar(&o.Placements, "max-concurrent-cluster-placement", 100, "expected number of placements that change at the same time, 10 to 200; sizes worker pools only")
	fs.DurationVar(&o.SnapshotInterval, "resource-snapshot-creation-minimum-interval", 30*time.Second, "upper bound of the time between two snapshots of one placement, 0 to 5m; the first change after a quiet period is not delayed")
	fs.DurationVar(&o.SnapshotCollection, "resource-changes-collection-duration", 15*time.Second, "upper bound of the time for which changes are collected into one snapshot, 0 to 1m; the first change after a quiet period is not delayed")
	fs.BoolVar(&o.NetworkingAgents, "networking-agents-enabled", false, "expect the two networking agents on every member, in addition to the member agent")
	fs.BoolVar(&o.Evictions, "enable-eviction-apis", true, "carry out evictions, within disruption budgets")
	fs.BoolVar(&o.StagedRuns, "enable-staged-update-run-apis", true, "carry out staged update runs")

	l := &o.later
	fs.BoolVar(&l.webhook, "enable-webhook", false, "no effect: this release serves no admission webhooks")
	fs.StringVar(&l.webhookConnection, "webhook-client-connection-type", "url", "no effect; see --enable-webhook")
	fs.StringVar(&l.webhookService, "webhook-service-name", "fleetwebhook", "no effect; see --enable-webhook")
	fs.BoolVar(&l.guardRail, "enable-guard-rail", false, "no effect; see --enable-webhook")
	fs.StringVar(&l.whitelist, "whitelisted-users", "", "no effect; see --enable-webhook")
	fs.BoolVar(&l.denyLabels, "deny-modify-member-cluster-labels", false, "no effect; see --enable-webhook")
	fs.BoolVar(&l.certManager, "use-cert-manager", false, "no effect; see --enable-webhook")
	fs.BoolVar(&l.pdbs, "enable-pdbs", true, "no effect; see --enable-webhook")
	fs.BoolVar(&o.AdmissionPolicies, "enable-admission-policy-manager", false, "write ValidatingAdmissionPolicies to the hub at start: no pods and "+
		"replica sets outside reserved namespaces, no writes of service accounts in them by users; false leaves policies that were written before")
	fs.StringVar(&o.AdmissionPolicyConfig, "admission-policy-manager-config", "", "YAML or JSON file that selects the policies of "+
		"--enable-admission-policy-manager and their exceptions; empty: both policies, for the prefixes fleet- and kube-")
	fs.BoolVar(&l.v1beta1, "enable-v1beta1-apis", true, "no effect: v1beta1 is always served")
	fs.BoolVar(&o.Inventory, "enable-cluster-inventory-apis", true, "write a ClusterProfile for every member to fleet-system, once the hub serves that kind")
	fs.DurationVar(&o.Silence, "cluster-unhealthy-threshold", time.Minute, "age of a member agent's heartbeat from which its ClusterProfile reports the agent as lost, 30s to 1h")
	fs.DurationVar(&l.pending, "work-pending-grace-period", 15*time.Second, "no effect")
	fs.DurationVar(&l.baseDelay, "rate-limiter-base-delay", 5*time.Millisecond, "no effect: every queue has its own limiter")
	fs.DurationVar(&l.maxDelay, "rate-limiter-max-delay", time.Minute, "no effect: every queue has its own limiter")
	fs.IntVar(&l.limiterQPS, "rate-limiter-qps", 10, "no effect: objects share no bucket")
	fs.IntVar(&l.limiterBucket, "rate-limiter-bucket-size", 100, "no effect: objects share no bucket")
}

// rules are the rules of the flags for placeable objects.
func (o *Options) rules() (selection.Rules, error) {
	rules, err := selection.NewRules(selection.Config{
		SkippedAPIs: o.SkippedAPIs, AllowedAPIs: o.AllowedAPIs, SkippedNamespaces: o.SkippedNamespaces, Workloads: o.Workload,
	})
	if err != nil {
		return rules, fmt.Errorf("rules for placeable objects: %w", err)
	}
	return rules, nil
}

// policies are the admission policies that the flags configure.
func (o *Options) policies() (policy.Config, error) {
	if o.AdmissionPolicyConfig == "" {
		return policy.Default(), nil
	}
	data, err := os.ReadFile(o.AdmissionPolicyConfig)
	if err != nil {
		return policy.Config{}, fmt.Errorf("--admission-policy-manager-config: %w", err)
	}
	config, err := policy.Parse(data)
	if err != nil {
		return config, fmt.Errorf("--admission-policy-manager-config=%s: %w", o.AdmissionPolicyConfig, err)
	}
	return config, nil
}

// Validate returns all invalid values at once, each with its flag and range.
func (o *Options) Validate() error {
	errs := []error{
		process.Throttle("hub-api-qps", o.QPS, 10_000, "hub-api-burst", o.Burst, 20_000),
		process.Between("resync-period", o.Resync, time.Hour, 12*time.Hour),
		process.Between("leader-lease-duration", o.LeaseDuration, process.ShortestLease, time.Hour),
		process.Between("force-delete-wait-time", o.ForceDeleteWait, 30*time.Second, time.Hour),
		process.Between("cluster-unhealthy-threshold", o.Silence, 30*time.Second, time.Hour),
		process.Between("concurrent-resource-change-syncs", o.ResourceChangeSyncs, 1, 100),
		process.Between("max-fleet-size", o.FleetSize, 30, 200),
		process.Between("max-concurrent-cluster-placement", o.Placements, 10, 200),
		process.Between("resource-snapshot-creation-minimum-interval", o.SnapshotInterval, 0, 5*time.Minute),
		process.Between("resource-changes-collection-duration", o.SnapshotCollection, 0, time.Minute),
	}
	if o.LeaderQPS > 0 {
		errs = append(errs, process.Throttle("leader-election-qps", o.LeaderQPS, 1000, "leader-election-burst", o.LeaderBurst, 2000))
	}
	if _, err := o.rules(); err != nil {
		errs = append(errs, err)
	}
	if _, err := o.policies(); err != nil {
		errs = append(errs, err)
	}
	if o.SkippedAPIs != "" && o.AllowedAPIs != "" {
		errs = append(errs, errors.New("--skipped-propagating-apis and --allowed-propagating-apis exclude each other: set one"))
	}
	if !o.later.v1beta1 {
		errs = append(errs, errors.New("--enable-v1beta1-apis=false: v1beta1 is the stored version and cannot be turned off"))
	}
	return errors.Join(errs...)
}

// notYet names the flags that request a capability this release does not have.
func (o *Options) notYet() []string {
	var out []string
	for name, asked := range map[string]bool{
		"enable-webhook":    o.later.webhook,
		"enable-guard-rail": o.later.guardRail,
		"use-cert-manager":  o.later.certManager,
	} {
		if asked {
			out = append(out, fmt.Sprintf("--%s", name))
		}
	}
	return out
}
