package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// The promises of the design, each by its name.

// Promise 1: a manifest that cannot be read might be anything, so nothing that its Work placed is removed while it is
// there.
func TestPromise1UndecodableManifestHolds(t *testing.T) {
	s := begin(t)
	if err := c1.Create(s.Context(), testworld.Namespace(s.app)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c1, testworld.Namespace(s.app)) })
	manifest := func(name string) v1beta1.Manifest {
		cm := testworld.ConfigMap(s.app, "kept")
		cm.Name = name
		cm.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
		return v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: must(json.Marshal(cm))}}
	}
	// A Work of no placement: the hub agent leaves it alone, the member's does not.
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(c1.name), Name: s.name}}
	work.Spec.Workload.Manifests = []v1beta1.Manifest{manifest("one"), manifest("two")}
	s.create(work)
	there := func(names ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, name := range names {
				if err := c1.Get(ctx, client.ObjectKey{Namespace: s.app, Name: name}, &corev1.ConfigMap{}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	testworld.Await(t, testworld.Soon, "one and two", there("one", "two"))

	// A manifest without a name that a key could be made of: it could be two.
	testworld.Update(s, theHub, work, func(w *v1beta1.Work) {
		w.Spec.Workload.Manifests = []v1beta1.Manifest{manifest("one"), manifest("three"),
			{RawExtension: runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}`)}}}
	})
	testworld.Await(t, testworld.Soon, "three, and a condition that says what is wrong", func(ctx context.Context) error {
		if err := there("three")(ctx); err != nil {
			return err
		}
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(work), work); err != nil {
			return err
		}
		c := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionApplied)
		if c == nil || c.ObservedGeneration != work.Generation || c.Status != metav1.ConditionFalse {
			return fmt.Errorf("Applied is %+v", c)
		}
		return nil
	})
	testworld.Stable(t, calm, "two, while a manifest cannot be read,", there("one", "two", "three"))

	testworld.Update(s, theHub, work, func(w *v1beta1.Work) {
		w.Spec.Workload.Manifests = []v1beta1.Manifest{manifest("one"), manifest("three")}
	})
	two := testworld.ConfigMap(s.app, "")
	two.Name = "two"
	s.on(c1).gone(two)
	if err := there("one", "three")(t.Context()); err != nil {
		t.Error(err)
	}
}

// Promise 1: an object that another client made is not removed, whatever happens to the placement that wanted the same
// name.
func TestPromise1ForeignObjectSurvives(t *testing.T) {
	s := begin(t)
	if err := c1.Create(s.Context(), testworld.Namespace(s.app)); err != nil {
		t.Fatal(err)
	}
	foreign := testworld.ConfigMap(s.app, "foreign")
	foreign.Name = "other"
	if err := c1.Create(s.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c1, testworld.Namespace(s.app)) })
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(c2.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c2.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickFixed(c3.name)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c3.name))
	if err := theHub.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s.of(p).finalized()
	s.placed("")
	if err := c1.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil {
		t.Errorf("an object on a member that was never picked: %v", err)
	}
}

// Promise 2. Not beside other scenarios: it compares everything there is.
func TestPromise2RestartWritesNothing(t *testing.T) {
	if local == nil {
		t.Skip("the agents of this fleet are not ours to restart")
	}
	s := bare(t)
	s.open()
	wide := testworld.ClusterPlacement(s.name, s.app)
	s.create(wide)
	s.of(wide).carried(c1.name, c2.name, c3.name)
	narrow := testworld.Placement(s.app, s.name, testworld.PickN(2), testworld.Selecting(v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "ConfigMap", Name: "nothing"}))
	s.create(narrow)
	s.of(narrow).expect(testworld.Complete(c2.name, c3.name))

	for _, agent := range []string{theHub.name, c1.name} {
		t.Run(agent, func(t *testing.T) {
			unwritten(t, "a restart of the agent of "+agent, func() { restartAgent(t, agent, nil) })
		})
	}
}

// settled waits until nothing changes any more, what earlier scenarios left has gone too, and returns the versions of
// everything.
func settled(t *testing.T) map[string]string {
	t.Helper()
	for _, c := range append(members(), theHub) {
		testworld.Await(t, testworld.Workload, "deleted namespaces to leave "+c.name, func(ctx context.Context) error {
			var list corev1.NamespaceList
			if err := c.List(ctx, &list); err != nil {
				return err
			}
			for _, n := range list.Items {
				if n.DeletionTimestamp != nil {
					return fmt.Errorf("%s is being deleted", n.Name)
				}
			}
			return nil
		})
	}
	return testworld.AwaitStill(t, 2*calm, "everything", everything)
}

// unwritten fails if what is done writes something. One late write of anything on any cluster looks the same, so it
// counts only if none of three tries goes without.
func unwritten(t *testing.T, what string, do func()) {
	t.Helper()
	for range 3 {
		before := settled(t)
		do()
		written := writtenSince(t, before)
		if len(written) == 0 {
			return
		}
		t.Logf("after %s, written are %q", what, written)
	}
	t.Errorf("each of three tries of %s wrote something", what)
}

// writtenSince looks for a while for what has another version than before, or was made.
func writtenSince(t *testing.T, before map[string]string) []string {
	t.Helper()
	for end := time.Now().Add(2 * calm); ; testworld.Pause() {
		now, err := everything(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var written []string
		for key, version := range now {
			if before[key] != version {
				written = append(written, key)
			}
		}
		if len(written) > 0 || time.Now().After(end) {
			return written
		}
	}
}

// routine are kinds that change although nothing does: leases, heartbeats, and events, which tell of both.
var routine = []string{"leases", "internalmemberclusters", "memberclusters", "events", "pods", "nodes"}

// everything is the resourceVersion of every object of every kind on every cluster of the fleet, but for routine.
func everything(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range append(members(), theHub) {
		disco, err := discovery.NewDiscoveryClientForConfig(c.config)
		if err != nil {
			return nil, err
		}
		lists, err := disco.ServerPreferredResources()
		if err != nil {
			return nil, err
		}
		objects, err := metadata.NewForConfig(c.config)
		if err != nil {
			return nil, err
		}
		for gvr := range must(discovery.GroupVersionResources(discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch"}}, lists))) {
			if slices.Contains(routine, gvr.Resource) {
				continue
			}
			list, err := objects.Resource(gvr).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				continue // the kind went since
			}
			if err != nil {
				return nil, fmt.Errorf("list %s of %s: %w", gvr, c.name, err)
			}
			for _, item := range list.Items {
				out[fmt.Sprintf("%s %s %s/%s", c.name, gvr.GroupResource(), item.Namespace, item.Name)] = item.ResourceVersion
			}
		}
	}
	return out, nil
}

// Promise 5: a deletion that cannot end says what it waits for, and ends as soon as it can.
func TestPromise5DeletionSaysWhatItWaitsFor(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.on(c1).hold()
	if err := theHub.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(c1.name), Name: s.name + "-work"}}
	testworld.Await(t, testworld.Workload, "the Work to say what holds it", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(work), work); err != nil {
			return err
		}
		for _, c := range work.Status.Conditions {
			if strings.Contains(c.Message, testworld.Blocker) && strings.Contains(c.Message, "cm") {
				return nil
			}
		}
		return fmt.Errorf("no condition names the object and its finalizer: %+v", work.Status.Conditions)
	})
	s.on(c1).release()
	s.on(c1).clean()
	s.on(theHub).gone(work)
}

// Promise 6: one bad object stops itself, and nothing beside it.
func TestPromise6OneBadObjectStopsOnlyItself(t *testing.T) {
	s := begin(t)
	bad := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "bad"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	s.create(bad)
	// On c1 somebody else controls an object of that name.
	if err := c1.Create(t.Context(), testworld.Namespace(s.app)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c1, testworld.Namespace(s.app)) })
	owner := testworld.ConfigMap(s.app, "owner")
	owner.Name = "owner"
	if err := c1.Create(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "bad", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
	}}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 81}}}}
	if err := c1.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	p := testworld.ClusterPlacement(s.name, s.app)
	s.create(p)
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name, c2.name, c3.name))
	s.placed("test", c1, c2, c3)
	for _, entry := range p.Status.PerClusterPlacementStatuses {
		if entry.ClusterName != c1.name {
			continue
		}
		if len(entry.FailedPlacements) != 1 || entry.FailedPlacements[0].Name != "bad" ||
			entry.FailedPlacements[0].Condition.Reason != v1beta1.ReasonManifestFailedToTakeOver {
			t.Errorf("failed placements of %s are %+v, want the Service bad alone, %s", c1.name, entry.FailedPlacements, v1beta1.ReasonManifestFailedToTakeOver)
		}
	}
}

// Promise 7: a member's token on the hub reads and writes that member's namespace and nothing else.
func TestPromise7MemberTokenReachesItsOwnNamespaceOnly(t *testing.T) {
	t.Parallel()
	mine, theirs := contract.MemberNamespace(c1.name), contract.MemberNamespace(c2.name)
	asMember := tokenOf(t, c1)
	if err := asMember.List(t.Context(), &v1beta1.WorkList{}, client.InNamespace(mine)); err != nil {
		t.Errorf("its own namespace: %v", err)
	}
	for what, try := range map[string]func() error{
		"list Works of another member": func() error {
			return asMember.List(t.Context(), &v1beta1.WorkList{}, client.InNamespace(theirs))
		},
		"list all Works": func() error { return asMember.List(t.Context(), &v1beta1.WorkList{}) },
		"read another member's InternalMemberCluster": func() error {
			return asMember.Get(t.Context(), client.ObjectKey{Namespace: theirs, Name: c2.name}, &clusterv1beta1.InternalMemberCluster{})
		},
		"write into another member's namespace": func() error {
			return asMember.Create(t.Context(), &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: theirs, Name: "intruder"}})
		},
		"read MemberClusters": func() error { return asMember.List(t.Context(), &clusterv1beta1.MemberClusterList{}) },
		"read placements":     func() error { return asMember.List(t.Context(), &v1beta1.ClusterResourcePlacementList{}) },
		"read Secrets of its own namespace": func() error {
			return asMember.List(t.Context(), &corev1.SecretList{}, client.InNamespace(mine))
		},
		"read namespaces": func() error { return asMember.List(t.Context(), &corev1.NamespaceList{}) },
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want forbidden", what, err)
		}
	}
}

// tokenOf is the hub as a member's agent sees it.
func tokenOf(t *testing.T, m cluster) client.Client {
	t.Helper()
	var mc clusterv1beta1.MemberCluster
	if err := theHub.Get(t.Context(), client.ObjectKey{Name: m.name}, &mc); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: mc.Spec.Identity.Namespace, Name: mc.Spec.Identity.Name}}
	if err := theHub.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(theHub.config)
	cfg.BearerToken = request.Status.Token
	mapper := theHub.RESTMapper()
	c, err := client.New(cfg, client.Options{Scheme: apis.Scheme(), Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Promise 9: a fleet in which nothing changes says nothing new. Not beside other scenarios.
func TestPromise9SameFactsSameBytes(t *testing.T) {
	s := bare(t)
	s.open()
	p := testworld.ClusterPlacement(s.name, s.app)
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name, c3.name))
	unwritten(t, "doing nothing", func() {})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
