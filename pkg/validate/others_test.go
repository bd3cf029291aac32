package validate

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestUpdateRun(t *testing.T) {
	index := func(text string) []string {
		return []string{`spec.resourceSnapshotIndex: Invalid value: "` + text + `": spec.resourceSnapshotIndex "` + text + `" is not a number from 0`}
	}
	for name, tc := range map[string]struct {
		spec v1beta1.UpdateRunSpec
		want []string
	}{
		"the resources as they are": {v1beta1.UpdateRunSpec{}, nil},
		"an index":                  {v1beta1.UpdateRunSpec{ResourceSnapshotIndex: "0"}, nil},
		"a negative index":          {v1beta1.UpdateRunSpec{ResourceSnapshotIndex: "-1"}, index("-1")},
		"no index":                  {v1beta1.UpdateRunSpec{ResourceSnapshotIndex: "latest"}, index("latest")},
		"an earlier run":            {v1beta1.UpdateRunSpec{ResumeFrom: "before"}, nil},
		"itself": {v1beta1.UpdateRunSpec{ResumeFrom: "run"}, []string{`spec.resumeFrom: Invalid value: "run": that is the run itself; ` +
			"name an earlier run of the placement that has ended without finishing"}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, UpdateRun(&v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: "run"}, Spec: tc.spec}), tc.want...)
		})
	}
}

func TestUpdateStrategy(t *testing.T) {
	approval := v1beta1.StageTask{Type: v1beta1.StageTaskApproval}
	wait := func(d time.Duration) v1beta1.StageTask {
		return v1beta1.StageTask{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: d}}
	}
	late := approval
	late.WaitTime = &metav1.Duration{Duration: time.Hour}
	many := ptr.To(intstr.FromString("many"))
	noLimit := `"many" is neither a number nor a percentage; set it to one, such as 2 or 25%`
	for name, tc := range map[string]struct {
		stages []v1beta1.StageConfig
		policy *v1beta1.FailurePolicy
		want   []string
	}{
		"no stages": {nil, nil, nil},
		"stages": {[]v1beta1.StageConfig{
			{Name: "a", LabelSelector: &metav1.LabelSelector{}, MaxConcurrency: ptr.To(intstr.FromString("10%")), BeforeStageTasks: []v1beta1.StageTask{approval},
				AfterStageTasks: []v1beta1.StageTask{wait(time.Second), late}},
			{Name: "b", FailureBudget: ptr.To(intstr.FromInt32(1))}}, &v1beta1.FailurePolicy{FailureBudget: ptr.To(intstr.FromString("5%"))}, nil},
		"one name for two": {[]v1beta1.StageConfig{{Name: "a"}, {Name: "b"}, {Name: "a"}}, nil, []string{
			`spec.stages[2].name: Invalid value: "a": the update strategy has two stages named a; give each a name of its own`}},
		"several tasks before": {[]v1beta1.StageConfig{{Name: "a", BeforeStageTasks: []v1beta1.StageTask{approval, approval}}}, nil, []string{
			"spec.stages[0].beforeStageTasks: Invalid value: 2: stage a has 2 beforeStageTasks; one is allowed"}},
		"an approval that waits before": {[]v1beta1.StageConfig{{Name: "a", BeforeStageTasks: []v1beta1.StageTask{late}}}, nil, []string{
			`spec.stages[0].beforeStageTasks[0]: Invalid value: {"type":"Approval","waitTime":"1h0m0s"}: beforeStageTasks of stage a: only an Approval without waitTime is allowed`}},
		"a wait before": {[]v1beta1.StageConfig{{Name: "a", BeforeStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskTimedWait}}}}, nil, []string{
			`spec.stages[0].beforeStageTasks[0]: Invalid value: {"type":"TimedWait"}: beforeStageTasks of stage a: only an Approval without waitTime is allowed`}},
		"two of a type after": {[]v1beta1.StageConfig{{Name: "a", AfterStageTasks: []v1beta1.StageTask{approval, approval}}}, nil, []string{
			`spec.stages[0].afterStageTasks[1].type: Invalid value: "Approval": afterStageTasks of stage a: two of type Approval`}},
		"a wait of nothing": {[]v1beta1.StageConfig{{Name: "a", AfterStageTasks: []v1beta1.StageTask{wait(0)}}}, nil, []string{
			`spec.stages[0].afterStageTasks[0].waitTime: Invalid value: "0s": afterStageTasks of stage a: the waitTime of a TimedWait must be more than 0`}},
		"a wait without time": {[]v1beta1.StageConfig{{Name: "a", AfterStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskTimedWait}}}}, nil, []string{
			"spec.stages[0].afterStageTasks[0].waitTime: Invalid value: null: afterStageTasks of stage a: the waitTime of a TimedWait must be more than 0"}},
		"a label selector": {[]v1beta1.StageConfig{{Name: "a", LabelSelector: inNothing}}, nil, []string{
			"spec.stages[0].labelSelector: Invalid value: labelSelector of stage a: matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		"limits": {[]v1beta1.StageConfig{{Name: "a", MaxConcurrency: many, FailureBudget: many}}, &v1beta1.FailurePolicy{FailureBudget: many}, []string{
			`spec.stages[0].maxConcurrency: Invalid value: "many": maxConcurrency of stage a: ` + noLimit,
			`spec.stages[0].failureBudget: Invalid value: "many": failureBudget of stage a: ` + noLimit,
			`spec.failurePolicy.failureBudget: Invalid value: "many": failureBudget of the failurePolicy: ` + noLimit,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, UpdateStrategy(&v1beta1.UpdateStrategySpec{Stages: tc.stages, FailurePolicy: tc.policy}), tc.want...)
		})
	}
}

func TestEviction(t *testing.T) {
	fixed := picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed})
	leaving := narrow(fixed)
	leaving.DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
	for name, tc := range map[string]struct {
		placement v1beta1.PlacementObject
		want      []string
	}{
		"no placement":        {nil, nil},
		"every cluster":       {wide(v1beta1.PlacementSpec{}), nil},
		"named clusters":      {wide(fixed), []string{`spec.placementName: Invalid value: "p": Found ClusterResourcePlacement with PickFixed placement type targeted by eviction`}},
		"one being deleted":   {leaving, []string{`spec.placementName: Invalid value: "p": Found deleting ResourcePlacement targeted by eviction`}},
		"some of the cluster": {narrow(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN})), nil},
	} {
		t.Run(name, func(t *testing.T) { check(t, Eviction(tc.placement), tc.want...) })
	}
}

func TestDisruptionBudget(t *testing.T) {
	number, share := ptr.To(intstr.FromInt32(1)), ptr.To(intstr.FromString("10%"))
	most := func(v *intstr.IntOrString) v1beta1.PlacementDisruptionBudgetSpec {
		return v1beta1.PlacementDisruptionBudgetSpec{MaxUnavailable: v}
	}
	least := func(v *intstr.IntOrString) v1beta1.PlacementDisruptionBudgetSpec {
		return v1beta1.PlacementDisruptionBudgetSpec{MinAvailable: v}
	}
	all, some := wide(v1beta1.PlacementSpec{}), wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}))
	for name, tc := range map[string]struct {
		budget    v1beta1.PlacementDisruptionBudgetSpec
		placement v1beta1.PlacementObject
		want      []string
	}{
		"no placement":                        {most(share), nil, nil},
		"a share of a number of clusters":     {most(share), some, nil},
		"so many of all stay":                 {least(number), all, nil},
		"a share of all stays":                {least(share), all, []string{`spec.minAvailable: Invalid value: "10%": ClusterResourcePlacement p has placement type PickAll, which wants no number of clusters; set it to a number`}},
		"so many of all go":                   {most(number), all, []string{"spec.maxUnavailable: Forbidden: ClusterResourcePlacement p has placement type PickAll, which wants no number of clusters; set minAvailable to a number instead"}},
		"so many of all go, with a namespace": {most(number), narrow(v1beta1.PlacementSpec{}), []string{"spec.maxUnavailable: Forbidden: ResourcePlacement p has placement type PickAll, which wants no number of clusters; set minAvailable to a number instead"}},
	} {
		t.Run(name, func(t *testing.T) {
			created := &v1beta1.ClusterResourcePlacementDisruptionBudget{Spec: tc.budget}
			check(t, DisruptionBudget(created.GetSpec(), tc.placement), tc.want...)
			check(t, DisruptionBudgetUpdate(&v1beta1.ClusterResourcePlacementDisruptionBudget{}, created, tc.placement), tc.want...)
			annotated := created.DeepCopy()
			annotated.Annotations = map[string]string{"a": "b"}
			check(t, DisruptionBudgetUpdate(created, annotated, tc.placement))
		})
	}
}

func TestMemberCluster(t *testing.T) {
	tainted := func(list ...clusterv1beta1.Taint) *clusterv1beta1.MemberCluster {
		return &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: clusterv1beta1.MemberClusterSpec{Taints: list}}
	}
	leaving := tainted(clusterv1beta1.Taint{Key: "key@1234:"})
	leaving.DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
	key := []string{`spec.taints[0].key: Invalid value: "key@1234:": ` + badKey}
	for name, tc := range map[string]struct {
		old, new *clusterv1beta1.MemberCluster
		want     []string
	}{
		"taints":              {tainted(), tainted(clusterv1beta1.Taint{Key: "a"}, clusterv1beta1.Taint{Key: "a", Value: "b"}), nil},
		"a key":               {tainted(), tainted(clusterv1beta1.Taint{Key: "key@1234:"}), key},
		"a value":             {tainted(), tainted(clusterv1beta1.Taint{Key: "a", Value: "a b"}), []string{`spec.taints[0].value: Invalid value: "a b": ` + badValue}},
		"a taint, twice":      {tainted(), tainted(clusterv1beta1.Taint{Key: "a"}, clusterv1beta1.Taint{Key: "a"}), []string{`spec.taints[1]: Duplicate value: {"key":"a","effect":""}`}},
		"taints there were":   {tainted(clusterv1beta1.Taint{Key: "key@1234:"}), tainted(clusterv1beta1.Taint{Key: "key@1234:"}), nil},
		"one that is leaving": {tainted(), leaving, nil},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, MemberClusterUpdate(tc.old, tc.new), tc.want...)
			if len(tc.want) > 0 {
				check(t, MemberCluster(tc.new), tc.want...)
			}
		})
	}
	dotted, longest := tainted(), tainted()
	dotted.Name, longest.Name = "a.b", strings.Repeat("m", 63-len("fleet-member-"))
	check(t, MemberCluster(longest))
	check(t, MemberCluster(dotted), `metadata.name: Invalid value: "a.b": the hub keeps a namespace fleet-member-a.b for the cluster, whose name is not valid: `+
		validation.IsDNS1123Label("a.b")[0])
}

func TestMemberClusterDeletion(t *testing.T) {
	strict, skip := &clusterv1beta1.MemberCluster{}, &clusterv1beta1.MemberCluster{}
	skip.Spec.DeleteOptions = &clusterv1beta1.DeleteOptions{ValidationMode: clusterv1beta1.DeleteValidationModeSkip}
	check(t, MemberClusterDeletion(strict, nil))
	check(t, MemberClusterDeletion(skip, []string{"app-web"}))
	check(t, MemberClusterDeletion(strict, []string{"app-web", "app-db"}), "spec.deleteOptions.validationMode: Forbidden: the cluster exports services to the fleet: "+
		"app-web, app-db; delete its ServiceExports, or set the mode to Skip")
}

func TestHubObject(t *testing.T) {
	for namespace, want := range map[string][]string{
		"kube-system": nil, "fleet-member-m": nil,
		"default": {"metadata.namespace: Forbidden: Pod cannot be directly created in the hub cluster, which runs no workloads of users; " +
			"create it on a member cluster, or place what makes it there"},
	} {
		check(t, HubObject("Pod", namespace), want...)
	}
}

func TestEnvelope(t *testing.T) {
	const role, cm = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"r"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"app","name":"cm"}}`
	of := func(namespace, name, entry string) v1beta1.EnvelopeObject {
		meta, data := metav1.ObjectMeta{Namespace: namespace, Name: name}, map[string]runtime.RawExtension{"e": {Raw: []byte(entry)}}
		if namespace == "" {
			return &v1beta1.ClusterResourceEnvelope{ObjectMeta: meta, Data: data}
		}
		return &v1beta1.ResourceEnvelope{ObjectMeta: meta, Data: data}
	}
	bad := func(problem string) []string { return []string{"data[e]: Invalid value: " + problem} }
	for name, tc := range map[string]struct {
		envelope v1beta1.EnvelopeObject
		want     []string
	}{
		"a cluster-scoped object":  {of("", "e", role), nil},
		"a namespaced object":      {of("app", "e", cm), nil},
		"one with a name to come":  {of("app", "e", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"app","generateName":"cm-"}}`), nil},
		"a long name":              {of("", long, role), []string{"metadata.name: Too long: the name is longer than 63 characters: give the envelope a shorter one"}},
		"nothing":                  {of("", "e", `{"kind":"A"}`), bad("has no apiVersion or no kind")},
		"no object":                {of("", "e", `[]`), bad("is not a Kubernetes object: it must not be a list")},
		"an object of a namespace": {of("", "e", cm), bad("ConfigMap app/cm is in a namespace: use a ResourceEnvelope in that namespace")},
		"one of no namespace":      {of("app", "e", role), bad("ClusterRole r has no namespace: set it to app, or use a ClusterResourceEnvelope if its kind is cluster-scoped")},
		"one of another namespace": {of("web", "e", cm), bad("ConfigMap app/cm must be in the envelope's own namespace web")},
		"an apiVersion":            {of("", "e", `{"apiVersion":"a/b/c","kind":"A"}`), bad(`apiVersion "a/b/c" is not of the form group/version`)},
		"a kind":                   {of("", "e", `{"apiVersion":"v1","kind":"A B"}`), bad(`kind "A B": ` + validation.IsDNS1035Label("a b")[0])},
		"metadata": {of("", "e", `{"apiVersion":"v1","kind":"A","metadata":{"labels":{"a":"a b"}}}`),
			bad(`metadata.labels: Invalid value: "a b": ` + badValue)},
	} {
		t.Run(name, func(t *testing.T) { check(t, Envelope(tc.envelope), tc.want...) })
	}
}
