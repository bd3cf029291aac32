package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/config"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/loop/consistent"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/member/applier"
	"github.com/flagship-fleet/flagship/pkg/member/brake"
	"github.com/flagship-fleet/flagship/pkg/member/hublink"
	"github.com/flagship-fleet/flagship/pkg/member/joiner"
	"github.com/flagship-fleet/flagship/pkg/member/property"
	"github.com/flagship-fleet/flagship/pkg/member/standin"
	"github.com/flagship-fleet/flagship/pkg/member/unschedulable"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// gateLeader is closed until the replica leads, or has seen another one lead: a standby has nothing more to do.
const gateLeader = "leadership"

// forever is the time limit for caches to fill. The agent waits for a hub that becomes unreachable meanwhile, as it
// does at any other time.
const forever = 365 * 24 * time.Hour

// errBarred ends a session: the hub no longer grants the agent access to its namespace.
var errBarred = errors.New("the hub denies access to the member's namespace")

// sessions run one after the other, each for a time during which the hub grants the agent access. Each has its own
// caches, joiner and applier; no state passes from one to the next, and applied objects are kept when one ends.
type sessions struct {
	options   Options
	member    *rest.Config
	candidate *candidate
	link      *hublink.Link
	provider  property.Provider
	gates     *process.Gates
	// tracer records spans; nil for none.
	tracer *trace.Tracer
	// ready is closed when this cluster has everything a session needs.
	ready chan struct{}
	// agent is the agent's ServiceAccount on this cluster, set before ready; empty if it runs as another kind of user.
	agent types.NamespacedName
	// faults and watches are those of the session's caches.
	faults  lenient.Faults
	watches lenient.Watches
}

// prepare waits for everything a session needs, in every replica: a standby must have shown that it could take over.
func (s *sessions) prepare(ctx context.Context) error {
	var (
		both     sync.WaitGroup
		crd, hub error
	)
	both.Go(func() {
		if crd = process.AwaitCRDs(ctx, s.member, s.gates, ledgerCRD); crd != nil {
			return
		}
		// The request is a POST and writes nothing, so a standby may send it too.
		if s.agent, crd = whoami(ctx, s.candidate.cfg); crd == nil {
			close(s.ready)
		}
	})
	both.Go(func() { hub = s.link.Await(ctx, nil) })
	both.Wait()
	select {
	case <-ctx.Done():
		return nil
	default:
	}
	if err := errors.Join(crd, hub); err != nil {
		return err
	}
	if !s.options.LeaderElect {
		return nil // the first session opens the gate
	}
	standingBy, err := s.candidate.awaitLeader(ctx)
	if standingBy {
		s.gates.Open(gateLeader)
	}
	return err
}

// run runs one session after the other until ctx ends. It returns an error only if retrying cannot help.
func (s *sessions) run(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil
	}
	copies, err := s.copies(ctx)
	if err != nil {
		return err
	}
	for s.await(ctx, copies) == nil { // a replica may have been standby for long
		err := s.hold(ctx, copies)
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, errBarred) {
			return err
		}
		copies.Drop()
		ctrl.LoggerFrom(ctx).Info("Hub access revoked; applied objects are kept", "reason", err)
	}
	return nil //nolint:nilerr // ctx has ended: a regular stop
}

// hold runs one session until ctx ends or the hub revokes access; the error is errBarred then.
func (s *sessions) hold(ctx context.Context, copies *standin.Copy) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	barred := func(err error) { end(fmt.Errorf("%w: %w", errBarred, err)) }

	s.faults.Reset()
	s.watches.Reset()
	hub, err := s.hubManager(barred)
	if err != nil {
		return fmt.Errorf("set up the session with the hub: %w", err)
	}
	if err := copies.Begin(); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to start a local copy of the Works; after a restart the agent waits until the hub is reachable")
	}
	if err := s.addAgents(ctx, hub, copies, barred); err != nil {
		return err
	}
	s.gates.Open(gateLeader)
	err = hub.Start(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx) // other errors are consequences of it
	}
	return fmt.Errorf("run the session with the hub: %w", err)
}

func (s *sessions) hubManager(barred func(error)) (ctrl.Manager, error) {
	timeout, yes := sessionShutdown, true
	cfg := s.candidate.guarded(s.link.Config(s.options.HubQPS, s.options.HubBurst))
	s.tracer.Wrap(cfg)
	return ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                  apis.Scheme(),
		MapperProvider:          hubMapper,
		NewCache:                s.reading().NewCache,
		Metrics:                 process.Metrics(s.options.HubMetricsAddress, s.options.MetricsSecure, s.candidate.cfg),
		HealthProbeBindAddress:  "0",
		PprofBindAddress:        s.options.pprof(s.options.HubPprofPort),
		GracefulShutdownTimeout: &timeout,
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{s.options.Hub.Namespace(): {}},
			DefaultTransform:  cache.TransformStripManagedFields(),
			DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
				if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
					barred(err)
					return
				}
				toolscache.DefaultWatchErrorHandler(ctx, r, err)
			},
		},
		NewClient: consistent.NewClient,
		// Each session has controllers of the same names.
		Controller: config.Controller{CacheSyncTimeout: forever, SkipNameValidation: &yes},
	})
}

// reading is how the agents treat objects of the hub that they cannot decode: a Work without its status is applied and
// reported again, a Work whose content cannot be decoded is left unchanged.
func (s *sessions) reading() lenient.Settings {
	return lenient.Settings{
		FailList:  []client.Object{&placementv1beta1.Work{}},
		Reports:   []client.Object{&placementv1beta1.Work{}, &clusterv1beta1.InternalMemberCluster{}},
		Namespace: s.options.Hub.Namespace(),
		Component: joiner.RecorderName, EventAs: s.eventFor, Faults: &s.faults, Watches: &s.watches,
	}
}

// hubMapper maps the kinds that the agent uses on the hub, so that it needs no discovery.
func hubMapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{
		clusterv1beta1.GroupVersion.WithKind("InternalMemberCluster"),
		placementv1beta1.GroupVersion.WithKind("Work"),
	} {
		mapper.Add(kind, meta.RESTScopeNamespace)
		mapper.Add(kind.GroupVersion().WithKind(kind.Kind+"List"), meta.RESTScopeNamespace)
	}
	return mapper, nil
}

func (s *sessions) addAgents(ctx context.Context, hub ctrl.Manager, copies *standin.Copy, barred func(error)) error {
	works := standin.Recording(hub.GetClient(), copies)
	applier, err := s.addApplier(hub, works, s.member)
	if err != nil {
		return err
	}
	health, err := s.health()
	if err != nil {
		return err
	}
	recorder, err := s.recorder(ctx, hub)
	if err != nil {
		return err
	}
	here, err := client.New(s.member, client.Options{Scheme: hub.GetScheme()})
	if err != nil {
		return fmt.Errorf("make a client for the marker of this cluster's membership: %w", err)
	}
	return (&joiner.Joiner{
		Member:    s.options.Hub.Member,
		Hub:       works,
		Cluster:   here,
		Refused:   copies.Drop,
		Applier:   applier,
		Recorder:  recorder,
		Health:    health,
		Inventory: s.provider.Collect,
		Changes:   s.provider.Changes(),
		Barred:    barred,
		Gates:     s.gates,
		Now:       time.Now,
	}).SetupWithManager(hub)
}

// addApplier sets up the applier for the cluster of cfg; it reads Works through works.
func (s *sessions) addApplier(hub ctrl.Manager, works client.Client, cfg *rest.Config) (*applier.Applier, error) {
	member, err := cluster.New(cfg, func(o *cluster.Options) {
		o.Scheme = hub.GetScheme()
		// The ledger's status is the ledger: without it the agent does not know what it has applied.
		o.NewCache = lenient.Settings{FailList: []client.Object{&placementv1beta1.AppliedWork{}}, Faults: &s.faults, Watches: &s.watches}.NewCache
		o.Cache.DefaultTransform = cache.TransformStripManagedFields()
		o.NewClient = consistent.NewClient
	})
	if err == nil {
		err = hub.Add(member) // its caches run as long as the hub's
	}
	if err != nil {
		return nil, fmt.Errorf("set up the caches of this cluster: %w", err)
	}
	counter, err := unschedulable.New(cfg)
	if err == nil {
		err = hub.Add(counter)
	}
	if err != nil {
		return nil, fmt.Errorf("set up the count of unschedulable replicas: %w", err)
	}
	limit, err := s.options.removal()
	if err != nil {
		return nil, err
	}
	direct, err := client.New(cfg, client.Options{Scheme: hub.GetScheme()})
	if err != nil {
		return nil, fmt.Errorf("make a client for the record of removals: %w", err)
	}
	a := &applier.Applier{
		Namespace:     s.options.Hub.Namespace(),
		DeletionWait:  time.Duration(s.options.DeletionWait) * time.Minute,
		HubClient:     works,
		Wall:          apply.Wall{Agent: s.agent, Token: s.options.Hub.TokenSecret, Open: s.options.openNamespaces()},
		Unschedulable: counter,
		Brake:         &brake.Brake{Limit: limit, Client: direct, Now: time.Now},
		Trace:         s.tracer.Agent("applier"),
	}
	return a, a.SetupWithManager(hub, member)
}

// health returns a function that reports whether the member's API server is ready.
func (s *sessions) health() (func(context.Context) error, error) {
	clients, err := kubernetes.NewForConfig(s.member)
	if err != nil {
		return nil, fmt.Errorf("make a client for /readyz: %w", err)
	}
	return func(ctx context.Context) error {
		return clients.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}, nil
}
