package member

import (
	"context"
	"fmt"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flagship-fleet/flagship/apis"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop/consistent"
	"github.com/flagship-fleet/flagship/pkg/member/standin"
)

// gateStandIn is closed while the copy stands in for the hub: the agent keeps the last known Works applied and
// receives no changes.
const gateStandIn = "the hub's return"

// standInAfter is how long a hub may be unreachable before the copy stands in for it.
const standInAfter = 2 * time.Second

// copies returns the store in which this leader keeps the hub's Works.
func (s *sessions) copies(ctx context.Context) (*standin.Copy, error) {
	epoch := standin.Epoch{Boot: standin.Boot()}
	if s.options.LeaderElect {
		lock, err := s.candidate.lock()
		if err != nil {
			return nil, err
		}
		record, _, err := lock.Get(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the lease: %w", err)
		}
		epoch.Leader = 1 + record.LeaderTransitions // 0 is for agents without election
	}
	return standin.In(s.options.CopyDir, s.options.Hub.Server, s.options.Hub.Member, epoch), nil
}

// await returns when the hub grants the agent access; it fails only when ctx ends. While the hub does not answer, the
// last known Works are kept applied.
func (s *sessions) await(ctx context.Context, copies *standin.Copy) error {
	standing, end := context.WithCancel(ctx)
	defer end()
	var helper sync.WaitGroup
	helper.Go(func() {
		select {
		case <-standing.Done():
		case <-time.After(standInAfter):
			s.standIn(standing, copies)
		}
	})
	err := s.link.Await(ctx, func() {
		end() // the hub answers and denies access: the copy is no longer valid
		copies.Drop()
	})
	end()
	helper.Wait()
	return err
}

// standIn keeps the Works of the copy applied until ctx ends.
func (s *sessions) standIn(ctx context.Context, copies *standin.Copy) {
	log := ctrl.LoggerFrom(ctx)
	works, err := copies.Adopt()
	if err != nil || len(works) == 0 {
		if err != nil {
			log.Error(err, "No usable copy of the Works; making no changes until the hub is reachable")
		}
		return
	}
	hub, err := s.standInManager(works)
	if err != nil {
		log.Error(err, "Cannot serve Works from the local copy; making no changes until the hub is reachable")
		return
	}
	s.gates.Open(gateLeader)
	s.gates.Close(gateStandIn, fmt.Sprintf("hub unreachable; keeping the last known state of %d Works applied and deleting nothing", len(works)))
	defer s.gates.Open(gateStandIn)
	log.Info("Hub unreachable; keeping the last known Works applied", "works", len(works))
	if err := hub.Start(ctx); err != nil && ctx.Err() == nil {
		log.Error(err, "Stopped keeping the last known Works applied")
	}
}

func (s *sessions) standInManager(works []placementv1beta1.Work) (ctrl.Manager, error) {
	timeout, yes := sessionShutdown, true
	hub, err := ctrl.NewManager(standin.Server(works), ctrl.Options{
		Scheme:                  apis.Scheme(),
		MapperProvider:          hubMapper,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: &timeout,
		Cache:                   cache.Options{DefaultNamespaces: map[string]cache.Config{s.options.Hub.Namespace(): {}}},
		NewClient:               consistent.NewClient,
		Controller:              config.Controller{SkipNameValidation: &yes},
	})
	if err != nil {
		return nil, err
	}
	applier, err := s.addApplier(hub, standin.Holding(hub.GetClient()), standin.Undeleting(s.member))
	if err != nil {
		return nil, err
	}
	applier.Join()
	return hub, nil
}
