// Package controlplane runs Kubernetes' own control plane, unchanged, in this process: etcd, the API server, the
// controller manager and the scheduler. One process instead of five saves the copies of the runtime, the API types and
// their schemas, and needs no supervision of children.
//
// The components were written to be alone in a process. What they share here: the feature gates (parsed once, set
// once), the log (never configured by them), the metrics registry (they register the same metrics without conflict)
// and the signal handler (their cobra commands install one each, so the commands are not used, only what is under
// them).
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/flagship-fleet/flagship/embedded/internal/config"
	"github.com/flagship-fleet/flagship/embedded/internal/logs"
	"github.com/flagship-fleet/flagship/embedded/internal/pki"
	"github.com/flagship-fleet/flagship/embedded/internal/state"
)

// startTimeout is for each part. A start takes seconds; the limit is for machines with far more work than cores.
const startTimeout = 5 * time.Minute

// Settings are what the parts are made from.
type Settings struct {
	Config config.Cluster
	Dir    *state.Dir
	PKI    pki.Files
	Log    *logs.Log
}

// ControlPlane is made by New, then started in three steps: StartEtcd, Serve, and, when the API server is ready,
// Control.
type ControlPlane struct {
	settings    Settings
	etcd        *embed.Etcd
	apiServer   *apiserveroptions.ServerRunOptions
	controllers *controlleroptions.KubeControllerManagerOptions
	scheduler   *scheduleroptions.Options
}

// New sets all options, which has to be done for all parts before the first one starts: they share feature gates.
// kubeconfig tells which file the controller manager and the scheduler log in with.
func New(settings Settings, listener net.Listener, kubeconfig func(pki.Pair) (string, error)) (*ControlPlane, error) {
	plane := &ControlPlane{settings: settings}
	var err error
	if plane.apiServer, err = newAPIServerOptions(settings, listener); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	controllersConfig, err := kubeconfig(settings.PKI.ControllerManager)
	if err != nil {
		return nil, err
	}
	if plane.controllers, err = newControllerManagerOptions(settings, controllersConfig); err != nil {
		return nil, fmt.Errorf("controller manager: %w", err)
	}
	schedulerConfig, err := kubeconfig(settings.PKI.Scheduler)
	if err != nil {
		return nil, err
	}
	if plane.scheduler, err = newSchedulerOptions(schedulerConfig); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	if err := plane.apiServer.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("set featureGates: %w", err)
	}
	// The components warn about deprecated API versions that they watch on purpose.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	return plane, nil
}

// StartEtcd returns when etcd serves. Stop closes it.
func (p *ControlPlane) StartEtcd(ctx context.Context) (err error) {
	p.etcd, err = startEtcd(ctx, p.settings)
	return err
}

// Serve starts the API server in group, which from now on ends with etcd, too.
func (p *ControlPlane) Serve(ctx context.Context, group *errgroup.Group) {
	group.Go(part(ctx, "etcd", func() error { return watchEtcd(ctx, p.etcd) }))
	group.Go(part(ctx, "API server", func() error { return runAPIServer(ctx, p.apiServer) }))
}

// Control starts the controller manager and the scheduler in group, as far as the config wants them.
func (p *ControlPlane) Control(ctx context.Context, group *errgroup.Group) {
	if *p.settings.Config.Controllers {
		group.Go(part(ctx, "controller manager", func() error { return runControllerManager(ctx, p.controllers) }))
	}
	if p.settings.Config.Schedules() {
		group.Go(part(ctx, "scheduler", func() error { return runScheduler(ctx, p.scheduler) }))
	}
}

// Stop closes etcd, last of all.
func (p *ControlPlane) Stop() { p.etcd.Close() }

// part makes every end that ctx did not ask for an error with the part's name. An end that was asked for is none: each
// part calls that an error in words of its own.
func part(ctx context.Context, name string, run func() error) func() error {
	return func() error {
		err := run()
		if ctx.Err() == nil && err == nil {
			return fmt.Errorf("%s: ended without being asked to", name)
		}
		if ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

// WaitReady returns when /readyz says yes; RBAC's bootstrap and the system namespaces are part of it.
func WaitReady(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var code int
		body, err := client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Raw()
		if code == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("API server: not ready: %w\n%s", errors.Join(context.Cause(ctx), err), body)
		case <-tick.C:
		}
	}
}
