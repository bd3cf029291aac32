// Package e2e holds the acceptance scenarios: what a user of a fleet can see, on real API servers with real agents. It knows its
// clusters only as contexts of a kubeconfig, so that it runs on an embedded fleet (the default, started here) and on any other:
//
//	FLEET_KUBECONFIG=~/.kube/config FLEET_HUB=kind-hub FLEET_MEMBERS=kind-c1,kind-c2,kind-c3 go test ./test/e2e/...
//
// The three members must be registered under their context names with the labels that fleet gives them here, in this order.
package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// cluster is one cluster of the fleet, as its administrator.
type cluster struct {
	name   string
	config *rest.Config
	client.Client
}

// The fleet under test. Members are in the order of their names: c1 < c2 < c3.
var (
	theHub     cluster
	c1, c2, c3 cluster
)

func members() []cluster { return []cluster{c1, c2, c3} }

// connect opens the fleet that a kubeconfig describes.
func connect(kubeconfig, hubName string, memberNames []string) error {
	if len(memberNames) != 3 {
		return fmt.Errorf("the scenarios need three members, not %v", memberNames)
	}
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
		c, err := client.New(cfg, client.Options{Scheme: hub.Scheme()})
		if err != nil {
			return fmt.Errorf("connect to %s: %w", at.name, err)
		}
		*at.cluster = cluster{name: at.name, config: cfg, Client: c}
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
}

var scenes atomic.Int32

// begin starts a scenario that may run beside others: a namespace app with the config map cm on the hub.
func begin(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	s := bare(t)
	s.create(testworld.Namespace(s.app))
	s.create(testworld.ConfigMap(s.app, "test"))
	return s
}

// bare is begin without the namespace, and not beside others.
func bare(t *testing.T) *scene {
	t.Helper()
	n := scenes.Add(1)
	return &scene{T: t, app: fmt.Sprintf("app-%d", n), name: fmt.Sprintf("place-%d", n)}
}

// create makes an object on the hub and removes it, whatever holds it of ours, at the end of the scenario.
func (s *scene) create(obj client.Object) {
	s.Helper()
	s.createOn(theHub, obj)
}

func (s *scene) createOn(c cluster, obj client.Object) {
	s.Helper()
	if err := c.Create(s.Context(), obj); err != nil {
		s.Fatalf("create %T %s on %s: %v", obj, obj.GetName(), c.name, err)
	}
	s.Cleanup(func() {
		s.Helper()
		remove(s.T, c, obj)
	})
}

// remove deletes obj if it is still there, lets go of the scenario's own blocker, and waits until it is gone.
func remove(t *testing.T, c cluster, obj client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.IgnoreNotFound(c.Delete(ctx, obj)); err != nil {
		t.Errorf("delete %T %s: %v", obj, obj.GetName(), err)
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
		testworld.Await(s.T, testworld.Soon, "cm on "+m.name, func(ctx context.Context) error {
			var cm corev1.ConfigMap
			if err := m.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "cm"}, &cm); err != nil {
				return err
			}
			if cm.Data["data"] != value {
				return fmt.Errorf("cm holds %q, want %q", cm.Data["data"], value)
			}
			return nil
		})
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
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%T %s to leave %s", obj, obj.GetName(), c.name), func(ctx context.Context) error {
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
	testworld.Await(s.T, testworld.Soon, "finalizers of "+p.GetName(), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if f := p.GetFinalizers(); len(f) != 1 || f[0] != testworld.Blocker {
			return fmt.Errorf("finalizers are %v", f)
		}
		return nil
	})
	for _, m := range members() {
		s.clean(m)
	}
}
