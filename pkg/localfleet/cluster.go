package localfleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/pkg/localfleet/freeport"
)

// cluster is one cluster of the fleet with its agent.
type cluster struct {
	Cluster
	// member is nil for the hub. nodes are simulated.
	member *Member
	nodes  []NodeSet
	dir    string
	// server and agent are the present or the last processes.
	server, agent *process
	// chart locates the agent's Deployment, once installed.
	chart *installed
	// ports are the agent's, by flag. They stay the same over its restarts.
	ports map[string]int
	// plainMetrics is whether the agent serves its metrics over plain HTTP.
	plainMetrics bool
}

// The files of a cluster's folder.
const (
	clusterLog     = "cluster.log"
	clusterPID     = "cluster.pid"
	agentLog       = "agent.log"
	agentPID       = "agent.pid"
	describedAs    = "cluster.yaml"
	adminConfig    = "admin.kubeconfig"
	agentConfig    = "agent.kubeconfig"
	agentFiles     = "agent-files"
	hubToken       = "hub-token"
	chartState     = "chart.json"
	clusterData    = "data"
	loopback       = freeport.Loopback
	filePermission = 0o600
)

// description is the configuration file of an embedded cluster; embedded/README.md documents it.
type description struct {
	Name         string          `json:"name"`
	Port         int             `json:"port,omitempty"`
	Scheduler    bool            `json:"scheduler"`
	Nodes        []NodeSet       `json:"nodes"`
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
	Verbosity    int             `json:"verbosity,omitempty"`
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) describe() description {
	return description{Name: c.Name, Port: c.Port, FeatureGates: c.FeatureGates, Verbosity: c.Verbosity,
		Scheduler: c.member != nil || len(c.nodes) > 0, Nodes: c.nodes}
}

func (f *Fleet) serverProgram(c *cluster) program {
	return program{
		name: "cluster " + c.Name,
		path: f.options.Binaries.EmbeddedCluster,
		args: []string{"run", "--config", c.path(describedAs), "--kubeconfig", c.path(adminConfig), "--data-dir", c.path(clusterData)},
		env:  inherited(),
		dir:  c.dir, log: c.path(clusterLog), record: c.path(clusterPID),
		detached: f.options.Detached,
	}
}

// startCluster returns when the cluster answers. For a running one it only waits.
func (f *Fleet) startCluster(ctx context.Context, c *cluster) error {
	if c.server != nil && c.server.running() {
		f.report(c, "cluster is already running", false)
		return f.awaitAnswer(ctx, c)
	}
	f.report(c, "starting the cluster", false)
	if err := c.portIsFree(ctx); err != nil {
		return err
	}
	data, err := yaml.Marshal(c.describe())
	if err != nil {
		return fmt.Errorf("describe cluster %s: %w", c.Name, err)
	}
	if err := os.WriteFile(c.path(describedAs), data, filePermission); err != nil {
		return fmt.Errorf("describe cluster %s: %w", c.Name, err)
	}
	// The file reappears when the cluster answers.
	if err := os.Remove(c.path(adminConfig)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the previous kubeconfig of cluster %s: %w", c.Name, err)
	}
	began := time.Now()
	if err := f.launchCluster(ctx, c); err != nil {
		return err
	}
	f.report(c, fmt.Sprintf("cluster ready after %.1f s", time.Since(began).Seconds()), false)
	return nil
}

// launches is how often a cluster is launched if it exits before it answers, as an API server does on a machine that
// is too busy for its limits.
const launches = 3

func (f *Fleet) launchCluster(ctx context.Context, c *cluster) (err error) {
	for n := 1; ; n++ {
		if c.server, err = launch(f.serverProgram(c), f.onExit(c)); err != nil {
			return err
		}
		err := f.awaitAnswer(ctx, c)
		if gaveUp := err != nil && !c.server.running() && !c.server.asked(); !gaveUp || n == launches || ctx.Err() != nil {
			return err
		}
		f.report(c, "restarting the cluster", false)
	}
}

func (f *Fleet) awaitAnswer(ctx context.Context, c *cluster) error {
	ctx, cancel := f.patient(ctx)
	defer cancel()
	err := until(ctx, func() (bool, error) {
		if !c.server.running() {
			return false, c.server.failure()
		}
		_, err := os.Stat(c.path(adminConfig))
		return err == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cluster %s is not ready after %s; from %s:\n%s", c.Name, f.options.Patience, c.server.log, c.server.lastWords())
	}
	if err != nil {
		return err
	}
	return f.writeKubeconfig()
}

func (c *cluster) portIsFree(ctx context.Context) error {
	if c.Port == 0 {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("port %d of cluster %s is not free (%w): stop what uses it, choose another port, or 0 for a free one", c.Port, c.Name, err)
	}
	return listener.Close()
}

func (c *cluster) stopCluster(ctx context.Context) error {
	if c.server == nil {
		return nil
	}
	return c.server.stop(ctx, clusterGrace)
}

// admin is the configuration of the cluster's administrator.
func (c *cluster) admin() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.path(adminConfig))
	if err != nil {
		return nil, fmt.Errorf("reach cluster %s: %w", c.Name, err)
	}
	config.QPS = -1
	return config, nil
}

// StartCluster restarts cluster name after StopCluster or KillCluster, with its previous state, and returns when it
// answers.
func (f *Fleet) StartCluster(ctx context.Context, name string) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	return f.startCluster(ctx, c)
}

// StopCluster stops cluster name with a regular shutdown. Its agent, if running, keeps running without a server.
func (f *Fleet) StopCluster(ctx context.Context, name string) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	return c.stopCluster(ctx)
}

// KillCluster kills cluster name at once, like a power failure.
func (f *Fleet) KillCluster(name string) error {
	c, err := f.cluster(name)
	if err != nil || c.server == nil {
		return err
	}
	return c.server.kill()
}

// ClusterPID is the process ID of cluster name, with its API server, etcd and controllers; 0 if it was not started.
func (f *Fleet) ClusterPID(name string) int {
	c, err := f.cluster(name)
	if err != nil || c.server == nil {
		return 0
	}
	return c.server.pid
}

// writeKubeconfig merges the administrators' kubeconfigs of all clusters that have answered. The hub is its current
// context.
func (f *Fleet) writeKubeconfig() error {
	f.kubeconfig.Lock()
	defer f.kubeconfig.Unlock()
	merged := clientcmdapi.NewConfig()
	for _, c := range f.clusters {
		one, err := clientcmd.LoadFromFile(c.path(adminConfig))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the kubeconfig of cluster %s: %w", c.Name, err)
		}
		from := one.Contexts[one.CurrentContext]
		if from == nil || one.Clusters[from.Cluster] == nil || one.AuthInfos[from.AuthInfo] == nil {
			return fmt.Errorf("the kubeconfig %s has no usable current context", c.path(adminConfig))
		}
		merged.Clusters[c.Name] = one.Clusters[from.Cluster]
		merged.AuthInfos[c.Name] = one.AuthInfos[from.AuthInfo]
		merged.Contexts[c.Name] = &clientcmdapi.Context{Cluster: c.Name, AuthInfo: c.Name}
	}
	merged.CurrentContext = f.Hub()
	// WriteToFile does not replace the file atomically, and a reader must never get a part of it.
	unfinished := f.Kubeconfig() + ".new"
	if err := clientcmd.WriteToFile(*merged, unfinished); err != nil {
		return fmt.Errorf("write the fleet's kubeconfig: %w", err)
	}
	if err := os.Rename(unfinished, f.Kubeconfig()); err != nil {
		return fmt.Errorf("write the fleet's kubeconfig: %w", err)
	}
	return nil
}

// inherited is the part of the environment that the programs get: nothing that could direct them to other clusters.
func inherited() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GODEBUG", "GOTRACEBACK", "GORACE", "GOCOVERDIR", "GOMAXPROCS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
