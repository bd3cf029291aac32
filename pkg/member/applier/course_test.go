package applier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// course is one object that is edited at random on the hub and on the member.
type course struct {
	*rand.Rand
	name, kind string
	strategy   *v1beta1.ApplyStrategy
	want       map[string]any
	// others are what other managers added, by the path of the list or map that it is in.
	others map[string][]any
	// next is the number of the next thing that others add.
	next    int
	history []string
}

// some are those of items that a coin picks, in a random order.
func (c *course) some(items ...string) []any {
	out := []any{}
	for _, i := range c.Perm(len(items)) {
		if c.IntN(3) > 0 {
			out = append(out, parse(items[i]))
		}
	}
	return out
}

func (c *course) one(items ...string) any { return parse(items[c.IntN(len(items))]) }

func (c *course) number() string { return strconv.Itoa(c.IntN(5) + 1) }

// counted are the lists and maps, of each kind, that others may add to and that hold nothing but what manifest and
// others put there, with what others add.
var counted = map[string]map[string]string{
	"ConfigMap":  {"data": "value"},
	"Service":    {"spec.ports": "{name: other-N, port: 90N, protocol: TCP, targetPort: 1}", "metadata.finalizers": "other.test/f-N"},
	"Deployment": {template + "containers.0.env": "{name: OTHER_N, value: x}", template + "volumes": "{name: other-N, emptyDir: {}}", template + "imagePullSecrets": "{name: other-N}"},
	"Gadget":     {"spec.items": "{name: other-N, weight: 1}", "spec.tags": "other-N", "metadata.finalizers": "other.test/f-N"},
}

// manifest returns the object, newly built.
func (c *course) manifest() map[string]any {
	object := map[string]any{"kind": c.kind, "metadata": map[string]any{"namespace": "courses", "name": c.name,
		"labels": map[string]any{"l": "v" + c.number()}, "finalizers": c.some("hub.test/a", "hub.test/b")}}
	spec := map[string]any{}
	switch c.kind {
	case "ConfigMap":
		object["apiVersion"], spec = "v1", nil
		data := map[string]any{}
		for _, key := range c.some("a", "b", "c", "d") {
			data[fmt.Sprint(key)] = "v" + c.number()
		}
		if object["data"] = data; len(data) == 0 {
			delete(object, "data")
		}
	case "Service":
		object["apiVersion"] = "v1"
		ports := c.some("{name: u, port: 53, protocol: UDP, targetPort: "+c.number()+"}", "{name: t, port: 53, protocol: TCP, targetPort: "+c.number()+"}",
			"{name: w, port: 80, protocol: TCP, targetPort: "+c.number()+"}")
		spec = map[string]any{"selector": map[string]any{"app": "a" + c.number()}, "ports": append(ports, parse("{name: always, port: 81, targetPort: "+c.number()+"}"))}
	case "Deployment":
		object["apiVersion"] = "apps/v1"
		labels := map[string]any{"app": "x"}
		spread := "{topologyKey: zone, maxSkew: " + c.number() + ", whenUnsatisfiable: %s, labelSelector: {matchLabels: {app: x}}}"
		container := map[string]any{"name": "c", "image": "i:" + c.number(),
			"env":   append(c.some("{name: A, value: v"+c.number()+"}", "{name: B, value: b}", "{name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"), c.one("{name: D, value: d}", "{name: D, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}")),
			"ports": c.some("{name: u, containerPort: 53, protocol: UDP}", "{name: t, containerPort: 53, protocol: TCP}", "{containerPort: 80}"),
			"args":  c.some("a", "b", "c"), "livenessProbe": c.one("{httpGet: {port: 80}}", "{tcpSocket: {port: 80}, periodSeconds: "+c.number()+"}", "{exec: {command: [x]}}")}
		spec = map[string]any{"paused": true, "selector": map[string]any{"matchLabels": labels}, "strategy": c.one("{type: Recreate}", "{type: RollingUpdate, rollingUpdate: {maxSurge: "+c.number()+"}}", "{}"),
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
				"containers": append([]any{container}, c.some("{name: d, image: j}")...), "imagePullSecrets": c.some("{name: a}", "{name: b}"),
				"volumes":                   append(c.some("{name: v, emptyDir: {}}"), c.one("{name: w, configMap: {name: x}}", "{name: w, emptyDir: {}}", "{name: w, secret: {secretName: x}}")),
				"topologySpreadConstraints": c.some(fmt.Sprintf(spread, "ScheduleAnyway"), fmt.Sprintf(spread, "DoNotSchedule")),
				"hostAliases":               c.some("{ip: 192.0.2.1, hostnames: [h"+c.number()+"]}", "{ip: 192.0.2.2, hostnames: [h]}"),
				"tolerations":               c.some("{key: a, operator: Exists}", "{key: b, operator: Exists}")}}}
	case "Gadget":
		object["apiVersion"] = "h2.example.test/v1"
		spec = map[string]any{"size": c.one("null", "1", "2"), "port": c.one("80", "http"), "words": c.some("a", "b", "c"), "tags": c.some("a", "b", "c"),
			"items":  c.some("{name: a, weight: "+c.number()+"}", "{name: b}", "{name: c, weight: 3}"),
			"values": map[string]any{"limits": c.one("{cpu: null, memory: "+c.number()+"}", "{cpu: "+c.number()+"}", "null", "[{a: null}, {b: "+c.number()+"}]"), "list": c.some("1", "{x: null}", "y")}}
		for _, field := range []string{"size", "words", "items"} {
			if c.IntN(4) == 0 {
				delete(spec, field)
			}
		}
	}
	if spec != nil {
		object["spec"] = spec
	}
	return object
}

func (c *course) text() string {
	data, err := yaml.Marshal(c.want)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// meddle is what other managers do: add something of their own, or change what is not theirs.
func (c *course) meddle(w *world) error {
	paths := slices.Sorted(maps.Keys(counted[c.kind]))
	path := paths[c.IntN(len(paths))]
	added := parse(strings.ReplaceAll(counted[c.kind][path], "N", strconv.Itoa(c.next)))
	drift := c.IntN(3) == 0
	c.next++
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		obj := w.mustObject(c.ref())
		switch {
		case drift:
			obj.SetLabels(map[string]string{"l": "drifted"})
		case path == "data":
			data, _ := obj.Object["data"].(map[string]any)
			if data == nil {
				data = map[string]any{}
			}
			data[fmt.Sprintf("other-%d", c.next)], obj.Object["data"] = added, data
		default:
			with(obj.Object, path, func(list []any) []any {
				if c.next%2 == 0 {
					return append([]any{added}, list...)
				}
				return append(list, added)
			})
		}
		return w.member.Update(w.Context(), obj, client.FieldOwner("other"))
	})
	if drift {
		c.history = append(c.history, "others change a label")
		return err
	}
	c.others[path] = append(c.others[path], added)
	c.history = append(c.history, "others add to "+path)
	return err
}

func (c *course) ref() string {
	return fmt.Sprintf("%s %s courses/%s", c.want["apiVersion"], c.kind, c.name)
}

func size(value any) int {
	switch v := value.(type) {
	case map[string]any:
		return len(v)
	case []any:
		return len(v)
	}
	return 0
}

// wrong is what is not as it must be: the member holds the manifest and what others added, and nothing else where
// things are counted.
func (c *course) wrong(w *world) error {
	work := w.readWork(c.name)
	if applied := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionApplied); applied == nil || applied.ObservedGeneration != work.Generation || applied.Status != yes {
		return fmt.Errorf("the Work is %+v", work.Status.ManifestConditions)
	}
	live := w.mustObject(c.ref())
	if at := lacks("", c.want, live.Object); at != "" {
		return fmt.Errorf("it lacks %s of %v: %v", at, c.want, live.Object)
	}
	for path := range counted[c.kind] {
		have := at(live.Object, path)
		if want := size(at(c.want, path)) + len(c.others[path]); size(have) != want {
			return fmt.Errorf("%s has %d items, not %d: %v", path, size(have), want, have)
		}
	}
	return nil
}

// TestCourses edits objects at random, on the hub and as other managers on the member, under every strategy. After
// each step the member holds the manifest, what others added stands, and it took three writes at most.
func TestCourses(t *testing.T) {
	const steps, most = 6, 3
	number := 30
	if given := os.Getenv("FLEET_COURSES"); given != "" {
		var err error
		if number, err = strconv.Atoi(given); err != nil {
			t.Fatalf("FLEET_COURSES: %v", err)
		}
	}
	w := newWorld(t)
	w.onMember(namespaceText("courses"))
	w.serveGadgets()
	seed := testworld.Seed(t)
	kinds := slices.Sorted(maps.Keys(counted))
	var all []*course
	for i := range number {
		c := &course{Rand: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprintf("c%d", i), kind: kinds[i%len(kinds)], others: map[string][]any{}, strategy: strategy()}
		if i/len(kinds)%2 == 1 {
			c.strategy = strategy(serverSide)
		}
		c.want = c.manifest()
		w.work(c.name, c.strategy, c.text())
		all = append(all, c)
	}
	w.courses(all, "at first")
	for step := range steps {
		w.writes.take()
		for _, c := range all {
			if step%2 == 0 {
				if err := c.meddle(w); err != nil {
					t.Fatalf("seed %d: %s: %v: %v", seed, c.name, c.history, err)
				}
				continue
			}
			c.want = c.manifest()
			c.history = append(c.history, "the hub edits it")
			w.edit(c.name, c.text())
		}
		w.courses(all, fmt.Sprintf("after step %d", step))
		w.quiet(time.Second)
		for _, c := range all {
			n := 0
			for _, write := range w.writes.member.All() {
				if strings.Contains(write, "/courses/") && strings.HasSuffix(write, "/"+c.name) {
					n++
				}
			}
			if n > most {
				t.Errorf("seed %d: %s %s (%v): %d writes", seed, c.kind, c.name, c.history, n)
			}
		}
	}
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.member.Take(); len(got) > 0 { // a Deployment may be observed late, and its Work reported
		t.Errorf("seed %d: a restart wrote %q", seed, got)
	}
}

// courses waits until all courses are as they must be.
func (w *world) courses(all []*course, when string) {
	w.Helper()
	testworld.Await(w, testworld.Workload, "all to be right "+when, func(context.Context) error {
		var wrong error
		for _, c := range all {
			if err := c.wrong(w); err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("%s %s, %s (%v): %w", c.kind, c.name, c.strategy.Type, c.history, err))
			}
		}
		return wrong
	})
}
