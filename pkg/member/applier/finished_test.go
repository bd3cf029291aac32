package applier

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// runs counts the objects of a namespace that there ever were, by name.
type runs struct {
	mu   sync.Mutex
	uids map[string]sets.Set[types.UID]
}

func (r *runs) of(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.uids[name])
}

// countRuns counts from now on.
func (w *world) countRuns(namespace string, resource schema.GroupVersionResource) *runs {
	w.Helper()
	api, err := dynamic.NewForConfig(w.here.Config)
	w.must(err)
	list, err := api.Resource(resource).Namespace(namespace).List(w.Context(), metav1.ListOptions{})
	w.must(err)
	events, err := watchtools.NewRetryWatcherWithContext(w.Context(), list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: api.Resource(resource).Namespace(namespace).Watch,
	})
	w.must(err)
	w.Cleanup(events.Stop)
	out := &runs{uids: map[string]sets.Set[types.UID]{}}
	go func() {
		for e := range events.ResultChan() {
			obj, ok := e.Object.(*unstructured.Unstructured)
			if !ok || e.Type != watch.Added {
				continue
			}
			out.mu.Lock()
			if out.uids[obj.GetName()] == nil {
				out.uids[obj.GetName()] = sets.New[types.UID]()
			}
			out.uids[obj.GetName()].Insert(obj.GetUID())
			out.mu.Unlock()
		}
	}()
	return out
}

// ran waits until an object has been there n times.
func (w *world) ran(r *runs, name string, n int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s to have been there %d times", name, n), func() error {
		if got := r.of(name); got != n {
			return fmt.Errorf("it was %d times", got)
		}
		return nil
	})
}

// finished waits until the ledger records the end of an object.
func (w *world) finished(work, name string) v1beta1.FinishedRun {
	w.Helper()
	var run v1beta1.FinishedRun
	w.eventually("the end of "+name+" in the ledger", func() error {
		l := &v1beta1.AppliedWork{}
		if err := w.member.Get(w.Context(), types.NamespacedName{Name: work}, l); err != nil {
			return err
		}
		for _, e := range l.Status.AppliedResources {
			if e.Name == name && e.Finished != nil {
				run = *e.Finished
				return nil
			}
		}
		return fmt.Errorf("it is not there: %+v", l.Status.AppliedResources)
	})
	return run
}

// message waits until a manifest's condition has a message with these words.
func (w *world) message(work, name, kind, words string) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s of %s to tell %q", kind, name, words), func() error {
		text := ""
		for _, m := range w.readWork(work).Status.ManifestConditions {
			for _, c := range m.Conditions {
				if m.Identifier.Name == name && c.Type == kind {
					text = c.Message
				}
			}
		}
		if !strings.Contains(text, words) {
			return fmt.Errorf("it is %q", text)
		}
		return nil
	})
}

// A job is put together from fields of its metadata and its spec.
func jobText(namespace, name, metadata, spec string) string {
	return fmt.Sprintf(`{apiVersion: batch/v1, kind: Job, metadata: {namespace: %s, name: %s%s}, spec: {%s
	  template: {spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: c, image: "busybox:1.36"}]}}}}`, namespace, name, metadata, spec)
}

var jobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

// A Job runs once, whether its ttl removes it as soon as it is complete or later, and whatever happens to the agent,
// until its content changes.
//
// It is the case job-ttl-runs-again.
func TestJobTTLRunsAgain(t *testing.T) {
	w := newWorld(t)
	const ns, hint = "ttl", "runs again when its content changes"
	counted := w.countRuns(ns, jobs)
	manifests := func(run string) []string {
		metadata := `, annotations: {example.com/run: "` + run + `"}`
		return []string{namespaceText(ns), jobText(ns, "at-once", metadata, "ttlSecondsAfterFinished: 0,"),
			jobText(ns, "later", metadata, "ttlSecondsAfterFinished: 1,")}
	}
	w.work(ns, nil, manifests("1")...)
	expect := func(n int) {
		t.Helper()
		for _, name := range []string{"at-once", "later"} {
			w.ran(counted, name, n)
			w.message(ns, name, v1beta1.ConditionApplied, hint)
			w.gone("batch/v1 Job " + ns + "/" + name)
			if run := w.finished(ns, name); !run.Succeeded {
				t.Errorf("%s is recorded as %+v", name, run)
			}
		}
		w.settled(ns, yes, yes)
		w.quiet(2 * time.Second)
		for _, name := range []string{"at-once", "later"} {
			w.ran(counted, name, n)
		}
	}
	expect(1)
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.take(); len(got) > 0 {
		t.Errorf("after a restart the agent wrote %q", got)
	}
	expect(1)
	w.edit(ns, manifests("2")...)
	expect(2)
}

// A Job that is removed by hand runs again only if it was not over, and one that was changed after its end runs when
// it is gone.
func TestJobRemovedByHand(t *testing.T) {
	w := newWorld(t)
	const ns = "by-hand"
	counted := w.countRuns(ns, jobs)
	w.work(ns, nil, namespaceText(ns), jobText(ns, "over", "", ""), jobText(ns, "waiting", "", "suspend: true,"))
	w.settled(ns, yes, yes)
	remove := func(name string) {
		t.Helper()
		w.must(w.member.Delete(t.Context(), w.mustObject("batch/v1 Job "+ns+"/"+name), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	}
	remove("waiting")
	w.ran(counted, "waiting", 2)
	before := w.finished(ns, "over").SpecHash
	remove("over")
	w.message(ns, "over", v1beta1.ConditionApplied, "runs again")
	w.edit(ns, namespaceText(ns), jobText(ns, "over", ", annotations: {example.com/run: a}", ""), jobText(ns, "waiting", "", "suspend: true,"))
	w.ran(counted, "over", 2)
	var first string
	w.eventually("the end of the second run", func() error {
		if first = w.finished(ns, "over").SpecHash; first == before {
			return errors.New("the ledger records the first")
		}
		return nil
	})
	w.edit(ns, namespaceText(ns), jobText(ns, "over", ", annotations: {example.com/run: b}", ""))
	w.value("batch/v1 Job "+ns+"/over", "b", "metadata", "annotations", "example.com/run")
	w.quiet(time.Second)
	if now := w.finished(ns, "over").SpecHash; now != first {
		t.Errorf("content that came after the end is recorded as what ran")
	}
	remove("over")
	w.ran(counted, "over", 3)
	w.settled(ns, yes, yes)
}

// A Job that ends and goes while no agent runs is not run again: its controller left events.
func TestJobThatEndsUnseen(t *testing.T) {
	w := newWorld(t)
	const ns = "unseen"
	ref := "batch/v1 Job " + ns + "/j"
	counted := w.countRuns(ns, jobs)
	w.work(ns, nil, namespaceText(ns), jobText(ns, "j", "", "suspend: true, ttlSecondsAfterFinished: 1,"))
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	w.halt()
	w.change(ref, func(o *unstructured.Unstructured) { setNestedIn(w, o, false, "spec", "suspend") })
	w.gone(ref)
	w.completed(ns, "j")
	w.start()
	w.agent.Join()
	w.message(ns, "j", v1beta1.ConditionApplied, "runs again")
	w.quiet(time.Second)
	w.ran(counted, "j", 1)
	w.finished(ns, "j")
}

// New content that was refused when the Job of the old content ended unseen runs as soon as it is accepted: the events
// are those of the old content.
func TestJobRefusedAfterOneThatEndedUnseen(t *testing.T) {
	w := newWorld(t)
	const ns, once = "refused-job", "ttlSecondsAfterFinished: 1,"
	ref := "batch/v1 Job " + ns + "/j"
	counted := w.countRuns(ns, jobs)
	w.work(ns, nil, namespaceText(ns), jobText(ns, "j", "", "suspend: true,"+once))
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	w.halt()
	w.change(ref, func(o *unstructured.Unstructured) { setNestedIn(w, o, false, "spec", "suspend") })
	w.gone(ref)
	w.completed(ns, "j")
	quota := w.onMember(`{apiVersion: v1, kind: ResourceQuota, metadata: {namespace: ` + ns + `, name: none}, spec: {hard: {count/jobs.batch: "0"}}}`)
	w.eventually("the quota to be enforced", func() error { // which it is from when its controller has taken it up
		probe := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal([]byte(jobText(ns, "probe", "", "")), &probe.Object))
		err := w.member.Create(w.Context(), probe, client.DryRunAll)
		if apierrors.IsForbidden(err) {
			return nil
		}
		return errors.Join(errors.New("a Job is not refused"), err)
	})
	w.edit(ns, namespaceText(ns), jobText(ns, "j", ", annotations: {example.com/run: again}", once))
	w.start()
	w.agent.Join()
	w.settled(ns, no, "")
	w.must(w.member.Delete(t.Context(), quota))
	w.ran(counted, "j", 2)
	w.message(ns, "j", v1beta1.ConditionApplied, "runs again")
	w.quiet(time.Second)
	w.ran(counted, "j", 2)
}

// completed waits for the event of a Job's end, which its controller writes later than the end.
func (w *world) completed(namespace, name string) {
	w.Helper()
	testworld.AwaitEvents(w, w.member, namespace, "the event of the end of "+name, func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == "Completed" && e.InvolvedObject.Name == name })
	})
}

func setNestedIn(w *world, o *unstructured.Unstructured, value any, path ...string) {
	w.Helper()
	w.must(unstructured.SetNestedField(o.Object, value, path...))
}

// What is known of a Job that is over moves with it to another Work of its placement, whichever of the two changes
// first, or goes.
func TestFinishedJobMovesBetweenWorks(t *testing.T) {
	w := newWorld(t)
	const ns = "moving-job"
	counted := w.countRuns(ns, jobs)
	job, other := jobText(ns, "j", "", "ttlSecondsAfterFinished: 0,"), configMap(ns, "cm", "x")
	w.work("moving-ns", nil, namespaceText(ns))
	w.settled("moving-ns", yes, yes)
	w.part(nil, "moving-0", "r0", "2", job)
	w.part(nil, "moving-1", "r0", "2", other)
	w.message("moving-0", "j", v1beta1.ConditionApplied, "runs again")
	w.part(nil, "moving-0", "r1", "2")
	w.settled("moving-0", yes, yes)
	w.part(nil, "moving-1", "r1", "2", other, job)
	w.message("moving-1", "j", v1beta1.ConditionApplied, "runs again")
	w.part(nil, "moving-0", "r2", "2", job)
	w.message("moving-0", "j", v1beta1.ConditionApplied, "runs again")
	w.part(nil, "moving-1", "r2", "2", other)
	w.settled("moving-1", yes, yes)
	w.quiet(time.Second)
	w.part(nil, "moving-1", "r3", "1", other, job)
	w.deleteWork("moving-0")
	w.workGone("moving-0")
	w.message("moving-1", "j", v1beta1.ConditionApplied, "runs again")
	w.quiet(time.Second)
	w.ran(counted, "j", 1)
}

// Nor does it run again when it moves back before the Work that it had moved to has recorded its end.
func TestFinishedJobMovesBackAtOnce(t *testing.T) {
	w := newWorld(t)
	const ns, from, to = "moves-back", "back-0", "back-1"
	counted := w.countRuns(ns, jobs)
	job, other := jobText(ns, "j", "", "ttlSecondsAfterFinished: 0,"), configMap(ns, "cm", "x")
	w.onMember(namespaceText(ns))
	w.part(nil, from, "r0", "2", job)
	w.part(nil, to, "r0", "2", other)
	w.message(from, "j", v1beta1.ConditionApplied, "runs again")
	w.finished(from, "j")
	w.settled(to, yes, yes)
	w.quiet(time.Second)

	// The ledger that the Job moves to is written twice: before the Job is looked for, and after the report.
	left, reported := make(chan struct{}), make(chan struct{})
	var writes atomic.Int32
	w.faultyMember.set(func(r *http.Request) *http.Response {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/appliedworks/"+to+"/status") {
			held := left
			if writes.Add(1) > 1 {
				held = reported
			}
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
		return nil
	})
	w.part(nil, to, "r1", "2", other, job)
	w.part(nil, from, "r1", "2")
	var ledger *v1beta1.AppliedWork
	w.eventually("the Job to leave the first ledger", func() error {
		if ledger = w.ledger(from); len(ledger.Status.AppliedResources) > 0 {
			return fmt.Errorf("it lists %+v", ledger.Status.AppliedResources)
		}
		return nil
	})
	testworld.AwaitKnown(w, w.agent.MemberClient, ledger)
	close(left)
	w.message(to, "j", v1beta1.ConditionApplied, "runs again")
	w.part(nil, from, "r2", "2", job)
	w.message(from, "j", v1beta1.ConditionApplied, "runs again")
	close(reported)
	w.quiet(time.Second)
	w.ran(counted, "j", 1)
}

// A Job that failed and was removed keeps its availability: not available, with the cause, if its rule requires
// success.
func TestFailedJobStaysFailed(t *testing.T) {
	w := newWorld(t)
	const ns = "failed-job"
	counted := w.countRuns(ns, jobs)
	const never = "activeDeadlineSeconds: 1, ttlSecondsAfterFinished: 1,"
	job := func(name, metadata string) string {
		return strings.Replace(jobText(ns, name, metadata, never), "restartPolicy", "nodeSelector: {there-is: none}, restartPolicy", 1)
	}
	w.work(ns, nil, namespaceText(ns), job("plain", ""))
	w.work(ns+"-rule", nil, job("ruled", `, annotations: {kubernetes-fleet.io/available-when: "has(object.status.succeeded)"}`))
	w.message(ns, "plain", v1beta1.ConditionApplied, "DeadlineExceeded")
	w.settled(ns, yes, yes)
	w.gone("batch/v1 Job " + ns + "/ruled")
	w.message(ns+"-rule", "ruled", v1beta1.ConditionApplied, "DeadlineExceeded")
	w.settled(ns+"-rule", yes, no)
	w.message(ns+"-rule", "ruled", v1beta1.ConditionAvailable, "DeadlineExceeded")
	w.ran(counted, "plain", 1)
	w.ran(counted, "ruled", 1)
}

// A Pod that is not restarted runs once, too; one that was stopped does not count as having run.
func TestPodRunsOnce(t *testing.T) {
	w := newWorld(t)
	const ns = "run-once"
	counted := w.countRuns(ns, schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	pod := func(name string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: %s}, spec: {restartPolicy: OnFailure, terminationGracePeriodSeconds: 0,
		  nodeSelector: {there-is: none}, containers: [{name: c, image: i}]}}`, ns, name)
	}
	w.work(ns, nil, namespaceText(ns), pod("done"), pod("evicted"))
	w.settled(ns, yes, yes)
	w.status("v1 Pod "+ns+"/done", map[string]any{"phase": "Succeeded"})
	w.status("v1 Pod "+ns+"/evicted", map[string]any{"phase": "Failed", "reason": "Evicted"})
	w.finished(ns, "done")
	for _, name := range []string{"done", "evicted"} {
		w.must(w.member.Delete(t.Context(), w.mustObject("v1 Pod "+ns+"/"+name)))
	}
	w.ran(counted, "evicted", 2)
	w.message(ns, "done", v1beta1.ConditionApplied, "runs again")
	w.quiet(time.Second)
	w.ran(counted, "done", 1)
}
