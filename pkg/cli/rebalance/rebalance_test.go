package rebalance

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"},"spec":{"replicas":10}}`

// hub has the placement web, divided over two clusters with these shares.
func hub(t *testing.T, policy *v1beta1.ReplicaPolicy, first, second int32) client.Client {
	t.Helper()
	p := testworld.ClusterPlacement("web", "shop", testworld.PickAll())
	p.UID, p.Spec.Policy.Replicas = "uid", policy
	step := snapshot.Resources(p, nil, snapshot.NewContent([]snapshot.Item{{Raw: []byte(deployment)}}), nil, time.Unix(0, 0))
	objects := []client.Object{p, step.Master}
	for cluster, share := range map[string]int32{"spoke-1": first, "spoke-2": second} {
		c := testworld.NewMemberCluster(cluster)
		c.Spec.HeartbeatPeriodSeconds = 600
		c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.Now()}}
		b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{
			Name: "web-" + cluster, Labels: map[string]string{contract.LabelPlacement: "web"},
			Annotations: map[string]string{contract.AnnotationPlacementUID: "uid"},
		}}
		b.Spec = v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateBound, TargetCluster: cluster, ResourceSnapshotName: step.Latest}
		b.Spec.Shares = []v1beta1.RevisionShares{{ResourceSnapshotName: step.Latest, Workloads: []v1beta1.ReplicaShare{
			{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", Replicas: share, Of: 10},
		}}}
		objects = append(objects, c, b)
	}
	return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...).Build()
}

func run(t *testing.T, c client.Client, dryRun bool) (string, error) {
	t.Helper()
	var out strings.Builder
	o := &Options{key: types.NamespacedName{Name: "web"}, dryRun: dryRun, IOStreams: genericiooptions.IOStreams{Out: &out}}
	err := o.rebalance(t.Context(), c)
	return out.String(), err
}

func token(t *testing.T, c client.Client) string {
	t.Helper()
	var p v1beta1.ClusterResourcePlacement
	if err := c.Get(t.Context(), client.ObjectKey{Name: "web"}, &p); err != nil {
		t.Fatal(err)
	}
	return p.Annotations[contract.AnnotationRebalance]
}

func TestRebalance(t *testing.T) {
	c := hub(t, &v1beta1.ReplicaPolicy{}, 9, 1)
	const table = `WORKLOAD              CLUSTER   NOW   THEN
Deployment shop/web   spoke-1   9     5
Deployment shop/web   spoke-2   1     5
`
	if out, err := run(t, c, true); err != nil || !strings.HasPrefix(out, table) || token(t, c) != "" {
		t.Errorf("dry run: %q, %v, token %q", out, err, token(t, c))
	}
	if out, err := run(t, c, false); err != nil || !strings.HasPrefix(out, table) || token(t, c) == "" {
		t.Errorf("%q, %v, token %q", out, err, token(t, c))
	}
	c = hub(t, &v1beta1.ReplicaPolicy{}, 5, 5)
	if out, err := run(t, c, false); err != nil || !strings.Contains(out, "is balanced") || token(t, c) != "" {
		t.Errorf("balanced: %q, %v, token %q", out, err, token(t, c))
	}
	if _, err := run(t, hub(t, nil, 5, 5), false); err == nil || !strings.Contains(err.Error(), "nothing to rebalance") {
		t.Errorf("a placement without division: %v", err)
	}
}

// picked is a hub with the placement web of one cluster, spoke-1, where spoke-2 has the label that it prefers.
func picked(t *testing.T) client.Client {
	t.Helper()
	p := testworld.ClusterPlacement("web", "shop", testworld.PickN(1))
	p.UID = "uid"
	p.Spec.Policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{{
			Weight: 20, Preference: v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"fast": "yes"}}},
		}},
	}}
	step, err := snapshot.Policy(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := []client.Object{p, step.Create}
	for _, name := range []string{"spoke-1", "spoke-2"} {
		c := testworld.NewMemberCluster(name)
		c.Spec.HeartbeatPeriodSeconds = 600
		healthy := metav1.Condition{Type: clusterv1beta1.ConditionHealthy, Status: metav1.ConditionTrue}
		joined := metav1.Condition{Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionTrue}
		c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
			Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.Now(), Conditions: []metav1.Condition{joined, healthy},
		}}
		if name == "spoke-2" {
			c.Labels = map[string]string{"fast": "yes"}
		}
		objects = append(objects, c)
	}
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{
		Name: "web-1", Labels: map[string]string{contract.LabelPlacement: "web"}, Annotations: map[string]string{contract.AnnotationPlacementUID: "uid"},
	}}
	b.Spec = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateBound, TargetCluster: "spoke-1", ResourceSnapshotName: "web-0-snapshot", SchedulingPolicySnapshotName: step.Latest,
	}
	b.Status.LastHealthy = &v1beta1.Revision{ResourceSnapshotName: "web-0-snapshot"}
	return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(append(objects, b)...).WithStatusSubresource(b).Build()
}

func TestRebalanceOfClusters(t *testing.T) {
	c := picked(t)
	const table = `LEAVES    SCORE        FOR       SCORE
spoke-1   affinity 0   spoke-2   affinity 20
`
	if out, err := run(t, c, true); err != nil || !strings.HasPrefix(out, table) || token(t, c) != "" {
		t.Errorf("dry run: %q, %v, token %q", out, err, token(t, c))
	}
	out, err := run(t, c, false)
	if at, parseErr := time.Parse(time.RFC3339, token(t, c)); err != nil || parseErr != nil || time.Since(at) > time.Hour || !strings.Contains(out, "FailoverComplete") {
		t.Errorf("%q, %v, token %q", out, err, token(t, c))
	}
	o := &Options{key: types.NamespacedName{Name: "web"}, cancel: true, IOStreams: genericiooptions.IOStreams{Out: new(strings.Builder)}}
	if err := o.rebalance(t.Context(), c); err != nil || token(t, c) != "" {
		t.Errorf("cancelled: %v, token %q", err, token(t, c))
	}
	var silent clusterv1beta1.MemberCluster
	if err := c.Get(t.Context(), client.ObjectKey{Name: "spoke-2"}, &silent); err != nil {
		t.Fatal(err)
	}
	silent.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(time.Now().Add(-time.Hour))
	if err := c.Update(t.Context(), &silent); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, c, false); err == nil || !strings.Contains(err.Error(), "silent") || token(t, c) != "" {
		t.Errorf("with a silent cluster: %v, token %q", err, token(t, c))
	}
}

// The preview follows terms about other placements: web must be with db, which is on the better cluster only later.
func TestRebalanceKnowsOtherPlacements(t *testing.T) {
	c := picked(t)
	var list v1beta1.ClusterSchedulingPolicySnapshotList
	if err := c.List(t.Context(), &list); err != nil || len(list.Items) != 1 {
		t.Fatal(err, len(list.Items))
	}
	policy := list.Items[0]
	policy.Spec.Policy.Affinity.PlacementAffinity = &v1beta1.PlacementAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []v1beta1.PlacementAffinityTerm{{Relation: v1beta1.PlacementWith, Name: "db"}},
	}
	db := testworld.ClusterPlacement("db", "shop", testworld.PickAll())
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "db-1", Labels: map[string]string{contract.LabelPlacement: "db"}}}
	b.Spec = v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateBound, TargetCluster: "spoke-1"}
	for _, err := range []error{c.Update(t.Context(), &policy), c.Create(t.Context(), db), c.Create(t.Context(), b)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(t, c, true); err != nil || !strings.Contains(out, "is balanced") {
		t.Errorf("db is on spoke-1: %q, %v", out, err)
	}
	b.Spec.TargetCluster = "spoke-2"
	if err := c.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, c, true); err != nil || !strings.Contains(out, "spoke-2   affinity 20") || !strings.Contains(out, "would not be picked") {
		t.Errorf("db is on spoke-2: %q, %v", out, err)
	}
}
