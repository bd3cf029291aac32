package admission

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// front plays the Service in front of the replicas: it passes each connection to one that accepts it, the first one
// first.
type front struct {
	address  string
	listener net.Listener

	mu       sync.Mutex
	backends []string
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: listener.Addr().String(), listener: listener}
	testworld.Go(t, "the front of the replicas", f.run)
	return f
}

func (f *front) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { f.listener.Close() })
	defer stop()
	for {
		in, err := f.listener.Accept()
		if err != nil {
			return nil //nolint:nilerr // the test has ended
		}
		go f.pass(ctx, in)
	}
}

func (f *front) add(backend string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backends = append(f.backends, backend)
}

// pass connects in to a replica until either side ends the connection.
func (f *front) pass(ctx context.Context, in net.Conn) {
	defer in.Close()
	f.mu.Lock()
	backends := append([]string(nil), f.backends...)
	f.mu.Unlock()
	for _, backend := range backends {
		out, err := new(net.Dialer).DialContext(ctx, "tcp", backend)
		if err != nil {
			continue
		}
		defer out.Close()
		ended := make(chan struct{}, 2)
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				_, _ = io.Copy(way[0], way[1]) // an end of the connection is no error here
				ended <- struct{}{}
			}()
		}
		select {
		case <-ended:
		case <-ctx.Done():
		}
		return
	}
}

// replica is a process of the hub agent, like a pod of its Deployment.
type replica struct {
	address string
	process *exec.Cmd
}

// startReplica starts a replica behind a front, with the rights and the identity that the chart gives the agent.
func startReplica(t *testing.T, f *front, name string) *replica {
	t.Helper()
	address, err := testworld.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{address: address, process: exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join("..", "..", "bin", "hubagent"),
		"--leader-elect=true", "--leader-election-namespace="+contract.NamespaceSystem, "--leader-lease-duration=15s", "--leader-renew-deadline=10s",
		"--leader-retry-period=1s", "--health-probe-bind-address=0", "--metrics-bind-address=0", "--enable-webhook=true", "--webhook-url=https://"+f.address,
		"--webhook-port="+port, "--webhook-owner=hub-agent-webhooks", "--enable-guard-rail=true", "--enable-pdbs=false", "--v=2",
	)}
	r.process.Env = append(os.Environ(), "KUBECONFIG="+local.AgentKubeconfig(local.Hub()), "POD_NAMESPACE="+contract.NamespaceSystem)
	r.process.Stdout, r.process.Stderr = log, log
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill(t)
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("log of %s (%v):\n%s", name, err, text)
		}
		log.Close()
	})
	f.add(address)
	return r
}

// kill kills the process at once, like a crash.
func (r *replica) kill(t *testing.T) {
	t.Helper()
	if r.process.ProcessState != nil {
		return
	}
	if err := r.process.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = r.process.Wait() // it was killed
}

// serves is nil if a server at an address is one that the published CA trusts.
func serves(ctx context.Context, address string) error {
	configuration := &registrationv1.ValidatingWebhookConfiguration{}
	if err := master.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, configuration); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle)
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// holder is the identity of the replica that leads.
func holder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := master.Get(ctx, types.NamespacedName{Namespace: contract.NamespaceSystem, Name: "136224848560.hub.fleet.azure.com"}, lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	return *lease.Spec.HolderIdentity, nil
}

// All replicas answer with certificates of one CA. When the one that leads is killed, the others answer on, and one of
// them keeps the configurations.
func TestAStandbyAnswersAndTakesOver(t *testing.T) {
	if err := local.StopAgent(t.Context(), local.Hub()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.StartAgent(testworld.Context(t), local.Hub()); err != nil {
			t.Fatal(err)
		}
		testworld.Await(t, testworld.Long, "the agent to answer again", inForce)
	})
	f := newFront(t)
	leader := startReplica(t, f, "leader")
	testworld.Await(t, testworld.Long, "the first replica to lead", func(ctx context.Context) error {
		configuration := &registrationv1.ValidatingWebhookConfiguration{}
		if err := master.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, configuration); err != nil {
			return err
		}
		if address := *configuration.Webhooks[0].ClientConfig.URL; !strings.Contains(address, f.address) {
			return fmt.Errorf("the webhooks are at %s, want the front at %s", address, f.address)
		}
		return inForce(ctx)
	})
	first, err := holder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	standby := startReplica(t, f, "standby")
	for name, r := range map[string]*replica{"leader": leader, "standby": standby} {
		testworld.Await(t, testworld.Long, "the "+name+" to serve", func(ctx context.Context) error { return serves(ctx, r.address) })
	}

	var broken atomic.Int64
	writer, written := standing(t, func(err error) bool {
		broken.Add(1)
		// What is on its way to the leader when it is killed gets no answer. Every other failure is one of trust.
		return apierrors.IsInternalError(err) && !strings.Contains(err.Error(), "x509") && !strings.Contains(err.Error(), "tls:")
	})
	testworld.AwaitProgress(t, writer, written)
	if n := broken.Load(); n > 0 {
		t.Errorf("%d writes were refused before any replica was killed", n)
	}
	leader.kill(t)
	testworld.AwaitProgress(t, writer, written)
	// The mutating and the validating request of a write can both be on their way once.
	if n := broken.Load(); n > 2 {
		t.Errorf("%d writes of one writer were refused", n)
	}

	testworld.Await(t, testworld.Long, "the standby to lead", func(ctx context.Context) error {
		now, err := holder(ctx)
		if err == nil && now == first {
			err = errors.New("the killed replica holds the lease")
		}
		return err
	})
	if err := master.Delete(t.Context(), &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.ValidatingName}}); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Long, "the standby to publish", inForce)
	testworld.AwaitProgress(t, writer, written)
	writer.Stop()
}
