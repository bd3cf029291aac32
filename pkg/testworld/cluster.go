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
	// Nodes are simulated. With none there is no scheduler either.
	Nodes int
	// CRDs are patterns of files in the folder charts.
	CRDs []string
}

// Cluster is a real API server without agents.
type Cluster struct {
	// Kubeconfig is the file of the administrator, who Config and Client are too. Client knows our kinds and those of
	// Kubernetes.
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
	errGaveUp   = errors.New("ended before it was ready")
)

// StartCluster starts a cluster that ends with the test. Without the program for it, the test is skipped.
func StartCluster(t testing.TB, options ClusterOptions) *Cluster {
	t.Helper()
	return StartClusters(t, options)[0]
}

// StartClusters starts several at once.
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

// SharedClusters are used by all tests of a package: the first that asks starts them, Main ends them.
type SharedClusters struct {
	Options []ClusterOptions

	once     sync.Once
	clusters []*Cluster
	err      error
}

// Get returns the clusters in the order of the options. Without the program for them, the test is skipped.
func (s *SharedClusters) Get(t testing.TB) []*Cluster {
	t.Helper()
	s.once.Do(func() { s.clusters, s.err = startAll(s.Options) })
	require(t, s.err)
	return s.clusters
}

// Main is the body of a TestMain: it runs the tests of the package, stops the clusters and exits.
func (s *SharedClusters) Main(m *testing.M) {
	code := m.Run()
	s.Stop()
	os.Exit(code)
}

// Stop ends the clusters, if any were started.
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

// start launches a cluster and sets it up. One that gives up before it is ready, as it does on a machine too busy for
// limits of its own, is launched again.
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

// describe is the file that an embedded cluster reads.
func (o ClusterOptions) describe() string {
	if o.Nodes == 0 {
		return fmt.Sprintf("name: %s\nscheduler: false\n", o.Name)
	}
	return fmt.Sprintf("name: %s\nnodes: [{count: %d}]\n", o.Name, o.Nodes)
}

// setUp waits until the cluster answers and installs what it is to have.
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
			ended = errors.Join(fmt.Errorf("cluster %s %w:\n%s", c.name, errGaveUp, c.said()), err)
			return nil
		default:
		}
		// The file appears when the cluster answers.
		_, err := os.Stat(c.Kubeconfig)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.said())
	}
	return ended
}

func (c *Cluster) log() string { return filepath.Join(c.dir, "log") }

func (c *Cluster) said() []byte {
	said, err := os.ReadFile(c.log())
	if err != nil {
		return []byte(err.Error())
	}
	return said
}

// InstallCRDs creates what the files of these patterns hold, and waits until it is served.
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
		err = fmt.Errorf("stop cluster %s: %w\n%s", c.name, err, c.said())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// repository is the folder of the module that the test belongs to: tests run in the folder of their package.
func repository() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
	}
	return "", errors.Join(errors.New("there is no go.mod above the working directory"), err)
}
