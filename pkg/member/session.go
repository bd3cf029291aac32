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
	"github.com/flagship-fleet/flagship/pkg/member/hublink"
	"github.com/flagship-fleet/flagship/pkg/member/joiner"
	"github.com/flagship-fleet/flagship/pkg/member/property"
	"github.com/flagship-fleet/flagship/pkg/member/standin"
	"github.com/flagship-fleet/flagship/pkg/process"
)

// gateLeader is closed until the replica leads, or has seen that another one does: standing by is all it has to do then.
const gateLeader = "leadership"

// forever is how long caches may take to fill: a hub that goes away meanwhile is waited for, like at any other time.
const forever = 365 * 24 * time.Hour

// errBarred ends a session: the hub no longer lets the agent into its namespace.
var errBarred = errors.New("the hub takes the access to its namespace away")

// sessions are the times for which the hub lets the agent in, one after the other. Each has caches, joiner and applier of its own;
// nothing is carried from one to the next, and what was applied stays when one ends.
type sessions struct {
	options   Options
	member    *rest.Config
	candidate *candidate
	link      *hublink.Link
	provider  property.Provider
	gates     *process.Gates
	// ready is closed when this cluster has what a session needs.
	ready chan struct{}
	// agent is the agent's ServiceAccount here, set before ready; empty if it runs as something else.
	agent types.NamespacedName
	// faults and watches are those of the session's caches.
	faults  lenient.Faults
	watches lenient.Watches
}

// prepare waits for all that a session needs, in every replica: one that stands by must have shown that it could take over.
func (s *sessions) prepare(ctx context.Context) error {
	var (
		both     sync.WaitGroup
		crd, hub error
	)
	both.Go(func() {
		if crd = process.AwaitCRDs(ctx, s.member, s.gates, ledgerCRD); crd != nil {
			return
		}
		// The question is a POST and writes nothing, so a replica that stands by may ask it too.
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
		return nil // the first session is about to open the gate
	}
	standingBy, err := s.candidate.awaitLeader(ctx)
	if standingBy {
		s.gates.Open(gateLeader)
	}
	return err
}

// run holds one session after the other until ctx ends. An error is nothing that waiting would mend.
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
	for s.await(ctx, copies) == nil { // a replica may have stood by for long
		err := s.hold(ctx, copies)
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, errBarred) {
			return err
		}
		copies.Drop()
		ctrl.LoggerFrom(ctx).Info("the session with the hub ends; what was applied stays", "reason", err)
	}
	return nil //nolint:nilerr // ctx has ended, as it was asked to
}

// hold runs one session until ctx ends or access is lost; the error is errBarred then.
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
		ctrl.LoggerFrom(ctx).Error(err, "a restart while the hub is away will wait for the hub")
	}
	if err := s.addAgents(ctx, hub, copies, barred); err != nil {
		return err
	}
	s.gates.Open(gateLeader)
	err = hub.Start(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx) // what else went wrong did so because of that
	}
	return fmt.Errorf("run the session with the hub: %w", err)
}

func (s *sessions) hubManager(barred func(error)) (ctrl.Manager, error) {
	timeout, yes := sessionShutdown, true
	return ctrl.NewManager(s.candidate.guarded(s.link.Config(s.options.HubQPS, s.options.HubBurst)), ctrl.Options{
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

// reading says how the agents read what they cannot decode on the hub: a Work without its status is applied and reported again, one whose
// content cannot be decoded is left as it is.
func (s *sessions) reading() lenient.Settings {
	return lenient.Settings{
		Hold:      []client.Object{&placementv1beta1.Work{}},
		Reports:   []client.Object{&placementv1beta1.Work{}, &clusterv1beta1.InternalMemberCluster{}},
		Namespace: s.options.Hub.Namespace(),
		Component: joiner.RecorderName, EventAs: s.eventFor, Faults: &s.faults, Watches: &s.watches,
	}
}

// hubMapper knows the kinds the agent uses on the hub, so that it need not ask for them.
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

// addApplier sets the applier up, which sees Works through client, for the cluster of cfg.
func (s *sessions) addApplier(hub ctrl.Manager, works client.Client, cfg *rest.Config) (*applier.Applier, error) {
	member, err := cluster.New(cfg, func(o *cluster.Options) {
		o.Scheme = hub.GetScheme()
		// The ledger's status is the ledger: without it nothing is known of what was applied.
		o.NewCache = lenient.Settings{Hold: []client.Object{&placementv1beta1.AppliedWork{}}, Faults: &s.faults, Watches: &s.watches}.NewCache
		o.Cache.DefaultTransform = cache.TransformStripManagedFields()
		o.NewClient = consistent.NewClient
	})
	if err == nil {
		err = hub.Add(member) // its caches run as long as the hub's
	}
	if err != nil {
		return nil, fmt.Errorf("set up the caches of this cluster: %w", err)
	}
	a := &applier.Applier{
		Namespace:    s.options.Hub.Namespace(),
		DeletionWait: time.Duration(s.options.DeletionWait) * time.Minute,
		HubClient:    works,
		Wall:         apply.Wall{Agent: s.agent, Token: s.options.Hub.TokenSecret, Open: s.options.openNamespaces()},
	}
	return a, a.SetupWithManager(hub, member)
}

// health asks the member's API server whether it is ready.
func (s *sessions) health() (func(context.Context) error, error) {
	clients, err := kubernetes.NewForConfig(s.member)
	if err != nil {
		return nil, fmt.Errorf("make a client for /readyz: %w", err)
	}
	return func(ctx context.Context) error {
		return clients.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}, nil
}
