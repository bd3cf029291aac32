package member

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/flagship-fleet/flagship/pkg/member/brake"
	"github.com/flagship-fleet/flagship/pkg/member/hublink"
	"github.com/flagship-fleet/flagship/pkg/member/property"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// Options are the member agent's flags and environment. Names, defaults and ranges are part of the contract with
// existing charts.
type Options struct {
	// Hub comes from the environment; see ReadEnvironment.
	Hub hublink.Settings

	UseCertificate, Insecure bool

	HubProbeAddress, HubMetricsAddress string
	HubPprofPort                       int
	HubQPS                             float64
	HubBurst                           int

	ProbeAddress, MetricsAddress string
	PprofPort                    int
	// MetricsSecure is for both metrics addresses.
	MetricsSecure bool
	MemberQPS     float64
	MemberBurst   int

	Pprof bool

	// Trace is where traces of changes are sent.
	Trace trace.Options

	LeaderElect                             bool
	LeaseDuration, RenewDeadline, RetryWait time.Duration
	LeaderNamespace                         string

	// DeletionWait is in minutes.
	DeletionWait int
	// RemovalMax, RemovalProtect and RemovalWindow limit what is removed from the cluster: a number or a percentage, kinds
	// separated by commas, and for how long a removal counts.
	RemovalMax, RemovalProtect string
	RemovalWindow              time.Duration
	// OpenNamespaces are protected namespaces that Works may nevertheless write to, separated by commas.
	OpenNamespaces string
	// CopyDir is the folder for a copy of the hub's Works; "" for none.
	CopyDir    string
	Properties property.Options

	limiter limiter
	// cloudConfig is accepted and has no effect.
	cloudConfig string
}

// limiter holds flags for an agent that polls applied objects. This agent watches them, so the flags have no effect;
// invalid values are still refused, so that a chart that is invalid elsewhere is invalid here.
type limiter struct {
	priorityQueue          bool
	priorityA, priorityB   int
	attempts               int
	fixed                  int
	slowBase, fastBase     float64
	slowFirst, slowMost    int
	fastMost               int
	skipToFast, v1beta1API bool
}

// AddFlags declares every flag on fs.
func (o *Options) AddFlags(fs *flag.FlagSet) {
	fs.BoolVar(&o.UseCertificate, "use-ca-auth", false, "authenticate to the hub with a client certificate (IDENTITY_CERT, IDENTITY_KEY) instead of a token")
	fs.BoolVar(&o.Insecure, "tls-insecure", false, "do not verify the hub's certificate; for tests only")

	fs.StringVar(&o.HubProbeAddress, "hub-health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 disables them; serves the same as --health-probe-bind-address")
	fs.StringVar(&o.HubMetricsAddress, "hub-metrics-bind-address", ":8080", "address of /metrics while the hub is connected; 0 disables it; serves the same as --metrics-bind-address")
	fs.IntVar(&o.HubPprofPort, "hub-pprof-port", 6066, "port of the Go profiles while the hub is connected")
	fs.Float64Var(&o.HubQPS, "hub-api-qps", 50, "requests per second to the hub, 10 to 1000; negative: no limit")
	fs.IntVar(&o.HubBurst, "hub-api-burst", 500, "burst of requests to the hub, 10 to 2000, not less than --hub-api-qps")

	fs.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8091", "address of /healthz and /readyz; 0 disables them")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8090", "address of /metrics; 0 disables it")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", true, process.MetricsSecureUsage)
	fs.IntVar(&o.PprofPort, "pprof-port", 6065, "port of the Go profiles")
	fs.Float64Var(&o.MemberQPS, "member-api-qps", 250, "requests per second to this cluster, 10 to 10000; negative: no limit")
	fs.IntVar(&o.MemberBurst, "member-api-burst", 1000, "burst of requests to this cluster, 10 to 20000, not less than --member-api-qps")
	fs.BoolVar(&o.Pprof, "enable-pprof", false, "serve Go profiles on localhost")
	o.Trace.AddFlags(fs)

	fs.BoolVar(&o.LeaderElect, "leader-elect", false, "elect a leader, so that only one of several replicas is active")
	fs.DurationVar(&o.LeaseDuration, "leader-lease-duration", 15*time.Second, "lease duration; a standby takes over after this time if the leader crashes (a clean shutdown releases the lease)")
	fs.DurationVar(&o.RenewDeadline, "leader-renew-deadline", 10*time.Second, "how long a leader retries to renew its lease before it stops leading")
	fs.DurationVar(&o.RetryWait, "leader-retry-period", 2*time.Second, "time between attempts to acquire or renew the lease")
	fs.StringVar(&o.LeaderNamespace, "leader-election-namespace", "kube-system", "namespace of the lease, on this cluster")

	fs.IntVar(&o.DeletionWait, "deletion-wait-time", 5, "minutes, 1 to 60, after which co-owned objects no longer block the deletion of a Work")

	fs.StringVar(&o.RemovalMax, "removal-max", "", "objects that may be removed from this cluster within --removal-window because the hub no longer wants them: "+
		"a number from 0, or a percentage from 0% to 100% of the placed objects; a Work that goes beyond it is held whole until it is released on this cluster; empty: no limit")
	fs.StringVar(&o.RemovalProtect, "removal-protect", "", "kinds of objects that are removed only after a release on this cluster, as Kind or Kind.group, separated by ',', "+
		"such as Namespace,PersistentVolumeClaim; at most 32")
	fs.DurationVar(&o.RemovalWindow, "removal-window", time.Hour, "for how long a removal counts for --removal-max, 1m to 168h")

	fs.StringVar(&o.OpenNamespaces, "open-namespaces", "", "comma-separated protected namespaces of this cluster (kube-*, fleet-system, the agent's own) "+
		"that Works may nevertheless write to")

	l := &o.limiter
	const watched = "no effect: applied objects are watched instead of polled; accepted range: "
	const prefix = "work-applier-requeue-rate-limiter-"
	fs.BoolVar(&l.priorityQueue, "enable-work-applier-priority-queue", false, "no effect: changed Works always go before periodic checks")
	fs.IntVar(&l.priorityA, "work-applier-priority-linear-equation-coeff-a", -3, "no effect, see --enable-work-applier-priority-queue; accepted range: -100 to -1")
	fs.IntVar(&l.priorityB, "work-applier-priority-linear-equation-coeff-b", 100, "no effect, see --enable-work-applier-priority-queue; accepted range: 1 to 1000")
	fs.IntVar(&l.attempts, prefix+"attempts-with-fixed-delay", 1, watched+"1 to 40")
	fs.IntVar(&l.fixed, prefix+"fixed-delay-seconds", 5, watched+"2 to 300")
	fs.Float64Var(&l.slowBase, prefix+"exponential-base-for-slow-backoff", 1.2, watched+"1.05 to 2")
	fs.IntVar(&l.slowFirst, prefix+"initial-slow-backoff-delay-seconds", 2, watched+"at least 2")
	fs.IntVar(&l.slowMost, prefix+"max-slow-backoff-delay-seconds", 15, watched+"not less than the initial delay")
	fs.Float64Var(&l.fastBase, prefix+"exponential-base-for-fast-backoff", 1.5, watched+"above 1 to 2, not less than the slow one")
	fs.IntVar(&l.fastMost, prefix+"max-fast-backoff-delay-seconds", 900, watched+"1 to 3600, not less than the slow one")
	fs.BoolVar(&l.skipToFast, prefix+"skip-to-fast-backoff-for-available-or-diff-reported-work-objs", true, "no effect: applied objects are watched instead of polled")
	fs.BoolVar(&l.v1beta1API, "enable-v1beta1-apis", true, "no effect: v1beta1 is always used")

	fs.StringVar(&o.CopyDir, "hub-copy-dir", "",
		"folder for a copy of the Works, which the agent keeps applied if it starts while the hub is unreachable; empty: it waits for the hub")

	p := &o.Properties
	fs.StringVar(&p.Provider, "property-provider", "none",
		"azure: also report node types, costs, the Kubernetes version and the certificate authority; other values: nodes, cpu and memory")
	fs.StringVar(&p.Region, "region", "", "region of the nodes, which decides their prices; empty: taken from a node's label")
	fs.StringVar(&p.PriceFile, "price-file", "", "file with the hourly price of each node type, reloaded when it changes; empty: built-in example prices")
	fs.StringVar(&o.cloudConfig, "cloud-config", "/etc/kubernetes/provider/config.json", "no effect")
	fs.BoolVar(&p.Costs, "use-cost-properties-in-azure-provider", true, "report the cost of a core and of a GB; azure only")
	fs.BoolVar(&p.Available, "use-available-res-properties-in-azure-provider", true,
		"watch pods to report available resources; azure only, other providers always do")
	fs.BoolVar(&p.Namespaces, "enable-namespace-collection-in-property-provider", false,
		"report the cluster's namespaces, so that ResourcePlacements are scheduled only to clusters with their namespace; with any provider")
}

// ReadEnvironment reads the hub's address and credentials. Call it after the flags are parsed.
func (o *Options) ReadEnvironment(env hublink.Environment) error {
	var err error
	o.Hub, err = hublink.FromEnvironment(env, o.UseCertificate, o.Insecure)
	return err
}

// Validate returns all invalid flags at once, each with its range.
func (o *Options) Validate() error {
	errs := []error{
		process.Throttle("hub-api-qps", o.HubQPS, 1000, "hub-api-burst", o.HubBurst, 2000),
		process.Throttle("member-api-qps", o.MemberQPS, 10_000, "member-api-burst", o.MemberBurst, 20_000),
		process.Between("leader-lease-duration", o.LeaseDuration, process.ShortestLease, time.Hour),
		process.Between("deletion-wait-time", o.DeletionWait, 1, 60),
		process.Between("removal-window", o.RemovalWindow, time.Minute, 7*24*time.Hour),
		o.Trace.Validate(),
		o.limiter.validate(),
	}
	if _, err := o.removal(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removal is what may be removed from the cluster.
func (o *Options) removal() (brake.Limit, error) {
	policy, err := removal.Parse(o.RemovalMax, o.RemovalProtect)
	if err != nil {
		return brake.Limit{}, fmt.Errorf("--removal-max, --removal-protect: %w", err)
	}
	return brake.Limit{Policy: policy, Window: o.RemovalWindow}, nil
}

func (l *limiter) validate() error {
	const prefix = "work-applier-requeue-rate-limiter-"
	const most = 1 << 30 // seconds; the flag has no upper bound
	errs := []error{
		process.Between("work-applier-priority-linear-equation-coeff-a", l.priorityA, -100, -1),
		process.Between("work-applier-priority-linear-equation-coeff-b", l.priorityB, 1, 1000),
		process.Between(prefix+"attempts-with-fixed-delay", l.attempts, 1, 40),
		process.Between(prefix+"fixed-delay-seconds", l.fixed, 2, 300),
		process.Between(prefix+"exponential-base-for-slow-backoff", l.slowBase, 1.05, 2),
		process.Between(prefix+"initial-slow-backoff-delay-seconds", l.slowFirst, 2, most),
		process.Between(prefix+"max-slow-backoff-delay-seconds", l.slowMost, 2, most),
		process.Between(prefix+"max-fast-backoff-delay-seconds", l.fastMost, 1, 3600),
	}
	if l.fastBase <= 1 || l.fastBase > 2 {
		errs = append(errs, fmt.Errorf("--%sexponential-base-for-fast-backoff is %v; it must be above 1 and at most 2", prefix, l.fastBase))
	}
	if l.fastBase < l.slowBase {
		errs = append(errs, fmt.Errorf("--%sexponential-base-for-fast-backoff is %v; it must not be less than the slow one, which is %v", prefix, l.fastBase, l.slowBase))
	}
	if l.slowMost < l.slowFirst {
		errs = append(errs, fmt.Errorf("--%smax-slow-backoff-delay-seconds is %d; it must not be less than the initial one, which is %d", prefix, l.slowMost, l.slowFirst))
	}
	if l.fastMost < l.slowMost {
		errs = append(errs, fmt.Errorf("--%smax-fast-backoff-delay-seconds is %d; it must not be less than the slow one, which is %d", prefix, l.fastMost, l.slowMost))
	}
	return errors.Join(errs...)
}

func (o *Options) openNamespaces() []string {
	return strings.FieldsFunc(o.OpenNamespaces, func(r rune) bool { return r == ',' || r == ' ' })
}
