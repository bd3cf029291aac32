// Package member sets up the member agent: it waits for the hub, for access to it and for its CRD on the member, and
// then runs the agents that join the fleet and apply Works.
//
// Two clusters take part. The agent's lease, its ledger and all applied objects are on the member. On the hub the
// agent has access to one namespace, where it writes the status of InternalMemberCluster and Works, and the finalizer
// of Works.
package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/member/hublink"
	"github.com/flagship-fleet/flagship/pkg/member/property"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

const (
	// ledgerCRD is the CRD the agent needs on the member.
	ledgerCRD = "appliedworks.placement.kubernetes-fleet.io"
	// shutdown is how long the agents have to finish their current work; a session with the hub ends first.
	shutdown, sessionShutdown = 8 * time.Second, 5 * time.Second
)

// Run runs the member agent until ctx ends, or returns why it cannot continue.
func Run(ctx context.Context, options Options) error {
	log := ctrl.LoggerFrom(ctx)
	if options.Insecure {
		log.Info("TLS verification of the hub is disabled; the token may be sent to an impostor", "flag", "--tls-insecure")
	}
	var gates process.Gates
	gates.Close(gateLeader, "no replica of the agent leads yet")
	for _, address := range probeAddresses(options) {
		if err := process.ServeProbes(ctx, address, &gates); err != nil {
			return err
		}
	}
	member, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the member cluster: %w; set --kubeconfig or KUBECONFIG, or run inside the cluster", err)
	}
	member.QPS, member.Burst = float32(options.MemberQPS), options.MemberBurst
	tracer, err := trace.Start(ctx, options.Trace, "member-agent", options.Hub.Member)
	if err != nil {
		return err
	}
	defer tracer.Close(ctx)
	tracer.Wrap(member)

	link, err := hublink.Open(ctx, options.Hub, member, &gates)
	if err != nil {
		return fmt.Errorf("set up the connection to the hub: %w", err)
	}
	provider, err := property.New(member, options.Properties)
	if err != nil {
		return fmt.Errorf("set up the property provider: %w", err)
	}
	candidate, err := newCandidate(member, &options)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	mgr, err := newManager(candidate, end)
	if err != nil {
		return fmt.Errorf("set up the member agent: %w", err)
	}
	sessions := &sessions{options: options, member: candidate.guarded(member), candidate: candidate, link: link, provider: provider, gates: &gates, tracer: tracer, ready: make(chan struct{})}
	gates.Note(sessions.faults.Notes)
	gates.Check(sessions.watches.Failing)
	for _, part := range []part{
		{sessions.prepare, everyReplica},
		{provider.Start, leader},
		{sessions.run, leader},
	} {
		if err := mgr.Add(part); err != nil {
			return fmt.Errorf("set up the member agent: %w", err)
		}
	}
	err = mgr.Start(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, process.ErrLeadLost) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("run the member agent: %w", err)
	}
	return nil
}

// newManager returns the manager that holds the lease. It caches nothing: sessions do. lost is called when the lease
// has run out.
func newManager(c *candidate, lost func(error)) (ctrl.Manager, error) {
	timeout, o := shutdown, c.options
	options := ctrl.Options{
		Scheme:                        apis.Scheme(),
		Metrics:                       process.Metrics(o.MetricsAddress, o.MetricsSecure, c.cfg),
		HealthProbeBindAddress:        "0",
		PprofBindAddress:              o.pprof(o.PprofPort),
		LeaderElection:                o.LeaderElect,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaseDuration,
		RenewDeadline:                 &o.RenewDeadline,
		RetryPeriod:                   &o.RetryWait,
		GracefulShutdownTimeout:       &timeout,
	}
	if o.LeaderElect {
		lock, err := c.lock()
		if err != nil {
			return nil, err
		}
		c.lead = process.NewLead(lock, o.LeaseDuration, lost)
		options.LeaderElectionResourceLockInterface = c.lead
	}
	return ctrl.NewManager(c.cfg, options)
}

func (o *Options) pprof(port int) string {
	if !o.Pprof {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// probeAddresses are those for both clusters, without duplicates.
func probeAddresses(o Options) []string {
	if o.HubProbeAddress == o.ProbeAddress {
		return []string{o.ProbeAddress}
	}
	return []string{o.HubProbeAddress, o.ProbeAddress}
}

// where is whether a part runs in the leader only or in every replica.
type where bool

const (
	leader       where = true
	everyReplica where = false
)

// part is a function that a manager runs until its context ends.
type part struct {
	start func(context.Context) error
	where where
}

func (p part) Start(ctx context.Context) error { return p.start(ctx) }
func (p part) NeedLeaderElection() bool        { return bool(p.where) }
