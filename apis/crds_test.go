package apis_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/flagship-fleet/flagship/apis/cluster/v1"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1 "github.com/flagship-fleet/flagship/apis/placement/v1"
	placementv1alpha1 "github.com/flagship-fleet/flagship/apis/placement/v1alpha1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestAPIServersAcceptTheCRDs(t *testing.T) {
	for path, crd := range crds(t) {
		internal := &apiextensions.CustomResourceDefinition{}
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
			t.Fatalf("convert %s: %v", path, err)
		}
		internal.Status.StoredVersions = []string{"v1beta1"}
		for _, err := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), internal) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// One scheme knows every kind in every version it is served in: none was forgotten, and the packages get along.
func TestEveryServedVersionIsRegistered(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clusterv1.AddToScheme, clusterv1beta1.AddToScheme,
		placementv1.AddToScheme, placementv1alpha1.AddToScheme, placementv1beta1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	for path, crd := range crds(t) {
		for _, version := range crd.Spec.Versions {
			for _, kind := range []string{crd.Spec.Names.Kind, crd.Spec.Names.ListKind} {
				gvk := runtimeschema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: kind}
				if !scheme.Recognizes(gvk) {
					t.Errorf("%s: %v is not registered", path, gvk)
				}
			}
		}
	}
}

func TestMembersKnowAppliedWorkAlone(t *testing.T) {
	for path, crd := range crds(t) {
		onMember := strings.Contains(path, "member-agent")
		if want := crd.Spec.Names.Kind == "AppliedWork"; onMember != want {
			t.Errorf("%s is in the wrong chart", path)
		}
	}
}

// The rules are evaluated as the API server does, on objects with their defaults filled in.
func TestRules(t *testing.T) {
	const (
		configMaps   = `{group: "", version: v1, kind: ConfigMap}`
		namespace    = `{group: "", version: v1, kind: Namespace, name: app}`
		mixed        = `{group: "", version: v1, kind: Namespace, name: app, selectionScope: NamespaceWithResourceSelectors}`
		mixedByLabel = `{group: "", version: v1, kind: Namespace, labelSelector: {}, selectionScope: NamespaceWithResourceSelectors}`
	)
	selecting := func(selectors ...string) string { return "resourceSelectors: [" + strings.Join(selectors, ", ") + "]" }
	choosing := func(policy string) string { return selecting(configMaps) + "\npolicy: {" + policy + "}" }
	moving := func(strategy string) string { return selecting(configMaps) + "\nstrategy: {" + strategy + "}" }

	both, member := []string{"ClusterResourcePlacement", "ResourcePlacement"}, []string{"MemberCluster"}
	const identity = "identity: {kind: User, name: a}\n"
	tests := map[string]struct {
		kinds    []string
		old, new string // specs; without old the object is created
		want     string // part of the error; empty if the object is accepted
	}{
		"the least there is": {kinds: both, new: selecting(configMaps)},
		"no selector at all": {kinds: both, new: `resourceSelectors: []`, want: "should have at least 1 items"},
		"name and labels":    {kinds: both, new: selecting(`{group: "", version: v1, kind: A, name: a, labelSelector: {}}`), want: "mutually exclusive"},

		"policy removed": {kinds: both, old: choosing("placementType: PickAll"), new: selecting(configMaps), want: "policy cannot be removed"},
		"policy added":   {kinds: both, old: selecting(configMaps), new: choosing("placementType: PickAll")},
		"type changed": {
			kinds: both, old: choosing("placementType: PickAll"), new: choosing("placementType: PickN, numberOfClusters: 1"),
			want: "placement type is immutable",
		},

		"status in the namespace":                      {kinds: both, new: selecting(namespace) + "\nstatusReportingScope: NamespaceAccessible"},
		"status in no namespace":                       {kinds: both[:1], new: selecting(configMaps) + "\nstatusReportingScope: NamespaceAccessible", want: "exactly one resourceSelector"},
		"status in no namespace, which does not care":  {kinds: both[1:], new: selecting(configMaps) + "\nstatusReportingScope: NamespaceAccessible"},
		"reporting scope changed":                      {kinds: both[:1], old: selecting(namespace), new: selecting(namespace) + "\nstatusReportingScope: NamespaceAccessible", want: "statusReportingScope is immutable"},
		"reporting scope changed, which does not care": {kinds: both[1:], old: selecting(namespace), new: selecting(namespace) + "\nstatusReportingScope: NamespaceAccessible"},

		"a namespace with chosen kinds":    {kinds: both, new: selecting(mixed, configMaps)},
		"two namespaces with chosen kinds": {kinds: both, new: selecting(mixed, mixed), want: "only one namespace selector with"},
		"the same by label":                {kinds: both, new: selecting(mixedByLabel), want: "must select by name"},
		"the same beside a whole one":      {kinds: both, new: selecting(mixed, namespace), want: "cannot mix with other namespace selectors"},

		"PickFixed":                {kinds: both, new: choosing("placementType: PickFixed, clusterNames: [a]")},
		"PickFixed with a number":  {kinds: both, new: choosing("placementType: PickFixed, numberOfClusters: 1"), want: "placementType is PickFixed"},
		"PickAll with names":       {kinds: both, new: choosing("clusterNames: [a]"), want: "placementType is PickAll"},
		"PickN without a number":   {kinds: both, new: choosing("placementType: PickN"), want: "placementType is PickN"},
		"PickN of none":            {kinds: both, new: choosing("placementType: PickN, numberOfClusters: 0")},
		"PickN of fewer than none": {kinds: both, new: choosing("placementType: PickN, numberOfClusters: -1"), want: "should be greater than or equal to 0"},

		"tolerate a taint":                {kinds: both, new: choosing("tolerations: [{key: a, value: b}]")},
		"tolerate everything":             {kinds: both, new: choosing("tolerations: [{operator: Exists}]")},
		"tolerate a value of every key":   {kinds: both, new: choosing("tolerations: [{value: b}]"), want: "operator must be Exists when key is empty"},
		"tolerate a key with and without": {kinds: both, new: choosing("tolerations: [{key: a, operator: Exists, value: b}]"), want: "value must be empty"},
		"tolerate what does not exist":    {kinds: both, new: choosing("tolerations: [{key: a, effect: PreferNoSchedule}]"), want: "Unsupported value"},
		"tolerate for ever":               {kinds: both, new: choosing("tolerations: [{key: a, effect: NoSchedule}]")},
		"tolerate for a time":             {kinds: both, new: choosing("tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 31536000}]")},
		"tolerate any effect for a time":  {kinds: both, new: choosing("tolerations: [{key: a, tolerationSeconds: 600}]")},
		"tolerate for less than no time":  {kinds: both, new: choosing("tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: -1}]")},
		"tolerate for too long":           {kinds: both, new: choosing("tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 31536001}]"), want: "less than or equal to 31536000"},
		"tolerate for another time": {
			kinds: both, old: choosing("tolerations: [{key: a, tolerationSeconds: 600}]"), new: choosing("tolerations: [{key: a, tolerationSeconds: 60}]"),
		},
		"a taint that makes placements leave": {kinds: member, new: identity + "taints: [{key: a, value: b, effect: NoSchedule, evict: true}]"},
		"a taint of an effect that is none":   {kinds: member, new: identity + "taints: [{key: a, effect: NoExecute}]", want: "Unsupported value"},
		"a weight beyond the greatest":        {kinds: both, new: choosing("affinity: {clusterAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {}}]}}"), want: "less than or equal to 100"},
		"a share of more than all":            {kinds: both, new: moving("rollingUpdate: {maxUnavailable: 101%}"), want: "should match"},
		"an update run takes over":            {kinds: both, old: moving("type: RollingUpdate"), new: moving("type: External")},
		"an update run lets go":               {kinds: both, old: moving("type: External"), new: moving("type: RollingUpdate"), want: "cannot change rollout strategy type"},
		"mirror to nowhere":                   {kinds: both, new: moving("reportBackStrategy: {type: Mirror}"), want: "no such key: destination"},
		"mirror":                              {kinds: both, new: moving("reportBackStrategy: {type: Mirror, destination: WorkAPI}")},
		"a strategy of apply that is no one":  {kinds: both, new: moving("applyStrategy: {type: Sideways}"), want: "Unsupported value"},
	}
	found := crds(t)
	for name, test := range tests {
		for _, kind := range test.kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				requireOutcome(t, newStore(t, found, kind), object(t, test.old), object(t, test.new), test.want)
			})
		}
	}
}

// What the hub agent cannot decode must not be stored: one such object, and it can read none of its kind any more.
func TestWhatCannotBeDecodedIsRefused(t *testing.T) {
	stage := func(fields string) string { return "stages: [{name: a, labelSelector: {}, " + fields + "}]" }
	rolling := func(fields string) string {
		return "resourceSelectors: [{group: \"\", version: v1, kind: ConfigMap}]\nstrategy: {rollingUpdate: {" + fields + "}}"
	}
	failing := func(kind, fields string) string {
		return "resourceSelectors: [{group: \"\", version: v1, kind: ConfigMap}]\npolicy: {placementType: " + kind + ", failover: {" + fields + "}}"
	}
	dividing := func(kind, fields string) string {
		return "resourceSelectors: [{group: \"\", version: v1, kind: ConfigMap}]\npolicy: {placementType: " + kind + ", replicas: {" + fields + "}}"
	}
	removing := func(fields string) string {
		return "resourceSelectors: [{group: \"\", version: v1, kind: ConfigMap}]\nstrategy: {removal: {" + fields + "}}"
	}
	tooMany := func(item string, most int) string { return "[" + strings.Repeat(item+", ", most) + item + "]" }
	strategies := []string{"ClusterStagedUpdateStrategy", "StagedUpdateStrategy"}
	placements := []string{"ClusterResourcePlacement", "ResourcePlacement"}
	budgets := []string{"ClusterResourcePlacementDisruptionBudget", "ResourcePlacementDisruptionBudget"}
	tests := map[string]struct {
		kinds []string
		spec  string
		want  string
	}{
		"the greatest number":         {placements, rolling("maxUnavailable: 2147483647, maxSurge: 2147483647"), ""},
		"no clusters at all":          {placements, rolling("maxUnavailable: 0, maxSurge: 0%"), ""},
		"too many unavailable":        {placements, rolling("maxUnavailable: 2147483648"), "maxUnavailable must be from 0 to 2147483647"},
		"fewer than none unavailable": {placements, rolling("maxUnavailable: -1"), "maxUnavailable must be from 0 to 2147483647"},
		"too many more":               {placements, rolling("maxSurge: 99999999999"), "maxSurge must be from 0 to 2147483647"},
		"many at once":                {strategies, stage("maxConcurrency: 2147483647, failureBudget: 2147483647"), ""},
		"too many at once":            {strategies, stage("maxConcurrency: 2147483648"), "maxConcurrency must be at most 2147483647"},
		"too great a budget":          {strategies, stage("failureBudget: 2147483648"), "failureBudget must be at most 2147483647"},
		"too great a budget for all":  {strategies, stage("") + "\nfailurePolicy: {failureBudget: 2147483648}", "failureBudget must be at most 2147483647"},
		"a long wait":                 {strategies, stage("afterStageTasks: [{type: TimedWait, waitTime: 2562047h30m1.5s}]"), ""},
		"no wait":                     {strategies, stage("afterStageTasks: [{type: TimedWait, waitTime: 0s}]"), ""},
		"too long a wait":             {strategies, stage("afterStageTasks: [{type: TimedWait, waitTime: 2562048h}]"), "waitTime must be a time of at most 2562047h"},
		"much too long a wait":        {strategies, stage("afterStageTasks: [{type: TimedWait, waitTime: 99999999999999999999h}]"), "waitTime must be a time of at most 2562047h"},
		"too long a window":           {strategies, stage("") + "\nfailurePolicy: {healthWindow: 2562048h}", "healthWindow must be more than 0"},
		"too many disrupted":          {budgets, "maxUnavailable: 2147483648", "maxUnavailable must be at most 2147483647"},
		"too many kept":               {budgets, "minAvailable: 2147483648", "minAvailable must be at most 2147483647"},
		"many kept":                   {budgets, "minAvailable: 2147483647", ""},
		"a removal policy":            {placements, removing("max: 20%, protect: [{kind: Namespace}, {group: example.org, kind: Database}]"), ""},
		"a number of removals":        {placements, removing("max: 0"), ""},
		"all removals":                {placements, removing("max: 100%"), ""},
		"no removal policy":           {placements, removing(""), ""},
		"more than all removals":      {placements, removing("max: 101%"), "should match"},
		"fewer than no removals":      {placements, removing("max: -1"), "max must be from 0 to 2147483647"},
		"too many removals":           {placements, removing("max: 2147483648"), "max must be from 0 to 2147483647"},
		"removals of something":       {placements, removing("max: many"), "should match"},
		"a protected group":           {placements, removing("protect: [{group: apps}]"), "kind: Required value"},
		"a protected nothing":         {placements, removing("protect: [{kind: \"\"}]"), "should be at least 1 chars long"},
		"too many protected kinds":    {placements, removing("protect: " + tooMany("{kind: Namespace}", 32)), "must have at most 32 items"},
		"a failover":                  {placements, failing("PickN, numberOfClusters: 2", "after: 5m, purge: Never, failback: WhenHealthy"), ""},
		"too hasty a failover":        {placements, failing("PickN, numberOfClusters: 2", "after: 29s"), "after must be from 30s to 720h"},
		"too late a failover":         {placements, failing("PickN, numberOfClusters: 2", "after: 721h"), "after must be from 30s to 720h"},
		"a failover to everywhere":    {placements, failing("PickAll", "after: 5m"), "failover cannot be set unless placementType is PickN"},
		"a failover within a run":     {placements, failing("PickN, numberOfClusters: 2", "after: 5m") + "\nstrategy: {type: External}", ""},
		"replicas":                    {placements, dividing("PickAll", ""), ""},
		"replicas of two clusters":    {placements, dividing("PickN, numberOfClusters: 2", "by: Weights, minPerCluster: 0, maxPerCluster: 1000000"), ""},
		"replicas of fixed clusters":  {placements, dividing("PickFixed, clusterNames: [a]", "weights: [{clusterSelector: {}, weight: 0}, {clusterSelector: {matchLabels: {a: b}}, weight: 1000000}]"), ""},
		"replicas within a run":       {placements, dividing("PickAll", "") + "\nstrategy: {type: External}", ""},
		"replicas of other kinds":     {placements, dividing("PickAll", "kinds: [{group: apps, kind: StatefulSet}, {kind: ReplicationController}]"), ""},
		"replicas of lost clusters, in a run": {placements, dividing("PickAll", "}, failover: {after: 5m") + "\nstrategy: {type: External}",
			"policy.failover cannot be set with strategy type External unless placementType is PickN"},
		"replicas of lost clusters":           {placements, dividing("PickAll", "}, failover: {after: 5m"), ""},
		"replicas of lost, fixed clusters":    {placements, dividing("PickFixed, clusterNames: [a]", "}, failover: {after: 5m"), ""},
		"a failover to fixed clusters":        {placements, failing("PickFixed, clusterNames: [a]", "after: 5m"), "failover cannot be set unless placementType is PickN or replicas is set"},
		"replicas by something else":          {placements, dividing("PickAll", "by: Costs"), "Unsupported value"},
		"fewer than no replicas":              {placements, dividing("PickAll", "minPerCluster: -1"), "should be greater than or equal to 0"},
		"too great a minimum":                 {placements, dividing("PickAll", "minPerCluster: 1000001"), "should be less than or equal to 1000000"},
		"no replicas at most":                 {placements, dividing("PickAll", "maxPerCluster: 0"), "should be greater than or equal to 1"},
		"a negative weight":                   {placements, dividing("PickAll", "weights: [{clusterSelector: {}, weight: -1}]"), "should be greater than or equal to 0"},
		"too great a weight":                  {placements, dividing("PickAll", "weights: [{clusterSelector: {}, weight: 1000001}]"), "should be less than or equal to 1000000"},
		"a weight without a number":           {placements, dividing("PickAll", "weights: [{clusterSelector: {}}]"), "Required value"},
		"a weight of no cluster":              {placements, dividing("PickAll", "weights: [{weight: 1}]"), "Required value"},
		"too many weights":                    {placements, dividing("PickAll", "weights: "+tooMany("{clusterSelector: {}, weight: 1}", 100)), "must have at most 100 items"},
		"no kinds":                            {placements, dividing("PickAll", "kinds: []"), "should have at least 1 items"},
		"too many kinds":                      {placements, dividing("PickAll", "kinds: "+tooMany("{kind: A}", 20)), "must have at most 20 items"},
		"a kind without a name":               {placements, dividing("PickAll", "kinds: [{group: apps}]"), "Required value"},
		"replicas of an autoscaler":           {placements, dividing("PickAll", "kinds: [{group: autoscaling, kind: HorizontalPodAutoscaler}]"), "a HorizontalPodAutoscaler is divided with the workload that it scales"},
		"replicas of a Job":                   {placements, dividing("PickAll", "kinds: [{group: apps, kind: Deployment}, {group: batch, kind: Job}]"), "has no spec.replicas to divide"},
		"more replicas at least than at most": {placements, dividing("PickAll", "minPerCluster: 3, maxPerCluster: 2"), "minPerCluster must not be greater than maxPerCluster"},
	}
	found := crds(t)
	for name, test := range tests {
		for _, kind := range test.kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				requireOutcome(t, newStore(t, found, kind), nil, object(t, test.spec), test.want)
			})
		}
	}
}

func TestNameOfMemberCluster(t *testing.T) {
	store := newStore(t, crds(t), "MemberCluster")
	named := func(length int) map[string]any {
		cluster := object(t, `identity: {kind: User, name: a}`)
		cluster["metadata"] = map[string]any{"name": strings.Repeat("a", length)}
		return cluster
	}
	requireOutcome(t, store, nil, named(63), "")
	requireOutcome(t, store, nil, named(64), "metadata.name max length is 63")
}

// crds are the CRDs of both charts by their paths.
func crds(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	paths, err := filepath.Glob("../charts/*/files/crds/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("the charts hold no CRDs")
	}
	found := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(content, crd); err != nil {
			t.Fatalf("decode %s: %v", path, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		found[path] = crd
	}
	return found
}

// whole is the object of a manifest, numbers as an API server reads them.
func whole(t *testing.T, manifest string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := utilyaml.Unmarshal([]byte(manifest), &content); err != nil {
		t.Fatalf("decode %s: %v", manifest, err)
	}
	content["metadata"] = map[string]any{"name": "a"}
	return content
}

// object is an object with the given spec; nil if there is none.
func object(t *testing.T, spec string) map[string]any {
	t.Helper()
	if spec == "" {
		return nil
	}
	var content map[string]any
	if err := utilyaml.Unmarshal([]byte(spec), &content); err != nil { // whole numbers stay whole
		t.Fatalf("decode %s: %v", spec, err)
	}
	return map[string]any{"metadata": map[string]any{"name": "a"}, "spec": content}
}

// store does to objects of one kind, in version v1beta1, what an API server does before it stores them.
type store struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

func newStore(t *testing.T, found map[string]*apiextensionsv1.CustomResourceDefinition, kind string) store {
	t.Helper()
	for _, crd := range found {
		if crd.Spec.Names.Kind != kind {
			continue
		}
		for _, version := range crd.Spec.Versions {
			if version.Name != "v1beta1" {
				continue
			}
			internal := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, internal, nil); err != nil {
				t.Fatal(err)
			}
			structural, err := schema.NewStructural(internal)
			if err != nil {
				t.Fatal(err)
			}
			validator, _, err := validation.NewSchemaValidator(internal)
			if err != nil {
				t.Fatal(err)
			}
			return store{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
		}
	}
	t.Fatalf("no CRD for %s", kind)
	return store{}
}

// put fills in the defaults of an object and says what is wrong with it; old is what it replaces, or nil.
func (s store) put(old, object map[string]any) field.ErrorList {
	defaulting.Default(object, s.structural)
	errs := validation.ValidateCustomResource(nil, object, s.schema)
	var before any // not a nil map, which would count as an old object
	if old != nil {
		defaulting.Default(old, s.structural)
		before = old
	}
	broken, _ := s.rules.Validate(context.Background(), nil, s.structural, object, before, math.MaxInt64)
	return append(errs, broken...)
}

func requireOutcome(t *testing.T, s store, old, object map[string]any, want string) {
	t.Helper()
	t.Helper()
	err := s.put(old, object).ToAggregate()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with %v, want %q", err, want)
	}
}
