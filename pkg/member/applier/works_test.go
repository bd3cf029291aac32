package applier

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func namespaceText(name string) string {
	return "{apiVersion: v1, kind: Namespace, metadata: {name: " + name + "}}"
}

func configMap(namespace, name, value string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: %s, name: %s}, data: {key: %s}}", namespace, name, value)
}

const (
	yes = metav1.ConditionTrue
	no  = metav1.ConditionFalse
)

func TestWorkload(t *testing.T) {
	w := newWorld(t)
	const ns = "workload"
	labels := "{app: web}"
	w.work("workload", nil,
		// Not in the order in which they can be applied.
		`{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: workload, name: db}, spec: {serviceName: web, replicas: 2, selector: {matchLabels: `+labels+`},
		  template: {metadata: {labels: `+labels+`, creationTimestamp: null}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: web:1, resources: {requests: {cpu: 100m, memory: 1024Mi}}}]}},
		  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`,
		`{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: workload, name: web}, spec: {replicas: 2, selector: {matchLabels: `+labels+`},
		  template: {metadata: {labels: `+labels+`}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: web:1, resources: {requests: {cpu: 1000m}}, ports: [{containerPort: 80}]}]}}}}`,
		`{apiVersion: v1, kind: Service, metadata: {namespace: workload, name: web}, spec: {selector: `+labels+`, ports: [{port: 80}]}}`,
		`{apiVersion: v1, kind: Secret, metadata: {namespace: workload, name: s}, stringData: {password: hunter2}}`,
		configMap(ns, "cm", "a"),
		namespaceText(ns),
		`{apiVersion: apps/v1, kind: DaemonSet, metadata: {namespace: workload, name: each}, spec: {selector: {matchLabels: {app: each}},
		  template: {metadata: {labels: {app: each}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: each:1}]}}}}`,
	)
	work := w.settled("workload", yes, yes)
	if got := len(work.Status.ManifestConditions); got != 7 {
		t.Fatalf("%d manifest conditions; want 7", got)
	}
	owner := w.ledger("workload")
	refs := w.mustObject("apps/v1 Deployment workload/web").GetOwnerReferences()
	if len(refs) != 1 || refs[0].UID != owner.UID || refs[0].BlockOwnerDeletion == nil || !*refs[0].BlockOwnerDeletion || refs[0].Controller != nil {
		t.Fatalf("owner references %+v; want the AppliedWork's alone", refs)
	}
	w.quiet(time.Second)
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.take(); len(got) > 0 {
		t.Errorf("a restart with nothing changed wrote %q", got)
	}
	w.deleteWork("workload")
	w.workGone("workload")
	w.gone("v1 Namespace workload")
}

// What controllers make for an object is no reason to keep its namespace, whatever is deleted first.
func TestANamespaceGoesWithItsServices(t *testing.T) {
	w := newWorld(t)
	manifests := []string{namespaceText("served"), configMap("served", "cm", "a")}
	for i := range 20 {
		manifests = append(manifests, fmt.Sprintf(
			`{apiVersion: v1, kind: Service, metadata: {namespace: served, name: web-%d}, spec: {selector: {app: web}, ports: [{port: 80}]}}`, i))
	}
	w.work("served", nil, manifests...)
	w.settled("served", yes, yes)
	w.value("v1 Endpoints served/web-0", "web-0", "metadata", "name")
	w.deleteWork("served")
	w.workGone("served")
	w.gone("v1 Namespace served")
}

func (w *world) ledger(name string) *v1beta1.AppliedWork {
	w.Helper()
	l := &v1beta1.AppliedWork{}
	w.must(w.member.Get(w.Context(), types.NamespacedName{Name: name}, l))
	return l
}

// quiet waits until nothing has been written for d, and nothing is about to be: a status that reports progress is
// delayed.
func (w *world) quiet(d time.Duration) {
	w.Helper()
	testworld.AwaitStill(w, d, "the agent", func(context.Context) (int, error) {
		w.agent.gate.Lock() // no pass is between two writes, such as the report and the ledger
		defer w.agent.gate.Unlock()
		w.agent.memory.mu.Lock()
		defer w.agent.memory.mu.Unlock()
		for name, r := range w.agent.memory.works {
			if r.delayed != (loop.HoldBack{}) {
				return 0, fmt.Errorf("a status of work %s is delayed", name)
			}
		}
		return w.writes.count(), nil
	})
}

func TestWriteBudget(t *testing.T) {
	// The garbage collector discovers a new kind, as the ledgers' is here, up to half a minute later; a report of that
	// would be a further write.
	w := newWorld(t, func(a *Applier) { a.reportAfter = time.Hour })
	const ns = "budget"
	w.work("budget", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("budget", yes, yes)
	w.quiet(time.Second)
	w.expectWrites("create", map[string]int{
		"hub PATCH works/budget/status":         1,
		"member POST appliedworks":              1,
		"member PUT appliedworks/budget/status": 1,
		"member POST namespaces":                1,
		"member POST configmaps":                1,
	})
	w.edit("budget", namespaceText(ns), configMap(ns, "cm", "b"))
	w.settled("budget", yes, yes)
	w.value("v1 ConfigMap budget/cm", "b", "data", "key")
	w.quiet(time.Second)
	w.expectWrites("edit", map[string]int{"hub PATCH works/budget/status": 1, "member PATCH configmaps/cm": 1})
	w.deleteWork("budget")
	w.workGone("budget")
	w.gone("v1 ConfigMap budget/cm")
	w.expectWrites("delete", map[string]int{
		"member DELETE configmaps/cm":       1,
		"member DELETE appliedworks/budget": 1,
		"hub PATCH works/budget":            1,
	})
}

// An annotation that the API server itself adds in our write is no field to take away again.
func TestDaemonSetIsWrittenOnce(t *testing.T) {
	for name, s := range map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "daemons-" + name
			w.work(ns, s, namespaceText(ns), `{apiVersion: apps/v1, kind: DaemonSet, metadata: {namespace: `+ns+`, name: each}, spec: {selector: {matchLabels: {app: each}},
			  template: {metadata: {labels: {app: each}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: each:1}]}}}}`)
			w.settled(ns, yes, yes)
			w.quiet(time.Second)
			written := slices.DeleteFunc(w.writes.take(), func(write string) bool { return !strings.Contains(write, "/daemonsets") })
			if len(written) != 1 {
				t.Errorf("writes %q; want one", written)
			}
		})
	}
}

func (w *world) expectWrites(step string, want map[string]int) {
	w.Helper()
	got := map[string]int{}
	for _, line := range w.writes.take() {
		words := strings.Fields(line)
		parts := strings.Split(strings.Trim(words[2], "/"), "/")
		for i, part := range parts {
			if part == "namespaces" && i+2 < len(parts) {
				parts = append(parts[:i:i], parts[i+2:]...)
				break
			}
		}
		for i, part := range parts {
			if strings.HasPrefix(part, "v1") {
				parts = parts[i+1:]
				break
			}
		}
		got[words[0]+" "+words[1]+" "+strings.Join(parts, "/")]++
	}
	if !maps.Equal(got, want) {
		w.Errorf("%s: writes %v; want %v", step, got, want)
	}
}

const widgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[1]ss.example.test}, spec: {group: example.test,
  names: {kind: %[2]s, plural: %[1]ss, singular: %[1]s, listKind: %[2]sList}, scope: Namespaced,
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`

func TestKindAndObjectInOneWork(t *testing.T) {
	w := newWorld(t)
	w.work("onework", nil,
		`{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: onework, name: w}, spec: {size: 1}}`,
		fmt.Sprintf(widgets, "widget", "Widget"), namespaceText("onework"))
	work := w.settled("onework", yes, yes)
	if c := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionAvailable); c.Reason != v1beta1.ReasonWorkNotTrackable {
		t.Errorf("reason %s; want %s", c.Reason, v1beta1.ReasonWorkNotTrackable)
	}
	// A co-owner on a custom resource survives our patch. It is in the same namespace: any other is no owner, and
	// collected as such.
	holder := w.onMember(configMap("onework", "holder", "x"))
	w.change("example.test/v1 Widget onework/w", func(o *unstructured.Unstructured) {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "holder", UID: holder.GetUID()}))
	})
	w.settled("onework", no, "")
	w.alter("onework", func(work *v1beta1.Work) {
		work.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{AllowCoOwnership: true}
		work.Spec.Workload.Manifests = w.manifests([]string{`{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: onework, name: w}, spec: {size: 2}}`,
			fmt.Sprintf(widgets, "widget", "Widget"), namespaceText("onework")})
	})
	w.settled("onework", yes, yes)
	w.value("example.test/v1 Widget onework/w", "2", "spec", "size")
	if refs := w.mustObject("example.test/v1 Widget onework/w").GetOwnerReferences(); len(refs) != 2 {
		t.Errorf("owner references %+v; want both", refs)
	}
}

func TestKindFromAnotherWork(t *testing.T) {
	w := newWorld(t)
	w.work("needs-kind", nil, `{apiVersion: example.test/v1, kind: Gadget, metadata: {namespace: otherwork, name: g}, spec: {size: 1}}`)
	work := w.settled("needs-kind", no, "")
	if c := work.Status.ManifestConditions[0].Conditions[0]; c.Reason != v1beta1.ReasonManifestDecodingErred || work.Status.ManifestConditions[0].Identifier.Kind != "Gadget" {
		t.Errorf("condition %+v of %+v; want DecodingErred of the Gadget", c, work.Status.ManifestConditions[0].Identifier)
	}
	w.work("brings-kind", nil, fmt.Sprintf(widgets, "gadget", "Gadget"))
	// The kind is there now, the namespace is not.
	w.eventually("the reason to be the namespace", func() error {
		c := w.readWork("needs-kind").Status.ManifestConditions[0].Conditions[0]
		if c.Reason != v1beta1.ReasonManifestApplyFailed {
			return fmt.Errorf("reason %s: %s", c.Reason, c.Message)
		}
		return nil
	})
	w.work("brings-namespace", nil, namespaceText("otherwork"))
	w.settled("needs-kind", yes, yes)
	w.present("example.test/v1 Gadget otherwork/g")
}

func TestMemberEditsAreUndone(t *testing.T) {
	w := newWorld(t)
	const ns = "undone"
	w.work("undone", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("undone", yes, yes)
	w.change("v1 ConfigMap undone/cm", func(o *unstructured.Unstructured) {
		o.Object["data"] = map[string]any{"key": "edited", "other": "theirs"}
	})
	w.value("v1 ConfigMap undone/cm", "a", "data", "key")
	w.value("v1 ConfigMap undone/cm", "theirs", "data", "other")
	uid := w.mustObject("v1 ConfigMap undone/cm").GetUID()
	w.must(w.member.Delete(t.Context(), w.mustObject("v1 ConfigMap undone/cm")))
	w.eventually("the ConfigMap to be created again", func() error {
		obj, err := w.object("v1 ConfigMap undone/cm")
		if err == nil && obj.GetUID() == uid {
			err = fmt.Errorf("it is the old one")
		}
		return err
	})
	w.settled("undone", yes, yes)
	w.eventually("the ledger to name the new object", func() error {
		l := w.ledger("undone")
		for _, e := range l.Status.AppliedResources {
			if e.UID == uid {
				return fmt.Errorf("ledger %+v", l.Status)
			}
		}
		return nil
	})
	// The owner reference goes the same way.
	w.change("v1 ConfigMap undone/cm", func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) })
	w.eventually("the owner reference to be back", func() error {
		if obj := w.mustObject("v1 ConfigMap undone/cm"); len(obj.GetOwnerReferences()) != 1 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
}

func TestManifestRemoved(t *testing.T) {
	w := newWorld(t)
	const ns = "removed"
	w.work("removed", &v1beta1.ApplyStrategy{AllowCoOwnership: true}, namespaceText(ns), configMap(ns, "goes", "a"), configMap(ns, "shared", "a"), configMap(ns, "stays", "a"))
	w.settled("removed", yes, yes)
	holder := w.onMember(configMap(ns, "holder", "x"))
	w.change("v1 ConfigMap removed/shared", func(o *unstructured.Unstructured) {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "holder", UID: holder.GetUID()}))
	})
	w.edit("removed", namespaceText(ns), configMap(ns, "stays", "a"))
	w.settled("removed", yes, yes)
	w.gone("v1 ConfigMap removed/goes")
	w.eventually("our reference to leave the shared object", func() error {
		if refs := w.mustObject("v1 ConfigMap removed/shared").GetOwnerReferences(); len(refs) != 1 || refs[0].Name != "holder" {
			return fmt.Errorf("owner references %+v", refs)
		}
		return nil
	})
	w.present("v1 ConfigMap removed/stays")
	// The ledger is settled after the report, because nothing waits for it.
	w.eventually("the ledger to hold the two that stay and no intents", func() error {
		l := w.ledger("removed")
		if len(l.Status.AppliedResources) != 2 || l.Annotations[contract.AnnotationIntended] != "" {
			return fmt.Errorf("ledger %+v, annotations %v", l.Status.AppliedResources, l.Annotations)
		}
		return nil
	})
	// An object of that name that is not ours is left alone.
	w.onMember(configMap(ns, "goes", "theirs"))
	w.edit("removed", namespaceText(ns), configMap(ns, "stays", "b"))
	w.settled("removed", yes, yes)
	w.present("v1 ConfigMap removed/goes")
}

func TestUnreadableManifestHolds(t *testing.T) {
	w := newWorld(t)
	const ns = "holds"
	w.work("holds", nil, namespaceText(ns), configMap(ns, "a", "one"), configMap(ns, "b", "one"))
	w.settled("holds", yes, yes)
	// The object of the last one is unknown.
	w.edit("holds", namespaceText(ns), configMap(ns, "a", "two"), "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: holds}}")
	work := w.settled("holds", no, "")
	if c := work.Status.ManifestConditions[2].Conditions[0]; c.Reason != v1beta1.ReasonManifestDecodingErred {
		t.Errorf("condition %+v; want DecodingErred", c)
	}
	w.value("v1 ConfigMap holds/a", "two", "data", "key")
	w.quiet(time.Second)
	w.present("v1 ConfigMap holds/b")
	w.edit("holds", namespaceText(ns), configMap(ns, "a", "two"))
	w.gone("v1 ConfigMap holds/b")
}

func TestAFailedRemovalStopsNothingElse(t *testing.T) {
	w := newWorld(t)
	const ns = "guarded"
	w.work("guarded", nil, namespaceText(ns), configMap(ns, "guarded", "a"), configMap(ns, "goes", "a"))
	w.settled("guarded", yes, yes)
	w.onMember(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: guard}, spec: {
	  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [DELETE], resourceNames: [guarded]}]},
	  validations: [{expression: "false", message: it is guarded}]}}`)
	binding := w.onMember(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: guard},
	  spec: {policyName: guard, validationActions: [Deny]}}`)
	w.eventually("the guard to work", func() error {
		err := w.member.Delete(t.Context(), w.mustObject("v1 ConfigMap guarded/guarded"), client.DryRunAll)
		if err == nil {
			return fmt.Errorf("it lets a deletion pass")
		}
		return nil
	})
	w.edit("guarded", namespaceText(ns), configMap(ns, "new", "a"))
	work := w.settled("guarded", no, "")
	if c := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionApplied); !strings.Contains(c.Message, "ConfigMap guarded/guarded") ||
		!strings.Contains(c.Message, "it is guarded") {
		t.Errorf("message %q; want it to name the object and the reason", c.Message)
	}
	w.present("v1 ConfigMap guarded/new")
	w.gone("v1 ConfigMap guarded/goes")
	w.must(w.member.Delete(t.Context(), binding))
	w.gone("v1 ConfigMap guarded/guarded")
	w.settled("guarded", yes, yes)
}

// Nor does it when the Work goes and something else of it stays.
func TestAFailedRemovalStopsNothingElseOfAWorkThatGoes(t *testing.T) {
	w := newWorld(t, func(a *Applier) { a.reportAfter = time.Second })
	const ns = "guarded-rest"
	w.work(ns, nil, namespaceText(ns), namespaceText(ns+"-other"), configMap(ns, "guarded", "a"), configMap(ns+"-other", "goes", "a"))
	w.settled(ns, yes, yes)
	w.onMember(configMap(ns, "local", "a"))
	w.faultyMember.set(func(r *http.Request) *http.Response {
		if r.Method == http.MethodDelete && path.Base(r.URL.Path) == "guarded" {
			return failWith(403, metav1.StatusReasonForbidden)
		}
		return nil
	})
	w.deleteWork(ns)
	w.gone("v1 Namespace " + ns + "-other")
	w.eventually("the Work to say what cannot be removed", func() error {
		c := meta.FindStatusCondition(w.readWork(ns).Status.Conditions, report.ConditionRemoved)
		if c == nil || !strings.Contains(c.Message, "ConfigMap guarded-rest/guarded (the incident)") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	w.faultyMember.set(nil)
	w.workGone(ns)
	w.gone("v1 ConfigMap " + ns + "/guarded")
	w.present("v1 ConfigMap " + ns + "/local")
}

// What a namespace holds is found out by listing every kind, so events about other objects of the Work must not cause
// it each time.
func TestNamespaceThatStaysIsNotListedAtEachEvent(t *testing.T) {
	w := newWorld(t)
	const ns = "occupied"
	w.work(ns, nil, namespaceText(ns), namespaceText(ns+"-busy"), configMap(ns+"-busy", "cm", "a"))
	w.settled(ns, yes, yes)
	w.onMember(configMap(ns, "local", "a"))
	w.edit(ns, namespaceText(ns+"-busy"), configMap(ns+"-busy", "cm", "a"))
	w.heldIn(w.readWork(ns), "Namespace occupied", "ConfigMap local")
	began := time.Now()
	var lists atomic.Int32
	w.faultyMember.set(func(r *http.Request) *http.Response {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/namespaces/occupied/configmaps") && r.URL.Query().Get("watch") == "" {
			lists.Add(1)
		}
		return nil
	})
	const edits = 4 // more of them would be a fight
	for i := range edits {
		w.change("v1 ConfigMap occupied-busy/cm", func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"key": fmt.Sprint(i)} })
		w.value("v1 ConfigMap occupied-busy/cm", "a", "data", "key")
	}
	if n, most := int(lists.Load()), int(time.Since(began)/lookAgain)+1; n > most {
		t.Errorf("%d lists in %s; want %d at most", n, time.Since(began), most)
	}
	w.must(w.member.Delete(t.Context(), w.mustObject("v1 ConfigMap occupied/local")))
	w.gone("v1 Namespace occupied")
}

func TestTakeOver(t *testing.T) {
	for _, when := range []v1beta1.WhenToTakeOver{v1beta1.WhenToTakeOverAlways, v1beta1.WhenToTakeOverNever, v1beta1.WhenToTakeOverIfNoDiff} {
		t.Run(string(when), func(t *testing.T) {
			w := newWorld(t)
			name := "takeover-" + strings.ToLower(string(when))
			w.onMember(namespaceText(name))
			w.onMember(configMap(name, "same", "a"))
			theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "differs"}, Data: map[string]string{"key": "theirs"}}
			w.must(w.member.Create(t.Context(), theirs, client.FieldOwner("somebody")))
			w.work(name, &v1beta1.ApplyStrategy{WhenToTakeOver: when}, configMap(name, "same", "a"), configMap(name, "differs", "ours"))
			if when == v1beta1.WhenToTakeOverAlways {
				w.settled(name, yes, yes)
			} else {
				w.settled(name, no, "")
			}
			for object, owned := range map[string]bool{"same": when != v1beta1.WhenToTakeOverNever, "differs": when == v1beta1.WhenToTakeOverAlways} {
				if got := len(w.mustObject("v1 ConfigMap "+name+"/"+object).GetOwnerReferences()) == 1; got != owned {
					t.Errorf("%s owned: %v; want %v", object, got, owned)
				}
			}
			want := "theirs"
			if when == v1beta1.WhenToTakeOverAlways {
				want = "ours"
			}
			w.value("v1 ConfigMap "+name+"/differs", want, "data", "key")
			for _, entry := range w.mustObject("v1 ConfigMap " + name + "/differs").GetManagedFields() {
				if entry.Manager != contract.ManagerMember && entry.Manager != "somebody" {
					t.Errorf("field manager %s; want the agent's one name, and that of whoever made the object", entry.Manager)
				}
			}
			w.deleteWork(name)
			w.workGone(name)
			if when != v1beta1.WhenToTakeOverAlways {
				w.present("v1 ConfigMap " + name + "/differs")
			}
			if when == v1beta1.WhenToTakeOverNever {
				w.present("v1 ConfigMap " + name + "/same")
			}
		})
	}
}

func TestNotTakenOverUntilFree(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("untilfree"))
	w.onMember(configMap("untilfree", "cm", "theirs"))
	w.work("untilfree", &v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}, configMap("untilfree", "cm", "ours"))
	w.settled("untilfree", no, "")
	w.must(w.member.Delete(t.Context(), w.mustObject("v1 ConfigMap untilfree/cm")))
	w.settled("untilfree", yes, yes)
	w.value("v1 ConfigMap untilfree/cm", "ours", "data", "key")
}

// An object that is on its way out is neither patched nor reported as applied; the Work makes its own once it is gone.
func TestTerminatingObjectsAreAwaited(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("waits"))
	going := w.onMember("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: waits, name: cm, finalizers: [example.test/hold]}, data: {key: theirs}}")
	w.must(w.member.Delete(t.Context(), going))
	version := w.mustObject("v1 ConfigMap waits/cm").GetResourceVersion()
	w.work("waits", nil, configMap("waits", "cm", "ours"))
	work := w.settled("waits", no, "")
	if c := work.Status.ManifestConditions[0].Conditions[0]; !strings.Contains(c.Message, "being deleted") || !strings.Contains(c.Message, "example.test/hold") {
		t.Errorf("condition %+v; want it to say what is waited for", c)
	}
	if now := w.mustObject("v1 ConfigMap waits/cm").GetResourceVersion(); now != version {
		t.Errorf("the object is at %s; was at %s", now, version)
	}
	w.change("v1 ConfigMap waits/cm", func(o *unstructured.Unstructured) { o.SetFinalizers(nil) })
	w.settled("waits", yes, yes)
	w.value("v1 ConfigMap waits/cm", "ours", "data", "key")
}

// Another pass over a Work reads and writes only the objects that have changed.
func TestUnchangedObjectsAreNotRead(t *testing.T) {
	w := newWorld(t)
	const ns = "unread"
	w.work(ns, nil, namespaceText(ns), configMap(ns, "same", "a"), configMap(ns, "other", "a"))
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	var mu sync.Mutex
	reads := map[string]int{}
	w.faultyMember.set(func(r *http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		reads[path.Base(r.URL.Path)]++
		return nil
	})
	for _, value := range []string{"b", "c"} {
		w.edit(ns, namespaceText(ns), configMap(ns, "same", "a"), configMap(ns, "other", value))
		w.value("v1 ConfigMap unread/other", value, "data", "key")
		w.settled(ns, yes, yes)
	}
	mu.Lock()
	defer mu.Unlock()
	if reads["same"] > 0 || reads["other"] == 0 {
		t.Errorf("requests by the last part of their paths %v; want some for the object that changed, and none for the other", reads)
	}
}

func TestOneObjectInTwoWorks(t *testing.T) {
	w := newWorld(t)
	w.work("first", nil, namespaceText("twoworks"), configMap("twoworks", "cm", "first"))
	w.settled("first", yes, yes)
	w.work("second", &v1beta1.ApplyStrategy{AllowCoOwnership: true}, configMap("twoworks", "cm", "second"))
	w.settled("second", no, "")
	w.value("v1 ConfigMap twoworks/cm", "first", "data", "key")
}

func TestCoOwnedObjectSurvives(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("coowned"))
	holder := w.onMember(configMap("coowned", "holder", "x"))
	w.work("coowned", &v1beta1.ApplyStrategy{AllowCoOwnership: true}, configMap("coowned", "cm", "a"))
	w.settled("coowned", yes, yes)
	w.change("v1 ConfigMap coowned/cm", func(o *unstructured.Unstructured) {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "holder", UID: holder.GetUID()}))
	})
	w.deleteWork("coowned")
	w.workGone("coowned")
	w.present("v1 ConfigMap coowned/cm")
}

func TestRestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		name := fmt.Sprintf("restart-%d", i)
		w.work(name, nil, namespaceText(name), configMap(name, "cm", "a"))
	}
	w.work("restart-ssa", &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}, namespaceText("restart-ssa"), configMap("restart-ssa", "cm", "a"))
	w.work("restart-bad", nil, "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: default}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {namespace: default, generateName: some-}}",
		configMap("default", "restart-twice", "a"), configMap("default", "restart-twice", "b"))
	for i := range 5 {
		w.settled(fmt.Sprintf("restart-%d", i), yes, yes)
	}
	w.settled("restart-ssa", yes, yes)
	w.settled("restart-bad", no, "")
	w.quiet(time.Second)
	before := w.versions()
	w.writes.take()
	w.restart()
	w.quiet(3 * time.Second)
	if got := w.writes.take(); len(got) > 0 {
		t.Errorf("writes after a restart: %q", got)
	}
	if after := w.versions(); !maps.Equal(before, after) {
		t.Errorf("resourceVersions changed: %v; were %v", after, before)
	}
	// And it works: an edit arrives.
	w.edit("restart-0", namespaceText("restart-0"), configMap("restart-0", "cm", "b"))
	w.value("v1 ConfigMap restart-0/cm", "b", "data", "key")
}

func (w *world) versions() map[string]string {
	w.Helper()
	out := map[string]string{}
	var works v1beta1.WorkList
	w.must(w.hub.List(w.Context(), &works, client.InNamespace(w.namespace)))
	for _, o := range works.Items {
		out["Work "+o.Name] = o.ResourceVersion
		l := w.ledger(o.Name)
		out["AppliedWork "+o.Name] = l.ResourceVersion
		for _, e := range l.Status.AppliedResources {
			ref := e.Version + " " + e.Kind + " " + e.Name
			if e.Namespace != "" {
				ref = e.Version + " " + e.Kind + " " + e.Namespace + "/" + e.Name
			}
			out[ref] = w.mustObject(ref).GetResourceVersion()
		}
	}
	return out
}

func TestJoinAndLeave(t *testing.T) {
	w := newWorld(t)
	w.work("leaver", nil, namespaceText("leaver"), configMap("leaver", "cm", "a"))
	w.settled("leaver", yes, yes)
	w.leave()
	if work := w.readWork("leaver"); len(work.Finalizers) > 0 {
		t.Errorf("finalizers %v after leaving", work.Finalizers)
	}
	w.edit("leaver", namespaceText("leaver"), configMap("leaver", "cm", "b"))
	w.quiet(time.Second)
	w.value("v1 ConfigMap leaver/cm", "a", "data", "key")
	w.agent.Join()
	w.value("v1 ConfigMap leaver/cm", "b", "data", "key")
	w.settled("leaver", yes, yes)
	w.deleteWork("leaver")
	w.workGone("leaver")
	w.gone("v1 ConfigMap leaver/cm")
}

func TestServerSideApply(t *testing.T) {
	w := newWorld(t)
	ssa := &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	w.work("ssa", ssa, namespaceText("ssa"), configMap("ssa", "cm", "a"))
	w.settled("ssa", yes, yes)
	w.edit("ssa", namespaceText("ssa"), configMap("ssa", "cm", "b"))
	w.value("v1 ConfigMap ssa/cm", "b", "data", "key")
	w.settled("ssa", yes, yes)
	w.change("v1 ConfigMap ssa/cm", func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"key": "edited"} })
	w.settled("ssa", no, "") // another manager owns the field now, and force is off
	w.alter("ssa", func(work *v1beta1.Work) {
		work.Spec.ApplyStrategy.ServerSideApplyConfig = &v1beta1.ServerSideApplyConfig{ForceConflicts: true}
	})
	w.settled("ssa", yes, yes)
	w.value("v1 ConfigMap ssa/cm", "b", "data", "key")
	// To client-side apply and back, a field is dropped on the way.
	w.alter("ssa", func(work *v1beta1.Work) { work.Spec.ApplyStrategy = nil })
	w.settled("ssa", yes, yes)
	if w.mustObject("v1 ConfigMap ssa/cm").GetAnnotations()[contract.AnnotationLastApplied] == "" {
		t.Error("no last-applied annotation after client-side apply")
	}
	w.alter("ssa", func(work *v1beta1.Work) {
		work.Spec.ApplyStrategy = ssa
		work.Spec.Workload.Manifests = w.manifests([]string{namespaceText("ssa"), "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: ssa, name: cm}, data: {new: c}}"})
	})
	w.settled("ssa", yes, yes)
	w.value("v1 ConfigMap ssa/cm", "c", "data", "new")
	if text := w.mustObject("v1 ConfigMap ssa/cm").GetAnnotations()[contract.AnnotationLastApplied]; text != "" {
		t.Errorf("last-applied annotation %s after server-side apply", text)
	}
}

func TestLargeObject(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("x", 300_000)
	w.work("large", nil, namespaceText("large"), configMap("large", "cm", "a"))
	w.settled("large", yes, yes)
	w.edit("large", namespaceText("large"), configMap("large", "cm", large))
	w.settled("large", yes, yes)
	w.value("v1 ConfigMap large/cm", large, "data", "key")
	if w.mustObject("v1 ConfigMap large/cm").GetAnnotations()[contract.AnnotationLastApplied] != "" {
		t.Error("a last-applied annotation that should not fit")
	}
	w.edit("large", namespaceText("large"), configMap("large", "cm", "b"))
	w.value("v1 ConfigMap large/cm", "b", "data", "key")
	if w.mustObject("v1 ConfigMap large/cm").GetAnnotations()[contract.AnnotationLastApplied] == "" {
		t.Error("no last-applied annotation although it fits again")
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	w := newWorld(t)
	const password = "hunter2hunter2"
	w.work("secrets", nil, namespaceText("secrets"),
		"{apiVersion: v1, kind: Secret, metadata: {namespace: secrets, name: s}, type: kubernetes.io/tls, stringData: {password: "+password+"}}",
		"{apiVersion: v1, kind: Secret, metadata: {namespace: secrets, name: k}, stringData: {'not valid': "+password+"}}",
		"{apiVersion: v1, kind: Secret, metadata: {namespace: secrets, name: d}, data: {password: "+password+"!}}")
	work := w.settled("secrets", no, "")
	text := fmt.Sprint(work.Status)
	if strings.Contains(text, password) {
		t.Errorf("the status shows a Secret: %s", text)
	}
}

func TestStuckDeletionReportsTheCause(t *testing.T) {
	w := newWorld(t, func(a *Applier) { a.DeletionWait = time.Second })
	w.work("stuck", nil, namespaceText("stuck"),
		"{apiVersion: v1, kind: ConfigMap, metadata: {namespace: stuck, name: cm, finalizers: [example.test/hold]}}")
	w.settled("stuck", yes, yes)
	w.deleteWork("stuck")
	w.eventually("the Work to say what it waits for", func() error {
		c := meta.FindStatusCondition(w.readWork("stuck").Status.Conditions, "Removed")
		if c == nil || !strings.Contains(c.Message, "example.test/hold") || !strings.Contains(c.Message, "stuck/cm") {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	w.change("v1 ConfigMap stuck/cm", func(o *unstructured.Unstructured) { o.SetFinalizers(nil) })
	w.workGone("stuck")
}
