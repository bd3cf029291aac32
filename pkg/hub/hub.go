// Package hub sets up the hub agent: one manager, one cache, and the agents that pass a change on to each other.
//
// Every field on the hub has one writer:
//
//	placement.finalizers (added), placement.status         placer
//	ClusterResourcePlacementStatus                         placer
//	placement.finalizers scheduler-cleanup (removed)       scheduler
//	policy snapshots                                       placer
//	resource snapshots                                     placer; stager, for a run that releases what is selected:
//	                                                       both through package revise, in turns
//	policy snapshot status                                 scheduler
//	binding: created, state Scheduled and Unscheduled      scheduler
//	binding: what is taken along from another cluster      scheduler
//	binding: state Bound, snapshot, overrides, strategy    roller
//	binding: shares of replicas                            divider
//	binding.status RolloutStarted False, or repaired,
//	and RolledBack; annotations about a rolling update
//	on the binding and on the master resource snapshot     roller
//	binding.status everything else, and RolloutStarted
//	together with the first report on a new generation     dispatcher
//	binding.finalizers work-cleanup (removed)              dispatcher
//	binding.finalizers scheduler-crb-cleanup (removed)     scheduler; dispatcher if the placement is deleted too
//	update run status and finalizer, approval requests     stager
//	binding: the same fields and RolloutStarted, where the
//	placement's strategy is External                       stager; scheduler, for a cluster that replaces another one
//	                                                       while no update run is active: there the dispatcher writes
//	                                                       RolloutStarted
//	binding: deleted because its cluster was replaced      roller, with each strategy
//	override.finalizers, override snapshots                overrider
//	binding: deleted by an eviction; eviction status,
//	annotations of evictions and disruption budgets        evictor
//	Work spec, labels, annotations                         dispatcher
//	Work status and finalizer                              the member agent
//	MemberCluster status, member namespace and its access  registrar
//	webhook configurations, the Secret of their certificates  publisher of package admission; the Secret is created by the
//	                                                       first replica
//	ClusterProfiles, and the finalizer that belongs to them profiler
//	status of users' objects, if their placement requests it  returner
//	status and finalizers of all of the above in reserved
//	namespaces, which the other agents ignore               warden
package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/dispatcher"
	"github.com/flagship-fleet/flagship/pkg/hub/divider"
	"github.com/flagship-fleet/flagship/pkg/hub/evictor"
	"github.com/flagship-fleet/flagship/pkg/hub/objects"
	"github.com/flagship-fleet/flagship/pkg/hub/overrider"
	"github.com/flagship-fleet/flagship/pkg/hub/placer"
	"github.com/flagship-fleet/flagship/pkg/hub/policies"
	"github.com/flagship-fleet/flagship/pkg/hub/profiler"
	"github.com/flagship-fleet/flagship/pkg/hub/registrar"
	"github.com/flagship-fleet/flagship/pkg/hub/returner"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/hub/roller"
	"github.com/flagship-fleet/flagship/pkg/hub/scheduler"
	"github.com/flagship-fleet/flagship/pkg/hub/stager"
	"github.com/flagship-fleet/flagship/pkg/hub/warden"
	"github.com/flagship-fleet/flagship/pkg/loop/consistent"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// required are the CRDs without which the agent cannot start.
var required = []string{
	"memberclusters.cluster.kubernetes-fleet.io",
	"internalmemberclusters.cluster.kubernetes-fleet.io",
	"clusterresourceplacements.placement.kubernetes-fleet.io",
	"clusterschedulingpolicysnapshots.placement.kubernetes-fleet.io",
	"clusterresourcesnapshots.placement.kubernetes-fleet.io",
	"clusterresourcebindings.placement.kubernetes-fleet.io",
	"clusterresourceplacementstatuses.placement.kubernetes-fleet.io",
	"works.placement.kubernetes-fleet.io",
	"clusterresourceoverrides.placement.kubernetes-fleet.io",
	"clusterresourceoverridesnapshots.placement.kubernetes-fleet.io",
	"resourceoverrides.placement.kubernetes-fleet.io",
	"resourceoverridesnapshots.placement.kubernetes-fleet.io",
	"resourceplacements.placement.kubernetes-fleet.io",
	"schedulingpolicysnapshots.placement.kubernetes-fleet.io",
	"resourcesnapshots.placement.kubernetes-fleet.io",
	"resourcebindings.placement.kubernetes-fleet.io",
	"clusterstagedupdateruns.placement.kubernetes-fleet.io",
	"stagedupdateruns.placement.kubernetes-fleet.io",
}

// gateLeader is closed until the replica leads and has filled its caches, or has seen another one lead: a standby has
// nothing more to do.
const gateLeader = "leadership"

// How long the agents have to finish their current work; they end before the lease is released.
const shutdown, agentsShutdown = 8 * time.Second, 5 * time.Second

// Run runs the hub agent until ctx ends, or returns why it cannot continue.
func Run(ctx context.Context, options Options) error {
	var gates process.Gates
	gates.Close(gateLeader, "no replica of the agent leads yet")
	if err := process.ServeProbes(ctx, options.ProbeAddress, &gates); err != nil {
		return err
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the hub: %w; set --kubeconfig or KUBECONFIG, or run inside the hub", err)
	}
	cfg.QPS, cfg.Burst = float32(options.QPS), options.Burst
	if options.tracer, err = trace.Start(ctx, options.Trace, "hub-agent", ""); err != nil {
		return err
	}
	defer options.tracer.Close(ctx)
	if err := process.AwaitCRDs(ctx, cfg, &gates, required...); err != nil {
		return err
	}
	if err := writePolicies(ctx, cfg, options); err != nil {
		return err
	}
	c, err := newCandidate(cfg, options)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	mgr, err := c.manager(end)
	if err != nil {
		return fmt.Errorf("set up the hub agent: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return c.work(ctx, &gates) })); err != nil {
		return fmt.Errorf("set up the hub agent: %w", err)
	}
	if err := c.serveWebhooks(ctx, mgr, &gates); err != nil {
		return fmt.Errorf("set up the webhooks: %w", err)
	}
	go c.standBy(ctx, &gates)
	err = mgr.Start(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, process.ErrLeadLost) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("run the hub agent: %w", err)
	}
	return nil
}

// writePolicies writes the hub's admission policies, if the flags enable them. Each replica does so before its agents
// start.
func writePolicies(ctx context.Context, cfg *rest.Config, o Options) error {
	if !o.AdmissionPolicies {
		return nil
	}
	config, err := o.policies()
	if err != nil {
		return err
	}
	hub, err := client.New(cfg, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return fmt.Errorf("make a client for admission policies: %w", err)
	}
	return policies.Write(ctx, hub, config)
}

// newManager returns the manager of the agents, with their caches and clients.
func newManager(cfg *rest.Config, o Options, reading lenient.Settings) (ctrl.Manager, error) {
	timeout := agentsShutdown
	return ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                  apis.Scheme(),
		NewCache:                reading.NewCache,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: &timeout,
		Cache: cache.Options{
			SyncPeriod:       &o.Resync,
			DefaultTransform: cache.TransformStripManagedFields(),
			// The contents of Works are also in the snapshots.
			ByObject: map[client.Object]cache.ByObject{&placementv1beta1.Work{}: {Transform: dispatcher.Strip}},
		},
		NewClient: consistent.NewClient,
	})
}

// reading is how the agents treat objects that they cannot decode. For objects that belong to a placement, an agent
// would conclude that one is missing, and create it, or that none is left: so that placement waits. A MemberCluster is
// read by name before its absence has an effect, and in lists a stand-in keeps the bindings to it. All other objects
// are left out of lists: undecodable evictions and runs have no effect.
func reading(faults *lenient.Faults, watches *lenient.Watches) lenient.Settings {
	var failList, reports []client.Object
	add := func(to *[]client.Object, kinds ...client.Object) { *to = append(*to, kinds...) }
	for _, kind := range scope.PolicySnapshots.Both() {
		add(&failList, kind)
	}
	for _, kind := range scope.ResourceSnapshots.Both() {
		add(&failList, kind)
	}
	for _, kind := range scope.OverrideSnapshots.Both() {
		add(&failList, kind)
	}
	for _, kind := range scope.Bindings.Both() {
		add(&failList, kind)
		add(&reports, kind)
	}
	for _, kind := range scope.Placements.Both() {
		add(&reports, kind)
	}
	add(&failList, &placementv1beta1.Work{})
	add(&reports, &placementv1beta1.Work{}, &clusterv1beta1.InternalMemberCluster{})
	return lenient.Settings{
		FailList: failList, StandIn: []client.Object{&clusterv1beta1.MemberCluster{}}, Reports: reports,
		Component: "fleet hub agent", Faults: faults, Watches: watches,
	}
}

// workers is the number of workers for the expected load, which a flag sets.
func (o *Options) workers() int { return max(4, (o.Placements+9)/10) }

// overrideWorkers is how many overrides are reconciled in parallel: there are few, and they change rarely.
const overrideWorkers = 4

// addAgents adds every agent to mgr, in the order in which a change passes them.
func addAgents(ctx context.Context, mgr ctrl.Manager, o Options, faults *lenient.Faults, watches *lenient.Watches) error {
	if err := scope.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return fmt.Errorf("make an uncached client: %w", err)
	}
	hubUID, err := registrar.HubUID(ctx, direct)
	if err != nil {
		return err
	}
	rules, err := o.rules()
	if err != nil {
		return err
	}
	brake, err := o.removal()
	if err != nil {
		return err
	}
	source, err := objects.New(mgr.GetConfig(), mgr.GetHTTPClient(), rules, time.Now)
	if err != nil {
		return err
	}
	if err := mgr.Add(source); err != nil {
		return fmt.Errorf("add the source of objects: %w", err)
	}
	workers := o.workers()
	reviser := &revise.Reviser{Client: mgr.GetClient(), Objects: source, Now: time.Now}
	agents := []interface{ SetupWithManager(ctrl.Manager) error }{
		&registrar.Registrar{
			Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, registrar.RecorderName), HubUID: hubUID,
			Workers: max(1, o.FleetSize/25), Networking: o.NetworkingAgents, ForceDeleteWait: o.ForceDeleteWait, Now: time.Now,
			Domain: o.FailoverDomain, NewCache: lenient.Settings{Faults: faults, Watches: watches}.NewCache, Awake: o.awake,
		},
		&placer.Placer{
			Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, placer.RecorderName), Objects: source, Reviser: reviser,
			Windows: snapshot.Windows{Interval: o.SnapshotInterval, Collection: o.SnapshotCollection},
			Workers: workers, Namespaced: o.ResourcePlacement, Removal: brake, Now: time.Now, Trace: o.tracer.Agent("placer"),
		},
		&scheduler.Scheduler{
			Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, scheduler.RecorderName), Pace: scheduler.NewPace(),
			Domain: o.FailoverDomain, Workers: workers, Namespaced: o.ResourcePlacement, Runs: o.StagedRuns, Removal: brake, Now: time.Now,
			Trace: o.tracer.Agent("scheduler"),
		},
		&overrider.Overrider{
			Client: mgr.GetClient(), Workers: overrideWorkers, Namespaced: o.ResourcePlacement,
			Recorder: recorder(mgr, overrider.RecorderName), Patience: overrider.Patience, Now: time.Now,
		},
		&roller.Roller{
			Client: mgr.GetClient(), Direct: direct, Workers: workers, Namespaced: o.ResourcePlacement, Now: time.Now, Trace: o.tracer.Agent("roller"),
		},
		&divider.Divider{
			Client: mgr.GetClient(), Recorder: recorder(mgr, divider.RecorderName), Workers: workers, Namespaced: o.ResourcePlacement,
			Domain: o.FailoverDomain, Now: time.Now,
		},
		&dispatcher.Dispatcher{
			Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, dispatcher.RecorderName),
			NamespacedRecorder: recorder(mgr, dispatcher.NamespacedRecorderName),
			Workers:            2 * workers, Namespaced: o.ResourcePlacement, ClusterScoped: source.ClusterScoped, Removal: brake, Now: time.Now,
			Trace: o.tracer.Agent("dispatcher"),
		},
	}
	if o.Evictions {
		agents = append(agents, &evictor.Evictor{
			Client: mgr.GetClient(), Direct: direct, Workers: workers, Namespaced: o.ResourcePlacement, Now: time.Now,
		})
	}
	if o.StagedRuns {
		agents = append(agents, &stager.Stager{
			Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, stager.RecorderName), Revisions: reviser,
			Workers: workers, Namespaced: o.ResourcePlacement, Now: time.Now,
		})
	}
	agents = append(agents, &returner.Returner{
		Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, returner.RecorderName), Workers: workers, Namespaced: o.ResourcePlacement,
		RetryRefused: time.Minute,
	})
	agents = append(agents, &warden.Warden{
		Client: mgr.GetClient(), Direct: direct, Recorder: recorder(mgr, warden.RecorderName),
		Namespaced: o.ResourcePlacement, Evictions: o.Evictions, Runs: o.StagedRuns, Now: time.Now,
	})
	if o.Inventory {
		agents = append(agents, &profiler.Profiler{
			Client: mgr.GetClient(), Workers: max(1, o.FleetSize/25), Silence: o.Silence, Now: time.Now,
			// The agent is ready without profiles, whose kind the hub may lack: their watch does not affect readiness.
			NewCache: lenient.Settings{Namespace: contract.NamespaceSystem, Faults: faults}.NewCache,
		})
	}
	for _, agent := range agents {
		if err := agent.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	return nil
}

// recorder records core/v1 events, which tools for this API expect.
func recorder(mgr ctrl.Manager, name string) record.EventRecorder {
	return mgr.GetEventRecorderFor(name) //nolint:staticcheck // the newer API records events.k8s.io with other fields
}
