// Package localfleet runs a fleet on this machine: embedded clusters, both charts installed in them by Helm, and the agents as local
// processes. In comes a Config; out comes a Fleet whose clusters answer, whose agents run and whose members have joined.
// "kubectl fleet up" uses it with detached processes, tests and benchmarks with processes that end with them.
//
// An agent gets the arguments and the environment of the Deployment that its chart made, and a token of the ServiceAccount that the
// Deployment names. So what the charts grant is what the agents have; only the ports are other ones, since all share one machine.
//
// All state is in one folder: the kubeconfig, and a folder for each cluster with its data, pid files and logs. Start finds what
// of an earlier fleet still runs there, keeps it, and starts the rest.
//
// There is no supervisor: an agent or a cluster that ends stays ended until Start is called again, so that a crash is seen.
package localfleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"k8s.io/client-go/rest"
)

// Options say where and how a fleet runs.
type Options struct {
	// Config of the fleet; the zero value is what the folder's fleet was before or, in a new folder, the default fleet.
	Config Config
	// Dir holds the fleet's state; it is made if it does not exist.
	Dir string
	// Binaries to run; what is left empty is looked for.
	Binaries Binaries
	// ChartDir is a folder with charts to install instead of those this program was built with.
	ChartDir string
	// Detached processes survive this one. Others end with it, however it ends.
	Detached bool
	// Progress is told what has been done. It is called from several goroutines, one call at a time. May be nil.
	Progress func(Event)
	// Patience is how long a single step may take, such as one cluster's start or one member's joining; by default two minutes.
	Patience time.Duration
}

// Event is one piece of progress.
type Event struct {
	// Cluster it is about.
	Cluster string
	// Text says what is going on, or has been done.
	Text string
	// Done is the last of a cluster's events in a Start: nothing is left to do for it.
	Done bool
}

// Fleet is a running fleet. Its methods may be called from several goroutines, but not two of them for the same cluster at once if
// they start or stop something.
type Fleet struct {
	options  Options
	clusters []*cluster // the hub first
	progress sync.Mutex
	// kubeconfig guards the file.
	kubeconfig sync.Mutex
}

// startsAtOnce is how many clusters start at a time: each keeps a core busy until it is ready.
const startsAtOnce = 2

const defaultPatience = 2 * time.Minute

// How long processes may take to end before they are killed.
const (
	agentGrace   = 30 * time.Second
	clusterGrace = time.Minute
)

// RunningError says that the folder's fleet runs.
type RunningError struct {
	// Dir is the fleet's folder.
	Dir string
	// Changed is true if what runs was described otherwise; else all of it runs as it should.
	Changed bool
}

func (e *RunningError) Error() string {
	if e.Changed {
		return fmt.Sprintf("the fleet in %s runs already, and was described otherwise; stop it first, then start the new one", e.Dir)
	}
	return fmt.Sprintf("the fleet in %s runs already", e.Dir)
}

// UnfinishedError says that a detached fleet could not be brought up whole. What was started goes on running.
type UnfinishedError struct{ Err error }

func (e *UnfinishedError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *UnfinishedError) Unwrap() error { return e.Err }

// Start brings up the fleet and returns when every member that is to join has joined. If all of it runs already, it returns the
// fleet together with a *RunningError; another fleet is not started over one that runs. If it fails, an attached fleet is stopped; a detached one is left as far as it came, for the
// next Start to go on from.
func Start(ctx context.Context, options Options) (*Fleet, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil || options.Dir == "" {
		return nil, fmt.Errorf("a local fleet needs a folder for its state, and %q is none", options.Dir)
	}
	options.Dir = dir
	if options.Binaries, err = options.Binaries.find(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the fleet: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()

	was, err := loadState(dir)
	if err != nil {
		return nil, err
	}
	if was != nil && sameConfig(options.Config, Config{}) {
		options.Config = was.Config
	}
	f, err := newFleet(options)
	if err != nil {
		return nil, err
	}
	changed := was != nil && !sameConfig(was.Config, f.options.Config)
	f.recall()
	running := f.running()
	if running > 0 && changed || running == len(f.processes()) && was != nil && was.Finished {
		return f, &RunningError{Dir: dir, Changed: changed}
	}
	if err := f.prepareDir(); err != nil {
		return nil, err
	}
	if err := f.up(ctx); err != nil {
		switch {
		case !f.options.Detached:
			return nil, errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
		case f.running() > 0:
			return nil, &UnfinishedError{Err: err}
		default:
			return nil, err
		}
	}
	return f, nil
}

func newFleet(options Options) (*Fleet, error) {
	options.Config = options.Config.complete()
	if err := options.Config.check(); err != nil {
		return nil, err
	}
	if options.Patience == 0 {
		options.Patience = defaultPatience
	}
	f := &Fleet{options: options}
	hub := options.Config.Hub
	f.clusters = append(f.clusters, &cluster{Cluster: hub.Cluster, nodes: hub.Nodes, dir: filepath.Join(options.Dir, hub.Name)})
	for _, member := range options.Config.Members {
		f.clusters = append(f.clusters, &cluster{Cluster: member.Cluster, member: &member, nodes: member.Nodes, dir: filepath.Join(options.Dir, member.Name)})
	}
	return f, nil
}

// prepareDir remembers the description and makes the clusters' folders.
func (f *Fleet) prepareDir() error {
	if err := (state{Config: f.options.Config}).save(f.options.Dir); err != nil {
		return err
	}
	for _, c := range f.clusters {
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return fmt.Errorf("make the folder of cluster %s: %w", c.Name, err)
		}
	}
	return nil
}

// up starts the hub and the members side by side. A member needs the hub's address for its agent, and the hub's kinds to be let in.
func (f *Fleet) up(ctx context.Context) error {
	starts := semaphore.NewWeighted(startsAtOnce)
	hubAnswers, hubServes := make(chan struct{}), make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)

	if err := starts.Acquire(ctx, 1); err != nil { // for the hub, first because the others wait for it
		return err
	}
	group.Go(func() error {
		err := f.startCluster(ctx, f.hub())
		starts.Release(1)
		if err != nil {
			return err
		}
		close(hubAnswers)
		if err := f.installHub(ctx, hubServes); err != nil {
			return err
		}
		f.report(f.hub(), "ready", true)
		return nil
	})
	for _, member := range f.clusters[1:] {
		group.Go(func() error {
			if err := starts.Acquire(ctx, 1); err != nil {
				return err
			}
			err := f.startCluster(ctx, member)
			starts.Release(1)
			if err != nil {
				return err
			}
			if err := await(ctx, hubAnswers); err != nil {
				return err
			}
			return f.installMember(ctx, member, hubServes)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return state{Config: f.options.Config, Finished: true}.save(f.options.Dir)
}

func (f *Fleet) installHub(ctx context.Context, serves chan<- struct{}) error {
	hub := f.hub()
	if err := f.installChart(ctx, hub); err != nil {
		return err
	}
	if err := f.startAgent(ctx, hub); err != nil {
		return err
	}
	if !slices.ContainsFunc(f.options.Config.Members, Member.Joins) {
		return nil
	}
	if err := f.awaitKinds(ctx, hub); err != nil {
		return err
	}
	close(serves)
	return nil
}

func (f *Fleet) installMember(ctx context.Context, member *cluster, hubServes <-chan struct{}) error {
	if err := f.installChart(ctx, member); err != nil {
		return err
	}
	if err := f.letIn(ctx, member); err != nil {
		return err
	}
	if err := f.startAgent(ctx, member); err != nil {
		return err
	}
	if !member.member.Joins() {
		f.report(member, "ready, not joined", true)
		return nil
	}
	if err := await(ctx, hubServes); err != nil {
		return err
	}
	if err := f.invite(ctx, member); err != nil {
		return err
	}
	if f.hub().Agent.Stopped || member.Agent.Stopped {
		f.report(member, "ready, invited", true)
		return nil
	}
	if err := f.awaitJoined(ctx, member); err != nil {
		return err
	}
	f.report(member, "joined", true)
	return nil
}

// Stop ends the agents, then the clusters. The state stays in the folder.
func (f *Fleet) Stop(ctx context.Context) error {
	return errors.Join(
		f.each(func(c *cluster) error { return c.stopAgent(ctx) }),
		f.each(func(c *cluster) error {
			if c.server == nil {
				return nil
			}
			err := c.stopCluster(ctx)
			if err == nil {
				f.report(c, "stopped", true)
			}
			return err
		}),
	)
}

// Hub is the name of the hub cluster.
func (f *Fleet) Hub() string { return f.hub().Name }

// Members are the names of the member clusters, in the order of the Config.
func (f *Fleet) Members() []string {
	var names []string
	for _, c := range f.clusters[1:] {
		names = append(names, c.Name)
	}
	return names
}

// Config is the fleet's description, with defaults filled in.
func (f *Fleet) Config() Config { return f.options.Config }

// Dir is the fleet's folder, absolute.
func (f *Fleet) Dir() string { return f.options.Dir }

// Kubeconfig is the path of a file whose contexts are the names of the clusters, with the rights of an administrator.
func (f *Fleet) Kubeconfig() string { return filepath.Join(f.options.Dir, kubeconfigName) }

// RestConfig reaches the cluster called name as its administrator, without client-side throttling.
func (f *Fleet) RestConfig(name string) (*rest.Config, error) {
	c, err := f.cluster(name)
	if err != nil {
		return nil, err
	}
	return c.admin()
}

// AgentKubeconfig is the path of the file by which the agent of cluster name reaches its own cluster, with what its chart grants.
func (f *Fleet) AgentKubeconfig(name string) string {
	return filepath.Join(f.options.Dir, name, agentConfig)
}

// AgentLog is the path of the log of the agent of cluster name; it grows over restarts.
func (f *Fleet) AgentLog(name string) string { return filepath.Join(f.options.Dir, name, agentLog) }

// ClusterLog is the path of the log of cluster name.
func (f *Fleet) ClusterLog(name string) string { return filepath.Join(f.options.Dir, name, clusterLog) }

func (f *Fleet) hub() *cluster { return f.clusters[0] }

func (f *Fleet) cluster(name string) (*cluster, error) {
	for _, c := range f.clusters {
		if c.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the fleet has no cluster %q; it has %s and %s", name, f.Hub(), strings.Join(f.Members(), ", "))
}

// each calls do for all clusters side by side.
func (f *Fleet) each(do func(*cluster) error) error {
	errs := make([]error, len(f.clusters))
	var group sync.WaitGroup
	for i, c := range f.clusters {
		group.Go(func() { errs[i] = do(c) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (f *Fleet) report(c *cluster, text string, done bool) {
	if f.options.Progress == nil {
		return
	}
	f.progress.Lock()
	defer f.progress.Unlock()
	f.options.Progress(Event{Cluster: c.Name, Text: text, Done: done})
}

// patient bounds one step.
func (f *Fleet) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, f.options.Patience)
}

func await(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
