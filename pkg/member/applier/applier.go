// Package applier is the agent that applies Works on a member cluster and reports the outcome.
//
// Its input are the Works in the member's namespace on the hub; its output are objects on the member, an AppliedWork
// for each Work, and the Works' statuses. The AppliedWork is the ledger: it records objects before and after they are
// applied, it owns every applied object, and its deletion removes them. The other state of the agent (which version of
// an object it saw last) only saves requests and can be lost.
//
// Nothing is polled. The agent watches applied objects, and objects that prevent applying, for as long as the Work
// exists; it also watches namespaces and kinds that it waits for. Only failures are retried, after a growing delay.
package applier

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/health"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// Defaults of the settings.
const (
	defaultWorkers      = 20
	defaultParallel     = 8
	defaultDeletionWait = 5 * time.Minute
	defaultReportAfter  = 10 * time.Second
)

// Applier applies the Works of one member. Set the exported fields before SetupWithManager, which sets defaults for
// zero ones.
type Applier struct {
	// Namespace is the member's namespace on the hub.
	Namespace string
	// HubAddress is recorded on applied objects as their source; by default the URL of the hub.
	HubAddress string
	// Wall is what no Work may touch.
	Wall apply.Wall
	// Workers is the number of Works reconciled in parallel, Parallel the number of manifests of one Work.
	Workers, Parallel int
	// DeletionWait is how long the removal of a Work's objects may take before co-owned objects stop blocking it.
	DeletionWait time.Duration
	// Now is the clock.
	Now func() time.Time
	// reportAfter is how long a removal may take before the Work's status lists the objects it waits for.
	reportAfter time.Duration

	// HubClient reads Works from a cache of Namespace alone and sees its own writes there.
	HubClient client.Client
	// MemberClient reads AppliedWorks from a cache and sees its own writes there; MemberReader reads from the API
	// server.
	MemberClient client.Client
	MemberReader client.Reader
	// Dynamic, Metadata and Mapper are for the applied objects, of any kind.
	Dynamic  dynamic.Interface
	Metadata metadata.Interface
	Mapper   meta.RESTMapper
	// Discovery lists the kinds that the member serves.
	Discovery discovery.DiscoveryInterface

	// Recorder writes events about applied objects on the member.
	Recorder record.EventRecorder
	// Unschedulable counts replicas without a node for Works with divided workloads; nil if they are not counted.
	Unschedulable Counter

	// Brake limits what is removed; nil for no limit.
	Brake Brake

	// Trace records spans; nil for none.
	Trace *trace.Agent

	// gate is held for reading by every pass and for writing by Join, Pause and Leave, so that no pass outlives a
	// leave.
	gate   sync.RWMutex
	joined bool
	// hub identifies the hub, if it is known; guarded by parkedLock, like parked.
	hub types.UID
	// parked are Works whose events arrived while not joined.
	parkedLock sync.Mutex
	parked     sets.Set[string]

	// braking is held while the brake is asked: what others would remove, and what was let through, must be of one moment.
	braking sync.Mutex

	queue   priorityqueue.PriorityQueue[reconcile.Request]
	memory  *memory
	wishes  wishes
	watches *watches
	legacy  legacy
	// rules evaluates the health rules that users put on their objects.
	rules *health.Rules
}

// SetupWithManager registers the agent with the manager of the hub. member is a manager of the member cluster, or a
// controller-runtime Cluster; the caller must run it beside the hub's.
func (a *Applier) SetupWithManager(hub ctrl.Manager, member cluster.Cluster) error {
	if a.Namespace == "" {
		return errors.New("set up work applier: no namespace on the hub")
	}
	if err := a.complete(hub, member); err != nil {
		return fmt.Errorf("set up work applier: %w", err)
	}
	err := builder.ControllerManagedBy(hub).
		Named("work-applier").
		Watches(&v1beta1.Work{}, workEvents{}).
		WatchesRawSource(source.Kind[client.Object](member.GetCache(), &v1beta1.AppliedWork{}, ledgerEvents(a.Namespace))).
		WatchesRawSource(source.Func(a.start)).
		WithOptions(a.Trace.Options(loop.Options(a.Workers))).
		Complete(loop.Settle(a))
	if err != nil {
		return fmt.Errorf("set up work applier: %w", err)
	}
	return nil
}

func (a *Applier) complete(hub ctrl.Manager, member cluster.Cluster) error {
	if a.Workers <= 0 {
		a.Workers = defaultWorkers
	}
	if a.Parallel <= 0 {
		a.Parallel = defaultParallel
	}
	if a.DeletionWait <= 0 {
		a.DeletionWait = defaultDeletionWait
	}
	if a.reportAfter <= 0 {
		a.reportAfter = defaultReportAfter
	}
	if a.HubAddress == "" {
		a.HubAddress = hubAddress(hub.GetConfig().Host)
	}
	if a.Now == nil {
		a.Now = time.Now
	}
	if a.HubClient == nil {
		a.HubClient = hub.GetClient()
	}
	if a.MemberClient == nil {
		a.MemberClient = member.GetClient()
	}
	if a.MemberReader == nil {
		a.MemberReader = member.GetAPIReader()
	}
	if a.Mapper == nil {
		a.Mapper = member.GetRESTMapper()
	}
	if a.Recorder == nil {
		a.Recorder = member.GetEventRecorderFor(contract.ManagerMember) //nolint:staticcheck // core/v1 events, as the hub's agents write them
	}
	var err error
	if a.Dynamic == nil {
		if a.Dynamic, err = dynamic.NewForConfigAndClient(member.GetConfig(), member.GetHTTPClient()); err != nil {
			return fmt.Errorf("make dynamic client: %w", err)
		}
	}
	if a.Metadata == nil {
		if a.Metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(member.GetConfig()), member.GetHTTPClient()); err != nil {
			return fmt.Errorf("make metadata client: %w", err)
		}
	}
	if a.Discovery == nil {
		if a.Discovery, err = discovery.NewDiscoveryClientForConfigAndClient(member.GetConfig(), member.GetHTTPClient()); err != nil {
			return fmt.Errorf("make discovery client: %w", err)
		}
	}
	if a.rules, err = health.NewRules(); err != nil {
		return err
	}
	a.parked = sets.New[string]()
	a.memory = newMemory()
	a.watches = newWatches(a.Metadata)
	a.watches.whole, a.watches.finite, a.watches.ended = a.Dynamic, finite, a.ending
	a.watches.seen, a.watches.listed, a.watches.turned = a.seen, a.listed, a.turned
	if a.Brake == nil {
		a.Brake = unlimited{}
	}
	if a.Unschedulable == nil {
		a.Unschedulable = none{}
	}
	a.Unschedulable.OnChange(func(work string) { a.wake(priorityRecheck, work) })
	return nil
}

// start is called when the controller starts. It sets the queue, and starts the watches with ctx.
func (a *Applier) start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	q, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		return fmt.Errorf("start work applier: queue %T has no priorities", queue)
	}
	a.gate.Lock()
	defer a.gate.Unlock()
	a.queue = q
	a.watches.start(ctx)
	return nil
}

// Priorities. A changed Work goes before one that is only checked again.
const (
	priorityIntent  = 0
	priorityRecheck = -10
	priorityRestart = handler.LowPriority
)

// wake enqueues Works by name.
func (a *Applier) wake(priority int, names ...string) {
	if a.queue == nil {
		return
	}
	for _, name := range names {
		req := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: a.Namespace, Name: name}}
		a.queue.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, req)
	}
}

// othersWait reports whether Works wait for a worker.
func (a *Applier) othersWait() bool { return a.queue != nil && a.queue.Len() > 0 }

// Identify sets the identity of the hub whose Works are applied. Call it before Join; an empty one is unknown and
// matches every hub.
func (a *Applier) Identify(hub types.UID) {
	a.parkedLock.Lock()
	defer a.parkedLock.Unlock()
	a.hub = hub
}

// identity is the owner of a Work's ledger.
func (a *Applier) identity(work types.UID) apply.Identity {
	a.parkedLock.Lock()
	defer a.parkedLock.Unlock()
	return apply.Identity{Hub: a.hub, Namespace: a.Namespace, Work: work}
}

// Join makes the agent process Works, and wakes those that arrived before. A second call has no effect.
func (a *Applier) Join() {
	a.gate.Lock()
	defer a.gate.Unlock()
	if a.joined {
		return
	}
	a.joined = true
	a.parkedLock.Lock()
	defer a.parkedLock.Unlock()
	a.wake(priorityIntent, sets.List(a.parked)...)
	a.parked = sets.New[string]()
}

// Pause makes the agent stop processing Works. It releases none: applied objects stay until a later Join or Leave.
func (a *Applier) Pause() {
	a.gate.Lock()
	defer a.gate.Unlock()
	a.joined = false
	for _, name := range a.memory.names() {
		a.park(name)
		a.Unschedulable.Counts(name, nil)
	}
	a.memory.clear()
	a.watches.stopAll()
}

// Leave makes the agent stop processing Works and releases them: when it returns nil, no Work has our finalizer and
// none is being processed. Applied objects stay on the member with their ledger, which a later Join takes up again;
// objects whose Work has propagationPolicy Abandon are released.
func (a *Applier) Leave(ctx context.Context) error {
	a.Pause()
	var works v1beta1.WorkList
	if err := a.HubClient.List(lenient.StandIns(ctx), &works, client.InNamespace(a.Namespace)); err != nil {
		return fmt.Errorf("leave: list works: %w", err)
	}
	remaining := slices.DeleteFunc(works.Items, func(w v1beta1.Work) bool {
		if w.DeletionTimestamp.IsZero() {
			a.park(w.Name)
		}
		return !controllerutil.ContainsFinalizer(&w, contract.FinalizerWork)
	})
	err := loop.Each(ctx, a.Parallel, remaining, func(ctx context.Context, w v1beta1.Work) error {
		return a.quit(ctx, &w)
	})
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

func (a *Applier) park(name string) {
	a.parkedLock.Lock()
	defer a.parkedLock.Unlock()
	a.parked.Insert(name)
}

// Reconcile makes one pass over a Work.
func (a *Applier) Reconcile(ctx context.Context, req reconcile.Request) (result reconcile.Result, err error) {
	a.gate.RLock()
	defer a.gate.RUnlock()
	if !a.joined {
		a.park(req.Name)
		return reconcile.Result{}, nil
	}
	work := &v1beta1.Work{}
	if err := a.HubClient.Get(ctx, req.NamespacedName, work); err != nil {
		if apierrors.IsNotFound(err) {
			// Without a deletion timestamp seen, the objects stay: a Work can vanish because a hub was restored.
			a.forget(req.Name)
			return reconcile.Result{}, a.vanished(ctx, req.Name)
		}
		return reconcile.Result{}, fmt.Errorf("get work %s: %w", req, err)
	}
	if key, ok := scope.PlacementOf(work); ok {
		ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(key)))
	}
	ctx, end := a.follow(ctx, work)
	defer func() { end(err) }()
	if !work.DeletionTimestamp.IsZero() {
		return a.remove(ctx, work)
	}
	if !controllerutil.ContainsFinalizer(work, contract.FinalizerWork) {
		if err := a.setFinalizer(ctx, work, true); err != nil {
			return reconcile.Result{}, err
		}
	}
	return a.sync(ctx, work)
}

// follow continues the trace of the change, or of the removal, that a Work carries, until its status shows the outcome.
func (a *Applier) follow(ctx context.Context, work *v1beta1.Work) (context.Context, func(error)) {
	key, of := client.ObjectKeyFromObject(work), trace.Subject{UID: trace.PlacementUID(work)}
	of.Placement, _ = scope.PlacementOf(work)
	of.Cluster, _ = contract.MemberOf(work.Namespace)
	switch {
	case !work.DeletionTimestamp.IsZero():
		return a.Trace.Remove(ctx, key, of, work.DeletionTimestamp)
	case concluded(work):
		return ctx, func(error) {}
	}
	return a.Trace.Continue(ctx, key, of, work)
}

func (a *Applier) forget(work string) {
	a.unwatch(work)
	a.memory.forget(work)
}

// unwatch ends everything that wakes a Work.
func (a *Applier) unwatch(work string) {
	a.watches.release(work)
	a.Unschedulable.Counts(work, nil)
}

// setFinalizer adds or removes our finalizer in one patch that fails if the Work has changed since the read.
func (a *Applier) setFinalizer(ctx context.Context, work *v1beta1.Work, present bool) error {
	after := work.DeepCopy()
	if present {
		controllerutil.AddFinalizer(after, contract.FinalizerWork)
	} else {
		controllerutil.RemoveFinalizer(after, contract.FinalizerWork)
	}
	body, err := patchBody(map[string]any{
		"metadata": map[string]any{"finalizers": after.Finalizers, "resourceVersion": work.ResourceVersion},
	})
	if err != nil {
		return err
	}
	target := &v1beta1.Work{}
	target.Namespace, target.Name = work.Namespace, work.Name
	err = a.HubClient.Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if err = client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("set finalizers of work %s: %w", work.Name, err)
	}
	return nil
}

// seen handles an event on the member for a Work that watches the place.
func (a *Applier) seen(work string, p place, e occurrence) {
	if a.memory.note(work, p, e) {
		a.wake(priorityRecheck, work)
	}
}

// listed records that a place is empty at resourceVersion.
func (a *Applier) listed(work string, p place, resourceVersion string) {
	a.seen(work, p, occurrence{resourceVersion: resourceVersion, gone: true})
}

// turned records that the member may have gone back to an older state: the memory of its objects may be ahead of them.
func (a *Applier) turned(work string) {
	a.memory.doubt(work)
	a.wake(priorityRecheck, work)
}

// hubAddress is the scheme and host of the hub's URL: the rest of it must not be copied to a member.
func hubAddress(host string) string {
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}
