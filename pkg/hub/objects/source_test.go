package objects

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clientgotesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func kind(group, version, name, resource string, namespaced bool) selection.Kind {
	return selection.Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: name}, Resource: resource, Namespaced: namespaced}
}

func rules(t *testing.T) selection.Rules {
	t.Helper()
	r, err := selection.NewRules(selection.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// apis is a discovery answer: for each group/version, resources written "plural Kind", those with a star namespaced.
func apis(t *testing.T, failed map[schema.GroupVersion]error, text string) discovered {
	t.Helper()
	var in []struct {
		Group    string
		Versions map[string][]string
		Prefers  string
	}
	if err := yaml.Unmarshal([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	var groups []*metav1.APIGroup
	var lists []*metav1.APIResourceList
	for _, g := range in {
		group := &metav1.APIGroup{Name: g.Group}
		for version, kinds := range g.Versions {
			gv := schema.GroupVersion{Group: g.Group, Version: version}.String()
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv, Version: version})
			list := &metav1.APIResourceList{GroupVersion: gv}
			for _, name := range kinds {
				resource := "things"
				verbs := []string{"get", "list", "watch", "create"}
				if name == "Review" {
					resource, verbs = "reviews", []string{"create"}
				}
				list.APIResources = append(list.APIResources, metav1.APIResource{Name: resource, Kind: name, Namespaced: true, Verbs: verbs},
					metav1.APIResource{Name: resource + "/status", Kind: name, Namespaced: true, Verbs: []string{"get", "patch"}})
			}
			lists = append(lists, list)
		}
		group.PreferredVersion.GroupVersion = schema.GroupVersion{Group: g.Group, Version: g.Prefers}.String()
		groups = append(groups, group)
	}
	return newDiscovered(groups, lists, failed)
}

func definitionOf(t *testing.T, text string) *definition {
	t.Helper()
	var crd unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &crd.Object); err != nil {
		t.Fatal(err)
	}
	return newDefinition(&crd)
}

func TestCatalogue(t *testing.T) {
	d := apis(t, nil, `
- {group: a.example.com, prefers: v1, versions: {v1: [Thing, Review], v2: [Thing]}}
- {group: metrics.k8s.io, prefers: v1, versions: {v1: [Thing]}}
- {group: crd.example.com, prefers: v1, versions: {v1: [Thing]}}`)
	def := definitionOf(t, `
metadata: {name: things.crd.example.com}
spec:
  group: crd.example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions: [{name: v1beta1, served: true}, {name: v2, served: true}, {name: v10, served: true}, {name: v11, served: false}]
status: {conditions: [{type: Established, status: "True"}]}`)
	c := newCatalogue(d, map[string]*definition{def.name: def}, rules(t), 0)

	thing := schema.GroupKind{Group: "a.example.com", Kind: "Thing"}
	if got := c.preferred[thing]; got != kind("a.example.com", "v1", "Thing", "things", true) {
		t.Errorf("preferred %v", got)
	}
	if _, ok := c.kinds[thing.WithVersion("v2")]; !ok {
		t.Error("a version that is not preferred is not known")
	}
	if _, ok := c.kinds[schema.GroupVersionKind{Group: "a.example.com", Version: "v1", Kind: "Review"}]; ok {
		t.Error("a kind that cannot be listed is known")
	}
	crd := schema.GroupKind{Group: "crd.example.com", Kind: "Thing"}
	if got := c.preferred[crd].Version; got != "v10" {
		t.Errorf("the CRD's preferred version is %s", got)
	}
	if _, ok := c.kinds[crd.WithVersion("v1")]; ok {
		t.Error("discovery outweighs the CRD")
	}
	var contents []string
	for _, k := range c.contents {
		contents = append(contents, k.Group)
	}
	if !slices.Equal(contents, []string{"a.example.com", "crd.example.com"}) {
		t.Errorf("contents %v", contents)
	}
}

func TestACRDCountsOnceItIsEstablished(t *testing.T) {
	crd := `
metadata: {name: things.x}
spec: {group: x, scope: Cluster, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true}]}
status: {conditions: [{type: Established, status: "%s"}]}`
	before := definitionOf(t, crd)
	if c := newCatalogue(discovered{}, map[string]*definition{"": before}, rules(t), 0); len(c.kinds) > 0 {
		t.Errorf("kinds %v", c.kinds)
	}
	all := map[string]*definition{}
	established := definitionOf(t, `
metadata: {name: things.x}
spec: {group: x, scope: Cluster, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true}]}
status: {conditions: [{type: Established, status: "True"}]}`)
	put(all, established)
	put(all, before)
	if c := newCatalogue(discovered{}, all, rules(t), 0); len(c.kinds) != 1 {
		t.Error("a CRD that was established is not any more, although it exists")
	}
}

// Objects of a CRD that serves no version exist, although nobody can see them.
func TestACRDThatServesNothingIsNotAbsent(t *testing.T) {
	def := definitionOf(t, `
metadata: {name: things.x}
spec: {group: x, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: false}]}
status: {conditions: [{type: Established, status: "True"}]}`)
	c := newCatalogue(discovered{}, map[string]*definition{def.name: def}, rules(t), 0)
	if want := []schema.GroupKind{{Group: "x", Kind: "Thing"}}; !slices.Equal(c.unread, want) || c.cause == nil || len(c.kinds) > 0 {
		t.Errorf("unread %v: %v; kinds %v", c.unread, c.cause, c.kinds)
	}
}

// A CRD that was deleted and recreated between two discoveries is another one: it has to be established anew, and nothing
// that was known of the old one's objects counts.
func TestAnotherCRDOfTheSameName(t *testing.T) {
	crd := func(uid, established string) *definition {
		return definitionOf(t, `
metadata: {name: things.x, uid: `+uid+`}
spec: {group: x, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true}]}
status: {conditions: [{type: Established, status: "`+established+`"}]}`)
	}
	w, told := newSource(t)
	thing := schema.GroupKind{Group: "x", Kind: "Thing"}
	set := func(def *definition) {
		(&definitionStore{ctx: t.Context(), source: w}).set(func(all map[string]*definition) { put(all, def) })
	}
	set(crd("one", "True"))
	s := newStore(w.catalogue.preferred[thing], "one", w.rules.Never, w.now)
	s.changed, s.settled, s.stop = w.changed, w.settled, func() {}
	w.stores[thing] = s
	if err := s.Replace(nil, "1"); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "app", Name: "p"}
	if _, err := w.Select(t.Context(), key, []v1beta1.ResourceSelectorTerm{{Group: "x", Version: "v1", Kind: "Thing"}}); err != nil {
		t.Fatal(err)
	}
	told.take()
	set(crd("one", "False"))
	if w.stores[thing] != s || len(told.take()) > 0 {
		t.Error("the same CRD, established before: something has changed")
	}
	set(crd("two", "True"))
	if w.stores[thing] == s || len(told.take()) == 0 {
		t.Error("another CRD: the old one's objects are still known, or the placement was not told")
	}
}

func TestUnknownKindsComeWithAHint(t *testing.T) {
	c := newCatalogue(apis(t, nil, `
- {group: a.example.com, prefers: v1, versions: {v1: [Thing], v2: [Thing]}}
- {group: b.example.com, prefers: v1, versions: {v1: [Thing]}}`), nil, rules(t), 0)
	for kind, want := range map[schema.GroupVersionKind]string{
		{Group: "a.example.com", Version: "v3", Kind: "Thing"}: "; it serves the kind in version v1, v2",
		{Group: "", Version: "v1", Kind: "Thing"}:              `; it serves a kind of this name in group "a.example.com", "b.example.com"`,
		{Group: "", Version: "v1", Kind: "Nothing"}:            "",
	} {
		if got := c.unknown(kind); !errors.Is(got, selection.ErrUnknownKind) || got.Error() != selection.ErrUnknownKind.Error()+want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}

func TestGroupsThatDoNotAnswerAreKept(t *testing.T) {
	before := apis(t, nil, `
- {group: a.example.com, prefers: v1, versions: {v1: [Thing]}}`)
	down := errors.New("no endpoints")
	now := apis(t, map[schema.GroupVersion]error{{Group: "a.example.com", Version: "v1"}: down, {Group: "metrics.k8s.io", Version: "v1"}: down}, `[]`)
	now.keepFailed(before)
	c := newCatalogue(now, nil, rules(t), 0)
	if len(c.contents) != 1 || !slices.Equal(c.unread, []schema.GroupKind{{Group: "a.example.com"}}) || !errors.Is(c.cause, down) {
		t.Errorf("contents %v, failed %v: %v", c.contents, c.unread, c.cause)
	}
}

func TestVersion(t *testing.T) {
	base := metav1.ObjectMeta{ResourceVersion: "1", Generation: 1, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}}
	for name, tc := range map[string]struct {
		change func(*metav1.ObjectMeta)
		same   bool
	}{
		"a status": {func(m *metav1.ObjectMeta) { m.ResourceVersion = "2" }, true},
		"a rollout's own bookkeeping": {func(m *metav1.ObjectMeta) {
			m.ResourceVersion = "2"
			m.Annotations = map[string]string{"c": "d", "deployment.kubernetes.io/revision": "3"}
		}, true},
		"a spec":                            {func(m *metav1.ObjectMeta) { m.ResourceVersion = "2"; m.Generation = 2 }, false},
		"a label":                           {func(m *metav1.ObjectMeta) { m.Labels = map[string]string{"a": "c"} }, false},
		"a label that became an annotation": {func(m *metav1.ObjectMeta) { m.Labels = nil; m.Annotations = map[string]string{"a": "b", "c": "d"} }, false},
		"an annotation":                     {func(m *metav1.ObjectMeta) { m.Annotations = map[string]string{"c": "e"} }, false},
		"a finalizer":                       {func(m *metav1.ObjectMeta) { m.Finalizers = []string{"x"} }, false},
		"an owner":                          {func(m *metav1.ObjectMeta) { m.OwnerReferences = []metav1.OwnerReference{{Kind: "CronJob"}} }, false},
	} {
		changed := *base.DeepCopy()
		tc.change(&changed)
		s := newStore(kind("apps", "v1", "Deployment", "deployments", true), "", nil, nil)
		if same := s.version(&base) == s.version(&changed); same != tc.same {
			t.Errorf("%s: same %v", name, same)
		}
	}
	// Kinds without a generation, or whose generation cannot be relied on, go by resource version.
	s := newStore(kind("", "v1", "ConfigMap", "configmaps", true), "", nil, nil)
	if s.version(&base) != "1" {
		t.Errorf("version %s", s.version(&base))
	}
}

// told is who is told to look at which placement.
type told struct {
	sync.Mutex
	keys []types.NamespacedName
}

func (n *told) notify(key types.NamespacedName) {
	n.Lock()
	defer n.Unlock()
	n.keys = append(n.keys, key)
}

func (n *told) take() []types.NamespacedName {
	n.Lock()
	defer n.Unlock()
	out := n.keys
	n.keys = nil
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return compareText(a.String(), b.String()) })
	return out
}

func compareText(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

var (
	configMap = kind("", "v1", "ConfigMap", "configmaps", true)
	namespace = kind("", "v1", "Namespace", "namespaces", false)
	role      = kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false)
)

// noon is the time of tests in which time does not matter, or is set.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// newSource is a Source that knows three kinds and watches none by itself.
func newSource(t *testing.T) (*Source, *told) {
	t.Helper()
	w, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, nil, rules(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	n := &told{}
	w.Subscribe(n.notify)
	w.definitions = map[string]*definition{}
	w.discovered = discovered{resources: map[schema.GroupResource]resource{}}
	for _, k := range []selection.Kind{configMap, namespace, role} {
		w.discovered.resources[schema.GroupResource{Group: k.Group, Resource: k.Resource}] = resource{k}
		s := newStore(k, "", w.rules.Never, w.now)
		s.changed, s.settled, s.gone, s.stop = w.changed, w.settled, func() {}, func() {}
		w.stores[k.GroupKind()] = s
	}
	w.update(t.Context())
	for _, s := range w.stores {
		if err := s.Replace(nil, "1"); err != nil {
			t.Fatal(err)
		}
	}
	return w, n
}

func (w *Source) put(t *testing.T, k selection.Kind, namespace, name, version string, labels map[string]string) {
	t.Helper()
	err := w.stores[k.GroupKind()].Update(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + name), ResourceVersion: version, Labels: labels,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAChangeIsToldToThoseItMattersTo(t *testing.T) {
	w, told := newSource(t)
	web := map[string]string{"app": "web"}
	w.put(t, namespace, "", "app", "1", web)
	w.put(t, namespace, "", "other", "1", nil)
	selector := &metav1.LabelSelector{MatchLabels: web}
	key := func(namespace, name string) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	followers := map[types.NamespacedName][]v1beta1.ResourceSelectorTerm{
		key("", "contents"):        {{Version: "v1", Kind: "Namespace", Name: "app"}},
		key("", "contents-labels"): {{Version: "v1", Kind: "Namespace", LabelSelector: selector}},
		key("", "namespace-only"):  {{Version: "v1", Kind: "Namespace", Name: "app", SelectionScope: v1beta1.SelectionScopeNamespaceOnly}},
		key("", "narrowed"):        {{Version: "v1", Kind: "Namespace", Name: "app", SelectionScope: v1beta1.SelectionScopeNamespaceWithResourceSelectors}, {Version: "v1", Kind: "ConfigMap", Name: "cm"}},
		key("", "roles"):           {{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", LabelSelector: selector}},
		key("app", "by-name"):      {{Version: "v1", Kind: "ConfigMap", Name: "cm"}},
		key("app", "by-label"):     {{Version: "v1", Kind: "ConfigMap", LabelSelector: selector}},
		key("other", "all"):        {{Version: "v1", Kind: "ConfigMap"}},
	}
	follow := func() {
		for key, terms := range followers {
			if _, err := w.Select(t.Context(), key, terms); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
		}
		told.take()
	}
	for _, tc := range []struct {
		what   string
		change func()
		want   []types.NamespacedName
	}{
		{"an object is made", func() { w.put(t, configMap, "app", "cm", "1", nil) },
			[]types.NamespacedName{key("", "contents"), key("", "contents-labels"), key("", "narrowed"), key("app", "by-name")}},
		{"nothing has changed", func() { w.put(t, configMap, "app", "cm", "1", nil) }, nil},
		{"it gets the label", func() { w.put(t, configMap, "app", "cm", "2", web) },
			[]types.NamespacedName{key("", "contents"), key("", "contents-labels"), key("", "narrowed"), key("app", "by-label"), key("app", "by-name")}},
		{"it loses the label", func() { w.put(t, configMap, "app", "cm", "3", nil) },
			[]types.NamespacedName{key("", "contents"), key("", "contents-labels"), key("", "narrowed"), key("app", "by-label"), key("app", "by-name")}},
		{"another object", func() { w.put(t, configMap, "app", "cm2", "1", nil) }, []types.NamespacedName{key("", "contents"), key("", "contents-labels")}},
		{"another namespace", func() { w.put(t, configMap, "other", "cm", "1", web) }, []types.NamespacedName{key("other", "all")}},
		{"the namespace gets the label", func() { w.put(t, namespace, "", "other", "2", web) }, []types.NamespacedName{key("", "contents-labels")}},
		{"its contents matter now", func() { w.put(t, configMap, "other", "cm", "2", nil) }, []types.NamespacedName{key("", "contents-labels"), key("other", "all")}},
		{"a cluster-scoped object", func() { w.put(t, role, "", "r", "1", web) }, []types.NamespacedName{key("", "roles")}},
		{"a cluster-scoped object nobody wants", func() { w.put(t, role, "", "r2", "1", nil) }, nil},
		{"the namespace itself", func() { w.put(t, namespace, "", "app", "2", web) },
			[]types.NamespacedName{key("", "contents"), key("", "contents-labels"), key("", "namespace-only"), key("", "narrowed")}},
		{"an object was deleted while nobody looked", func() { _ = w.stores[configMap.GroupKind()].Replace(nil, "9") },
			[]types.NamespacedName{key("", "contents"), key("", "contents-labels"), key("", "narrowed"), key("app", "by-name"), key("other", "all")}},
	} {
		follow()
		tc.change()
		if got := told.take(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: told %v; want %v", tc.what, got, tc.want)
		}
	}
	w.Forget(key("", "roles"))
	w.put(t, role, "", "r", "7", web)
	if got := told.take(); len(got) > 0 {
		t.Errorf("told %v, who is forgotten", got)
	}
}

func TestChangesAreToldOnceAndTimed(t *testing.T) {
	w, told := newSource(t)
	key := types.NamespacedName{Namespace: "app", Name: "p"}
	if _, err := w.Select(t.Context(), key, []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "ConfigMap"}}); err != nil {
		t.Fatal(err)
	}
	if got := w.Changes(key); !got.First.IsZero() {
		t.Errorf("changes before any: %v", got)
	}
	now := noon
	w.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	w.put(t, configMap, "app", "a", "1", nil)
	w.put(t, configMap, "app", "b", "1", nil)
	changes := w.Changes(key)
	if _, err := w.Look(t.Context(), key, []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "ConfigMap"}}); err != nil {
		t.Fatal(err)
	}
	if got := w.Changes(key); got != changes {
		t.Errorf("a look took the changes away: %v", got)
	}
	if want := noon.Add(time.Millisecond); changes.First != want || changes.Last != want.Add(time.Millisecond) || changes.Apart != time.Millisecond {
		t.Errorf("changes %v; want them from %v, one millisecond apart", changes, want)
	}
	if got := told.take(); len(got) != 1 {
		t.Errorf("told %d times", len(got))
	}
}

func TestAKindThatCannotBeListed(t *testing.T) {
	client := metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
	var mu sync.Mutex
	var failure error = apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no role"))
	client.PrependReactor("list", "configmaps", func(clientgotesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return failure != nil, nil, failure
	})
	settled := make(chan struct{}, 10)
	s := newStore(configMap, "", rules(t).Never, func() time.Time { return noon })
	s.changed, s.settled, s.gone = func(schema.GroupKind, *entry, *entry) {}, func(schema.GroupKind) { settled <- struct{}{} }, func() {}
	if err := s.ask(t.Context(), "app"); !errors.Is(err, selection.ErrNotListed) {
		t.Errorf("before the first list: %v", err)
	}
	s.listing = &listing{since: noon.Add(-2 * forbearance)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.client = client
	go s.run(ctx)
	await := func() {
		t.Helper()
		testworld.Await(t, testworld.Soon, "a word of the store", func(context.Context) error {
			select {
			case <-settled:
				return nil
			default:
				return errors.New("settled was not called")
			}
		})
	}
	await()
	var unreadable *selection.UnreadableError
	if err := s.ask(t.Context(), "app"); !errors.As(err, &unreadable) || !apierrors.IsForbidden(unreadable.Cause) {
		t.Errorf("while it fails: %v", err)
	}
	mu.Lock()
	failure = nil
	mu.Unlock()
	await()
	if err := s.ask(t.Context(), "app"); err != nil {
		t.Errorf("after the first list: %v", err)
	}
}
