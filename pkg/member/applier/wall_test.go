package applier

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// A Work of a namespaced placement touches objects of that namespace only, and no Work touches what is the cluster's
// or the agent's own: the second wall, behind what the hub lets through.
func TestWallOnTheMember(t *testing.T) {
	w := newWorld(t, func(a *Applier) {
		a.Wall = apply.Wall{Agent: types.NamespacedName{Namespace: "walled-agent", Name: "walled-sa"}, Token: types.NamespacedName{Namespace: "walled", Name: "token"}}
	})
	w.onMember(namespaceText("walled"))
	w.onMember(namespaceText("walled-other"))
	admin := `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: walled-mallory},
	  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]}`

	tenants := &v1beta1.Work{}
	tenants.Namespace, tenants.Name, tenants.Finalizers = w.namespace, "tenants", []string{contract.FinalizerWork}
	tenants.Labels = map[string]string{contract.LabelPlacementNamespace: "walled"}
	tenants.Spec.Workload.Manifests = w.manifests([]string{
		configMap("walled", "mine", "a"), configMap("walled-other", "theirs", "a"), admin, namespaceText("walled-new"), configMap("kube-system", "planted", "a"),
	})
	w.must(w.hub.Create(t.Context(), tenants))
	w.refused("tenants", "", "it is in namespace walled-other", "it is cluster-scoped", "it is cluster-scoped", "it is in namespace kube-system")

	w.work("wide", nil, configMap("walled", "wide", "a"), configMap("kube-system", "planted", "a"), configMap("fleet-system", "planted", "a"),
		configMap("walled-agent", "planted", "a"), `{apiVersion: v1, kind: Secret, metadata: {namespace: walled, name: token}, stringData: {token: x}}`,
		`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: walled-role}}`,
		`{apiVersion: placement.kubernetes-fleet.io/v1beta1, kind: AppliedWork, metadata: {name: tenants}, spec: {workName: x, workNamespace: y}}`)
	w.refused("wide", "", "rbac.openNamespaces", "rbac.openNamespaces", "rbac.openNamespaces", "credentials", "access to its cluster", "ledger")

	w.present("v1 ConfigMap walled/mine")
	w.present("v1 ConfigMap walled/wide")
	for _, ref := range []string{"v1 ConfigMap walled-other/theirs", "v1 ConfigMap kube-system/planted", "v1 Namespace walled-new", "v1 Secret walled/token",
		"rbac.authorization.k8s.io/v1 ClusterRoleBinding walled-mallory", "rbac.authorization.k8s.io/v1 ClusterRole walled-role"} {
		w.gone(ref)
	}
}

// Comparing is touching too: a tenant's Work shows nothing of other namespaces, and nothing of a Secret.
func TestWallAroundComparisons(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("spied"))
	w.onMember(`{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: spied, annotations: {copy: MARK-swordfish}}, stringData: {a: MARK-hunter2}}`)
	spy := &v1beta1.Work{}
	spy.Namespace, spy.Name, spy.Finalizers = w.namespace, "spy", []string{contract.FinalizerWork}
	spy.Labels = map[string]string{contract.LabelPlacementNamespace: "spying"}
	spy.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff, ComparisonOption: v1beta1.ComparisonOptionFullComparison}
	secret := `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"spied"}}`
	spy.Spec.Workload.Manifests = []v1beta1.Manifest{twoReadings(secret),
		twoReadings(`{"apiVersion":"v1","kind":"ConfigMap","Kind":"Secret","metadata":{"name":"s","namespace":"spied"}}`)}
	w.must(w.hub.Create(t.Context(), spy))
	w.eventually("the comparison to be refused", func() error { return w.diffed("spy") })
	own := &v1beta1.Work{}
	own.Namespace, own.Name, own.Finalizers = w.namespace, "own", []string{contract.FinalizerWork}
	own.Spec = *spy.Spec.DeepCopy()
	w.must(w.hub.Create(t.Context(), own))
	w.eventually("the comparison to be reported", func() error { return w.diffed("own") })
	for _, name := range []string{"spy", "own"} {
		text := jsonText(t, w.readWork(name).Status)
		for _, mark := range []string{"MARK", "TUFSSy"} { // the second is how base64 begins
			if strings.Contains(text, mark) {
				t.Errorf("work %s shows a Secret: %s", name, text)
			}
		}
	}
	if details := w.readWork("spy").Status.ManifestConditions; details[0].DiffDetails != nil {
		t.Errorf("details of another namespace: %s", jsonText(t, details))
	}
}

func twoReadings(raw string) v1beta1.Manifest {
	return v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(raw)}}
}

// refused waits until the Work's manifests are reported: as applied, where want is empty, or as not applied with a
// message that contains it.
func (w *world) refused(name string, want ...string) {
	w.Helper()
	w.settled(name, no, "")
	w.eventually("work "+name+" to be refused", func() error {
		work := w.readWork(name)
		if len(work.Status.ManifestConditions) != len(want) {
			return fmt.Errorf("%d manifests are reported; want %d", len(work.Status.ManifestConditions), len(want))
		}
		for i, m := range work.Status.ManifestConditions {
			c := delivery.Current(m.Conditions, v1beta1.ConditionApplied, work.Generation)
			if c == nil {
				c = &m.Conditions[0]
			}
			if applied := want[i] == ""; applied != (c.Status == yes) || !strings.Contains(c.Message, want[i]) {
				return fmt.Errorf("manifest %d: %s %q; want %q", i, c.Status, c.Message, want[i])
			}
		}
		return nil
	})
}

// diffed is an error until the Work's comparison is reported.
func (w *world) diffed(name string) error {
	work := w.readWork(name)
	if delivery.Current(work.Status.Conditions, v1beta1.ConditionDiffReported, work.Generation) == nil {
		return errors.New("not yet")
	}
	return nil
}

func jsonText(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
