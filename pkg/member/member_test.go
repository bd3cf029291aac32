package member_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/member"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// promptly is what "within seconds" means: the most that may pass from the appearance of the last thing an agent waits for.
const promptly = 5 * time.Second

func TestMemberAgent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	w := newWorld(t)
	t.Run("CRDLast", w.crdLast) // first: the CRD then stays
	t.Run("AppearsInAnyOrder", w.anyOrder)
	t.Run("RestartWritesNothing", w.restart)
	t.Run("TokenIsRotated", w.rotation)
	t.Run("AccessIsTakenAwayAndGivenBack", w.outcast)
	t.Run("HubGoesAwayAndComesBack", w.outage)
	t.Run("LeavesAndJoinsAgain", w.leave)
	t.Run("StandbyTakesOver", w.standby)
	t.Run("ReportsResources", w.resources)
}

func (w *world) crdLast(t *testing.T) {
	g := w.guest(t, "crd-last", 600)
	a := g.start()
	g.giveToken()
	g.createNamespace()
	g.letIn()
	g.invite()
	g.until("the agent says that it waits for its CRD", func() error {
		return a.saysOf("appliedworks.placement.kubernetes-fleet.io")
	})
	g.must(g.spoke.InstallCRDs(testworld.MemberCRDs))
	g.soon("joined after the CRD", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
}

// soon is until with a bound.
func (g *guest) soon(what string, check func() error) {
	g.t.Helper()
	took := g.until(what, check)
	g.t.Logf("%s: %s", what, took.Round(time.Millisecond))
	if took > promptly {
		g.t.Errorf("%s: it took %s; want at most %s", what, took, promptly)
	}
}

// anyOrder starts an agent before everything it needs, lets those things appear in random orders, and wants it to say what it waits for
// and to join as soon as the last is there.
func (w *world) anyOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	steps := []struct {
		name  string
		do    func(*guest)
		says  string // while only this is missing
		after string // step that must come before
	}{
		{"hub", func(g *guest) { g.must(g.way.up()) }, "cannot be reached", ""},
		{"token", (*guest).giveToken, "Secret default/", ""},
		{"namespace", (*guest).createNamespace, "", ""},
		{"access", (*guest).letIn, "is there a MemberCluster", "namespace"},
		{"invitation", (*guest).invite, "does not exist on the hub", "namespace"},
	}
	for i := range 8 {
		order := rng.Perm(len(steps))
		for !possible(order, func(s int) string { return steps[s].name }, func(s int) string { return steps[s].after }) {
			order = rng.Perm(len(steps))
		}
		var names []string
		for _, s := range order {
			names = append(names, steps[s].name)
		}
		t.Run(strings.Join(names, "-"), func(t *testing.T) {
			g := w.guest(t, fmt.Sprintf("order-%d", i), 600)
			g.way.down()
			a := g.start()
			for n, s := range order {
				if last := n == len(order)-1; last {
					g.until("the agent says what is missing", func() error { return a.saysOf(steps[s].says) })
				}
				steps[s].do(g)
			}
			g.soon("joined", func() error { return g.joined(metav1.ConditionTrue) })
			g.until("ready", a.ready)
			a.running()
			a.stop()
		})
	}
}

// possible says whether every step comes after the one it needs.
func possible(order []int, name, after func(int) string) bool {
	done := map[string]bool{"": true}
	for _, s := range order {
		if !done[after(s)] {
			return false
		}
		done[name(s)] = true
	}
	return true
}

// at starts a guest with everything it needs, and returns when it has joined.
func (w *world) at(t *testing.T, name string, period int32, change ...func(*member.Options)) (*guest, *agent) {
	t.Helper()
	g := w.guest(t, name, period)
	g.giveToken()
	g.createNamespace()
	g.letIn()
	g.invite()
	a := g.start(change...)
	g.until("joined", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
	return g, a
}

func (w *world) restart(t *testing.T) {
	g, a := w.at(t, "restart", 600)
	before := g.imc().ResourceVersion
	for range 2 {
		a.stop()
		a = g.start()
		g.until("ready again", a.ready) // the agent has decided by then whether to report
	}
	if after := g.imc().ResourceVersion; after != before {
		t.Errorf("a restart moved the InternalMemberCluster from resourceVersion %s to %s", before, after)
	}
	var events corev1.EventList
	g.until("events of the first join", func() error {
		if err := g.hub.List(t.Context(), &events); err != nil {
			return err
		}
		events.Items = slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return e.Namespace != g.namespace() })
		if len(events.Items) < 2 {
			return fmt.Errorf("%d events", len(events.Items))
		}
		return nil
	})
	for _, e := range events.Items {
		if e.Count > 1 || len(events.Items) > 2 {
			t.Errorf("event %s counted %d, of %d in all; want Joined and Healthy once", e.Reason, e.Count, len(events.Items))
		}
	}
}

// beatsAgain waits for a heartbeat that is younger than now.
func (g *guest) beatsAgain() {
	g.t.Helper()
	since := time.Now().Truncate(time.Second).Add(time.Second)
	g.soon("beats", func() error {
		if last := g.lastBeat(); last.Before(since) {
			return fmt.Errorf("last heartbeat at %s", last)
		}
		return nil
	})
}

func (w *world) rotation(t *testing.T) {
	g, a := w.at(t, "rotation", 1)
	g.revoke()
	g.until("the hub does not take the token any more", func() error { return a.saysOf("does not accept the credentials") })
	g.giveToken()
	g.beatsAgain()
	g.until("ready", a.ready)
	a.running()
}

func (w *world) outcast(t *testing.T) {
	g, a := w.at(t, "outcast", 1)
	for range 2 {
		g.shutOut()
		g.until("the agent says that it has no access", func() error { return a.saysOf("is there a MemberCluster") })
		g.letIn()
		g.beatsAgain()
		g.until("ready", a.ready)
	}
	// The whole namespace goes, with a Work in it or without: that is no order to leave.
	g.must(g.hub.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: g.namespace()}}))
	g.until("the agent says what it misses", func() error {
		if a.ready() == nil {
			return fmt.Errorf("it is ready")
		}
		return nil
	})
	g.until("a new invitation", func() error {
		if err := g.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: g.namespace()}}); err != nil {
			return err
		}
		g.letIn()
		g.invite()
		return nil
	})
	g.soon("joined again", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
	a.running()
}

func (w *world) outage(t *testing.T) {
	g, a := w.at(t, "outage", 1)
	for range 2 {
		g.way.down()
		g.until("the agent says that the hub is away", func() error { return a.saysOf("cannot be reached") })
		g.must(g.way.up())
		g.beatsAgain()
		g.until("ready", a.ready)
	}
	a.running()
}

func (w *world) leave(t *testing.T) {
	g, a := w.at(t, "leave", 1)
	g.ask(clusterv1beta1.ClusterStateLeave)
	g.soon("left", func() error { return g.joined(metav1.ConditionFalse) })
	g.until("the agent says that it has left", func() error { return a.saysOf("asked this cluster to leave") })
	left := g.imc().ResourceVersion
	a.stop()
	a = g.start()
	g.until("the agent says that it has left", func() error { return a.saysOf("asked this cluster to leave") })
	if now := g.imc().ResourceVersion; now != left {
		t.Errorf("after leaving, the InternalMemberCluster moved from resourceVersion %s to %s", left, now)
	}
	g.ask(clusterv1beta1.ClusterStateJoin)
	g.soon("joined again", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
}

func (w *world) standby(t *testing.T) {
	elect := func(o *member.Options) { o.LeaderElect = true }
	g, first := w.at(t, "standby", 1, elect)
	second := g.start(elect)
	g.until("the second stands by", second.ready)
	first.stop()
	g.beatsAgain()
	g.until("ready", second.ready)
}

func (w *world) resources(t *testing.T) {
	const pods = 150 // more than one page of a list
	g, _ := w.at(t, "resources", 1)
	g.until("the default ServiceAccount", func() error {
		return g.member.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
	})
	var nodes corev1.NodeList
	g.must(g.member.List(t.Context(), &nodes))
	allocatable := resource.Quantity{}
	for _, n := range nodes.Items {
		allocatable.Add(*n.Status.Allocatable.Cpu())
	}
	all := make([]int, pods)
	for i := range all {
		all[i] = i
	}
	g.must(loop.Each(t.Context(), 8, all, func(ctx context.Context, i int) error {
		return g.member.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p-%d", i)},
			Spec: corev1.PodSpec{NodeName: nodes.Items[i%len(nodes.Items)].Name, Containers: []corev1.Container{{Name: "c", Image: "c",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}}}}}})
	}))
	want := allocatable.DeepCopy()
	want.Sub(resource.MustParse("1500m"))
	g.until("the pods are counted", func() error {
		usage := g.imc().Status.ResourceUsage
		if usage.Available.Cpu().Cmp(want) != 0 || usage.Allocatable.Cpu().Cmp(allocatable) != 0 {
			return fmt.Errorf("available %s of %s; want %s of %s", usage.Available.Cpu(), usage.Allocatable.Cpu(), &want, &allocatable)
		}
		return nil
	})
	if n := g.imc().Status.Properties["kubernetes-fleet.io/node-count"].Value; n != fmt.Sprint(len(nodes.Items)) {
		t.Errorf("node-count is %s; want %d", n, len(nodes.Items))
	}
	g.must(g.member.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0)))
	g.until("the pods are gone from the count", func() error {
		if got := g.imc().Status.ResourceUsage.Available.Cpu(); got.Cmp(allocatable) != 0 {
			return fmt.Errorf("available %s; want %s", got, &allocatable)
		}
		return nil
	})
}
