package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/hub/scheduler"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// well is a member that can be chosen.
func well(name string, labels map[string]string) clusterv1beta1.MemberCluster {
	is := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Well", LastTransitionTime: metav1.NewTime(now)}
	}
	return clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: name}},
		Status: clusterv1beta1.MemberClusterStatus{
			Conditions: []metav1.Condition{},
			AgentStatus: []clusterv1beta1.AgentStatus{{
				Type:                  clusterv1beta1.AgentTypeMemberAgent,
				Conditions:            []metav1.Condition{is(clusterv1beta1.ConditionJoined), is(clusterv1beta1.ConditionHealthy)},
				LastReceivedHeartbeat: metav1.NewTime(now),
			}},
		},
	}
}

// twoOfThree is a placement on a and b, of which a no longer matches, seen in memory.
func twoOfThree() *state {
	east, west := map[string]string{"region": "east"}, map[string]string{"region": "west"}
	term := testworld.Labelled(east)
	placement := &placementv1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 3}}
	testworld.PickAll(term)(&placement.Spec)
	policy := &placementv1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: metav1.ObjectMeta{
		Name: "web-0", Generation: 1, Annotations: map[string]string{contract.AnnotationGeneration: "3"},
	}}
	policy.Spec.Policy = placement.Spec.Policy
	policy.Status.ObservedCRPGeneration = 3
	policy.Status.Conditions = []metav1.Condition{{Type: placementv1beta1.ConditionScheduled, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	bound := func(cluster string) placementv1beta1.BindingObject {
		return &placementv1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "web-" + cluster}, Spec: placementv1beta1.ResourceBindingSpec{
			State: placementv1beta1.BindingStateBound, TargetCluster: cluster, SchedulingPolicySnapshotName: "web-0",
		}}
	}
	return &state{
		placement: placement, policy: policy, now: now,
		bindings: []placementv1beta1.BindingObject{bound("a"), bound("b")},
		clusters: []clusterv1beta1.MemberCluster{well("a", west), well("b", east), well("c", west)},
	}
}

func (s *state) told(t *testing.T, cluster string) *explanation {
	t.Helper()
	out, err := s.explain(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExplanationOfEveryCluster(t *testing.T) {
	e := twoOfThree().told(t, "")
	if e.Found != 2 || e.PolicySnapshot != "web-0" || e.Recorded == nil || len(e.Notes) != 0 || len(e.Clusters) != 3 {
		t.Fatalf("told %+v", e)
	}
	a, b, c := e.Clusters[0], e.Clusters[1], e.Clusters[2]
	if !a.Picked || a.Outcome != schedule.Kept || a.Binding != "web-a" || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "kept although") {
		t.Errorf("a: %+v", a)
	}
	if len(a.NearestChanges) != 1 || a.NearestChanges[0][0].On != "policy" {
		t.Errorf("a goes with the next policy; told are %+v", a.NearestChanges)
	}
	if !b.Picked || len(b.Notes) != 0 || len(b.NearestChanges) != 1 || len(b.NearestChanges[0]) != 2 {
		t.Errorf("b: %+v", b)
	}
	if c.Picked || c.Filter != schedule.FilterAffinity || !strings.Contains(c.Why, "label region must be east; it is west") {
		t.Errorf("c: %+v", c)
	}
	if want := (schedule.Step{On: "MemberCluster c", Do: "set label region=east (it is west)"}); len(c.NearestChanges) != 1 || c.NearestChanges[0][0] != want {
		t.Errorf("c: told are %+v; want %+v", c.NearestChanges, want)
	}
}

func TestExplanationOfWhatIsNotRecorded(t *testing.T) {
	s := twoOfThree()
	s.bindings = nil
	e := s.told(t, "b")
	if len(e.Clusters) != 1 || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "the recorded decision is out of date: 1 bindings would be written") {
		t.Errorf("told %+v", e)
	}
	if notes := e.Clusters[0].Notes; len(notes) != 1 || !strings.Contains(notes[0], "has no binding yet") {
		t.Errorf("b: %v", notes)
	}
	s.policy = nil
	if e := s.told(t, ""); e.Found != 1 || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "no policy snapshot") {
		t.Errorf("without a snapshot told %+v", e)
	}
	s = twoOfThree()
	s.placement.(*placementv1beta1.ClusterResourcePlacement).Generation = 4
	if e := s.told(t, ""); len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "generation 4") {
		t.Errorf("of another generation told %+v", e)
	}
	if _, err := s.explain(t.Context(), "ghost"); err == nil || !strings.Contains(err.Error(), "kubectl get memberclusters") {
		t.Errorf("of nobody: error %v", err)
	}
}

func TestExplanationPointsBehindScheduling(t *testing.T) {
	at := func(cluster string, kinds ...string) placementv1beta1.PerClusterPlacementStatus {
		entry := placementv1beta1.PerClusterPlacementStatus{ClusterName: cluster}
		for i, kind := range kinds {
			status := metav1.ConditionTrue
			if i == len(kinds)-1 && kind != placementv1beta1.ConditionAvailable {
				status = metav1.ConditionFalse
			}
			entry.Conditions = append(entry.Conditions, metav1.Condition{Type: kind, Status: status, ObservedGeneration: 3, Message: kind + " is " + string(status)})
		}
		return entry
	}
	const (
		scheduled, started, overridden = placementv1beta1.ConditionScheduled, placementv1beta1.ConditionRolloutStarted, placementv1beta1.ConditionOverridden
		synced, applied, available     = placementv1beta1.ConditionWorkSynchronized, placementv1beta1.ConditionApplied, placementv1beta1.ConditionAvailable
	)
	s := twoOfThree()
	status := s.placement.GetStatus()
	status.PerClusterPlacementStatuses = []placementv1beta1.PerClusterPlacementStatus{
		at("a", scheduled, started, overridden, synced, applied, available), at("b", scheduled, started),
	}
	for _, kind := range []string{scheduled, started} {
		c := metav1.Condition{Type: "ClusterResourcePlacement" + kind, Status: metav1.ConditionTrue, ObservedGeneration: 3}
		if kind == started {
			c.Status, c.Message = metav1.ConditionFalse, "Rollout not started on 1 of 2 clusters"
		}
		status.Conditions = append(status.Conditions, c)
	}
	e := s.told(t, "")
	if want := (after{started, "Rollout not started on 1 of 2 clusters", "kubectl describe clusterresourcebinding web-b"}); e.After == nil || *e.After != want {
		t.Errorf("told %+v; want %+v", e.After, want)
	}
	if got, want := *e.Clusters[0].After, (after{available, "reached", ""}); got != want {
		t.Errorf("of a told %+v; want %+v", got, want)
	}
	status.PerClusterPlacementStatuses[1] = at("b", scheduled, started, overridden, synced, applied)
	want := after{applied, "Applied is False", "kubectl describe works -n fleet-member-b -l kubernetes-fleet.io/parent-CRP=web"}
	if got := *s.told(t, "b").Clusters[0].After; got != want {
		t.Errorf("of b told %+v; want %+v", got, want)
	}
}

func TestExplanationIsPrinted(t *testing.T) {
	e := twoOfThree().told(t, "")
	for format, read := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(b []byte, v any) error { return yaml.UnmarshalStrict(b, v) },
	} {
		var text strings.Builder
		var back explanation
		if err := e.print(&text, format, false); err != nil {
			t.Fatal(err)
		}
		if err := read([]byte(text.String()), &back); err != nil || len(back.Clusters) != 3 || back.Clusters[2].Filter != schedule.FilterAffinity {
			t.Errorf("%s: error %v, read back %+v", format, err, back)
		}
	}
	var text strings.Builder
	if err := e.print(&text, "table", false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[2], "CLUSTER") || !strings.HasPrefix(lines[5], "c ") {
		t.Errorf("the table is\n%s", text.String())
	}
}

func TestExplainAsksForWhatItNeeds(t *testing.T) {
	for name, args := range map[string][]string{
		"accepts 1 arg":      {"placement"},
		"use one of table":   {"placement", "web", "-o", "wide"},
		"no-such-kubeconfig": {"placement", "web", "--kubeconfig", t.TempDir() + "/no-such-kubeconfig"},
	} {
		if _, err := command(t, args...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: error %v; want one with %q", args, err, name)
		}
	}
}

// command runs "kubectl fleet explain".
func command(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
	cmd := NewCommand(streams)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), err
}

// A hub with the scheduler of the hub agent, and the command as a user runs it.
func TestExplainOnAHub(t *testing.T) {
	hub := testworld.StartHub(t)
	knows, must := runScheduler(t, hub.Cluster), hub.Must
	for name, region := range map[string]string{"a": "east", "b": "east", "c": "west"} {
		cluster := well(name, map[string]string{"region": region})
		cluster.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(time.Now().Add(time.Hour)) // which is good for the whole test
		status := cluster.Status
		must(hub.Client.Create(t.Context(), &cluster))
		cluster.Status = status
		must(hub.Client.Status().Update(t.Context(), &cluster))
		testworld.AwaitKnown(t, knows, &cluster)
	}
	must(hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	must(allow(t.Context(), hub.Client, "reader", "get", "list"))
	for _, key := range []types.NamespacedName{{Name: "web"}, {Namespace: "shop", Name: "web"}} {
		must(schedulable(t.Context(), hub.Client, key))
		ask := func(more ...string) (e explanation, err error) {
			args := append([]string{"placement", key.Name, "--kubeconfig", hub.Kubeconfig, "--as", "reader", "-o", "json"}, more...)
			if key.Namespace != "" {
				args = append(args, "-n", key.Namespace)
			}
			out, err := command(t, args...)
			if err == nil {
				err = json.Unmarshal([]byte(out), &e)
			}
			return e, err
		}
		testworld.Await(t, testworld.Soon, "the decision to be carried out", func(context.Context) error {
			e, err := ask()
			if err != nil {
				return err // the hub may not know yet that the reader may read
			}
			if len(e.Notes) > 0 || e.Found != 1 || e.Recorded == nil || e.Kind != scope.Placements.Kind(key) || len(e.Clusters) != 3 {
				return fmt.Errorf("told %+v", e)
			}
			return nil
		})
		e, err := ask()
		must(err)
		a, b, c := e.Clusters[0], e.Clusters[1], e.Clusters[2]
		if a.Outcome != schedule.Outranked || b.Outcome != schedule.Kept || c.Filter != schedule.FilterAffinity {
			t.Errorf("%s: told %+v", key, e.Clusters)
		}
		if b.Binding == "" || b.BindingState != placementv1beta1.BindingStateScheduled || *b.Affinity != 0 || b.After == nil {
			t.Errorf("%s: of b told %+v", key, b)
		}
		// The explained change works: with one more cluster, a is picked.
		if want := (schedule.Step{On: "policy", Do: "set numberOfClusters to 2 (it is 1)"}); len(a.NearestChanges) != 1 || a.NearestChanges[0][0] != want {
			t.Fatalf("%s: of a told %+v; want %+v", key, a.NearestChanges, want)
		}
		policies, err := scope.PolicySnapshots.List(t.Context(), hub.Client, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
		must(err)
		before := policies[0].DeepCopyObject().(client.Object)
		policies[0].GetAnnotations()[contract.AnnotationNumberOfClusters] = "2"
		must(hub.Client.Patch(t.Context(), policies[0], client.MergeFrom(before)))
		testworld.Await(t, testworld.Soon, "a to be picked", func(context.Context) error {
			if e, err := ask("--cluster", "a"); err != nil {
				return err
			} else if len(e.Clusters) != 1 || !slices.Contains([]schedule.Outcome{schedule.Kept}, e.Clusters[0].Outcome) {
				return fmt.Errorf("told %+v", e.Clusters)
			}
			return nil
		})
		for args, want := range map[string]string{
			"placement web --as nobody":                "you are not allowed to read",
			"placement web2":                           "there is no ClusterResourcePlacement",
			"placement web2 -n shop":                   "there is no ResourcePlacement",
			"placement web --cluster z":                "no MemberCluster",
			"placement web --hub-cluster-context none": "none",
		} {
			_, err := command(t, append(strings.Fields(args), "--kubeconfig", hub.Kubeconfig)...)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v; want %q", args, err, want)
			}
			if strings.Contains(args, "nobody") && !strings.Contains(fmt.Sprint(err), "memberclusters.cluster.kubernetes-fleet.io") {
				t.Errorf("%s: error %v does not name what may not be read", args, err)
			}
		}
	}
}

// What the command reads of other placements is what the scheduler reads.
func TestExplainReadsOtherPlacements(t *testing.T) {
	apart := func(spec *placementv1beta1.PlacementSpec) {
		spec.Policy.Affinity = &placementv1beta1.Affinity{PlacementAffinity: &placementv1beta1.PlacementAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []placementv1beta1.PlacementAffinityTerm{
				{Relation: placementv1beta1.PlacementApart, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "back"}}},
				{Relation: placementv1beta1.PlacementWith, Name: "db"},
			},
		}}
	}
	for _, namespace := range []string{"", "shop"} {
		key := types.NamespacedName{Namespace: namespace, Name: "web"}
		build := fake.NewClientBuilder().WithScheme(apis.Scheme())
		add := func(namespace, name, tier, binding, cluster string) {
			key := types.NamespacedName{Namespace: namespace, Name: name}
			p, b := scope.Placements.New(key), scope.Bindings.New(key)
			for o, name := range map[client.Object]string{p: name, b: binding} {
				o.SetNamespace(namespace)
				o.SetName(name)
			}
			p.SetLabels(map[string]string{"tier": tier})
			if name == "web" {
				testworld.PickAll()(p.GetSpec())
				apart(p.GetSpec())
			}
			b.SetLabels(map[string]string{contract.LabelPlacement: name})
			b.GetSpec().TargetCluster, b.GetSpec().State = cluster, placementv1beta1.BindingStateBound
			build.WithObjects(p, b)
		}
		add(namespace, "web", "back", "w", "a")
		add(namespace, "db", "", "d", "b")
		add(namespace, "cache", "back", "c", "c")
		add("elsewhere", "db", "", "e", "a")
		for _, name := range []string{"a", "b", "c"} {
			cluster := well(name, nil)
			build.WithObjects(&cluster)
		}
		s, err := read(t.Context(), build.Build(), key)
		if err != nil {
			t.Fatal(err)
		}
		want := []schedule.Placement{
			{Name: "cache", Labels: map[string]string{"tier": "back"}, Clusters: []string{"c"}}, {Name: "db", Labels: map[string]string{"tier": ""}, Clusters: []string{"b"}},
		}
		if !reflect.DeepEqual(s.others, want) {
			t.Errorf("read %+v; want %+v", s.others, want)
		}
		s.now, s.bindings = now, nil
		e := s.told(t, "")
		var why []string
		for _, c := range e.Clusters {
			why = append(why, c.Cluster+": "+string(c.Filter)+" "+c.Why)
		}
		if diff := cmp.Diff([]string{
			`a: PlacementAffinity it must be with placement "db", which has not picked it; picked are b`,
			"b:  it passes every filter",
			"c: PlacementAffinity it must be apart from placements with labels tier=back, and placement \"cache\" has picked it",
		}, why); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// runScheduler returns what reads what the scheduler knows.
func runScheduler(t *testing.T, hub *testworld.Cluster) client.Reader {
	t.Helper()
	return testworld.RunAgent(t, hub.Config, func(mgr ctrl.Manager, direct client.Client) error {
		s := &scheduler.Scheduler{Client: mgr.GetClient(), Direct: direct, Workers: 2, Namespaced: true, Now: time.Now}
		return s.SetupWithManager(mgr)
	}).Knows
}

// schedulable makes a placement on one cluster in the east, with what the placer would make for it.
func schedulable(ctx context.Context, hub client.Client, key types.NamespacedName) error {
	placement := scope.Placements.New(key)
	placement.SetNamespace(key.Namespace)
	placement.SetName(key.Name)
	placement.SetFinalizers([]string{contract.FinalizerScheduler})
	placement.GetSpec().ResourceSelectors = []placementv1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "web"}}
	testworld.PickN(1, testworld.Labelled(map[string]string{"region": "east"}))(placement.GetSpec())
	if err := hub.Create(ctx, placement); err != nil {
		return err
	}
	policy := scope.PolicySnapshots.New(key)
	policy.SetNamespace(key.Namespace)
	policy.SetName(contract.PolicySnapshotName(key.Name, 0))
	policy.SetLabels(map[string]string{contract.LabelPlacement: key.Name, contract.LabelPolicyIndex: "0", contract.LabelLatest: "true"})
	policy.SetAnnotations(map[string]string{
		contract.AnnotationGeneration: fmt.Sprint(placement.GetGeneration()), contract.AnnotationNumberOfClusters: "1",
	})
	policy.GetSpec().Policy = placement.GetSpec().Policy
	policy.GetSpec().PolicyHash = []byte("hash")
	testworld.Owned(policy, placement)
	return hub.Create(ctx, policy)
}

// allow gives a user these verbs on all kinds of the fleet.
func allow(ctx context.Context, hub client.Client, user string, verbs ...string) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{placementv1beta1.GroupVersion.Group, clusterv1beta1.GroupVersion.Group},
		Resources: []string{"clusterresourceplacements", "resourceplacements", "clusterschedulingpolicysnapshots", "schedulingpolicysnapshots",
			"clusterresourcebindings", "resourcebindings", "memberclusters"},
		Verbs: verbs,
	}}}
	if err := hub.Create(ctx, role); err != nil {
		return err
	}
	return hub.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	})
}

func TestTakenAlong(t *testing.T) {
	b := &placementv1beta1.ClusterResourceBinding{}
	if got := takenAlongBy(b); got != nil {
		t.Errorf("a binding without values has %+v", got)
	}
	for _, key := range []string{"example.com/step", "at", "example.com/step"} {
		b.Spec.FailoverState = append(b.Spec.FailoverState, placementv1beta1.ObjectAnnotation{Kind: "Job", Name: "a", Annotation: key, Value: "secret"})
	}
	if got, want := takenAlongBy(b).text(), "3 annotation(s) of objects: at, example.com/step"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.Annotations = map[string]string{contract.AnnotationReplaces: failover.Exchange{With: "spoke-1", Reason: failover.Lost}.String()}
	a := &account{Cluster: "spoke-2", TakenAlong: takenAlongBy(b)}
	if want := "Taken along:     3 annotation(s) of objects from cluster spoke-1: at, example.com/step\n"; !strings.Contains(a.text(), want) {
		t.Errorf("%s does not say %q", a.text(), want)
	}
}
