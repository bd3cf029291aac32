package hub

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/hub/admission"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/process"
)

// leaseName is the name of the hub agent's lease; it is the same in every release that may run side by side during an
// upgrade.
const leaseName = "136224848560.hub.fleet.azure.com"

// candidate is this process as a candidate for leadership. It fills its caches only once it leads: older caches could
// miss the last leader's writes, and an outdated binding would return the members to an older state.
type candidate struct {
	cfg      *rest.Config
	options  Options
	identity string
	// lead is nil if there is no election.
	lead *process.Lead
	// webhooks is what the leader publishes; nil if none are served.
	webhooks *admission.Publisher
}

func newCandidate(cfg *rest.Config, o Options) (*candidate, error) {
	identity, err := process.Identity()
	if err != nil {
		return nil, err
	}
	return &candidate{cfg: cfg, options: o, identity: identity}, nil
}

// manager returns the manager that holds the lease and serves metrics and profiles. It caches nothing. lost is called
// when the lease has run out.
func (c *candidate) manager(lost func(error)) (ctrl.Manager, error) {
	o, timeout := &c.options, shutdown
	options := ctrl.Options{
		Scheme:                        apis.Scheme(),
		Metrics:                       process.Metrics(o.MetricsAddress, o.MetricsSecure, c.cfg),
		HealthProbeBindAddress:        "0",
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaseDuration,
		RenewDeadline:                 &o.RenewDeadline,
		RetryPeriod:                   &o.RetryWait,
		GracefulShutdownTimeout:       &timeout,
	}
	if o.Pprof {
		options.PprofBindAddress = fmt.Sprintf("127.0.0.1:%d", o.PprofPort)
	}
	if o.LeaderElect {
		lock, err := c.lease()
		if err != nil {
			return nil, err
		}
		c.lead = process.NewLead(lock, o.LeaseDuration, lost)
		options.LeaderElectionResourceLockInterface = c.lead
	}
	return ctrl.NewManager(c.cfg, options)
}

// lease returns a lock on the hub agent's lease. It has its own client, so that a busy agent does not lose the lease.
func (c *candidate) lease() (resourcelock.Interface, error) {
	cfg := rest.CopyConfig(c.cfg)
	cfg.QPS, cfg.Burst = float32(c.options.LeaderQPS), c.options.LeaderBurst
	if c.options.LeaderQPS <= 0 {
		cfg.QPS = -1
	}
	return process.Lease(cfg, c.options.LeaderNamespace, leaseName, c.identity, c.options.RenewDeadline)
}

// standBy opens the gate when another replica leads.
func (c *candidate) standBy(ctx context.Context, gates *process.Gates) {
	if !c.options.LeaderElect {
		return
	}
	lock, err := c.lease() // locks must not be shared between goroutines
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot watch the leader lease; this standby replica stays unready")
		return
	}
	if process.AnotherLeads(ctx, lock, c.options.RetryWait) {
		gates.Open(gateLeader)
	}
}

// work runs the agents for as long as this replica leads.
func (c *candidate) work(ctx context.Context, gates *process.Gates) error {
	cfg := rest.CopyConfig(c.cfg)
	if c.lead != nil {
		cfg.Wrap(c.lead.Guard)
	}
	c.options.tracer.Wrap(cfg)
	var faults lenient.Faults
	var watches lenient.Watches
	gates.Note(faults.Notes)
	gates.Check(watches.Failing)
	mgr, err := newManager(cfg, c.options, reading(&faults, &watches))
	if err != nil {
		return fmt.Errorf("set up the agents: %w", err)
	}
	if err := addAgents(ctx, mgr, c.options, &faults, &watches); err != nil {
		return err
	}
	if err := c.publishWebhooks(ctx, mgr); err != nil {
		return err
	}
	go func() {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			gates.Open(gateLeader)
		}
	}()
	return mgr.Start(ctx)
}
