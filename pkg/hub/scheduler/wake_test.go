package scheduler

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// decided is the latest policy snapshot of a placement, as the scheduler left it.
func decided(key types.NamespacedName, fulfilled bool, option testworld.Option) client.Object {
	var spec v1beta1.PlacementSpec
	option(&spec)
	p := scope.PolicySnapshots.New(key)
	p.SetNamespace(key.Namespace)
	p.SetName(key.Name + "-0")
	p.SetLabels(map[string]string{contract.LabelPlacement: key.Name, contract.LabelLatest: "true"})
	p.SetAnnotations(map[string]string{contract.AnnotationGeneration: "3"})
	p.GetSpec().Policy = spec.Policy
	p.GetStatus().ObservedCRPGeneration = 3
	if fulfilled {
		p.GetStatus().Conditions = []metav1.Condition{{Type: v1beta1.ConditionScheduled, Status: metav1.ConditionTrue}}
	}
	return p
}

// woken returns the placements that an event of a cluster puts into the queue, sorted.
func woken(t *testing.T, s *Scheduler, was, is *clusterv1beta1.MemberCluster) string {
	t.Helper()
	return enqueued(func(q queue) {
		switch {
		case was == nil:
			s.clusters().Create(t.Context(), event.CreateEvent{Object: is}, q)
		case is == nil:
			s.clusters().Delete(t.Context(), event.DeleteEvent{Object: was}, q)
		default:
			s.clusters().Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q)
		}
	})
}

// enqueued returns the placements that a handler puts into the queue, sorted.
func enqueued(handle func(queue)) string {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	handle(q)
	var names []string
	for q.Len() > 0 {
		request, _ := q.Get()
		names = append(names, strings.TrimPrefix(request.String(), "/"))
		q.Done(request)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestWhatWakesPlacements(t *testing.T) {
	east, west := testworld.Labelled(map[string]string{"region": "east"}), testworld.Labelled(map[string]string{"region": "west"})
	wide := func(name string) types.NamespacedName { return types.NamespacedName{Name: name} }
	old := decided(wide("former"), true, testworld.PickAll(west))
	old.GetLabels()[contract.LabelLatest] = "false"
	binding := &v1beta1.ClusterResourceBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{contract.LabelPlacement: "two-have"}},
		Spec:       v1beta1.ResourceBindingSpec{TargetCluster: "m"},
	}
	waiting := binding.DeepCopy()
	waiting.Name, waiting.Labels = "c", map[string]string{contract.LabelPlacement: "two-carry"}
	waiting.Annotations = map[string]string{contract.AnnotationCarriedOver: "true"}
	objects := []client.Object{
		old, binding, waiting,
		decided(wide("all"), true, testworld.PickAll()),
		decided(wide("all-east"), true, testworld.PickAll(east)),
		decided(wide("all-west"), true, testworld.PickAll(west)),
		decided(wide("two-have"), true, testworld.PickN(2, west)),
		decided(wide("two-carry"), true, testworld.PickN(2, west)),
		decided(wide("two-spread"), false, func(spec *v1beta1.PlacementSpec) {
			testworld.PickN(2, testworld.Labelled(map[string]string{"region": "south"}))(spec)
			testworld.Spread("zone", corev1.DoNotSchedule)(spec)
		}),
		decided(wide("two-lack"), false, testworld.PickN(2, west)),
		decided(wide("named"), false, testworld.PickFixed("m")),
		decided(wide("others"), false, testworld.PickFixed("n", "o")),
		decided(types.NamespacedName{Namespace: "app", Name: "all"}, true, testworld.PickAll(west)),
	}
	var s *Scheduler
	build := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...)
	index := indexer(func(o client.Object, field string, values client.IndexerFunc) {
		build = build.WithIndex(o, field, values)
	})
	s = &Scheduler{Namespaced: true, Now: func() time.Time { return noon }}
	if err := s.indexTopics(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	if err := scope.Index(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	s.Client = build.Build()

	inEast := func(changes ...func(*clusterv1beta1.MemberCluster)) *clusterv1beta1.MemberCluster {
		is := func(kind string) metav1.Condition { return metav1.Condition{Type: kind, Status: metav1.ConditionTrue} }
		c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"region": "east"}}}
		c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
			Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon),
			Conditions: []metav1.Condition{is(clusterv1beta1.ConditionJoined), is(clusterv1beta1.ConditionHealthy)},
		}}
		for _, change := range changes {
			change(c)
		}
		return c
	}
	later := func(c *clusterv1beta1.MemberCluster) {
		c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(time.Second))
	}
	silent := func(c *clusterv1beta1.MemberCluster) {
		c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-time.Hour))
	}
	overdue := func(c *clusterv1beta1.MemberCluster) {
		c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-2 * time.Minute))
	}
	moved := func(c *clusterv1beta1.MemberCluster) { c.Labels["region"] = "west" }
	painted := func(c *clusterv1beta1.MemberCluster) { c.Labels["color"] = "red" }
	leaving := func(c *clusterv1beta1.MemberCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} }
	for name, tc := range map[string]struct {
		was, is *clusterv1beta1.MemberCluster
		want    string
	}{
		"a heartbeat":                      {inEast(), inEast(later), ""},
		"a label that no policy refers to": {inEast(), inEast(painted), ""},
		"a label that fits some":           {inEast(), inEast(moved), "all-west app/all two-lack"},
		"silence":                          {inEast(), inEast(silent), ""},
		"a heartbeat after a silence":      {inEast(silent), inEast(), "all all-east named two-carry"},
		"a heartbeat that was late":        {inEast(overdue), inEast(), "two-carry"},
		"a new cluster that is well":       {nil, inEast(), "all all-east named"},
		"a new cluster that is not":        {nil, inEast(silent), ""},
		"the beginning of a leave":         {inEast(), inEast(leaving), ""},
		"the end of a leave":               {inEast(leaving), nil, "two-carry two-have"},
	} {
		if got := woken(t, s, tc.was, tc.is); got != tc.want {
			t.Errorf("%s wakes %q; want %q", name, got, tc.want)
		}
	}

	t.Run("a silence that no event shows", func(t *testing.T) {
		cluster := inEast(func(c *clusterv1beta1.MemberCluster) { c.Labels["zone"] = "a" })
		if err := s.Client.Create(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
		var seconds atomic.Int64 // pass between any two looks at the clock
		soon := &Scheduler{Client: s.Client, Namespaced: true, Now: func() time.Time {
			return noon.Add(5*time.Minute + time.Duration(seconds.Add(1)-1)*time.Second)
		}}
		q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer q.ShutDown()
		ctx, end := context.WithCancel(t.Context()) // an event's context ends with the call
		soon.clusters().Create(ctx, event.CreateEvent{Object: cluster, IsInInitialList: true}, q)
		end()
		if request, _ := q.Get(); request.Name != "two-spread" {
			t.Errorf("the silence wakes %s", request)
		}
	})
}

// indexer is a client.FieldIndexer that hands on what is registered.
type indexer func(client.Object, string, client.IndexerFunc)

func (f indexer) IndexField(_ context.Context, o client.Object, field string, values client.IndexerFunc) error {
	f(o, field, values)
	return nil
}
