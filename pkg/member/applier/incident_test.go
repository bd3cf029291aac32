package applier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// faults answers requests in place of an API server, and breaks streams. The zero value lets everything pass.
type faults struct {
	mu     sync.Mutex
	answer func(*http.Request) *http.Response // nil, or a nil answer, lets a request pass
	given  int
	sets   int
	open   map[*feed]bool
}

type feed struct {
	io.ReadCloser
	faults *faults
}

func (s *feed) Close() error {
	s.faults.mu.Lock()
	delete(s.faults.open, s)
	s.faults.mu.Unlock()
	return s.ReadCloser.Close()
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f *faults) of(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(r *http.Request) (*http.Response, error) {
			f.mu.Lock()
			answer, sets := f.answer, f.sets
			f.mu.Unlock()
			if answer != nil {
				if out := answer(r); out != nil {
					f.mu.Lock()
					f.given++
					f.mu.Unlock()
					out.Request = r
					return out, nil
				}
			}
			out, err := next.RoundTrip(r)
			if err == nil && r.URL.Query().Get("watch") != "" {
				s := &feed{out.Body, f}
				f.mu.Lock()
				if f.open == nil {
					f.open = map[*feed]bool{}
				}
				f.open[s] = true
				late := f.sets != sets
				f.mu.Unlock()
				out.Body = s
				if late { // it is one of those that the last set has broken
					_ = s.Close()
				}
			}
			return out, err
		})
	})
	return cfg
}

// set begins a fault, or ends all with nil, and breaks the streams that are open.
func (f *faults) set(answer func(*http.Request) *http.Response) {
	f.mu.Lock()
	f.answer, f.given = answer, 0
	f.sets++
	var all []*feed
	for s := range f.open {
		all = append(all, s)
	}
	f.mu.Unlock()
	for _, s := range all {
		_ = s.Close() // that it fails is the point
	}
}

func (f *faults) answered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given
}

func answerWith(code int, body any) *http.Response {
	text, ok := body.(string)
	if !ok {
		data, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text = string(data)
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewBufferString(text)), ContentLength: int64(len(text))}
}

func failWith(code int, reason metav1.StatusReason) *http.Response {
	return answerWith(code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		Message: "the incident"})
}

// incident applies a Work of a namespace and a ConfigMap, lets something happen, and wants both untouched afterwards,
// and the agent at work.
func incident(t *testing.T, name string, happen func(w *world)) {
	w := newWorld(t)
	w.work(name, nil, namespaceText(name), configMap(name, "cm", "a"))
	w.settled(name, yes, yes)
	w.quiet(time.Second)
	before := w.versions()
	w.writes.take()
	happen(w)
	for _, write := range w.writes.member.Take() {
		if strings.HasPrefix(write, http.MethodDelete) {
			t.Errorf("the agent sent %s", write)
		}
	}
	for ref, version := range w.versions() {
		if version != before[ref] && !strings.HasPrefix(ref, "AppliedWork") { // which has the condition on held objects
			t.Errorf("%s is at %s; was at %s", ref, version, before[ref])
		}
	}
	w.edit(name, namespaceText(name), configMap(name, "cm", "b"))
	w.value("v1 ConfigMap "+name+"/cm", "b", "data", "key")
	w.settled(name, yes, yes)
}

// during keeps a fault until it has been met more than once.
func (w *world) during(f *faults, answer func(*http.Request) *http.Response) {
	w.Helper()
	f.set(answer)
	w.eventually("the agent to meet the fault", func() error {
		if n := f.answered(); n < 2 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	f.set(nil)
	w.quiet(2 * time.Second)
}

func TestIncidentHubAnswersErrors(t *testing.T) {
	for code, reason := range map[int]metav1.StatusReason{500: metav1.StatusReasonInternalError, 401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden,
		404: metav1.StatusReasonNotFound} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			incident(t, fmt.Sprintf("hub-answers-%d", code), func(w *world) {
				w.during(w.faultyHub, func(*http.Request) *http.Response { return failWith(code, reason) })
			})
		})
	}
}

func TestIncidentMemberAnswersErrors(t *testing.T) {
	incident(t, "member-answers-500", func(w *world) {
		w.during(w.faultyMember, func(*http.Request) *http.Response { return failWith(500, metav1.StatusReasonInternalError) })
	})
}

// empty answers reads as if there were no objects.
func empty(r *http.Request) *http.Response {
	switch query := r.URL.Query(); {
	case r.Method != http.MethodGet:
		return nil
	case query.Get("sendInitialEvents") != "":
		return failWith(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid) // lists then
	case query.Get("watch") != "":
		return answerWith(http.StatusOK, "")
	}
	return answerWith(http.StatusOK, &v1beta1.WorkList{TypeMeta: metav1.TypeMeta{Kind: "WorkList", APIVersion: v1beta1.GroupVersion.String()},
		ListMeta: metav1.ListMeta{ResourceVersion: "1"}})
}

// A Work that is gone for a while and deleted meanwhile takes its namespace along, with what only its own objects
// explain.
func TestIncidentDeletedWhileGone(t *testing.T) {
	w := newWorld(t)
	const ns = "deleted-while-gone"
	w.work(ns, nil, namespaceText(ns), `{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: `+ns+`, name: db}, spec: {serviceName: db, replicas: 0,
	  selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i}]}},
	  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`)
	w.settled(ns, yes, yes)
	w.onMember(strings.Replace(claimText(ns), "name: data", "name: data-db-0", 1)) // as of a replica that is no more
	w.quiet(time.Second)
	w.faultyHub.set(func(r *http.Request) *http.Response {
		if !strings.Contains(r.URL.Path, "/works") {
			return nil
		}
		return empty(r)
	})
	w.eventually("the ledger to be held", func() error { return says(w.ledger(ns).Status.Conditions, "no Work "+ns) })
	w.deleteWork(ns)
	w.faultyHub.set(nil)
	w.workGone(ns)
	w.gone("v1 Namespace " + ns)
}

func TestIncidentEmptyLists(t *testing.T) {
	t.Run("hub", func(t *testing.T) {
		incident(t, "hub-empty-lists", func(w *world) {
			w.during(w.faultyHub, func(r *http.Request) *http.Response {
				if !strings.Contains(r.URL.Path, "/works") {
					return nil
				}
				return empty(r)
			})
		})
	})
	t.Run("member", func(t *testing.T) {
		incident(t, "member-empty-lists", func(w *world) {
			w.during(w.faultyMember, func(r *http.Request) *http.Response {
				if !strings.HasSuffix(r.URL.Path, "/configmaps") && !strings.HasSuffix(r.URL.Path, "/appliedworks") {
					return nil
				}
				return empty(r)
			})
		})
	})
}

func TestIncidentTruncatedWatch(t *testing.T) {
	truncated := func(r *http.Request) *http.Response {
		if r.URL.Query().Get("watch") == "" {
			return nil
		}
		return answerWith(http.StatusOK, `{"type":"DELETED","object":{"kind":"Work","apiVersion":"placement.kubernetes-fleet.io/v1beta1","meta`)
	}
	t.Run("hub", func(t *testing.T) {
		incident(t, "hub-truncated", func(w *world) { w.during(w.faultyHub, truncated) })
	})
	t.Run("member", func(t *testing.T) {
		incident(t, "member-truncated", func(w *world) { w.during(w.faultyMember, truncated) })
	})
}

// held waits for the condition that names the kept objects, and why.
func (w *world) held(name, reason string, words ...string) {
	w.Helper()
	w.eventually("work "+name+" to say what it holds", func() error {
		c := meta.FindStatusCondition(w.readWork(name).Status.Conditions, report.ConditionHeld)
		if c == nil || c.Reason != reason {
			return fmt.Errorf("condition %+v", c)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("the message lacks %q: %s", word, c.Message)
			}
		}
		return nil
	})
}

func TestIncidentEmptiedWork(t *testing.T) {
	w := newWorld(t)
	const ns = "emptied"
	all := []string{namespaceText(ns), configMap(ns, "cm", "a"), configMap(ns, "released", "a")}
	w.work(ns, nil, all...)
	rewrite := func(given string, manifests ...string) {
		w.eventually("rewrite the Work", func() error {
			work := w.readWork(ns)
			if given != "" {
				work.Annotations = map[string]string{contract.AnnotationManifests: given}
			}
			work.Spec.Workload.Manifests = w.manifests(manifests)
			return w.hub.Update(t.Context(), work)
		})
	}
	rewrite("3", all...)
	w.settled(ns, yes, yes)
	rewrite("")
	w.held(ns, report.ReasonWorkIncomplete, "Namespace emptied", "ConfigMap emptied/cm", contract.AnnotationManifests, contract.AnnotationHeld)
	w.quiet(time.Second)
	for _, ref := range []string{"v1 Namespace emptied", "v1 ConfigMap emptied/cm", "v1 ConfigMap emptied/released"} {
		if obj := w.mustObject(ref); obj.GetDeletionTimestamp() != nil {
			t.Errorf("%s is being deleted", ref)
		}
	}
	// The member's owner may release one.
	w.change("v1 ConfigMap emptied/released", func(o *unstructured.Unstructured) {
		set := o.GetAnnotations()
		set[contract.AnnotationHeld] = contract.HeldRelease
		o.SetAnnotations(set)
	})
	w.gone("v1 ConfigMap emptied/released")
	w.present("v1 ConfigMap emptied/cm")
	// The hub's agent puts it right, and then means it.
	rewrite("2", all[:2]...)
	w.eventually("nothing to be held", func() error {
		if c := meta.FindStatusCondition(w.readWork(ns).Status.Conditions, report.ConditionHeld); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})
	w.settled(ns, yes, yes)
	rewrite("1", all[:1]...)
	w.gone("v1 ConfigMap emptied/cm")
	rewrite("0")
	w.gone("v1 Namespace emptied")
	w.settled(ns, yes, yes)
}

// forgetful is a RESTMapper that loses a group.
type forgetful struct {
	meta.RESTMapper
	group string
	lost  atomic.Bool
}

func (f *forgetful) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if f.lost.Load() && gk.Group == f.group {
		return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
	}
	return f.RESTMapper.RESTMapping(gk, versions...)
}

func TestIncidentGroupVanishes(t *testing.T) {
	const ns, crd = "vanishes", "v1 ConfigMap vanishes/cm"
	w := prepare(t)
	mapper := &forgetful{RESTMapper: w.member.RESTMapper(), group: "vanish.test"}
	w.start(func(a *Applier) { a.Mapper = mapper })
	w.agent.Join()
	text := strings.ReplaceAll(fmt.Sprintf(widgets, "whim", "Whim"), "example.test", "vanish.test")
	w.onMember(text)
	whim := func(name string) string {
		return "{apiVersion: vanish.test/v1, kind: Whim, metadata: {namespace: vanishes, name: " + name + "}, spec: {size: 1}}"
	}
	w.work(ns, nil, namespaceText(ns), whim("stays"), whim("goes"), configMap(ns, "cm", "a"))
	w.settled(ns, yes, yes)
	stays, goes := w.mustObject("vanish.test/v1 Whim vanishes/stays"), w.mustObject("vanish.test/v1 Whim vanishes/goes")
	mapper.lost.Store(true)
	w.edit(ns, namespaceText(ns), whim("stays"), configMap(ns, "cm", "b"))
	w.value(crd, "b", "data", "key")
	w.held(ns, report.ReasonKindNotServed, "Whim vanishes/goes")
	for _, was := range []*unstructured.Unstructured{stays, goes} {
		if now := w.mustObject("vanish.test/v1 Whim vanishes/" + was.GetName()); now.GetUID() != was.GetUID() || now.GetDeletionTimestamp() != nil {
			t.Errorf("%s was touched", was.GetName())
		}
	}
	mapper.lost.Store(false)
	w.change("apiextensions.k8s.io/v1 CustomResourceDefinition whims.vanish.test", func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{"it.is": "back"}) // the event that comes with a definition
	})
	w.gone("vanish.test/v1 Whim vanishes/goes")
	w.settled(ns, yes, yes)
	if now := w.mustObject("vanish.test/v1 Whim vanishes/stays"); now.GetUID() != stays.GetUID() {
		t.Error("the object that stays was made anew")
	}
}

// An object that a Work abandons or holds also stays if its kind is not served when the Work is deleted: the ledger
// must not be deleted before the object was released.
func TestAbandonedObjectsOfAGroupThatVanishes(t *testing.T) {
	const ns = "vanishes-abandoned"
	w := prepare(t)
	mapper := &forgetful{RESTMapper: w.member.RESTMapper(), group: "vanish-abandoned.test"}
	w.start(func(a *Applier) { a.Mapper = mapper })
	w.agent.Join()
	w.onMember(strings.ReplaceAll(fmt.Sprintf(widgets, "notion", "Notion"), "example.test", "vanish-abandoned.test"))
	w.work(ns, nil, namespaceText(ns), configMap(ns, "cm", "a"),
		"{apiVersion: vanish-abandoned.test/v1, kind: Notion, metadata: {namespace: vanishes-abandoned, name: idea}, spec: {size: 1}}")
	w.settled(ns, yes, yes)
	w.deleteStrategy(ns, v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon})
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	mapper.lost.Store(true)
	w.deleteWork(ns)
	w.workGone(ns)
	w.unowned("v1 ConfigMap vanishes-abandoned/cm")
	w.eventually("the ledger to list what stays", func() error {
		return says(w.ledger(ns).Status.Conditions, "Notion vanishes-abandoned/idea", "does not serve its kind")
	})
	if refs := w.mustObject("vanish-abandoned.test/v1 Notion vanishes-abandoned/idea").GetOwnerReferences(); len(refs) != 1 || refs[0].UID != w.ledger(ns).UID {
		t.Errorf("it is owned by %+v", refs)
	}
}
