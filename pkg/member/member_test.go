package member_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/member"
	"github.com/flagship-fleet/flagship/pkg/member/property"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func TestMemberAgent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	w := newWorld(t)
	t.Run("CRDLast", w.crdLast) // first: the CRD then stays
	t.Run("AppearsInAnyOrder", w.anyOrder)
	t.Run("RestartWritesNothing", w.restart)
	t.Run("TokenIsRotated", w.rotation)
	t.Run("CertificateIsRotated", w.certificateRotation)
	t.Run("AccessIsTakenAwayAndGivenBack", w.outcast)
	t.Run("HubGoesAwayAndComesBack", w.outage)
	t.Run("KeepsUpWhatItWasGivenWhileTheHubIsAway", w.standIn)
	t.Run("LeavesAndJoinsAgain", w.leave)
	t.Run("StandbyTakesOver", w.standby)
	t.Run("EndsWhenItCannotGoOn", w.broken)
	t.Run("Reports", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){"Resources": w.resources, "Namespaces": w.namespaces, "WhatAzureClustersReport": w.azure} {
			t.Run(name, func(t *testing.T) {
				test(t)
			})
		}
	})
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
	g.until("joined after the CRD", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
}

// anyOrder starts an agent before everything it needs, creates those things in random orders, and expects it to report
// what it waits for and to join as soon as the last one exists.
func (w *world) anyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(testworld.Seed(t), 0))
	steps := []struct {
		name  string
		do    func(*guest)
		says  string // while only this is missing
		after string // step that must come before
	}{
		{"hub", func(g *guest) { g.must(g.way.up()) }, "is unreachable", ""},
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
			g.until("joined", func() error { return g.joined(metav1.ConditionTrue) })
			g.until("ready", a.ready)
			a.running()
			a.Stop()
		})
	}
}

// possible reports whether every step comes after the one it needs.
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
	before := g.wholeReport()
	// What is not written yet is lost with the agent.
	testworld.AwaitEvents(t, g.hub, g.namespace(), "events of the first join", func(events []corev1.Event) bool {
		return joins(events) == 1 && len(events) >= 2
	})
	for range 2 {
		a.Stop()
		a = g.start()
		g.until("ready again", a.ready) // the agent has decided by then whether to report
	}
	g.unmoved(before)
	var events corev1.EventList
	g.must(g.hub.List(t.Context(), &events, client.InNamespace(g.namespace())))
	if n := joins(events.Items); n != 1 {
		t.Errorf("%d events Joined; want 1", n)
	}
}

// joins is how many events report a join.
func joins(events []corev1.Event) int {
	n := 0
	for _, e := range events {
		if e.Reason == clusterv1beta1.ReasonInternalMemberClusterJoined {
			n += int(e.Count)
		}
	}
	return n
}

// wholeReport waits until the agent has found out all that it reports: the first report may be without what took too
// long.
func (g *guest) wholeReport() *clusterv1beta1.InternalMemberCluster {
	g.t.Helper()
	var nodes corev1.NodeList
	g.must(g.member.List(g.t.Context(), &nodes))
	want := resource.Quantity{}
	for _, n := range nodes.Items {
		want.Add(*n.Status.Allocatable.Cpu())
	}
	var imc *clusterv1beta1.InternalMemberCluster
	g.until("a whole report", func() error {
		imc = g.imc()
		healthy, count := healthOf(imc), imc.Status.Properties["kubernetes-fleet.io/node-count"].Value
		if healthy.Status != metav1.ConditionTrue || count != fmt.Sprint(len(nodes.Items)) || imc.Status.ResourceUsage.Allocatable.Cpu().Cmp(want) != 0 {
			return fmt.Errorf("healthy %+v, %s nodes, %v", healthy, count, imc.Status.ResourceUsage.Allocatable)
		}
		return nil
	})
	return imc
}

// unmoved fails the test if the agent has reported since a whole report, unless it has found its cluster unhealthy
// meanwhile, as it does on a machine too busy to answer within the limit for a report.
func (g *guest) unmoved(before *clusterv1beta1.InternalMemberCluster) {
	g.t.Helper()
	after := g.imc()
	if after.ResourceVersion != before.ResourceVersion && healthOf(after) == healthOf(before) {
		g.t.Errorf("a restart changed the InternalMemberCluster to %+v; was %+v", after.Status, before.Status)
	}
}

// healthOf is the condition Healthy of the agent's report.
func healthOf(imc *clusterv1beta1.InternalMemberCluster) metav1.Condition {
	if agent := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent); agent != nil {
		if c := meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionHealthy); c != nil {
			return *c
		}
	}
	return metav1.Condition{}
}

// beatsAgain waits for a heartbeat that is younger than now.
func (g *guest) beatsAgain() {
	g.t.Helper()
	since := time.Now().Truncate(time.Second).Add(time.Second)
	g.until("beats", func() error {
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

// certificateRotation starts without a certificate, then gives the agent an expired one, a valid one, and one of
// another user that takes over the access.
func (w *world) certificateRotation(t *testing.T) {
	g := w.guest(t, "certificate", 1)
	dir := t.TempDir()
	g.createNamespace()
	g.invite()
	a := g.start(func(o *member.Options) {
		o.Hub.TokenSecret = types.NamespacedName{}
		o.Hub.CertFile, o.Hub.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	})
	g.until("the agent says that it has no certificate", func() error { return a.saysOf("no client certificate") })
	g.letInUser("first")
	g.certificate(dir, "first", -time.Hour)
	g.until("the hub does not take an expired one", func() error { return a.saysOf("does not accept the credentials") })
	g.certificate(dir, "first", time.Hour)
	g.until("joined", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)

	g.letInUser("second")
	g.until("the first has no access any more", func() error { return a.saysOf(`User "first" cannot`) })
	g.certificate(dir, "second", time.Hour)
	g.beatsAgain()
	g.until("ready again", a.ready)
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
	g.until("the namespace to be made anew", func() error {
		return g.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: g.namespace()}})
	})
	// For a while, admission may know only the old one, which is terminating.
	g.until("objects to be admitted into it", func() error {
		role, _ := g.access()
		return client.IgnoreAlreadyExists(g.hub.Create(t.Context(), role))
	})
	g.letIn()
	g.invite()
	g.until("joined again", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
	a.running()
}

// broken runs an agent whose connection to the hub cannot work: it exits with the cause, so that it is restarted.
func (w *world) broken(t *testing.T) {
	g := w.guest(t, "broken", 600)
	g.giveToken()
	g.createNamespace()
	g.letIn()
	g.invite()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	g.must(err)
	defer taken.Close()
	a := g.start(func(o *member.Options) { o.HubMetricsAddress = taken.Addr().String() })
	if err := a.Wait(); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("it ends with %v; want an error that names %s", err, taken.Addr())
	}
}

func (w *world) outage(t *testing.T) {
	g, a := w.at(t, "outage", 1)
	for range 2 {
		g.way.down()
		g.until("the agent says that the hub is away", func() error { return a.saysOf("is unreachable") })
		g.must(g.way.up())
		g.beatsAgain()
		g.until("ready", a.ready)
	}
	a.running()
}

// work creates a Work with a ConfigMap that contains text.
func (g *guest) work(name, text string) *placementv1beta1.Work {
	g.t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","name":%q},"data":{"says":%q}}`, g.name+"-"+name, text)
	work := &placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace(), Name: g.name + "-" + name}}
	_, err := ctrl.CreateOrUpdate(g.t.Context(), g.hub, work, func() error {
		controllerutil.AddFinalizer(work, contract.FinalizerWork) // as the hub's dispatcher makes it
		work.Spec.Workload.Manifests = []placementv1beta1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(manifest)}}}
		return nil
	})
	g.must(err)
	return work
}

// says returns nil if the ConfigMap of a Work contains text; "" if there is none.
func (g *guest) says(name, text string) error {
	found := &corev1.ConfigMap{}
	err := g.member.Get(g.t.Context(), types.NamespacedName{Namespace: "default", Name: g.name + "-" + name}, found)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if found.Data["says"] != text {
		return fmt.Errorf("it says %q; want %q", found.Data["says"], text)
	}
	return nil
}

// vandalise changes the ConfigMap of a Work on the member.
func (g *guest) vandalise(name string) {
	g.t.Helper()
	found := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name + "-" + name}}
	g.must(g.member.Patch(g.t.Context(), found, client.RawPatch(types.MergePatchType, []byte(`{"data":{"says":"vandal"}}`))))
}

func (w *world) standIn(t *testing.T) {
	dir := t.TempDir()
	keeps := func(o *member.Options) { o.CopyDir = dir }
	g, a := w.at(t, "stand-in", 1, keeps)
	works := map[string]*placementv1beta1.Work{}
	for _, name := range []string{"kept", "changed", "removed", "ending"} {
		works[name] = g.work(name, "first")
	}
	for name := range works {
		g.until(name+" is applied", func() error { return g.says(name, "first") })
		g.until(name+" is reported", func() error {
			g.must(g.hub.Get(t.Context(), client.ObjectKeyFromObject(works[name]), works[name]))
			if !meta.IsStatusConditionTrue(works[name].Status.Conditions, placementv1beta1.ConditionAvailable) {
				return fmt.Errorf("%+v", works[name].Status.Conditions)
			}
			return nil
		})
		g.until(name+" is in its ledger", func() error { // which is written last
			ledger := &placementv1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: works[name].Name}}
			g.must(g.member.Get(t.Context(), client.ObjectKeyFromObject(ledger), ledger))
			if entries := ledger.Status.AppliedResources; len(entries) != 1 || entries[0].UID == "" {
				return fmt.Errorf("it has %+v", entries)
			}
			return nil
		})
	}
	version := func(obj client.Object) string {
		t.Helper()
		g.must(g.member.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
		return obj.GetResourceVersion()
	}

	// A running agent goes on; a restarted one too, and it is not in a hurry to report.
	g.way.down()
	g.vandalise("kept")
	g.until("the running agent repairs it", func() error { return g.says("kept", "first") })
	a.Stop()
	g.vandalise("kept")
	g.must(g.member.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name + "-changed"}}))
	// Meanwhile the hub wants other things.
	g.work("changed", "second")
	g.must(g.hub.Delete(t.Context(), works["removed"]))
	g.work("added", "first")
	a = g.start(keeps)
	g.until("the agent says what it goes by", func() error { return a.saysOf("keeping the last known state of 4 Works applied") })
	g.until("the restarted agent repairs it", func() error { return g.says("kept", "first") })
	g.until("and makes again what is gone", func() error { return g.says("changed", "first") })
	for name, text := range map[string]string{"removed": "first", "added": ""} {
		if err := g.says(name, text); err != nil {
			t.Errorf("%s, while the hub is away: %v", name, err)
		}
	}

	// The hub is back: what has changed is done, and nothing else is written.
	quiet := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name + "-ending"}}
	ledger := &placementv1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: works["ending"].Name}}
	before, ledgerBefore := version(quiet), version(ledger)
	g.must(g.way.up())
	g.until("changed", func() error { return g.says("changed", "second") })
	g.until("removed", func() error { return g.says("removed", "") })
	g.until("added", func() error { return g.says("added", "first") })
	g.beatsAgain()
	g.until("ready", a.ready)
	if after, ledgerAfter := version(quiet), version(ledger); after != before || ledgerAfter != ledgerBefore {
		t.Errorf("what nobody touched moved from %s to %s, its ledger from %s to %s", before, after, ledgerBefore, ledgerAfter)
	}
	was := works["ending"].ResourceVersion
	if g.must(g.hub.Get(t.Context(), client.ObjectKeyFromObject(works["ending"]), works["ending"])); works["ending"].ResourceVersion != was {
		t.Errorf("its Work moved from %s to %s", was, works["ending"].ResourceVersion)
	}

	// A reachable hub that denies access invalidates the copy: nothing is repaired, and nothing is deleted.
	g.shutOut()
	g.until("the agent says that it has no access", func() error { return a.saysOf("is there a MemberCluster") })
	a.Stop()
	g.way.down()
	g.vandalise("kept")
	a = g.start(keeps)
	g.until("the agent waits", func() error { return a.saysOf("is unreachable") })
	testworld.Stable(t, 4*time.Second, "holding", func(context.Context) error { return g.says("kept", "vandal") })
	g.must(g.way.up())
	g.letIn()
	g.until("repaired", func() error { return g.says("kept", "first") })
}

func (w *world) leave(t *testing.T) {
	g, a := w.at(t, "leave", 1)
	g.ask(clusterv1beta1.ClusterStateLeave)
	g.until("left", func() error { return g.joined(metav1.ConditionFalse) })
	g.until("the agent says that it has left", func() error { return a.saysOf("is leaving the fleet") })
	left := g.imc().ResourceVersion
	a.Stop()
	a = g.start()
	g.until("the agent says that it has left", func() error { return a.saysOf("is leaving the fleet") })
	if now := g.imc().ResourceVersion; now != left {
		t.Errorf("after leaving, the InternalMemberCluster moved from resourceVersion %s to %s", left, now)
	}
	g.ask(clusterv1beta1.ClusterStateJoin)
	g.until("joined again", func() error { return g.joined(metav1.ConditionTrue) })
	g.until("ready", a.ready)
}

func (w *world) standby(t *testing.T) {
	// A busy machine must not cost the first its lease; the one that stops gives it back.
	elect := func(o *member.Options) {
		o.LeaderElect, o.LeaseDuration, o.RenewDeadline = true, 2*time.Minute, 90*time.Second
	}
	g, first := w.at(t, "standby", 1, elect)
	second := g.start(elect)
	g.until("the second stands by", second.ready)
	first.Stop()
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

// reports waits until the agent's report is as wanted.
func (g *guest) reports(what string, wrong func(clusterv1beta1.InternalMemberClusterStatus) error) {
	g.t.Helper()
	g.until(what, func() error { return wrong(g.imc().Status) })
}

func (w *world) namespaces(t *testing.T) {
	// The heartbeat is far away: what is reported is reported because it happened.
	collect := func(o *member.Options) { o.Properties.Namespaces = true }
	g, a := w.at(t, "namespaces", 600, collect)
	lists := func(name, owner string) func(clusterv1beta1.InternalMemberClusterStatus) error {
		return func(s clusterv1beta1.InternalMemberClusterStatus) error {
			if got, ok := s.Namespaces[name]; !ok || got != owner ||
				!meta.IsStatusConditionTrue(s.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) {
				return fmt.Errorf("namespaces %v, conditions %+v; want %s=%q", s.Namespaces, s.Conditions, name, owner)
			}
			return nil
		}
	}
	g.reports("namespaces that are there", lists("kube-system", ""))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "appears"}}
	g.must(g.member.Create(t.Context(), namespace))
	g.reports("a new namespace", lists("appears", ""))

	ledger := &placementv1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: "placed-it"},
		Spec: placementv1beta1.AppliedWorkSpec{WorkName: "placed-it", WorkNamespace: "another-fleet"}}
	g.must(g.member.Create(t.Context(), ledger))
	before := namespace.DeepCopy()
	namespace.OwnerReferences = []metav1.OwnerReference{{APIVersion: placementv1beta1.GroupVersion.String(), Kind: "AppliedWork", Name: ledger.Name, UID: ledger.UID}}
	g.must(g.member.Patch(t.Context(), namespace, client.MergeFrom(before)))
	g.reports("who placed it", lists("appears", "placed-it"))

	g.must(g.member.Delete(t.Context(), namespace))
	g.reports("its end", func(s clusterv1beta1.InternalMemberClusterStatus) error {
		if _, there := s.Namespaces["appears"]; there {
			return fmt.Errorf("namespaces %v", s.Namespaces)
		}
		return nil
	})

	// A restart with nothing changed writes nothing; one that no longer collects takes back what was reported, with
	// the next heartbeat at the latest.
	last := g.wholeReport()
	a.Stop()
	a = g.start(collect)
	g.until("ready again", a.ready)
	g.unmoved(last)
	a.Stop()
	g.start()
	g.reports("nothing", func(s clusterv1beta1.InternalMemberClusterStatus) error {
		if len(s.Namespaces) > 0 || len(s.Conditions) > 0 {
			return fmt.Errorf("namespaces %v, conditions %+v", s.Namespaces, s.Conditions)
		}
		return nil
	})
}

func (w *world) azure(t *testing.T) {
	prices := filepath.Join(t.TempDir(), "prices.yaml")
	list := func(small string) {
		if err := os.WriteFile(prices, []byte("prices: {small: "+small+", large: 1.6}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list("0.8")
	g, _ := w.at(t, "azure", 600, func(o *member.Options) {
		o.Properties = property.Options{Provider: property.ProviderAzure, Available: true, Costs: true, PriceFile: prices}
	})
	reports := func(what string, conditions, properties map[string]string) {
		t.Helper()
		g.reports(what, func(s clusterv1beta1.InternalMemberClusterStatus) error {
			for kind, reason := range conditions {
				if c := meta.FindStatusCondition(s.Conditions, kind); c == nil || c.Reason != reason || c.ObservedGeneration != 1 {
					return fmt.Errorf("%s is %+v; want %s", kind, c, reason)
				}
			}
			for name, value := range properties {
				if got := s.Properties[clusterv1beta1.PropertyName(name)].Value; got != value {
					return fmt.Errorf("%s is %q; want %q", name, got, value)
				}
			}
			if s.ResourceUsage.Available == nil || len(s.Namespaces) > 0 {
				return fmt.Errorf("available %v, namespaces %v", s.ResourceUsage.Available, s.Namespaces)
			}
			return nil
		})
	}
	var nodes corev1.NodeList
	g.must(g.member.List(t.Context(), &nodes))
	n := fmt.Sprint(len(nodes.Items))
	version, err := discovery.NewDiscoveryClientForConfigOrDie(g.spoke.Config).ServerVersion()
	g.must(err)
	reports("nodes that do not say what they are", map[string]string{
		"ClusterPropertyProviderStarted": "Started", "ClusterPropertyCollectionSucceeded": "PropertiesCollected",
		"AKSClusterCostPropertiesCollectionSucceeded": "CostsCalculationFailed",
	}, map[string]string{
		"kubernetes-fleet.io/node-count": n, "k8s.io/k8s-version": version.GitVersion,
		"k8s.io/cluster-certificate-authority-data": string(g.spoke.Config.CAData), "k8s.io/cluster-entrypoint": "",
		"kubernetes.azure.com/vm-sizes/undefined/count": n, "kubernetes.azure.com/per-cpu-core-cost": "",
	})
	label := func(size string) {
		for i := range nodes.Items {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"node.kubernetes.io/instance-type":"`+size+`"}}}`))
			g.must(g.member.Patch(t.Context(), &nodes.Items[i], patch))
		}
	}
	cores := nodes.Items[0].Status.Capacity.Cpu().AsApproximateFloat64()
	memory := nodes.Items[0].Status.Capacity.Memory().AsApproximateFloat64() / (1 << 30)
	costs := func(price float64, size string) map[string]string {
		return map[string]string{
			"kubernetes.azure.com/vm-sizes/" + size + "/count": n, "kubernetes.azure.com/vm-sizes/undefined/count": "",
			"kubernetes.azure.com/per-cpu-core-cost":  fmt.Sprintf("%.3f", price/cores),
			"kubernetes.azure.com/per-gb-memory-cost": fmt.Sprintf("%.3f", price/memory),
		}
	}
	known := map[string]string{"AKSClusterCostPropertiesCollectionSucceeded": "CostsCalculated"}
	label("small")
	reports("nodes that say what they are", known, costs(0.8, "small"))
	label("large")
	reports("others", known, costs(1.6, "large"))
	label("small")
	list("12.5")
	reports("other prices", known, costs(12.5, "small"))
}
