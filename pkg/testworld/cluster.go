package testworld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flagship-fleet/flagship/apis"
)

// The CustomResourceDefinitions of the charts, for ClusterOptions.
const (
	HubCRDs    = "hub-agent/files/crds/*.yaml"
	MemberCRDs = "member-agent/files/crds/*.yaml"
)

// ClusterOptions describe a cluster that tests run against.
type ClusterOptions struct {
	Name string
	// Nodes is the number of simulated nodes. Without nodes there is no scheduler.
	Nodes int
	// CRDs are patterns of files in the directory charts.
	CRDs []string
}

// Cluster is a real API server without agents.
type Cluster struct {
	// Kubeconfig is the administrator's file; Config and Client have the same identity. Client has the kinds of the
	// fleet and of Kubernetes.
	Kubeconfig string
	Config     *rest.Config
	Client     client.Client

	name, dir string
	server    *exec.Cmd
	ended     chan error
}

// grace is how long a cluster may take to end before it is killed.
const grace = 30 * time.Second

var (
	errNotBuilt = errors.New("bin/embedded-cluster is not built: run make build")
	errGaveUp   = errors.New("exited before it was ready")
)

// StartCluster starts a cluster and stops it at the end of the test. If the program is not built, the test is skipped.
func StartCluster(t testing.TB, options ClusterOptions) *Cluster {
	t.Helper()
	return StartClusters(t, options)[0]
}

// StartClusters starts several clusters concurrently.
func StartClusters(t testing.TB, options ...ClusterOptions) []*Cluster {
	t.Helper()
	clusters, err := startAll(options)
	require(t, err)
	t.Cleanup(func() {
		if err := stopAll(clusters); err != nil {
			t.Log(err)
		}
	})
	return clusters
}

// SharedClusters are used by all tests of a package: the first Get starts them, and Main stops them.
type SharedClusters struct {
	Options []ClusterOptions

	once     sync.Once
	clusters []*Cluster
	err      error
}

// Get returns the clusters in the order of the options. If the program is not built, the test is skipped.
func (s *SharedClusters) Get(t testing.TB) []*Cluster {
	t.Helper()
	s.once.Do(func() { s.clusters, s.err = startAll(s.Options) })
	require(t, s.err)
	return s.clusters
}

// Hub returns the first of the clusters as the hub of a test.
func (s *SharedClusters) Hub(t *testing.T) Hub {
	t.Helper()
	return Hub{T: t, Cluster: s.Get(t)[0]}
}

// Main is the body of a TestMain: it runs the tests of the package, stops the clusters and exits.
func (s *SharedClusters) Main(m *testing.M) {
	code := m.Run()
	s.Stop()
	os.Exit(code)
}

// Stop stops the clusters, if any were started.
func (s *SharedClusters) Stop() {
	if err := stopAll(s.clusters); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func require(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startAll starts all clusters or none.
func startAll(options []ClusterOptions) ([]*Cluster, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(root, "bin", "embedded-cluster")
	if _, err := os.Stat(program); err != nil {
		return nil, errNotBuilt
	}
	clusters, errs := make([]*Cluster, len(options)), make([]error, len(options))
	var starting sync.WaitGroup
	for i, o := range options {
		starting.Go(func() {
			clusters[i], errs[i] = start(program, o)
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, stopAll(clusters))
	}
	return clusters, nil
}

func stopAll(clusters []*Cluster) error {
	errs := make([]error, len(clusters))
	var stopping sync.WaitGroup
	for i, c := range clusters {
		if c != nil {
			stopping.Go(func() { errs[i] = c.stop() })
		}
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// start launches a cluster and sets it up. It launches again a cluster that exits before it is ready, as happens on a
// loaded machine because of the cluster's own timeouts.
func start(program string, o ClusterOptions) (*Cluster, error) {
	var errs []error
	for range 3 {
		c, err := launch(program, o)
		if err != nil {
			return nil, err
		}
		if err = c.setUp(o); err == nil {
			return c, nil
		}
		errs = append(errs, err, c.stop())
		if !errors.Is(err, errGaveUp) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// launch starts the program of a cluster.
func launch(program string, o ClusterOptions) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "testworld-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{name: o.Name, dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), ended: make(chan error, 1)}
	file := filepath.Join(dir, "cluster.yaml")
	// No context: a shared cluster outlives the test that starts it, and each is stopped in order.
	c.server = exec.CommandContext(context.Background(), program, "run", "--config", file, "--kubeconfig", c.Kubeconfig, "--data-dir", filepath.Join(dir, "data"))
	log, err := os.Create(c.log())
	if err == nil {
		defer log.Close()
		c.server.Stdout, c.server.Stderr = log, log
		err = os.WriteFile(file, []byte(o.describe()), 0o600)
	}
	if err == nil {
		err = c.server.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster %s: %w", o.Name, err), os.RemoveAll(dir))
	}
	go func() { c.ended <- c.server.Wait(); close(c.ended) }()
	return c, nil
}

// describe returns the configuration file of an embedded cluster.
func (o ClusterOptions) describe() string {
	if o.Nodes == 0 {
		return fmt.Sprintf("name: %s\nscheduler: false\n", o.Name)
	}
	return fmt.Sprintf("name: %s\nnodes: [{count: %d}]\n", o.Name, o.Nodes)
}

// setUp waits until the cluster is ready and installs the CRDs of the options.
func (c *Cluster) setUp(o ClusterOptions) error {
	if err := c.answers(); err != nil {
		return err
	}
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return fmt.Errorf("reach cluster %s: %w", c.name, err)
	}
	c.Config.QPS = -1
	if c.Client, err = client.New(c.Config, client.Options{Scheme: apis.Scheme()}); err != nil {
		return fmt.Errorf("reach cluster %s: %w", c.name, err)
	}
	return c.InstallCRDs(o.CRDs...)
}

func (c *Cluster) answers() error {
	var ended error
	err := Until(context.Background(), Workload, "cluster "+c.name+" to be ready", func(context.Context) error {
		select {
		case err := <-c.ended:
			ended = errors.Join(fmt.Errorf("cluster %s %w:\n%s", c.name, errGaveUp, c.output()), err)
			return nil
		default:
		}
		// The cluster writes the file when it is ready.
		_, err := os.Stat(c.Kubeconfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.output())
	}
	return ended
}

func (c *Cluster) log() string { return filepath.Join(c.dir, "log") }

func (c *Cluster) output() []byte {
	output, err := os.ReadFile(c.log())
	if err != nil {
		return []byte(err.Error())
	}
	return output
}

// InstallCRDs creates the CRDs in the files of these patterns, and waits until they are served.
func (c *Cluster) InstallCRDs(patterns ...string) error {
	root, err := repository()
	if err != nil {
		return err
	}
	var files []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(root, "charts", pattern))
		if err != nil {
			return fmt.Errorf("find %s: %w", pattern, err)
		}
		if len(found) == 0 {
			return fmt.Errorf("there is no file %s in charts", pattern)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil
	}
	options := envtest.CRDInstallOptions{Paths: files, ErrorIfPathMissing: true, MaxTime: Soon + Patience, PollInterval: look}
	if _, err := envtest.InstallCRDs(c.Config, options); err != nil {
		return fmt.Errorf("install %v on cluster %s: %w", patterns, c.name, err)
	}
	return nil
}

func (c *Cluster) stop() error {
	var err error
	_ = c.server.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case err = <-c.ended:
	case <-time.After(grace):
		err = errors.Join(fmt.Errorf("it does not end within %s", grace), c.server.Process.Kill(), <-c.ended)
	}
	if err != nil {
		err = fmt.Errorf("stop cluster %s: %w\n%s", c.name, err, c.output())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// repository returns the directory of the module of the test. Tests run in the directory of their package.
func repository() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
	}
	return "", errors.Join(errors.New("there is no go.mod above the working directory"), err)
}
