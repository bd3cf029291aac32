package which

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// owned is an object as it is on a member: applied, scaled by an autoscaler, edited by hand, with a status.
const owned = `
apiVersion: apps/v1
kind: Deployment
metadata:
  namespace: shop
  name: web
  annotations:
    kubernetes-fleet.io/placed-by-hub: https://hub.example:6443
    kubernetes-fleet.io/placed-by: web
    kubernetes-fleet.io/placed-revision: web-3-snapshot
    kubernetes-fleet.io/placed-overrides: small-0,region-2
    kubernetes-fleet.io/last-applied-configuration: |
      {"metadata":{"labels":{"app":"web"}},"spec":{"template":{"spec":{"containers":[{"name":"main","image":"web:1","ports":[{"containerPort":80}]}]}}}}
  managedFields:
  - {manager: work-api-agent, operation: Update, time: "2026-01-01T10:00:00Z", fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:labels": {"f:app": {}}}}}
  - {manager: kubectl-edit, operation: Update, time: "2026-01-01T10:05:00Z", fieldsType: FieldsV1,
     fieldsV1: {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:image": {}}}}}}}}
  - {manager: autoscaler, operation: Update, subresource: scale, time: "2026-01-01T10:07:00Z", fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:replicas": {}}}}
  - {manager: controller, operation: Update, subresource: status, time: "2026-01-01T10:08:00Z", fieldsType: FieldsV1, fieldsV1: {"f:status": {"f:replicas": {}}}}
`

func TestWhichExplains(t *testing.T) {
	var obj unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(owned), &obj.Object); err != nil {
		t.Fatal(err)
	}
	ledger := &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: "web-work"},
		Spec: v1beta1.AppliedWorkSpec{WorkName: "web-work", WorkNamespace: "fleet-member-c1"}}
	now := time.Date(2026, 1, 1, 10, 10, 0, 0, time.UTC)
	said := func(format string, a ...answer) string {
		t.Helper()
		var out strings.Builder
		if err := printAnswers(&out, format, a, now); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	const want = `Deployment shop/web
  Placement  web
  Hub        https://hub.example:6443
  Snapshot   web-3-snapshot
  Overrides  small-0, region-2
  Work       fleet-member-c1/web-work
  Applied    2026-01-01T10:00:00Z (10m ago)
  Also set   by autoscaler (scale), 2026-01-01T10:07:00Z (3m ago): spec.replicas
  Drifted    by kubectl-edit, 2026-01-01T10:05:00Z (5m ago): spec.template.spec.containers[name="main"].image
`
	if got := said("", answerOf(&obj, ledger)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := said("", answerOf(&obj, nil)); !strings.Contains(got, "No fleet placed it") {
		t.Errorf("of an object that nobody placed: %s", got)
	}
	for format, want := range map[string]string{"json": `"snapshot": "web-3-snapshot"`, "yaml": "snapshot: web-3-snapshot"} {
		if got := said(format, answerOf(&obj, ledger)); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q:\n%s", format, want, got)
		}
	}
	bare := obj.DeepCopy()
	bare.SetAnnotations(nil)
	bare.SetManagedFields(nil)
	if got := said("", answerOf(bare, ledger)); !strings.Contains(got, "Placement  unknown (applied by an older agent)\n") ||
		!strings.Contains(got, "Changes    no changes by other managers\n") {
		t.Errorf("of what an older agent applied: %s", got)
	}
	ledger.Status.Conditions = []metav1.Condition{{Type: "Held", Status: metav1.ConditionTrue, Message: "because"}}
	if got := said("", answerOf(&obj, ledger)); !strings.Contains(got, "Held       because") {
		t.Errorf("it does not say that it is held:\n%s", got)
	}
}

// The command finds objects as kubectl does, and what owns them.
func TestWhichOnACluster(t *testing.T) {
	cluster := testworld.StartCluster(t, testworld.ClusterOptions{Name: "member", CRDs: []string{testworld.MemberCRDs}})
	create := func(obj client.Object) {
		t.Helper()
		if err := cluster.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	ledger := &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: "web-work"},
		Spec: v1beta1.AppliedWorkSpec{WorkName: "web-work", WorkNamespace: "fleet-member-c1"}}
	create(ledger)
	placed, theirs := testworld.ConfigMap("default", "test"), testworld.ConfigMap("default", "test")
	placed.Name, theirs.Name = "placed", "theirs"
	placed.Annotations = map[string]string{contract.AnnotationPlacedBy: "web", contract.AnnotationPlacedRevision: "web-3-snapshot"}
	placed.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1beta1.GroupVersion.String(), Kind: "AppliedWork", Name: ledger.Name, UID: ledger.UID}}
	create(placed)
	create(theirs)
	run := func(args ...string) (string, error) {
		var out strings.Builder
		cmd := NewCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out})
		cmd.SetArgs(append(args, "--kubeconfig", cluster.Kubeconfig))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"configmap", "placed"}, []string{"ConfigMap default/placed", "web-3-snapshot", "fleet-member-c1/web-work", "Also set"}},
		{[]string{"cm/placed", "cm/theirs", "-n", "default"}, []string{"default/placed", "default/theirs", "No fleet placed it"}},
		{[]string{"cm/placed", "-o", "json"}, []string{`"placement": "web"`}},
	} {
		got, err := run(tc.args...)
		if err != nil {
			t.Fatalf("%v: %v", tc.args, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v lacks %q:\n%s", tc.args, want, got)
			}
		}
	}
	// What is there is explained, what is not is said.
	if got, err := run("cm/placed", "cm/missing"); err == nil || !strings.Contains(err.Error(), "missing") || !strings.Contains(got, "default/placed") {
		t.Errorf("of a missing object: %v\n%s", err, got)
	}
	if _, err := run("cm/placed", "-o", "xml"); err == nil || !strings.Contains(err.Error(), "json or yaml") {
		t.Errorf("of an unknown format: %v", err)
	}
}
