// Package run is the life of one embedded cluster in this process: it starts the parts in order, says when the cluster
// can be used, and leaves nothing behind when it ends.
package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/flagship-fleet/flagship/embedded/internal/config"
	"github.com/flagship-fleet/flagship/embedded/internal/controlplane"
	"github.com/flagship-fleet/flagship/embedded/internal/logs"
	"github.com/flagship-fleet/flagship/embedded/internal/pki"
	"github.com/flagship-fleet/flagship/embedded/internal/simulation"
	"github.com/flagship-fleet/flagship/embedded/internal/state"
)

// Options are what the command line says.
type Options struct {
	Config config.Cluster
	// Kubeconfig is written when the cluster can be used, and removed at the end.
	Kubeconfig string
	// DataDir keeps the state; empty: a temporary folder.
	DataDir string
	// Log takes progress, and the warnings and errors of the parts.
	Log *logs.Log
}

// endTimeout is how long the parts may take to end. What is still open then is closed with the process.
const endTimeout = 5 * time.Second

// errTold ends the parts, as the failure of one of them would.
var errTold = errors.New("the cluster was told to end")

// cluster is what is known before the first part starts.
type cluster struct {
	Options
	progress
	// out is Options.Kubeconfig as an absolute path.
	out      string
	dir      *state.Dir
	listener net.Listener
	server   string
	pki      pki.Files
}

// Cluster runs a cluster until ctx ends or a part fails. The process must end afterwards: a part that failed, or that
// was interrupted while it started, may still be running.
func Cluster(ctx context.Context, o Options) (err error) {
	begin := time.Now()
	out, err := filepath.Abs(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", o.Kubeconfig, err)
	}
	dir, err := state.Open(o.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	// Not ctx: opening a port does not block, and must not fail because of a signal.
	listener, port, err := dir.Listen(context.WithoutCancel(ctx), o.Config.Port)
	if err != nil {
		return err
	}
	// Only now is it sure that no running cluster is robbed of its file.
	if err := remove(out); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(out)) }()
	// The parts name some of their files relative to here; see controlplane.
	if err := os.Chdir(dir.Path); err != nil {
		return fmt.Errorf("enter the state folder: %w", err)
	}
	files, err := pki.Ensure(dir.Join("pki"))
	if err != nil {
		return err
	}
	c := cluster{
		Options:  o,
		progress: progress{cluster: o.Config.Name, log: o.Log, begin: begin},
		out:      out,
		dir:      dir,
		listener: listener,
		server:   "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		pki:      files,
	}
	context.AfterFunc(ctx, func() {
		o.Log.Ending()
		c.say("ending")
	})
	if err := c.live(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// live starts the parts and returns when the first of them fails, or when ctx ends and they have ended.
func (c cluster) live(ctx context.Context) error {
	plane, err := controlplane.New(controlplane.Settings{Config: c.Config, Dir: c.dir, PKI: c.pki, Log: c.Log}, c.listener, c.partConfig)
	if err != nil {
		return err
	}
	c.say("starting etcd and the API server at " + c.server)
	if err := c.during("etcd to open its data", func() error { return c.startEtcd(ctx, plane) }); err != nil {
		return err
	}
	// The other parts do not see ctx: an API server that is told to end while it starts takes the process with it.
	parts, partsCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	told := make(chan struct{})
	parts.Go(func() error {
		<-told
		return errTold
	})
	plane.Serve(partsCtx, parts)
	usable := make(chan struct{})
	parts.Go(func() error {
		if err := c.control(partsCtx, plane, parts); err != nil {
			return err
		}
		close(usable)
		return nil
	})
	failed := c.firstFailure(partsCtx)
	select {
	case <-usable:
		if err := c.publish(); err != nil {
			return err
		}
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil // nobody has used it: there is nothing to be ended in order
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		close(told)
		c.await(parts)
		plane.Stop()
		return nil
	}
}

// startEtcd returns when etcd serves. Data that it cannot read makes it panic, in goroutines of its own.
func (c cluster) startEtcd(ctx context.Context, plane *controlplane.ControlPlane) error {
	started := make(chan error, 1)
	go func() { started <- plane.StartEtcd(ctx) }()
	select {
	case err := <-started:
		return err
	case err := <-c.Log.Fatal():
		return err
	}
}

// control starts what needs the API server, and returns when the cluster can be used.
func (c cluster) control(ctx context.Context, plane *controlplane.ControlPlane, parts *errgroup.Group) error {
	admin := restConfig(c.server, c.pki, c.pki.Node)
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("reach the API server: %w", err)
	}
	if err := c.during("the API server to be ready", func() error { return controlplane.WaitReady(ctx, client) }); err != nil {
		return err
	}
	plane.Control(ctx, parts)
	if c.Config.Schedules() {
		if err := c.during("the nodes to be registered", func() error { return simulation.Start(ctx, admin, c.Config.Nodes) }); err != nil {
			return err
		}
	}
	return c.during("the default namespace to be complete", func() error { return waitUsable(ctx, client, *c.Config.Controllers) })
}

// firstFailure delivers the error of the first part that fails.
func (c cluster) firstFailure(partsCtx context.Context) <-chan error {
	failed := make(chan error, 1)
	go func() {
		select {
		case <-partsCtx.Done():
			failed <- context.Cause(partsCtx)
		case err := <-c.Log.Fatal():
			failed <- err
		}
	}()
	return failed
}

// publish tells the world that the cluster can be used.
func (c cluster) publish() error {
	config, err := c.adminKubeconfig()
	if err != nil {
		return fmt.Errorf("make the kubeconfig: %w", err)
	}
	if err := writeKubeconfig(c.out, config); err != nil {
		return err
	}
	c.say("ready")
	return nil
}

// await gives the parts time to end.
func (c cluster) await(parts *errgroup.Group) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = parts.Wait() // errTold
	}()
	select {
	case <-ended:
	case err := <-c.Log.Fatal():
		c.say("a part ended out of order: " + err.Error())
	case <-time.After(endTimeout):
		c.say("some parts are still open, and are closed with the process")
	}
}

// waitUsable returns when what every user of a cluster relies on is there: the default namespace with its service
// account.
func waitUsable(ctx context.Context, client kubernetes.Interface, controllers bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		if err == nil && controllers {
			_, err = client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		}
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return fmt.Errorf("look for the default namespace: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func remove(kubeconfig string) error {
	if err := os.Remove(kubeconfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the kubeconfig: %w", err)
	}
	return nil
}
