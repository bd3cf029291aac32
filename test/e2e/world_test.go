// Package e2e holds the acceptance scenarios: what a user of a fleet can see, on real API servers with real agents. It
// knows its clusters only as contexts of a kubeconfig, so that it runs on an embedded fleet (the default, started
// here) and on any other:
//
//	FLEET_KUBECONFIG=~/.kube/config FLEET_HUB=kind-hub FLEET_MEMBERS=kind-c1,kind-c2,kind-c3 go test ./test/e2e/...
//
// The three members must be registered under their context names with the labels that startFleet gives them here, in
// this order, have as many nodes, and report their namespaces; the hub's agent must run with enable-workload and
// without delays for snapshots.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// cluster is one cluster of the fleet, as its administrator.
type cluster struct {
	name   string
	config *rest.Config
	client.WithWatch
}

// The fleet under test. Members are in the order of their names: c1 < c2 < c3.
var (
	theHub     cluster
	c1, c2, c3 cluster
	// kubeconfigFile describes it.
	kubeconfigFile string
)

func members() []cluster { return []cluster{c1, c2, c3} }

// connect opens the fleet that a kubeconfig describes.
func connect(kubeconfig, hubName string, memberNames []string) error {
	if len(memberNames) != 3 {
		return fmt.Errorf("the scenarios need three members, not %v", memberNames)
	}
	kubeconfigFile = kubeconfig
	for _, at := range []struct {
		cluster *cluster
		name    string
	}{{&theHub, hubName}, {&c1, memberNames[0]}, {&c2, memberNames[1]}, {&c3, memberNames[2]}} {
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig},
			&clientcmd.ConfigOverrides{CurrentContext: at.name}).ClientConfig()
		if err != nil {
			return fmt.Errorf("context %s of %s: %w", at.name, kubeconfig, err)
		}
		cfg.QPS = -1
		cfg.WarningHandler = rest.NoWarnings{}
		scheme := apis.Scheme()
		if err := apiextensionsv1.AddToScheme(scheme); err != nil {
			return err
		}
		c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("connect to %s: %w", at.name, err)
		}
		*at.cluster = cluster{name: at.name, config: cfg, WithWatch: c}
	}
	return nil
}

// fromEnvironment says which fleet the environment names; ok is false if it names none.
func fromEnvironment() (kubeconfig, hubName string, memberNames []string, ok bool) {
	kubeconfig, ok = os.LookupEnv("FLEET_KUBECONFIG")
	hubName = os.Getenv("FLEET_HUB")
	if hubName == "" {
		hubName = "hub"
	}
	memberNames = []string{"c1", "c2", "c3"}
	if names := os.Getenv("FLEET_MEMBERS"); names != "" {
		memberNames = strings.Split(names, ",")
	}
	return kubeconfig, hubName, memberNames, ok
}

// scene is one scenario's own corner of the fleet: names nobody else uses, and everything removed at its end.
type scene struct {
	*testing.T
	// app is the namespace that is placed, and name the placement.
	app, name string
	// namespaced: the placement is a ResourcePlacement of cm, not a ClusterResourcePlacement of app with what is in
	// it.
	namespaced bool
}

var scenes atomic.Int32

// begin starts a scenario that may run beside others: a namespace app with the config map cm on the hub.
func begin(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	s := bare(t)
	s.open()
	return s
}

// open creates what scenarios place.
func (s *scene) open() {
	s.Helper()
	s.create(testworld.Namespace(s.app))
	s.create(testworld.ConfigMap(s.app, "test"))
}

// beginNamespaced begins a scenario about a ResourcePlacement: its namespace is on every member already.
func beginNamespaced(t *testing.T) *scene {
	t.Helper()
	s := begin(t)
	s.carryEverywhere()
	return s
}

// carryEverywhere is carry to all members, and to the scenario's own when they join.
func (s *scene) carryEverywhere() {
	s.Helper()
	s.carried(s.carrier(testworld.PickAll(), s.reachOwnMembers()), c1.name, c2.name, c3.name)
}

// carry makes a scenario one about a ResourcePlacement: a ClusterResourcePlacement brings the namespace alone to these
// members, which have reported it when carry returns.
func (s *scene) carry(to ...string) *v1beta1.ClusterResourcePlacement {
	s.Helper()
	carrier := s.carrier(testworld.PickFixed(to...))
	s.carried(carrier, to...)
	return carrier
}

// carrier is what carry creates, with a policy.
func (s *scene) carrier(policy ...testworld.Option) *v1beta1.ClusterResourcePlacement {
	s.Helper()
	s.namespaced = true
	carrier := testworld.ClusterPlacement(s.name+"-ns", s.app, append(policy, testworld.NamespaceOnly)...)
	s.create(carrier)
	return carrier
}

func (s *scene) carried(carrier v1beta1.PlacementObject, to ...string) {
	s.Helper()
	s.expect(carrier, testworld.Complete(to...))
	for _, name := range to {
		s.reports(name)
	}
}

// reports waits until a member has told the hub that it has the scenario's namespace, if it tells of namespaces at
// all.
func (s *scene) reports(member string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, member+" to report namespace "+s.app, func(ctx context.Context) error {
		var mc clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKey{Name: member}, &mc); err != nil {
			return err
		}
		tells := meta.FindStatusCondition(mc.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) != nil
		if _, there := mc.Status.Namespaces[s.app]; tells && !there {
			return fmt.Errorf("it reports %d others", len(mc.Status.Namespaces))
		}
		return nil
	})
}

// inBothScopes plays a scenario twice: for a ClusterResourcePlacement and for a ResourcePlacement.
func inBothScopes(t *testing.T, play func(*scene)) {
	t.Helper()
	t.Parallel()
	t.Run("cluster-wide", func(t *testing.T) { play(begin(t)) })
	t.Run("namespaced", func(t *testing.T) { play(beginNamespaced(t)) })
}

// place creates the scenario's placement.
func (s *scene) place(options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	var p v1beta1.PlacementObject
	if s.namespaced {
		p = testworld.Placement(s.app, s.name, options...)
	} else {
		p = testworld.ClusterPlacement(s.name, s.app, options...)
	}
	s.create(p)
	return p
}

// edit changes a placement's spec.
func (s *scene) edit(p v1beta1.PlacementObject, options ...testworld.Option) {
	s.Helper()
	update(s, theHub, p, func(p v1beta1.PlacementObject) {
		for _, option := range options {
			option(p.GetSpec())
		}
	})
}

// all is what the scenario's placement selects.
func (s *scene) all() []v1beta1.ResourceIdentifier {
	if s.namespaced {
		return []v1beta1.ResourceIdentifier{s.selected("ConfigMap", "cm")}
	}
	return []v1beta1.ResourceIdentifier{s.selectedNamespace(), s.selected("ConfigMap", "cm")}
}

// selected is an object of a core kind in the scenario's namespace, as a status names it.
func (s *scene) selected(kind, name string) v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Version: "v1", Kind: kind, Namespace: s.app, Name: name}
}

func (s *scene) selectedNamespace() v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Version: "v1", Kind: "Namespace", Name: s.app}
}

// together begins scenarios that need the same change of the whole fleet, and so are played at once but not beside
// others: each begins for a ResourcePlacement or for a ClusterResourcePlacement.
func together(t *testing.T, namespaced ...bool) []*scene {
	t.Helper()
	var scenes []*scene
	for _, n := range namespaced {
		s := bare(t)
		s.open()
		if n {
			s.carrier()
		}
		scenes = append(scenes, s)
	}
	for _, s := range scenes {
		if s.namespaced {
			s.carried(testworld.ClusterPlacement(s.name+"-ns", s.app), c1.name, c2.name, c3.name)
		}
	}
	return scenes
}

// bare is begin without the namespace, and not beside others.
func bare(t *testing.T) *scene {
	t.Helper()
	n := scenes.Add(1)
	t.Cleanup(func() { sweep(t) }) // after all that the scenario removes at its end
	return &scene{T: t, app: fmt.Sprintf("app-%d", n), name: fmt.Sprintf("place-%d", n)}
}

// selects waits until a placement lists these objects as selected: indices are counted from the revision that holds
// all there is.
func (s *scene) selects(p v1beta1.PlacementObject, objects ...v1beta1.ResourceIdentifier) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "what "+p.GetName()+" selects", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, o := range objects {
			if !slices.Contains(p.GetStatus().SelectedResources, o) {
				return fmt.Errorf("it selects %v, without %v", p.GetStatus().SelectedResources, o)
			}
		}
		return nil
	})
}

// create makes an object on the hub and removes it, whatever holds it of ours, at the end of the scenario.
func (s *scene) create(obj client.Object) {
	s.Helper()
	s.createOn(theHub, obj)
}

func (s *scene) createOn(c cluster, obj client.Object) {
	s.Helper()
	// An API server that has just taken up new kinds answers ServiceUnavailable for some seconds where a mutating
	// policy applies.
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("the creation of %T %s on %s", obj, obj.GetName(), c.name), func(ctx context.Context) error {
		err := c.Create(ctx, obj)
		if err != nil && !apierrors.IsServiceUnavailable(err) {
			s.Fatalf("create %T %s on %s: %v", obj, obj.GetName(), c.name, err)
		}
		return err
	})
	s.Cleanup(func() {
		s.Helper()
		remove(s.T, c, obj)
	})
}

// remove deletes obj if it is still there, lets go of the scenario's own blocker, and waits until it is gone. Only
// namespaces are not waited for: Kubernetes takes five seconds to begin with one, and no other scenario uses the name.
func remove(t *testing.T, c cluster, obj client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.IgnoreNotFound(c.Delete(ctx, obj)); err != nil {
		t.Errorf("delete %T %s: %v", obj, obj.GetName(), err)
		return
	}
	if _, slow := obj.(*corev1.Namespace); slow {
		return
	}
	testworld.AwaitGone(t, c, obj, func(live client.Object) error {
		if !controllerutil.RemoveFinalizer(live, testworld.Blocker) {
			return nil
		}
		return c.Update(ctx, live)
	})
}

// update changes an object on a cluster, again on every conflict.
func update[O client.Object](s *scene, c cluster, obj O, change func(O)) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "update of "+obj.GetName(), func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		change(obj)
		return c.Update(ctx, obj)
	})
}

// expect waits until a placement's status is what the contract says.
func (s *scene) expect(p v1beta1.PlacementObject, want testworld.Status) {
	s.Helper()
	s.expectWithin(testworld.Soon, p, want)
}

func (s *scene) expectWithin(limit timeLimit, p v1beta1.PlacementObject, want testworld.Status) {
	s.Helper()
	testworld.Await(s.T, limit, "status of "+p.GetName(), statusIs(p, want))
}

// settles waits until a placement's status is what the contract says, and asserts that it holds.
func (s *scene) settles(p v1beta1.PlacementObject, want testworld.Status) {
	s.Helper()
	s.expect(p, want)
	s.stays(p, want)
}

// stays asserts that the status holds for a while.
func (s *scene) stays(p v1beta1.PlacementObject, want testworld.Status) {
	s.Helper()
	testworld.Stable(s.T, calm, "status of "+p.GetName(), statusIs(p, want))
}

func statusIs(p v1beta1.PlacementObject, want testworld.Status) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		return want.Check(p)
	}
}

// placed waits until the namespace and cm with this value are on exactly these members, and on no other.
func (s *scene) placed(value string, on ...cluster) {
	s.Helper()
	for _, m := range members() {
		there := false
		for _, want := range on {
			there = there || want.name == m.name
		}
		if !there {
			s.clean(m)
			continue
		}
		s.holds(m, value)
	}
}

// holds waits until a member has cm with this value.
func (s *scene) holds(m cluster, value string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "cm on "+m.name, s.holding(m, value))
}

func (s *scene) holding(m cluster, value string) func(context.Context) error {
	return func(ctx context.Context) error {
		var cm corev1.ConfigMap
		if err := m.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "cm"}, &cm); err != nil {
			return err
		}
		if cm.Data["data"] != value {
			return fmt.Errorf("cm holds %q, want %q", cm.Data["data"], value)
		}
		return nil
	}
}

// clean waits until cm is not on a member.
func (s *scene) clean(m cluster) {
	s.Helper()
	s.gone(m, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "cm"}})
}

// gone waits until obj is not on a cluster.
func (s *scene) gone(c cluster, obj client.Object) {
	s.Helper()
	limit := testworld.Soon
	if _, ok := obj.(*corev1.Namespace); ok {
		limit = testworld.Workload // Kubernetes goes through all kinds there are first
	}
	testworld.Await(s.T, limit, fmt.Sprintf("%T %s to leave %s", obj, obj.GetName(), c.name), func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("still there, deletion time %v", obj.GetDeletionTimestamp())
	})
}

// deletes is the deletion check: after a delete every finalizer but the scenario's own goes, and members are clean.
func (s *scene) deletes(p v1beta1.PlacementObject) {
	s.Helper()
	if err := theHub.Delete(s.Context(), p); err != nil {
		s.Fatalf("delete %s: %v", p.GetName(), err)
	}
	s.finalized(p)
	for _, m := range members() {
		s.clean(m)
		if !s.namespaced {
			s.leaving(m)
		}
	}
}

// finalized waits until nothing holds a deleted placement but the scenario.
func (s *scene) finalized(p v1beta1.PlacementObject) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "finalizers of "+p.GetName(), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if f := p.GetFinalizers(); len(f) != 1 || f[0] != testworld.Blocker {
			return fmt.Errorf("finalizers are %v", f)
		}
		return nil
	})
}

// leaving waits until the scenario's namespace is not on a member, or on its way out: Kubernetes takes seconds to
// begin with that.
func (s *scene) leaving(m cluster) {
	s.Helper()
	testworld.Await(s.T, testworld.Workload, "namespace "+s.app+" to leave "+m.name, func(ctx context.Context) error {
		var n corev1.Namespace
		if err := m.Get(ctx, client.ObjectKey{Name: s.app}, &n); err != nil {
			return client.IgnoreNotFound(err)
		}
		if n.DeletionTimestamp == nil {
			return errors.New("it is not being deleted")
		}
		return nil
	})
}
