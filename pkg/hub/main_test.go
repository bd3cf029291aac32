package hub

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hubsAtOnce is how many scenarios of failover run at the same time, each with a hub of its own.
const hubsAtOnce = 2

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given { // the tests mostly wait: one for each processor would be too few
		if err := flag.Set("test.parallel", strconv.Itoa(hubsAtOnce+1)); err != nil {
			panic(err)
		}
	}
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	hubs.end()
	os.Exit(code)
}

// hubs are those of the scenarios of failover.
var hubs = pool{slots: make(chan struct{}, hubsAtOnce)}

// pool lends hubs to scenarios, because the start of one takes longer than most scenarios.
type pool struct {
	slots     chan struct{}
	mu        sync.Mutex
	free, all []*failovers
}

// take lends a hub to the test until it ends. The test runs in parallel to others.
func (p *pool) take(t *testing.T) *failovers {
	t.Helper()
	t.Parallel()
	p.slots <- struct{}{}
	t.Cleanup(func() { <-p.slots })
	p.mu.Lock()
	var f *failovers
	if n := len(p.free); n > 0 {
		f, p.free = p.free[n-1], p.free[:n-1]
	}
	p.mu.Unlock()
	if f == nil {
		f = p.start(t)
	}
	f.T = t
	f.user.now.Store(t)
	t.Cleanup(func() { p.takeBack(f) })
	return f
}

// takeBack makes the hub ready for the next scenario. One of a scenario that failed is not used again.
func (p *pool) takeBack(f *failovers) {
	if !f.Failed() {
		f.reset()
	}
	failed := f.Failed()
	f.user.now.Store(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !failed {
		p.free = append(p.free, f)
	}
}

// end stops all hubs.
func (p *pool) end() {
	var ending sync.WaitGroup
	for _, f := range p.all {
		ending.Go(func() {
			if f.stop != nil {
				f.stop()
			}
			f.shared.Stop()
		})
	}
	ending.Wait()
}

// period is how often the members report. A silence is judged for some time, however long ago it began, if the period is
// longer than 10 seconds.
const period = 10

// regions are those of the members.
var regions = map[string]string{
	"west-1": "west", "west-2": "west", "west-3": "west", "west-4": "west", "east-1": "east", "east-2": "east", "east-3": "east",
	"north-1": "north", "north-2": "north",
}

// member is the label of members with their name.
const member = "member"

func labelsOf(name string) map[string]string {
	return map[string]string{member: name, failover.DefaultDomain: regions[name]}
}

// start starts a hub, and returns it when all members have joined. Its agent has received heartbeats for hours.
func (p *pool) start(t *testing.T) *failovers {
	t.Helper()
	f := &failovers{shared: testworld.SharedHub(), user: &lasting{}, members: map[string]*testworld.ModelMember{}}
	f.user.now.Store(t)
	f.fleet = &fleet{T: t, whole: f.user, Cluster: f.shared.Hub(t).Cluster, awake: 3 * time.Hour}
	p.mu.Lock()
	p.all = append(p.all, f)
	p.mu.Unlock()
	f.start()
	var err error
	f.watching, err = client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	for name := range regions {
		cluster := testworld.NewMemberCluster(name)
		cluster.Spec.HeartbeatPeriodSeconds = period
		cluster.Labels = labelsOf(name)
		f.members[name] = testworld.StartModelMember(f.user, f.watching, cluster)
	}
	for _, m := range f.members {
		m.Healthy()
	}
	f.must(f.Client.Create(t.Context(), testworld.Namespace("shop")))
	f.must(f.Client.Create(t.Context(), testworld.ConfigMap("shop", "0")))
	return f
}

// reset undoes what a scenario did to the members, and lets the agent forget what it remembers about the last silences.
func (f *failovers) reset() {
	f.Helper()
	for name, m := range f.members {
		m.Telling(nil)
		m.Busy()
		m.Healthy()
		testworld.Update(f, f.Client, testworld.NewMemberCluster(name), func(c *clusterv1beta1.MemberCluster) {
			c.Labels, c.Annotations, c.Spec.Taints = labelsOf(name), nil, nil
		})
	}
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		f.awaitSilence(name, "")
		testworld.Await(f, testworld.Soon, "no record of a silence of "+name, func(ctx context.Context) error {
			c := testworld.NewMemberCluster(name)
			if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil || c.Status.Silence == nil {
				return err
			}
			c.Status.Silence = nil
			return f.Client.Status().Update(ctx, c)
		})
	}
	if f.braked {
		f.stop()
		f.awake, f.braked = 3*time.Hour, false
		f.start()
	}
}

// lasting is the testing.TB of what outlives the scenario that starts it. Errors are those of the scenario that uses
// the hub now. It has no methods but those that the agents and members need.
type lasting struct {
	testing.TB
	now atomic.Pointer[testing.T]
}

// Helper does nothing: lines of this file do not show in messages anyway.
func (l *lasting) Helper() {}

// Context never ends.
func (l *lasting) Context() context.Context { return context.Background() }

// Cleanup does nothing: the end of the process ends all.
func (l *lasting) Cleanup(func()) {}

// Errorf is the scenario's.
func (l *lasting) Errorf(format string, args ...any) {
	if t := l.now.Load(); t != nil {
		t.Errorf(format, args...)
		return
	}
	fmt.Fprintf(os.Stderr, "between two scenarios: "+format+"\n", args...)
}

// Error is the scenario's.
func (l *lasting) Error(args ...any) { l.Errorf("%s", fmt.Sprint(args...)) }

// Fatalf is the scenario's.
func (l *lasting) Fatalf(format string, args ...any) { l.now.Load().Fatalf(format, args...) }

// Fatal is the scenario's.
func (l *lasting) Fatal(args ...any) { l.now.Load().Fatal(args...) }
