package applier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// clusters are a hub and two members. Tests share the hub, where each has a namespace; its member a test has to
// itself, for an agent looks at all AppliedWorks of a cluster.
var clusters = testworld.SharedClusters{Options: []testworld.ClusterOptions{
	{Name: "hub", CRDs: []string{"hub-agent/files/crds/*_works.yaml"}},
	{Name: "member-0", Nodes: 1, CRDs: []string{testworld.MemberCRDs}},
	{Name: "member-1", Nodes: 1, CRDs: []string{testworld.MemberCRDs}},
}}

// free holds the indexes of the members that no test has.
var free = make(chan int, 2)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	for i := range cap(free) {
		free <- i + 1
	}
	code := m.Run()
	clusters.Stop()
	os.Exit(code)
}

// world is a hub and a member with the agent between them.
type world struct {
	*testing.T
	namespace   string // on the hub
	hub, member client.Client
	// here is the cluster of member.
	here   *testworld.Cluster
	agent  *Applier
	halt   func()
	writes *writes
	// faults lie between the agent and the clusters.
	faultyHub, faultyMember *faults
}

// writes are the agent's on both clusters.
type writes struct{ hub, member testworld.Writes }

func (w *writes) count() int { return len(w.hub.All()) + len(w.member.All()) }

// take returns the writes since the last call, each after the cluster that it went to.
func (w *writes) take() []string {
	var out []string
	for _, write := range w.hub.Take() {
		out = append(out, "hub "+write)
	}
	for _, write := range w.member.Take() {
		out = append(out, "member "+write)
	}
	return out
}

// newWorld starts an agent that has joined, beside other tests.
func newWorld(t *testing.T, configure ...func(*Applier)) *world {
	t.Helper()
	w := prepare(t)
	w.start(configure...)
	w.agent.Join()
	return w
}

// prepare waits for a member that is free. There is no agent yet.
func prepare(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	all, i := clusters.Get(t), <-free
	t.Cleanup(func() { free <- i }) // after clear
	w := &world{
		T: t, namespace: contract.MemberNamespace(strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))),
		hub: all[0].Client, member: all[i].Client, here: all[i], writes: &writes{},
		faultyHub: &faults{}, faultyMember: &faults{},
	}
	w.must(w.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	t.Cleanup(w.clear)
	return w
}

// clear removes all ledgers when the agent has ended, whatever member wrote them: to the agents of other tests they
// are those of Works that vanished.
func (w *world) clear() {
	ctx := context.WithoutCancel(w.Context())
	var ledgers v1beta1.AppliedWorkList
	w.must(w.member.List(ctx, &ledgers))
	for i := range ledgers.Items {
		w.must(client.IgnoreNotFound(w.member.Delete(ctx, &ledgers.Items[i], client.PropagationPolicy(metav1.DeletePropagationBackground))))
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// start runs an agent until halt, or the end of the test.
func (w *world) start(configure ...func(*Applier)) {
	w.Helper()
	options := testworld.ManagerOptions()
	options.Cache.DefaultNamespaces = map[string]cache.Config{w.namespace: {}}
	hub, err := ctrl.NewManager(w.faultyHub.of(w.writes.hub.Of(clusters.Get(w.T)[0].Config)), options)
	w.must(err)
	m, err := cluster.New(w.faultyMember.of(w.writes.member.Of(w.here.Config)), func(o *cluster.Options) {
		like := testworld.ManagerOptions()
		o.Scheme, o.NewClient = like.Scheme, like.NewClient
	})
	w.must(err)
	w.must(hub.Add(m))
	w.agent = &Applier{Namespace: w.namespace}
	for _, f := range configure {
		f(w.agent)
	}
	w.must(w.agent.SetupWithManager(hub, m))
	w.halt = testworld.Run(w.T, hub)
}

// restart ends the agent and starts another with an empty memory.
func (w *world) restart() {
	w.Helper()
	w.halt()
	w.start()
	w.agent.Join()
}

// leave makes the agent leave, which is tried again as in the agent: it reads a cache that must have seen its writes.
func (w *world) leave() {
	w.Helper()
	w.eventually("the agent to leave", func() error { return w.agent.Leave(w.Context()) })
}

// eventually waits for check to return no error.
func (w *world) eventually(what string, check func() error) {
	w.Helper()
	testworld.Await(w, testworld.Workload, what, func(context.Context) error { return check() })
}

// workNames holds the test that each Work's name belongs to. Tests share members, and name namespaces after their
// Works.
var workNames sync.Map

// work creates a Work as the hub would, with its finalizer.
func (w *world) work(name string, strategy *v1beta1.ApplyStrategy, manifests ...string) *v1beta1.Work {
	w.Helper()
	test, _, _ := strings.Cut(w.Name(), "/")
	if other, taken := workNames.LoadOrStore(name, test); taken && other != test {
		w.Fatalf("Work %s has the name of a Work of %s; two tests must not share names", name, other)
	}
	work := &v1beta1.Work{}
	work.Namespace, work.Name, work.Finalizers = w.namespace, name, []string{contract.FinalizerWork}
	work.Spec.ApplyStrategy = strategy.DeepCopy() // the answer is decoded into it, and tests share some
	work.Spec.Workload.Manifests = w.manifests(manifests)
	w.must(w.hub.Create(w.Context(), work))
	return work
}

func (w *world) manifests(texts []string) []v1beta1.Manifest {
	w.Helper()
	var out []v1beta1.Manifest
	for _, text := range texts {
		raw, err := yaml.YAMLToJSON([]byte(text))
		w.must(err)
		out = append(out, v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	return out
}

// edit changes a Work's manifests.
func (w *world) edit(name string, manifests ...string) {
	w.Helper()
	w.alter(name, func(work *v1beta1.Work) { work.Spec.Workload.Manifests = w.manifests(manifests) })
}

// alter changes a Work, which the agent writes too.
func (w *world) alter(name string, change func(*v1beta1.Work)) {
	w.Helper()
	w.eventually("edit work "+name, func() error {
		work := w.readWork(name)
		change(work)
		return w.hub.Update(w.Context(), work)
	})
}

func (w *world) readWork(name string) *v1beta1.Work {
	w.Helper()
	work := &v1beta1.Work{}
	w.must(w.hub.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, work))
	return work
}

// settled waits until the Work's current generation is reported with this status of Applied and Available ("" is
// absent).
func (w *world) settled(name string, applied, available metav1.ConditionStatus) *v1beta1.Work {
	w.Helper()
	var work *v1beta1.Work
	w.eventually(fmt.Sprintf("work %s applied %s, available %s", name, applied, available), func() error {
		work = w.readWork(name)
		for kind, want := range map[string]metav1.ConditionStatus{v1beta1.ConditionApplied: applied, v1beta1.ConditionAvailable: available} {
			var got metav1.ConditionStatus
			if c := delivery.Current(work.Status.Conditions, kind, work.Generation); c != nil {
				got = c.Status
			}
			if got != want {
				text, _ := json.MarshalIndent(work.Status, "", " ")
				return fmt.Errorf("%s is %q:\n%s", kind, got, text)
			}
		}
		return nil
	})
	return work
}

func (w *world) deleteWork(name string) {
	w.Helper()
	w.must(w.hub.Delete(w.Context(), w.readWork(name)))
}

func (w *world) workGone(name string) {
	w.Helper()
	w.eventually("work "+name+" gone", func() error {
		err := w.hub.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &v1beta1.Work{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// object reads one object of the member: "v1 ConfigMap ns/name".
func (w *world) object(ref string) (*unstructured.Unstructured, error) {
	w.Helper()
	words := strings.Fields(ref)
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(words[0])
	obj.SetKind(words[1])
	namespace, name, ok := strings.Cut(words[2], "/")
	if !ok {
		namespace, name = "", namespace
	}
	return obj, w.member.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, obj)
}

func (w *world) mustObject(ref string) *unstructured.Unstructured {
	w.Helper()
	obj, err := w.object(ref)
	w.must(err)
	return obj
}

func (w *world) present(ref string) {
	w.Helper()
	w.eventually(ref+" on the member", func() error { _, err := w.object(ref); return err })
}

func (w *world) gone(ref string) {
	w.Helper()
	w.eventually(ref+" gone from the member", func() error {
		obj, err := w.object(ref)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("it is there: %v", obj.Object["metadata"]), err)
	})
}

// value waits until a field has a value.
func (w *world) value(ref, want string, path ...string) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s of %s to be %q", strings.Join(path, "."), ref, want), func() error {
		obj, err := w.object(ref)
		if err != nil {
			return err
		}
		got, _, _ := unstructured.NestedFieldNoCopy(obj.Object, path...)
		if fmt.Sprint(got) != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// onMember creates an object on the member directly.
func (w *world) onMember(text string) *unstructured.Unstructured {
	w.Helper()
	obj := &unstructured.Unstructured{}
	w.must(yaml.Unmarshal([]byte(text), &obj.Object))
	w.must(w.member.Create(w.Context(), obj))
	return obj
}

// release lets the agent take up an AppliedWork that is not its own.
func (w *world) release(name string) {
	w.Helper()
	w.change("placement.kubernetes-fleet.io/v1beta1 AppliedWork "+name, func(o *unstructured.Unstructured) {
		w.must(unstructured.SetNestedField(o.Object, contract.HeldRelease, "metadata", "annotations", contract.AnnotationHeld))
	})
}

// change edits an object of the member by hand.
func (w *world) change(ref string, edit func(*unstructured.Unstructured)) {
	w.Helper()
	w.eventually("edit "+ref, func() error {
		obj, err := w.object(ref)
		if err != nil {
			return err
		}
		edit(obj)
		return w.member.Update(w.Context(), obj)
	})
}
