package admission

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const placements = "placement.kubernetes-fleet.io/v1beta1"

// placement is a ClusterResourcePlacement with a spec in YAML.
func placement(name, spec string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: ClusterResourcePlacement, metadata: {name: %s}, spec: %s}", placements, name, spec))
}

// spec of obj as the hub has it.
func spec(t *testing.T, obj *unstructured.Unstructured) any {
	t.Helper()
	is := obj.DeepCopy()
	if err := master.Get(t.Context(), client.ObjectKeyFromObject(obj), is); err != nil {
		t.Fatal(err)
	}
	return is.Object["spec"]
}

const selectors = `resourceSelectors: [{group: "", version: v1, kind: Namespace, name: web}]`

func TestWrongPlacementsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		says       []string
	}{
		// contract:227
		{"name and labels", `{resourceSelectors: [{group: "", version: v1, kind: Namespace, name: web, labelSelector: {matchLabels: {a: b}}}]}`, nil},
		// contract:228
		{"a number for PickFixed", `{` + selectors + `, policy: {placementType: PickFixed, clusterNames: [m1], numberOfClusters: 1}}`, nil},
		// contract:229
		{"a namespaced kind", `{resourceSelectors: [{group: apps, version: v1, kind: Deployment, name: web}]}`,
			[]string{"the resource is not found in schema (please retry) or it is not a cluster scoped resource"}},
		{"an unknown kind", `{resourceSelectors: [{group: example.com, version: v1, kind: Nothing, name: web}]}`,
			[]string{"failed to get GVR of the selector"}},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, master, creates(placement("wrong", c.spec)), c.says...) })
	}
}

const (
	filledApply    = `{type: ClientSideApply, comparisonOption: PartialComparison, whenToApply: Always, whenToTakeOver: Always}`
	filledStrategy = `{type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%, unavailablePeriodSeconds: 60}, applyStrategy: ` + filledApply + `}`
	asStored       = `resourceSelectors: [{group: "", version: v1, kind: Namespace, name: web, selectionScope: NamespaceWithResources}]`
	filled         = asStored + `, policy: {placementType: PickAll}, revisionHistoryLimit: 10, statusReportingScope: ClusterScopeOnly`
	serverSide     = `{type: ServerSideApply, comparisonOption: PartialComparison, whenToApply: Always, whenToTakeOver: Always, ` +
		`serverSideApplyConfig: {force: false}}`
)

func TestPlacementsAreFilledIn(t *testing.T) {
	spread := func(spreads, tolerations string) string {
		return `{placementType: PickN, numberOfClusters: 1, topologySpreadConstraints: ` + spreads + `, tolerations: ` + tolerations + `}`
	}
	bare := spread(`[{topologyKey: zone}]`, `[{key: a, value: b}]`)
	complete := spread(`[{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]`, `[{key: a, value: b, operator: Equal}]`)
	for _, c := range []struct{ name, spec, patch, want string }{
		// contract:230
		{"a bare spread constraint and toleration", `{` + selectors + `, policy: ` + bare + `}`, "",
			`{` + asStored + `, policy: ` + complete + `, revisionHistoryLimit: 10, statusReportingScope: ClusterScopeOnly, strategy: ` + filledStrategy + `}`},
		// contract:231 contract:232
		{"nothing but selectors", `{` + selectors + `}`, "", `{` + filled + `, strategy: ` + filledStrategy + `}`},
		// contract:233
		{"server-side apply", `{` + selectors + `, strategy: {applyStrategy: {type: ServerSideApply}}}`, "",
			`{` + filled + `, strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%, unavailablePeriodSeconds: 60}, ` +
				`applyStrategy: ` + serverSide + `}}`},
		{"an external strategy", `{` + selectors + `, strategy: {type: External}}`, "",
			`{` + filled + `, strategy: {type: External, applyStrategy: ` + filledApply + `}}`},
		// contract:237
		{"a history limit that is removed", `{` + selectors + `, revisionHistoryLimit: 5}`, `{"spec": {"revisionHistoryLimit": null}}`,
			`{` + filled + `, strategy: ` + filledStrategy + `}`},
		// contract:238
		{"server-side apply, later", `{` + selectors + `}`, `{"spec": {"strategy": {"applyStrategy": {"type": "ServerSideApply"}}}}`,
			`{` + filled + `, strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%, unavailablePeriodSeconds: 60}, ` +
				`applyStrategy: ` + serverSide + `}}`},
		// contract:239
		{"a bare spread constraint and toleration, later", `{` + selectors + `, policy: {placementType: PickN, numberOfClusters: 1}}`,
			`{"spec": {"policy": {"topologySpreadConstraints": [{"topologyKey": "zone"}], "tolerations": [{"key": "a", "value": "b"}]}}}`,
			`{` + asStored + `, policy: ` + complete + `, revisionHistoryLimit: 10, statusReportingScope: ClusterScopeOnly, strategy: ` + filledStrategy + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := given(t, placement("filled", c.spec))
			if c.patch != "" {
				allowed(t, master, patches(p, c.patch))
			}
			if diff := cmp.Diff(object(c.want).Object, spec(t, p)); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

// What the webhook filled in for a type goes with the type, although a merge patch and the manifest of an apply do not
// name it.
func TestTypesOfStrategiesAreChanged(t *testing.T) {
	const rolling = `{type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%, unavailablePeriodSeconds: 60}, applyStrategy: `
	const stored = `{` + filled + `, strategy: `
	for _, c := range []struct{ name, strategy, changed, want string }{
		{"to External", `{}`, `{type: External}`, stored + `{type: External, applyStrategy: ` + filledApply + `}}`},
		{"to ClientSideApply", `{applyStrategy: {type: ServerSideApply}}`, `{applyStrategy: {type: ClientSideApply}}`, stored + rolling + filledApply + `}}`},
	} {
		with := func(strategy string) *unstructured.Unstructured {
			return placement("retyped", `{`+selectors+`, strategy: `+strategy+`}`)
		}
		check := func(t *testing.T, p *unstructured.Unstructured) {
			t.Helper()
			if diff := cmp.Diff(object(c.want).Object, spec(t, p)); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		}
		t.Run(c.name+" by a merge patch", func(t *testing.T) {
			p := given(t, with(c.strategy))
			patch, err := json.Marshal(map[string]any{"spec": map[string]any{"strategy": object(c.changed).Object}})
			if err != nil {
				t.Fatal(err)
			}
			allowed(t, master, patches(p, string(patch)))
			check(t, p)
		})
		t.Run(c.name+" by an apply", func(t *testing.T) {
			p := with(c.strategy)
			t.Cleanup(func() { removed(t, p) })
			for _, manifest := range []*unstructured.Unstructured{p, with(c.changed), with(c.changed)} {
				if err := master.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(manifest.DeepCopy()), client.FieldOwner("gitops")); err != nil {
					t.Fatal(err)
				}
			}
			check(t, p)
		})
	}
}

func TestWrongChangesOfPlacementsAreRefused(t *testing.T) {
	const tolerating = `{` + selectors + `, policy: {placementType: PickAll, tolerations: [{key: a, operator: Equal, value: b}]}}`
	for _, c := range []struct {
		name, spec, patch string
		says              []string
	}{
		// contract:234
		{"name and labels", `{` + selectors + `}`,
			`{"spec": {"resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "web", "labelSelector": {"matchLabels": {"a": "b"}}}]}}`, nil},
		// contract:235
		{"a label expression without values", `{` + selectors + `, policy: {placementType: PickAll}}`,
			`{"spec": {"policy": {"affinity": {"clusterAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"clusterSelectorTerms": [
				{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}}}}}}`,
			[]string{"the labelSelector in cluster selector ", " is invalid:"}},
		// contract:236
		{"another placement type", `{` + selectors + `, policy: {placementType: PickAll}}`,
			`{"spec": {"policy": {"placementType": "PickN", "numberOfClusters": 1}}}`, []string{"placement type is immutable"}},
		// contract:240
		{"a toleration without key", tolerating,
			`{"spec": {"policy": {"tolerations": [{"key": "a", "operator": "Equal", "value": "b"}, {"operator": "Equal", "value": "c"}]}}}`, nil},
		// contract:241
		{"another toleration", tolerating, `{"spec": {"policy": {"tolerations": [{"key": "c", "operator": "Equal", "value": "b"}]}}}`,
			[]string{"tolerations have been updated/deleted, only additions to tolerations are allowed"}},
		{"a toleration for a time, for a key of its own", tolerating,
			`{"spec": {"policy": {"tolerations": [{"key": "c", "operator": "Equal", "value": "b", "tolerationSeconds": 60}]}}}`,
			[]string{"tolerations have been updated/deleted, only additions to tolerations are allowed"}},
		{"a toleration for longer than a year", `{` + selectors + `, policy: {placementType: PickAll}}`,
			`{"spec": {"policy": {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 31536001}]}}}`,
			[]string{"less than or equal to 31536000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := given(t, placement("changed", c.spec))
			refused(t, master, patches(p, c.patch), c.says...)
		})
	}
}

// How long a taint is tolerated may be changed, unlike the rest of a toleration.
func TestTolerationSecondsMayBeChanged(t *testing.T) {
	p := given(t, placement("patient", `{`+selectors+`, policy: {placementType: PickN, numberOfClusters: 1, tolerations: [{key: a, value: b, effect: NoSchedule}]}}`))
	for _, seconds := range []string{"600", "60", "0", "null"} {
		patch := `{"spec": {"policy": {"tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule", "tolerationSeconds": ` + seconds + `}]}}}`
		allowed(t, master, patches(p, patch))
	}
}

// contract:242
func TestWrongTaintsAreRefused(t *testing.T) {
	refused(t, master, patches(upstreamCluster(t), `{"spec": {"taints": [{"key": "key@1234:", "value": "v", "effect": "NoSchedule"}]}}`),
		"name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character")
}

// clusterOverride selects with selectors and has rules, all in YAML.
func clusterOverride(name, selectors, rules string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: ClusterResourceOverride, metadata: {name: %s}, spec: {clusterResourceSelectors: %s, "+
		"policy: {overrideRules: %s}}}", placements, name, selectors, rules))
}

// override is the same for resources of namespace default.
func override(name, selectors, rules string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: %s, kind: ResourceOverride, metadata: {namespace: default, name: %s}, spec: {resourceSelectors: %s, "+
		"policy: {overrideRules: %s}}}", placements, name, selectors, rules))
}

const (
	roleA      = `{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: a}`
	roleB      = `{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: b}`
	labelled   = `{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, labelSelector: {matchLabels: {a: b}}}`
	nameless   = `{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: ""}`
	deployA    = `{group: apps, version: v1, kind: Deployment, name: a}`
	deployB    = `{group: apps, version: v1, kind: Deployment, name: b}`
	everywhere = `clusterSelector: {clusterSelectorTerms: []}`
	good       = `[{` + everywhere + `, jsonPatchOverrides: [{op: add, path: /metadata/labels/a, value: b}]}]`
	sorted     = `clusterSelector: {clusterSelectorTerms: [{labelSelector: {matchLabels: {a: b}}, propertySorter: {name: example.com/cost, sortOrder: Ascending}}]}`
)

// bad are rules with a term that does more than select labels, and patches.
func bad(patches string) string { return `[{` + sorted + `, jsonPatchOverrides: ` + patches + `}]` }

// inSpec is a merge patch of a spec, in YAML.
func inSpec(t *testing.T, selectors, list, rules string) string {
	t.Helper()
	text, err := json.Marshal(object(fmt.Sprintf("{spec: {%s: %s, policy: {overrideRules: %s}}}", list, selectors, rules)).Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var wrongSelectors = []string{
	"label selector is not supported for resource selection", "already exists, and must be unique", "resource name is required for resource selection",
}

func TestWrongClusterOverridesAreRefused(t *testing.T) {
	removeWithValue := `{op: remove, path: /metadata/labels/a, value: b}`
	typeMeta := `{op: replace, path: /kind, value: Role}`
	t.Run("selectors", func(t *testing.T) { // contract:243
		refused(t, master, creates(clusterOverride("new", `[`+labelled+`, `+roleA+`, `+roleA+`, `+nameless+`]`, good)), wrongSelectors...)
	})
	t.Run("a resource that is selected already, and bad rules", func(t *testing.T) { // contract:245
		given(t, clusterOverride("existing", `[`+roleA+`]`, good))
		refused(t, master, creates(clusterOverride("new", `[`+roleA+`]`, bad(`[`+removeWithValue+`, `+typeMeta+`, {op: add, path: /metadata/labels//a, value: b}]`))),
			"the resource has been selected by both new and existing, which is not supported", "only labelSelector is supported",
			"remove operation cannot have value", "cannot override typeMeta fields", "path cannot contain empty string")
	})
	t.Run("selectors, later", func(t *testing.T) { // contract:246
		is := given(t, clusterOverride("is", `[`+roleA+`]`, good))
		refused(t, master, patches(is, inSpec(t, `[`+roleA+`, `+labelled+`, `+roleA+`, `+nameless+`]`, "clusterResourceSelectors", good)), wrongSelectors...)
	})
	t.Run("a resource that is selected already, and bad rules, later", func(t *testing.T) { // contract:247
		given(t, clusterOverride("other", `[`+roleA+`]`, good))
		is := given(t, clusterOverride("is", `[`+roleB+`]`, good))
		refused(t, master, patches(is, inSpec(t, `[`+roleA+`]`, "clusterResourceSelectors", bad(`[`+typeMeta+`, {op: add, path: "", value: b}]`))),
			"the resource has been selected by both is and other, which is not supported", "only labelSelector is supported",
			"cannot override typeMeta fields", "path cannot be empty")
	})
	t.Run("the 101st", func(t *testing.T) { // contract:244
		for n := range 100 {
			role := fmt.Sprintf(`[{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: r%d}]`, n)
			given(t, clusterOverride(fmt.Sprintf("of-many-%d", n), role, good))
		}
		refused(t, master, creates(clusterOverride("one-more", `[`+roleA+`]`, good)),
			"clusterResourceOverride limit has been reached: at most 100 cluster resources can be created")
	})
}

func TestWrongOverridesAreRefused(t *testing.T) {
	removeWithValue := `{op: remove, path: /metadata/labels/a, value: b}`
	t.Run("a resource that is selected already, and bad patches", func(t *testing.T) { // contract:248
		given(t, override("existing", `[`+deployA+`]`, good))
		refused(t, master, creates(override("new", `[`+deployA+`]`, `[{`+everywhere+`, jsonPatchOverrides: [`+removeWithValue+
			`, {op: replace, path: /apiVersion, value: v2}, {op: add, path: /spec//a, value: b}]}]`)),
			"the resource has been selected by both new and existing, which is not supported", "remove operation cannot have value",
			"cannot override typeMeta fields", "path cannot contain empty string")
	})
	t.Run("the same selector again", func(t *testing.T) { // contract:249
		is := given(t, override("is", `[`+deployA+`]`, good))
		refused(t, master, patches(is, inSpec(t, `[`+deployA+`, `+deployA+`]`, "resourceSelectors", good)), "already exists, and must be unique")
	})
	t.Run("another's resource, and bad rules", func(t *testing.T) { // contract:250
		given(t, override("other", `[`+deployA+`]`, good))
		is := given(t, override("is", `[`+deployB+`]`, good))
		refused(t, master, patches(is, inSpec(t, `[`+deployA+`]`, "resourceSelectors", bad(`[`+removeWithValue+
			`, {op: add, path: /status/phase, value: b}, {op: add, path: /spec//a, value: b}, {op: replace, path: /metadata/name, value: b}]`))),
			"the resource has been selected by both is and other, which is not supported", "only labelSelector is supported",
			"remove operation cannot have value", "cannot override status fields", "path cannot contain empty string",
			"cannot override metadata fields except annotations and labels")
	})
}

func podBudget(namespace, name string) *unstructured.Unstructured {
	return object(fmt.Sprintf("{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {namespace: %s, name: %s}, "+
		"spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}", namespace, name))
}

func TestObjectsOfPods(t *testing.T) {
	t.Run("a budget of the cluster's own", func(t *testing.T) { // contract:251
		given(t, podBudget("kube-system", "masters"))
	})
	for name, obj := range map[string]*unstructured.Unstructured{
		"a budget":      podBudget("default", "masters"),
		"a pod":         pod("default", "masters"),
		"a replica set": replicaSet("default", "masters"),
	} {
		t.Run(name+" of users", func(t *testing.T) {
			refused(t, master, creates(obj), obj.GetKind()+" cannot be directly created in the hub cluster")
		})
	}
}

func TestWrongEvictionsAreRefused(t *testing.T) {
	given(t, placement("fixed", `{`+selectors+`, policy: {placementType: PickFixed, clusterNames: [m1]}}`))
	given(t, placement("everywhere", `{`+selectors+`}`))
	const eviction = `{apiVersion: ` + placements + `, kind: ClusterResourcePlacementEviction, metadata: {name: e}, spec: {placementName: %s, clusterName: m1}}`
	refused(t, master, creates(object(fmt.Sprintf(eviction, "fixed"))))
	if err := creates(object(fmt.Sprintf(eviction, "none")))(t.Context(), master, true); err != nil {
		t.Errorf("an eviction without a placement: %v", err)
	}
	const budget = `{apiVersion: ` + placements + `, kind: ClusterResourcePlacementDisruptionBudget, metadata: {name: everywhere}, spec: %s}`
	refused(t, master, creates(object(fmt.Sprintf(budget, `{maxUnavailable: 1}`))))
	refused(t, master, creates(object(fmt.Sprintf(budget, `{minAvailable: 50%}`))))
	b := given(t, object(fmt.Sprintf(budget, `{minAvailable: 1}`)))
	refused(t, master, patches(b, `{"spec": {"minAvailable": "50%"}}`))
}

// What is wrong in a stored object does not keep its labels from being changed, or the object from being deleted.
func TestMetadataIsNotValidated(t *testing.T) {
	restart(t, hubAgent(map[string]any{"enableWebhook": false, "enableGuardRail": false}), withoutWebhooks)
	wrong := clusterOverride("wrong", `[`+labelled+`]`, good)
	given(t, wrong)
	restart(t, hubAgent(nil), inForce)
	allowed(t, master, patches(wrong, `{"metadata": {"labels": {"a": "b"}}}`))
	refused(t, master, patches(wrong, inSpec(t, `[`+labelled+`, `+nameless+`]`, "clusterResourceSelectors", good)))
	allowed(t, master, patches(wrong, inSpec(t, `[`+roleA+`]`, "clusterResourceSelectors", good)))
	allowed(t, master, deletes(wrong))
}
