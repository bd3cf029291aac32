// Package member puts the member agent together: it waits for the hub, for its access there and for the CRD it needs here, and then
// runs the agents that join the fleet and apply Works.
//
// Two clusters take part. On the member lie the agent's lease, its ledger and everything it applies. On the hub it sees one namespace;
// what it writes there is the status of InternalMemberCluster and Works, and the finalizer of Works.
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
)

const (
	// ledgerCRD is the CRD the agent needs on the member.
	ledgerCRD = "appliedworks.placement.kubernetes-fleet.io"
	// shutdown is how long the agents have to end what they are doing; a session with the hub ends first.
	shutdown, sessionShutdown = 8 * time.Second, 5 * time.Second
)

// Run runs the member agent until ctx ends, or until it cannot go on, and says why.
func Run(ctx context.Context, options Options) error {
	log := ctrl.LoggerFrom(ctx)
	if options.Insecure {
		log.Info("the hub's certificate is not checked, and whoever answers at its address gets our token", "flag", "--tls-insecure")
	}
	var gates process.Gates
	gates.Close(gateLeader, "no replica of the agent is seen to lead yet")
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

	link, err := hublink.Open(ctx, options.Hub, member, &gates)
	if err != nil {
		return fmt.Errorf("set up the way to the hub: %w", err)
	}
	provider, err := property.New(member, options.Properties)
	if err != nil {
		return fmt.Errorf("set up the report on this cluster: %w", err)
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
	sessions := &sessions{options: options, member: candidate.guarded(member), candidate: candidate, link: link, provider: provider, gates: &gates, ready: make(chan struct{})}
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

// newManager makes the manager that holds the lease. It caches nothing: sessions do. lost is told when the lease has run out.
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

// probeAddresses are those of both sides, once if they are the same.
func probeAddresses(o Options) []string {
	if o.HubProbeAddress == o.ProbeAddress {
		return []string{o.ProbeAddress}
	}
	return []string{o.HubProbeAddress, o.ProbeAddress}
}

// where says which replicas run a part.
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
