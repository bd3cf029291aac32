package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is for anything that happens in seconds on an idle machine. It costs time only where a test fails.
const patience = 5 * time.Minute

// process is one run of the program.
type process struct {
	cmd *exec.Cmd
	// kubeconfig is the file it writes, temp the folder it has for temporary ones.
	kubeconfig, temp string
	log              *buffer
	launched         time.Time
	ended            chan struct{}
	// err is how it ended.
	err error
}

// launch runs the program with a config, and its files in dir.
func launch(dir, config string, args ...string) (*process, error) {
	p := &process{
		kubeconfig: filepath.Join(dir, "kubeconfig"), temp: filepath.Join(dir, "temp"),
		log: &buffer{}, launched: time.Now(), ended: make(chan struct{}),
	}
	file := filepath.Join(dir, "cluster.yaml")
	if err := errors.Join(os.MkdirAll(p.temp, 0o700), os.WriteFile(file, []byte(config), 0o600)); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(program, append([]string{"run", "--config", file, "--kubeconfig", p.kubeconfig}, args...)...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.temp)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A group of its own, so that children that it leaves behind can be found.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// run launches the program for a test, and kills it when the test is over.
func run(t *testing.T, dir, config string, args ...string) *process {
	t.Helper()
	p, err := launch(dir, config, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// start runs the program and returns when the cluster is ready.
func start(t *testing.T, dir, config string, args ...string) cluster {
	t.Helper()
	c, err := run(t, dir, config, args...).ready()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ready waits for the kubeconfig; one that is older than the process is a killed one's.
func (p *process) ready() (cluster, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if info, err := os.Stat(p.kubeconfig); err == nil && info.ModTime().After(p.launched) {
			return p.connect()
		}
		select {
		case <-p.ended:
			return cluster{}, fmt.Errorf("the program ended: %w\n%s", p.err, p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return cluster{}, fmt.Errorf("not ready after %s\n%s", patience, p.log)
}

func (p *process) connect() (cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		return cluster{}, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	return cluster{process: p, Interface: client, config: config}, err
}

// failure returns what the program said when it ended with an error.
func (p *process) failure(t *testing.T) string {
	t.Helper()
	p.awaitEnd(t)
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit code 1\n%s", p.err, p.log)
	}
	return p.log.String()
}

// stop ends the program in good order.
func (p *process) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	p.awaitEnd(t)
	if p.err != nil {
		t.Errorf("ended with %v after %v\n%s", p.err, signal, p.log)
	}
}

func (p *process) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the program did not end\n%s", p.log)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// checkNothingLeft fails the test if anything of an ended program is still there.
func (p *process) checkNothingLeft(t *testing.T) {
	t.Helper()
	p.checkNoProcess(t)
	if _, err := os.Stat(p.kubeconfig); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the kubeconfig was left behind (%v)", err)
	}
	if left := p.temporaryFolders(t); len(left) > 0 {
		t.Errorf("left behind in the temporary folder: %v", left)
	}
}

func (p *process) checkNoProcess(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("processes are left of group %d (%v)", p.cmd.Process.Pid, err)
	}
}

func (p *process) temporaryFolders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(p.temp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// cluster is a process that is ready, and an administrator's client.
type cluster struct {
	*process
	kubernetes.Interface
	config *rest.Config
}

// namespace makes one for a test.
func (c cluster) namespace(t *testing.T) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// workers is the cluster that the tests of workloads share, each in its own namespace. It is started by the first of
// them.
var workers shared

type shared struct {
	dir     string
	once    sync.Once
	cluster cluster
	err     error
}

const workersConfig = `
name: workers
nodes:
- count: 2
  labels: {example.com/zone: a}
- count: 1
  namePrefix: win
  os: windows
- count: 1
  namePrefix: gpu
  capacity: {cpu: "2", example.com/gpu: "1"}
  taints: [{key: example.com/gpu, effect: NoSchedule}]
`

func (s *shared) get(t *testing.T) cluster {
	t.Helper()
	s.once.Do(func() {
		var p *process
		if p, s.err = launch(s.dir, workersConfig); s.err == nil {
			s.cluster.process = p
			s.cluster, s.err = p.ready()
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cluster
}

func (s *shared) close() {
	if s.cluster.process != nil {
		s.cluster.kill()
	}
}

// eventually waits until check has nothing to complain about.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if last = check(); last == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(last)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("after %s still: %v", patience, last)
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(data)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
