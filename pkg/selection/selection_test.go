package selection

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// hub is a World made of plain values.
type hub struct {
	kinds    []Kind
	objects  map[schema.GroupKind][]*Object
	unlisted map[schema.GroupKind]error
	failed   []schema.GroupKind
}

func (h *hub) Kind(gvk schema.GroupVersionKind) (Kind, error) {
	for _, kind := range h.kinds {
		if kind.GroupVersionKind == gvk {
			return kind, nil
		}
	}
	return Kind{}, ErrUnknownKind
}

func (h *hub) Contents([]string) ([]Kind, []schema.GroupKind, error) {
	seen := map[schema.GroupKind]bool{}
	var out []Kind
	for _, kind := range h.kinds {
		if kind.Namespaced && !seen[kind.GroupKind()] { // the preferred version is listed first
			seen[kind.GroupKind()] = true
			out = append(out, kind)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, h.failed, nil
}

func (h *hub) Get(kind Kind, namespace, name string) (*Object, error) {
	all, err := h.List(kind, namespace)
	for _, o := range all {
		if o.Name == name {
			return o, err
		}
	}
	return nil, err
}

func (h *hub) List(kind Kind, namespace string) ([]*Object, error) {
	if err := h.unlisted[kind.GroupKind()]; err != nil {
		return nil, err
	}
	var out []*Object
	for _, o := range h.objects[kind.GroupKind()] {
		if o.Namespace == namespace {
			out = append(out, o)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

func (h *hub) put(kind schema.GroupKind, o Object) {
	o.UID = types.UID(kind.Kind + "/" + o.Namespace + "/" + o.Name)
	h.objects[kind] = append(h.objects[kind], &o)
}

func served(group, version, kind, resource string, namespaced bool) Kind {
	return Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: kind}, Resource: resource, Namespaced: namespaced}
}

// newHub is a hub with the namespaces app, other, default and kube-system, and things in them.
func newHub() *hub {
	h := &hub{objects: map[schema.GroupKind][]*Object{}, unlisted: map[schema.GroupKind]error{}, kinds: []Kind{
		served("", "v1", "Namespace", "namespaces", false),
		served("", "v1", "ConfigMap", "configmaps", true),
		served("", "v1", "Secret", "secrets", true),
		served("", "v1", "Service", "services", true),
		served("", "v1", "ServiceAccount", "serviceaccounts", true),
		served("", "v1", "Endpoints", "endpoints", true),
		served("", "v1", "Event", "events", true),
		served("", "v1", "Pod", "pods", true),
		served("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
		served("events.k8s.io", "v1", "Event", "events", true),
		served("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
		served("apps", "v1", "Deployment", "deployments", true),
		served("apps", "v1", "ReplicaSet", "replicasets", true),
		served("batch", "v1", "Job", "jobs", true),
		served("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
		served("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
		served("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
		served("placement.kubernetes-fleet.io", "v1beta1", "Work", "works", true),
		served("placement.kubernetes-fleet.io", "v1beta1", "ResourceEnvelope", "resourceenvelopes", true),
		served("example.com", "v1", "Thing", "things", true),
	}}
	for _, name := range []string{"app", "other", "default", "kube-system"} {
		h.put(namespaceKind, Object{Name: name, Labels: map[string]string{"name": name}})
	}
	h.put(namespaceKind, Object{Name: "going", Deleting: true, Labels: map[string]string{"name": "going"}})
	h.put(configMaps, Object{Namespace: "app", Name: "cm", Labels: map[string]string{"app": "web"}})
	h.put(configMaps, Object{Namespace: "app", Name: "kube-root-ca.crt"})
	h.put(configMaps, Object{Namespace: "app", Name: "going", Deleting: true})
	h.put(configMaps, Object{Namespace: "other", Name: "cm"})
	h.put(secrets, Object{Namespace: "app", Name: "s"})
	h.put(serviceAccounts, Object{Namespace: "app", Name: "default"})
	h.put(serviceAccounts, Object{Namespace: "app", Name: "sa"})
	h.put(schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, Object{Name: "reader", Labels: map[string]string{"role": "read"}})
	h.put(schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, Object{Namespace: "app", Name: "hpa"})
	return h
}

func namespaced(name string) v1beta1.ResourceSelectorTerm {
	return v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: name}
}

func scoped(name string, scope v1beta1.SelectionScope) v1beta1.ResourceSelectorTerm {
	term := namespaced(name)
	term.SelectionScope = scope
	return term
}

func byLabel(term v1beta1.ResourceSelectorTerm, key, value string) v1beta1.ResourceSelectorTerm {
	term.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	return term
}

func term(group, version, kind, name string) v1beta1.ResourceSelectorTerm {
	return v1beta1.ResourceSelectorTerm{Group: group, Version: version, Kind: kind, Name: name}
}

func rules(t *testing.T, c Config) Rules {
	t.Helper()
	r, err := NewRules(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(s Selection) []string {
	var out []string
	for _, ref := range s.Refs {
		name := ref.Kind.Kind + " " + ref.Name
		if ref.Namespace != "" {
			name = ref.Kind.Kind + " " + ref.Namespace + "/" + ref.Name
		}
		out = append(out, name)
	}
	return out
}

func TestSelect(t *testing.T) {
	withContents := []string{"Namespace app", "ServiceAccount app/sa", "Secret app/s", "ConfigMap app/cm", "HorizontalPodAutoscaler app/hpa"}
	const only, narrow = v1beta1.SelectionScopeNamespaceOnly, v1beta1.SelectionScopeNamespaceWithResourceSelectors
	for name, tc := range map[string]struct {
		namespace string // of the placement
		terms     []v1beta1.ResourceSelectorTerm
		config    Config
		want      []string
		mistake   string
	}{
		"a namespace comes with its contents":               {terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}, want: withContents},
		"so it does when the scope says so":                 {terms: []v1beta1.ResourceSelectorTerm{scoped("app", v1beta1.SelectionScopeNamespaceWithResources)}, want: withContents},
		"namespaces are selected by label":                  {terms: []v1beta1.ResourceSelectorTerm{byLabel(namespaced(""), "name", "app")}, want: withContents},
		"a namespace alone":                                 {terms: []v1beta1.ResourceSelectorTerm{scoped("app", only)}, want: []string{"Namespace app"}},
		"a namespace that does not exist is nothing":        {terms: []v1beta1.ResourceSelectorTerm{namespaced("absent")}},
		"a terminating namespace is nothing":                {terms: []v1beta1.ResourceSelectorTerm{namespaced("going")}},
		"so it is by label":                                 {terms: []v1beta1.ResourceSelectorTerm{byLabel(namespaced(""), "name", "going")}},
		"a reserved namespace is a mistake":                 {terms: []v1beta1.ResourceSelectorTerm{namespaced("kube-system")}, mistake: "never placed"},
		"even if it does not exist":                         {terms: []v1beta1.ResourceSelectorTerm{namespaced("fleet-system")}, mistake: "never placed"},
		"even alone":                                        {terms: []v1beta1.ResourceSelectorTerm{scoped("kube-system", only)}, mistake: "never placed"},
		"even by label":                                     {terms: []v1beta1.ResourceSelectorTerm{byLabel(namespaced(""), "name", "kube-system")}, mistake: "never placed"},
		"the default namespace is never placed":             {terms: []v1beta1.ResourceSelectorTerm{namespaced("default")}, mistake: "never placed"},
		"nor is one that the operator skips":                {terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}, config: Config{SkippedNamespaces: "x,app"}, mistake: "never placed"},
		"a cluster-scoped object by name":                   {terms: []v1beta1.ResourceSelectorTerm{term("rbac.authorization.k8s.io", "v1", "ClusterRole", "reader")}, want: []string{"ClusterRole reader"}},
		"a cluster-scoped object by label":                  {terms: []v1beta1.ResourceSelectorTerm{byLabel(term("rbac.authorization.k8s.io", "v1", "ClusterRole", ""), "role", "read")}, want: []string{"ClusterRole reader"}},
		"labels that nothing has":                           {terms: []v1beta1.ResourceSelectorTerm{byLabel(term("rbac.authorization.k8s.io", "v1", "ClusterRole", ""), "role", "write")}},
		"a namespaced kind needs a namespace":               {terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "cm")}, mistake: "the kind is namespaced"},
		"an unknown kind is a mistake":                      {terms: []v1beta1.ResourceSelectorTerm{term("example.com", "v1", "Nothing", "")}, mistake: "does not serve"},
		"a version that is not served is a mistake":         {terms: []v1beta1.ResourceSelectorTerm{term("rbac.authorization.k8s.io", "v2", "ClusterRole", "")}, mistake: "does not serve"},
		"a kind that is never placed is skipped":            {terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "Node", ""), scoped("app", only)}, want: []string{"Namespace app"}},
		"so is one the operator skips":                      {terms: []v1beta1.ResourceSelectorTerm{term("rbac.authorization.k8s.io", "v1", "ClusterRole", "reader")}, config: Config{SkippedAPIs: "rbac.authorization.k8s.io/v1"}},
		"an allow-list leaves out the rest":                 {terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}, config: Config{AllowedAPIs: "v1/Namespace,Secret"}, want: []string{"Namespace app", "Secret app/s"}},
		"one object twice is a mistake":                     {terms: []v1beta1.ResourceSelectorTerm{scoped("app", only), byLabel(scoped("", only), "name", "app")}, mistake: `Namespace app is selected more than once, by "v1 Namespace app" and by "v1 Namespace with labels name=app"`},
		"so it is in two versions":                          {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("autoscaling", "v2", "HorizontalPodAutoscaler", "hpa"), term("autoscaling", "v1", "HorizontalPodAutoscaler", "")}, mistake: "HorizontalPodAutoscaler app/hpa is selected more than once"},
		"any version that is served":                        {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("autoscaling", "v1", "HorizontalPodAutoscaler", "")}, want: []string{"HorizontalPodAutoscaler app/hpa"}},
		"all objects of a kind":                             {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "Secret", "")}, want: []string{"Secret app/s"}},
		"all namespaces, some reserved":                     {terms: []v1beta1.ResourceSelectorTerm{scoped("", only)}, mistake: "never placed"},
		"a name that nothing has":                           {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "absent")}},
		"a label selector that is none is a mistake":        {terms: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "No"}}}}}, mistake: "the label selector is not valid"},
		"some kinds of one namespace":                       {terms: []v1beta1.ResourceSelectorTerm{scoped("app", narrow), term("", "v1", "ConfigMap", "")}, want: []string{"Namespace app", "ConfigMap app/cm"}},
		"no kinds of one namespace":                         {terms: []v1beta1.ResourceSelectorTerm{scoped("app", narrow)}, want: []string{"Namespace app"}},
		"cluster-scoped kinds beside them":                  {terms: []v1beta1.ResourceSelectorTerm{term("rbac.authorization.k8s.io", "v1", "ClusterRole", "reader"), term("", "v1", "ConfigMap", "cm"), scoped("app", narrow)}, want: []string{"Namespace app", "ConfigMap app/cm", "ClusterRole reader"}},
		"no such namespace":                                 {terms: []v1beta1.ResourceSelectorTerm{scoped("absent", narrow)}, mistake: "NamespaceWithResourceSelectors mode requires exactly one namespace, but no namespaces were selected"},
		"that namespace is going":                           {terms: []v1beta1.ResourceSelectorTerm{scoped("going", narrow)}, mistake: "but no namespaces were selected"},
		"that namespace is reserved":                        {terms: []v1beta1.ResourceSelectorTerm{scoped("kube-system", narrow)}, mistake: "but no namespaces were selected"},
		"a ResourcePlacement by name":                       {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "cm")}, want: []string{"ConfigMap app/cm"}},
		"a ResourcePlacement by label":                      {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{byLabel(term("", "v1", "ConfigMap", ""), "app", "web")}, want: []string{"ConfigMap app/cm"}},
		"a ResourcePlacement and an object made everywhere": {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "kube-root-ca.crt")}},
		"a ResourcePlacement and a cluster-scoped kind":     {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("rbac.authorization.k8s.io", "v1", "ClusterRole", "reader")}, mistake: "cluster-scoped"},
		"a ResourcePlacement and a namespace":               {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}, mistake: "cluster-scoped"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rules(t, tc.config).Select(tc.terms, tc.namespace, newHub())
			var mistake *UserError
			switch {
			case tc.mistake == "" && err != nil:
				t.Fatalf("error %v", err)
			case tc.mistake != "" && (!errors.As(err, &mistake) || !strings.Contains(err.Error(), tc.mistake)):
				t.Fatalf("error %v; want a mistake with %q", err, tc.mistake)
			case !slices.Equal(names(got), tc.want):
				t.Errorf("selected %v; want %v", names(got), tc.want)
			}
		})
	}
}

func TestNeverSelected(t *testing.T) {
	owned := []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}
	for name, tc := range map[string]struct {
		kind   schema.GroupKind
		object Object
		config Config
		taken  bool
	}{
		"a pod":                              {kind: schema.GroupKind{Kind: "Pod"}},
		"an event":                           {kind: schema.GroupKind{Kind: "Event"}},
		"an event of the new group":          {kind: schema.GroupKind{Group: "events.k8s.io", Kind: "Event"}},
		"a Work":                             {kind: schema.GroupKind{Group: "placement.kubernetes-fleet.io", Kind: "Work"}},
		"an envelope exists to be placed":    {kind: schema.GroupKind{Group: "placement.kubernetes-fleet.io", Kind: "ResourceEnvelope"}, taken: true},
		"a replica set of a deployment":      {kind: replicaSets, object: Object{Owners: owned}},
		"a replica set by itself":            {kind: replicaSets, taken: true},
		"a job of a cron job":                {kind: jobs, object: Object{Owners: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob"}}}},
		"a job of something else":            {kind: jobs, object: Object{Owners: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "CronJob"}}}, taken: true},
		"a claim":                            {kind: claims, taken: true},
		"a claim when the hub has workloads": {kind: claims, config: Config{Workloads: true}},
		"endpoints, by their metadata":       {kind: endpoints, object: Object{Name: "web"}, taken: true},
		"an endpoint slice of a controller":  {kind: endpointSlices, object: Object{Labels: map[string]string{labelSliceOf: "endpointslice-controller.k8s.io"}}},
		"an endpoint slice made by hand":     {kind: endpointSlices, taken: true},
		"a custom object":                    {kind: schema.GroupKind{Group: "example.com", Kind: "Thing"}, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			h.objects = map[schema.GroupKind][]*Object{}
			h.put(namespaceKind, Object{Name: "app"})
			h.put(services, Object{Namespace: "app", Name: "web"})
			tc.object.Namespace = "app"
			if tc.object.Name == "" {
				tc.object.Name = "object"
			}
			h.put(tc.kind, tc.object)
			got, err := rules(t, tc.config).Select([]v1beta1.ResourceSelectorTerm{namespaced("app")}, "", h)
			if err != nil {
				t.Fatal(err)
			}
			if taken := slices.Contains(names(got), tc.kind.Kind+" app/"+tc.object.Name); taken != tc.taken {
				t.Errorf("selected %v", names(got))
			}
		})
	}
}

func controlled(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: kind, Name: name, UID: types.UID(kind + "/app/" + name), Controller: &yes}}
}

// What a controller makes of a selected object is made on the members, too: carried as well, it would be fought over.
func TestChildrenComeWithTheirParents(t *testing.T) {
	thing, deployment := schema.GroupKind{Group: "example.com", Kind: "Thing"}, schema.GroupKind{Group: "apps", Kind: "Deployment"}
	h := newHub()
	h.objects = map[schema.GroupKind][]*Object{}
	h.put(namespaceKind, Object{Name: "app"})
	h.put(thing, Object{Namespace: "app", Name: "parent"})
	h.put(deployment, Object{Namespace: "app", Name: "child", Owners: controlled("Thing", "parent")})
	h.put(configMaps, Object{Namespace: "app", Name: "grandchild", Owners: controlled("Deployment", "child")})
	h.put(secrets, Object{Namespace: "app", Name: "of-an-absent-one", Owners: controlled("Thing", "absent")})
	h.put(serviceAccounts, Object{Namespace: "app", Name: "owned", Owners: []metav1.OwnerReference{{UID: "Thing/app/parent"}}})
	all := []v1beta1.ResourceSelectorTerm{namespaced("app")}
	got, err := rules(t, Config{}).Select(all, "", h)
	if want := []string{"Namespace app", "ServiceAccount app/owned", "Secret app/of-an-absent-one", "Thing app/parent"}; err != nil || !slices.Equal(names(got), want) {
		t.Errorf("selected %v, %v; want %v", names(got), err, want)
	}
	alone := []v1beta1.ResourceSelectorTerm{term("apps", "v1", "Deployment", "child")}
	got, err = rules(t, Config{}).Select(alone, "app", h)
	if want := []string{"Deployment app/child"}; err != nil || !slices.Equal(names(got), want) {
		t.Errorf("without its parent: selected %v, %v; want %v", names(got), err, want)
	}
}

func TestMistakesSayWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		terms []v1beta1.ResourceSelectorTerm
		want  string
	}{
		"fleet-system": {[]v1beta1.ResourceSelectorTerm{namespaced("fleet-system")}, "v1 Namespace fleet-system: namespace fleet-system is never placed: names that begin with kube- or fleet- are for the clusters' own use; select another"},
		"default":      {[]v1beta1.ResourceSelectorTerm{namespaced("default")}, "v1 Namespace default: namespace default is never placed: every cluster has its own; move what is to be placed to another"},
		"skipped":      {[]v1beta1.ResourceSelectorTerm{namespaced("other")}, "v1 Namespace other: namespace other is never placed: the hub agent is told to skip it (--skipped-propagating-namespaces)"},
		"missing kind": {[]v1beta1.ResourceSelectorTerm{term("example.com", "v9", "Thing", "")}, "example.com/v9 Thing: the hub does not serve this kind and version, or cannot list and watch it"},
		"labels":       {[]v1beta1.ResourceSelectorTerm{byLabel(namespaced(""), "a/b/c", "x")}, "v1 Namespace with labels: the label selector is not valid: matchLabels: Invalid value: \"a/b/c\": "},
	} {
		_, err := rules(t, Config{SkippedNamespaces: "other"}).Select(tc.terms, "", newHub())
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q", name, err, tc.want)
		}
	}
}

func TestWhatIsNotKnownIsNotAbsent(t *testing.T) {
	terms := []v1beta1.ResourceSelectorTerm{namespaced("app")}
	t.Run("a kind that is about to be listed is waited for", func(t *testing.T) {
		h := newHub()
		h.unlisted[secrets] = ErrNotListed
		if got, err := rules(t, Config{}).Select(terms, "", h); !errors.Is(err, ErrNotListed) {
			t.Errorf("%v, %v", names(got), err)
		}
	})
	t.Run("a kind that cannot be listed is named", func(t *testing.T) {
		h := newHub()
		h.unlisted[secrets] = &UnreadableError{Kind: secrets, Cause: errors.New("forbidden")}
		h.failed = []schema.GroupKind{{Group: "metrics.example.com"}}
		got, err := rules(t, Config{}).Select(terms, "", h)
		if err != nil || !got.Unreads(secrets) || got.Unreads(configMaps) || !got.Unreads(schema.GroupKind{Group: "metrics.example.com", Kind: "Any"}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("a kind that a selector names must be listed", func(t *testing.T) {
		h := newHub()
		h.unlisted[configMaps] = &UnreadableError{Kind: configMaps, Cause: errors.New("forbidden")}
		var unreadable *UnreadableError
		if _, err := rules(t, Config{}).Select([]v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "cm")}, "app", h); !errors.As(err, &unreadable) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOrder(t *testing.T) {
	want := []Ref{
		{Kind: served("scheduling.k8s.io", "v1", "PriorityClass", "", false), Name: "p"},
		{Kind: served("", "v1", "Namespace", "", false), Name: "a"},
		{Kind: served("", "v1", "Namespace", "", false), Name: "b"},
		{Kind: served("", "v1", "Secret", "", true), Namespace: "a", Name: "z"},
		{Kind: served("", "v1", "Secret", "", true), Namespace: "b", Name: "a"},
		// A custom kind with a name of the list: group/version decides, and "serving…" comes before "v1".
		{Kind: served("serving.example.com", "v1", "Service", "", true), Namespace: "a", Name: "web"},
		{Kind: served("", "v1", "Service", "", true), Namespace: "a", Name: "web"},
		{Kind: served("apps", "v1", "Deployment", "", true), Namespace: "a", Name: "web"},
		{Kind: served("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "", false), Name: "v"},
		{Kind: served("a.example.com", "v1", "Zebra", "", true), Namespace: "a", Name: "x"},
		{Kind: served("b.example.com", "v1", "Ant", "", true), Namespace: "a", Name: "x"},
		{Kind: served("b.example.com", "v1", "Bee", "", true), Namespace: "a", Name: "x"},
	}
	for range 20 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, compare)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v", got)
		}
	}
}

func TestNewRules(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		bad    bool
		never  []string // group/version/kind
		still  []string
	}{
		"built-in":              {never: []string{"/v1/Pod", "/v1/Event", "metrics.k8s.io/v1/PodMetrics", "placement.kubernetes-fleet.io/v1/Work"}, still: []string{"/v1/ConfigMap"}},
		"a group":               {config: Config{SkippedAPIs: "apps"}, never: []string{"apps/v1/Deployment", "/v1/Pod"}, still: []string{"batch/v1/Job"}},
		"a version":             {config: Config{SkippedAPIs: "apps/v1beta1"}, never: []string{"apps/v1beta1/Deployment"}, still: []string{"apps/v1/Deployment"}},
		"kinds":                 {config: Config{SkippedAPIs: " apps/v1/Deployment,StatefulSet ; v1/Secret;"}, never: []string{"apps/v1/Deployment", "apps/v1/StatefulSet", "/v1/Secret"}, still: []string{"apps/v1/DaemonSet"}},
		"the core group":        {config: Config{SkippedAPIs: "v1"}, never: []string{"/v1/Secret"}, still: []string{"apps/v1/DaemonSet"}},
		"an allow-list":         {config: Config{AllowedAPIs: "v1/Pod"}, never: []string{"/v1/Secret"}, still: []string{"/v1/Pod"}},
		"too many slashes":      {config: Config{SkippedAPIs: "a/v1/B/C"}, bad: true},
		"a version of no group": {config: Config{SkippedAPIs: "v1beta1/Secret"}, bad: true},
		"no kind":               {config: Config{SkippedAPIs: "apps/v1/"}, bad: true},
		"both lists":            {config: Config{SkippedAPIs: "apps", AllowedAPIs: "batch"}, bad: true},
		"a bad namespace":       {config: Config{SkippedNamespaces: "A B"}, bad: true},
		"namespaces with gaps":  {config: Config{SkippedNamespaces: " a ;; b, "}},
		"an empty allow-list":   {config: Config{AllowedAPIs: " ; "}, bad: true},
		"a kind in lower case":  {config: Config{SkippedAPIs: "v1/secret"}, still: []string{"/v1/Secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRules(tc.config)
			if (err != nil) != tc.bad {
				t.Fatalf("error %v", err)
			}
			for _, text := range tc.never {
				if r.Selectable(gvk(text)) {
					t.Errorf("%s may be selected", text)
				}
			}
			for _, text := range tc.still {
				if !r.Selectable(gvk(text)) {
					t.Errorf("%s may not be selected", text)
				}
			}
		})
	}
	_, err := NewRules(Config{SkippedAPIs: "apps;v1beta1/Secret"})
	if want := `skipped APIs: "v1beta1/Secret": `; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), grammar) {
		t.Errorf("error %v; want %q, and how it is written", err, want)
	}
	r := rules(t, Config{SkippedNamespaces: "a;b, c"})
	for _, name := range []string{"a", "b", "c", "default", "kube-public", "fleet-member-x"} {
		if !r.ReservedNamespace(name) {
			t.Errorf("namespace %s is placed", name)
		}
	}
	if r.ReservedNamespace("app") || r.ReservedNamespace("kubernetes") {
		t.Error("an ordinary namespace is not placed")
	}
}

func gvk(text string) schema.GroupVersionKind {
	parts := strings.Split(text, "/")
	return schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]}
}
