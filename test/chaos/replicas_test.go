package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const leaseName = "136224848560.hub.fleet.azure.com"

// terms are those of leading.
type terms struct{ lease, renewDeadline, retryPeriod time.Duration }

// In brief terms tests see many leaders, also because a busy machine is late to renew. In steady ones a leader loses
// the lead only when it is halted.
var (
	brief  = terms{lease: 5 * time.Second, renewDeadline: 3 * time.Second, retryPeriod: 300 * time.Millisecond}
	steady = terms{lease: 15 * time.Second, renewDeadline: 10 * time.Second, retryPeriod: 500 * time.Millisecond}
)

// replicas are hub agents that share the hub: all of them run, one leads. One that ends is started again, as a
// Deployment would.
type replicas struct {
	terms   terms
	each    []*replica
	closing chan struct{}
	keepers sync.WaitGroup
}

type replica struct {
	name, log, metrics string
	args, env          []string

	mu    sync.Mutex
	cmd   *exec.Cmd // nil between two lives
	lives int
}

// startReplicas runs n hub agents in place of the fleet's own, until the test ends.
func startReplicas(t *testing.T, n int, terms terms) *replicas {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := fleet.StopAgent(ctx, hubName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.StartAgent(ctx, hubName); err != nil {
			t.Error(err)
		}
	})
	r := &replicas{terms: terms, closing: make(chan struct{})}
	t.Cleanup(func() {
		close(r.closing)
		for _, one := range r.each {
			one.signal(syscall.SIGKILL)
		}
		r.keepers.Wait()
		r.checkLogs(t)
	})
	args := agentArgs(t)
	for i := range n {
		metrics, err := testworld.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("replica-%d", i+1)
		one := &replica{
			name: name, log: filepath.Join(fleet.Dir(), hubName, name+".log"), metrics: metrics,
			env: append(os.Environ(), "KUBECONFIG="+filepath.Join(fleet.Dir(), hubName, "agent.kubeconfig")),
		}
		// Of a flag that is given twice, the last counts.
		one.args = slices.Concat(args, []string{
			"--metrics-bind-address=" + one.metrics, "--metrics-secure=false", "--health-probe-bind-address=127.0.0.1:0", "--enable-pprof=false",
			"--leader-lease-duration=" + terms.lease.String(), "--leader-renew-deadline=" + terms.renewDeadline.String(),
			"--leader-retry-period=" + terms.retryPeriod.String(),
		})
		r.each = append(r.each, one)
		r.keepers.Go(func() { r.keep(t, one) })
	}
	return r
}

// agentArgs are what the hub's Deployment starts its agent with.
func agentArgs(t *testing.T) []string {
	t.Helper()
	var list appsv1.DeploymentList
	if err := theHub.List(t.Context(), &list, client.InNamespace(contract.NamespaceSystem)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("there are %d Deployments in %s, want the hub agent's", len(list.Items), contract.NamespaceSystem)
	}
	return list.Items[0].Spec.Template.Spec.Containers[0].Args
}

// keep starts a replica again and again until the test ends.
func (r *replicas) keep(t *testing.T, one *replica) {
	runtime.LockOSThread() // to which the kernel ties the child
	for {
		ended, err := one.start()
		if err != nil {
			t.Errorf("start %s: %v", one.name, err)
			return
		}
		select {
		case <-r.closing: // perhaps before there was something to kill
			one.signal(syscall.SIGKILL)
			<-ended
			return
		case <-ended:
		}
		testworld.Pause()
		select {
		case <-r.closing:
			return
		default:
		}
	}
}

func (one *replica) start() (ended chan struct{}, err error) {
	log, err := os.OpenFile(one.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), filepath.Join("..", "..", "bin", "hubagent"), one.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = one.env, log, log, tied()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	one.mu.Lock()
	one.cmd = cmd
	one.lives++
	one.mu.Unlock()
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait() // who loses the lead ends with an error, and who is killed does too
		one.mu.Lock()
		one.cmd = nil
		one.mu.Unlock()
		close(ended)
	}()
	return ended, nil
}

// signal sends a signal to the replica if it lives, and says which of its lives that is.
func (one *replica) signal(s syscall.Signal) (life int) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.cmd != nil {
		_ = one.cmd.Process.Signal(s) // it may have ended just now
	}
	return one.lives
}

func (one *replica) life() int {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.lives
}

// leads says whether the replica believes to lead.
func (one *replica) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second) //nolint:forbidigo // one that is halted does not answer
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+one.metrics+"/metrics", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(text), fmt.Sprintf("leader_election_master_status{name=%q} 1", leaseName))
}

// leader is the one that leads, beside those left out.
func (r *replicas) leader(ctx context.Context, leftOut ...*replica) (*replica, error) {
	for _, one := range r.each {
		if len(leftOut) > 0 && one == leftOut[0] {
			continue
		}
		if one.leads(ctx) {
			return one, nil
		}
	}
	return nil, errors.New("nobody leads")
}

// checkLogs fails the test if a replica ended for a reason that is not the test's.
func (r *replicas) checkLogs(t *testing.T) {
	t.Helper()
	for _, one := range r.each {
		text, err := os.ReadFile(one.log)
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "panic:") || strings.Contains(line, "Observed a panic") {
				t.Errorf("%s: %s", one.name, line)
			}
		}
	}
}

func theLease(ctx context.Context) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{}
	return l, theHub.Get(ctx, client.ObjectKey{Namespace: contract.NamespaceSystem, Name: leaseName}, l)
}
