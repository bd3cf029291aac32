package selection

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func contains(kinds []schema.GroupKind, o *unstructured.Unstructured) bool {
	return slices.Contains(kinds, o.GroupVersionKind().GroupKind())
}

// Objects that stay on the hub because each cluster has its own, each with a similar object that is propagated.
func TestOwn(t *testing.T) {
	for _, tc := range []struct {
		row, stays, travels string
	}{
		{"ConfigMap `kube-root-ca.crt`", "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: app, name: kube-root-ca.crt}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {namespace: app, name: ca.crt}}"},
		{"ServiceAccount `default`", "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: app, name: default}}",
			"{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: app, name: builder}}"},
		{"ReplicaSets and ControllerRevisions with an owner",
			"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {namespace: app, name: r, ownerReferences: [{kind: Deployment}]}}",
			"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {namespace: app, name: r}}"},
		{"Jobs of a CronJob",
			"{apiVersion: batch/v1, kind: Job, metadata: {namespace: app, name: j, ownerReferences: [{apiVersion: batch/v1, kind: CronJob}]}}",
			"{apiVersion: batch/v1, kind: Job, metadata: {namespace: app, name: j, ownerReferences: [{apiVersion: example.com/v1, kind: CronJob}]}}"},
		{"what a Pod or a Node controls", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: app, name: web-scratch, " +
			"ownerReferences: [{apiVersion: v1, kind: Pod, name: web, controller: true}]}}",
			"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: app, name: web-scratch, ownerReferences: " +
				"[{apiVersion: v1, kind: Pod, name: web}]}}"},
		{"EndpointSlices managed by `endpointslice-controller.k8s.io` or `endpointslicemirroring-controller.k8s.io`",
			"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: app, name: s, labels: " +
				"{endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}}",
			"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: app, name: s, labels: " +
				"{endpointslice.kubernetes.io/managed-by: cluster-admins}}}"},
		{"Endpoints of a Service with a selector", "{apiVersion: v1, kind: Endpoints, metadata: {namespace: app, name: e, labels: " +
			"{endpoints.kubernetes.io/managed-by: endpoint-controller}}, subsets: [{addresses: [{ip: 192.0.2.1}]}]}",
			"{apiVersion: v1, kind: Endpoints, metadata: {namespace: app, name: e}, subsets: [{addresses: [{ip: 192.0.2.1}]}]}"},
		{"Endpoints without an address, or with one of a pod",
			"{apiVersion: v1, kind: Endpoints, metadata: {namespace: app, name: e}, subsets: [{addresses: [{ip: 10.0.0.1, targetRef: {kind: Pod}}]}]}",
			"{apiVersion: v1, kind: Endpoints, metadata: {namespace: app, name: e}, subsets: [{notReadyAddresses: [{ip: 192.0.2.1}]}]}"},
		{"Endpoints without an address, or with one of a pod", "{apiVersion: v1, kind: Endpoints, metadata: {namespace: app, name: e}}", ""},
		{"ConfigMaps and Endpoints that are locks of leader election", "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: app, " +
			"name: lock, annotations: {control-plane.alpha.kubernetes.io/leader: '{}'}}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {namespace: app, name: lock, annotations: {a: b}}}"},
		{"Secrets of type `kubernetes.io/service-account-token`",
			"{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {namespace: app, name: s}}",
			"{apiVersion: v1, kind: Secret, type: Opaque, metadata: {namespace: app, name: s}}"},
		{"PersistentVolumes that were provisioned for a claim of the hub", "{apiVersion: v1, kind: PersistentVolume, metadata: " +
			"{name: pvc-u, annotations: {pv.kubernetes.io/provisioned-by: p}}, spec: {claimRef: {uid: u}}}",
			"{apiVersion: v1, kind: PersistentVolume, metadata: {name: mine, annotations: {pv.kubernetes.io/provisioned-by: p}}, " +
				"spec: {claimRef: {uid: u}}}"},
		{"RBAC objects labelled `kubernetes.io/bootstrapping`, ClusterRoles and ClusterRoleBindings `system:*`",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: view, labels: {kubernetes.io/bootstrapping: rbac-defaults}}}",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: view}}"},
		{"RBAC objects labelled `kubernetes.io/bootstrapping`, ClusterRoles and ClusterRoleBindings `system:*`",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:metrics'}}",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {namespace: app, name: 'system:metrics'}}"},
		{"PriorityClasses `system-*`", "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: system-node-critical}}",
			"{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}}"},
		{"FlowSchemas and PriorityLevelConfigurations that the API server keeps up to date", "{apiVersion: flowcontrol.apiserver.k8s.io/v1, " +
			"kind: FlowSchema, metadata: {name: exempt, annotations: {apf.kubernetes.io/autoupdate-spec: 'true'}}}",
			"{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: probes, annotations: " +
				"{apf.kubernetes.io/autoupdate-spec: 'false'}}}"},
		{"APIServices labelled `kube-aggregator.kubernetes.io/automanaged`", "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, " +
			"metadata: {name: v1.apps, labels: {kube-aggregator.kubernetes.io/automanaged: onstart}}}",
			"{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.example.com}}"},
		{"ServiceCIDR `kubernetes`", "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}}",
			"{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}}"},
		{"the fleet's own CustomResourceDefinitions", "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: " +
			"{name: works.placement.kubernetes-fleet.io}}",
			"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: testresources.test.kubernetes-fleet.io}}"},
		{"cluster-scoped objects labelled `app.kubernetes.io/part-of: flagship`", "{apiVersion: rbac.authorization.k8s.io/v1, " +
			"kind: ClusterRole, metadata: {name: hub-agent-role, labels: {app.kubernetes.io/part-of: flagship}}}",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {namespace: app, name: mine, labels: " +
				"{app.kubernetes.io/part-of: flagship}}}"},
	} {
		t.Run(tc.row, func(t *testing.T) {
			at := slices.IndexFunc(owns, func(row own) bool { return row.objects == tc.row })
			if at < 0 {
				t.Fatal("no such row")
			}
			if why := stays(t, tc.stays); why != owns[at].why {
				t.Errorf("it stays because %q, want %q", why, owns[at].why)
			}
			if tc.travels != "" && stays(t, tc.travels) != "" {
				t.Errorf("its neighbour stays because %q", stays(t, tc.travels))
			}
		})
	}
	for _, row := range owns {
		if strings.Contains(row.why, "; ") {
			t.Errorf("%q: what follows a semicolon is not in the event", row.why)
		}
	}
}

// stays returns why an object is not propagated, by its metadata or by its content.
func stays(t *testing.T, text string) string {
	t.Helper()
	content := object(t, text)
	seen := &Object{Namespace: content.GetNamespace(), Name: content.GetName(), Labels: content.GetLabels(), Owners: content.GetOwnerReferences()}
	if row := rules(t, Config{}).own(content.GroupVersionKind().GroupKind(), seen); row != nil {
		return row.why
	}
	why, _ := WhyLeftOut(content)
	return why
}

// Every row is in the docs, and has a test above.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/selection.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("own_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, row := range stripped {
		want = append(want, fmt.Sprintf("| %s | %s | %s |", kindsOf(row.kinds), row.fields, row.writer))
	}
	for _, row := range append(slices.Clone(owns), ownClaims) {
		want = append(want, fmt.Sprintf("| %s | %s |", row.objects, row.why))
		if row.objects != ownClaims.objects && !strings.Contains(string(source), `{"`+row.objects+`"`) {
			t.Errorf("no test for %s", row.objects)
		}
	}
	for _, line := range want {
		if !strings.Contains(string(raw), line+"\n") {
			t.Errorf("docs/selection.md lacks\n%s", line)
		}
	}
}

func kindsOf(kinds []schema.GroupKind) string {
	if len(kinds) == 0 {
		return "all"
	}
	var out []string
	for _, kind := range kinds {
		out = append(out, kind.Kind)
	}
	return strings.Join(out, ", ")
}

// A placement lists what stays on the hub if a selector names it, or if users create such objects, too.
func TestKept(t *testing.T) {
	yes := true
	var (
		root   = LeftOut{"ConfigMap app/kube-root-ca.crt", "every cluster has its own"}
		claim  = LeftOut{"PersistentVolumeClaim app/data", ownClaims.why}
		nodes  = LeftOut{"v1 Node", "every cluster has its own objects of this kind"}
		secret = LeftOut{"v1 Secret s", "the hub agent skips it (--skipped-propagating-apis)"}
		view   = LeftOut{"ClusterRole view", "every API server creates its own"}
		child  = LeftOut{"Deployment app/child", "its owner is selected, and creates it on every cluster"}
		job    = LeftOut{"Job app/x", "it does not exist, or its CronJob creates it on every cluster"}
	)
	for name, tc := range map[string]struct {
		namespace string
		terms     []v1beta1.ResourceSelectorTerm
		config    Config
		want      []LeftOut
	}{
		"what each namespace has is not worth a word":  {terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}},
		"unless it is named":                           {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "kube-root-ca.crt")}, want: []LeftOut{root}},
		"even if the hub agent does not keep it":       {namespace: "other", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "kube-root-ca.crt")}, want: []LeftOut{{"ConfigMap other/kube-root-ca.crt", root.Why}}},
		"by name, for the like of one":                 {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("batch", "v1", "Job", "x")}, want: []LeftOut{job}},
		"a claim of a hub with workloads":              {terms: []v1beta1.ResourceSelectorTerm{namespaced("app")}, config: Config{Workloads: true}, want: []LeftOut{claim}},
		"a kind that is never placed":                  {terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "Node", "")}, want: []LeftOut{nodes}},
		"a kind that the operator skips":               {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "Secret", "s")}, config: Config{SkippedAPIs: "v1/Secret"}, want: []LeftOut{secret}},
		"roles of the API server, all of them":         {terms: []v1beta1.ResourceSelectorTerm{term(rbacGroup, "v1", "ClusterRole", "")}},
		"roles of the API server, one of them":         {terms: []v1beta1.ResourceSelectorTerm{term(rbacGroup, "v1", "ClusterRole", "view")}, want: []LeftOut{view}},
		"a child beside its parent":                    {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("example.com", "v1", "Thing", ""), term("apps", "v1", "Deployment", "child")}, want: []LeftOut{child}},
		"a child that is not named beside its parent":  {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("example.com", "v1", "Thing", ""), term("apps", "v1", "Deployment", "")}},
		"an object that is not there is no more to it": {namespace: "app", terms: []v1beta1.ResourceSelectorTerm{term("", "v1", "ConfigMap", "absent")}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			h.put(claims, Object{Namespace: "app", Name: "data"})
			h.put(clusterRoles, Object{Name: "view", Labels: map[string]string{labelBootstrapping: "rbac-defaults"}})
			h.put(schema.GroupKind{Group: "example.com", Kind: "Thing"}, Object{Namespace: "app", Name: "parent"})
			h.put(deployments, Object{Namespace: "app", Name: "child", Owners: []metav1.OwnerReference{{UID: "Thing/app/parent", Controller: &yes}}})
			got, err := rules(t, tc.config).Select(tc.terms, tc.namespace, h)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.LeftOut, tc.want) {
				t.Errorf("left out %v, want %v", got.LeftOut, tc.want)
			}
		})
	}
}
