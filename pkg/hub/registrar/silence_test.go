package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// quietHub is a hub with a clock of the test: its registrar judges clusters when the test says so.
type quietHub struct {
	*testing.T
	client.Client
	*Registrar
	now    time.Time
	events testworld.Recorder
	writes int
}

// onQuietHub has clusters of these names, all just heard, and a registrar that has run for an hour.
func onQuietHub(t *testing.T, names ...string) *quietHub {
	h := &quietHub{T: t, now: noon}
	var objects []client.Object
	for _, name := range names {
		c := testworld.NewMemberCluster(name)
		c.Status = v1beta1.MemberClusterStatus{AgentStatus: heardAt(noon)}
		objects = append(objects, c)
	}
	h.Client = fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...).WithStatusSubresource(&v1beta1.MemberCluster{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
				h.writes++
				return c.SubResource(sub).Update(ctx, obj, opts...)
			},
		}).Build()
	h.Registrar = &Registrar{
		Client: h.Client, Recorder: &h.events, Now: func() time.Time { return h.now }, Awake: noon.Add(-time.Hour),
	}
	return h
}

func heardAt(at time.Time) []v1beta1.AgentStatus {
	return []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(at)}}
}

func (h *quietHub) cluster(name string) *v1beta1.MemberCluster {
	h.Helper()
	var c v1beta1.MemberCluster
	if err := h.Get(h.Context(), client.ObjectKey{Name: name}, &c); err != nil {
		h.Fatal(err)
	}
	return &c
}

// look lets the registrar report a cluster, whose agent has reported last at that time.
func (h *quietHub) look(name string, beat time.Time) *observed {
	h.Helper()
	seen := &observed{Seen: membership.Seen{
		Cluster: h.cluster(name), Internal: &v1beta1.InternalMemberCluster{Status: v1beta1.InternalMemberClusterStatus{AgentStatus: heardAt(beat)}},
	}}
	if err := h.report(h.Context(), seen, ""); err != nil {
		h.Fatal(err)
	}
	return seen
}

func (h *quietHub) state(name string) v1beta1.SilenceState {
	return state(h.cluster(name).Status.Silence)
}

// expect checks the state and the one event of a change.
func (h *quietHub) expect(name string, want v1beta1.SilenceState, events ...string) {
	h.Helper()
	if is := h.state(name); is != want {
		h.Errorf("%s is %q; want %q", name, is, want)
	}
	got := h.events.Take()
	if len(got) != len(events) {
		h.Errorf("events %v; want %v", got, events)
		return
	}
	for i, event := range got {
		if !strings.HasPrefix(event.String(), events[i]) {
			h.Errorf("event %q; want %q", event, events[i])
		}
	}
}

// settled is the state after the first reports, which set the conditions.
func (h *quietHub) settled(names ...string) {
	h.Helper()
	for _, name := range names {
		h.look(name, noon)
	}
	h.events.Take()
}

func TestOneSilentClusterIsLost(t *testing.T) {
	h := onQuietHub(t, "a", "b", "c")
	h.settled("a", "b", "c")
	h.now = noon.Add(131*time.Second + 300*time.Millisecond)
	h.look("b", h.now)
	h.look("c", h.now)
	seen := h.look("a", noon)
	h.expect("a", v1beta1.SilenceSuspected)
	if s := h.cluster("a").Status.Silence; !s.Since.Time.Equal(noon) || seen.judgeAgain > 50*time.Second || seen.judgeAgain < 49*time.Second {
		t.Errorf("%+v, again in %s", s, seen.judgeAgain)
	}
	writes := h.writes
	h.now = h.now.Add(10 * time.Second)
	if h.look("a", noon); h.writes != writes {
		t.Error("the status was written although nothing changed")
	}
	h.now = noon.Add(182 * time.Second)
	h.look("a", noon)
	h.expect("a", v1beta1.SilenceLost, "Warning ClusterLost The cluster is silent since 2026-01-01T12:00:00Z")
	if got := testutil.ToFloat64(silentClusters.WithLabelValues("Lost")); got != 1 {
		t.Errorf("metric: %v lost clusters", got)
	}
	h.now = noon.Add(time.Hour)
	h.look("a", h.now)
	h.expect("a", v1beta1.SilenceOver, "Normal ClusterHeardAgain")
	if got := testutil.ToFloat64(silentClusters.WithLabelValues("Lost")); got != 0 {
		t.Errorf("metric: %v lost clusters", got)
	}
}

// A list that waits for writes can fail while the API server is busy; the heartbeat must be recorded all the same.
func TestHeartbeatIsRecordedWhileWritesAreInFlight(t *testing.T) {
	h := onQuietHub(t, "a", "b")
	h.settled("a", "b")
	h.Registrar.Client = interceptor.NewClient(h.Client.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if !slices.Contains(opts, client.ListOption(client.DisableReadYourWritesConsistency)) {
				return errors.New("writes are in flight")
			}
			return c.List(ctx, list, opts...)
		},
	})
	h.now = noon.Add(time.Minute)
	h.look("a", h.now)
	if at := liveness.LastHeard(h.cluster("a")); !at.Equal(h.now) {
		t.Errorf("last heard at %s", at)
	}
}

func TestManySilentClustersAreBraked(t *testing.T) {
	names := []string{"a", "b", "c"}
	h := onQuietHub(t, names...)
	h.settled(names...)
	h.now = noon.Add(131 * time.Second)
	for _, name := range names {
		h.look(name, noon)
		h.expect(name, v1beta1.SilenceSuspected)
	}
	h.now = noon.Add(182 * time.Second)
	for _, name := range names {
		h.look(name, noon)
		h.expect(name, v1beta1.SilenceBraked, "Warning FailoverBraked No heartbeat since 2026-01-01T12:00:00Z")
	}
	if got := testutil.ToFloat64(silentClusters.WithLabelValues("Braked")); got != 3 {
		t.Errorf("metric: %v braked clusters", got)
	}
	h.now = noon.Add(10 * time.Minute)
	h.look("a", noon)
	if c := h.cluster("a").Status.Conditions; !slices.ContainsFunc(c, func(c metav1.Condition) bool {
		return c.Type == v1beta1.ConditionHeartbeatsReceived && strings.Contains(c.Message, "no placement leaves it")
	}) {
		t.Errorf("conditions %+v", c)
	}
	h.events.Take()
	// a is heard again: those that wait are judged, and the brake ends a minute later.
	before := h.cluster("a")
	h.look("a", h.now)
	h.expect("a", "", "Normal ClusterHeardAgain", "Normal HeartbeatsReceived")
	var woken []string
	for _, request := range h.forWaiting(before, h.cluster("a")) {
		woken = append(woken, request.Name)
	}
	if !slices.Equal(woken, []string{"b", "c"}) {
		t.Fatalf("woken: %v", woken)
	}
	if again := h.look("b", noon).judgeAgain; again != time.Minute {
		t.Errorf("again in %s", again)
	}
	h.now = h.now.Add(time.Minute)
	h.look("a", h.now)
	h.look("b", noon)
	h.look("c", noon)
	if s := h.cluster("b").Status.Silence; s == nil || s.State != v1beta1.SilenceSuspected || !s.Since.Time.Equal(h.now) {
		t.Errorf("after the brake: %+v", s)
	}
	if h.state("c") != v1beta1.SilenceSuspected {
		t.Errorf("after the brake: %s", h.state("c"))
	}
}

func TestReleaseOfABrakedCluster(t *testing.T) {
	h := onQuietHub(t, "a", "b", "c")
	h.settled("a", "b", "c")
	h.now = noon.Add(200 * time.Second)
	for range 2 {
		h.look("a", noon)
		h.now = h.now.Add(50 * time.Second)
	}
	h.expect("a", v1beta1.SilenceBraked, "Warning FailoverBraked")
	a := h.cluster("a")
	a.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(a.Status.Silence)}
	if err := h.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	h.look("a", noon)
	h.expect("a", v1beta1.SilenceReleased, "Warning ClusterReleased")
	h.now = h.now.Add(time.Hour)
	if seen := h.look("a", h.now); seen.judgeAgain == 0 {
		t.Error("a heard cluster is not judged again")
	}
	h.expect("a", v1beta1.SilenceOver, "Normal ClusterHeardAgain")
}

func TestClusterThatIsNotJudged(t *testing.T) {
	lost := &v1beta1.ClusterSilence{Since: metav1.NewTime(noon), State: v1beta1.SilenceLost, StateSince: metav1.NewTime(noon)}
	braked := &v1beta1.ClusterSilence{Since: metav1.NewTime(noon), State: v1beta1.SilenceBraked, StateSince: metav1.NewTime(noon)}
	for what, tc := range map[string]struct {
		silence *v1beta1.ClusterSilence
		change  func(*v1beta1.MemberCluster)
		// unread is whether the report of the cluster cannot be read.
		unread bool
		want   v1beta1.SilenceState
	}{
		"lost":                    {silence: lost, want: v1beta1.SilenceLost},
		"lost and away":           {silence: lost, change: func(c *v1beta1.MemberCluster) { c.Annotations = map[string]string{contract.AnnotationAway: "true"} }},
		"lost and leaving":        {silence: lost, change: func(c *v1beta1.MemberCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} }},
		"lost, without a report":  {silence: lost, unread: true, want: v1beta1.SilenceLost},
		"braked without a report": {silence: braked, unread: true},
		"leaving, without a report": {
			silence: lost, unread: true, change: func(c *v1beta1.MemberCluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} },
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := onQuietHub(t, "a", "b")
			h.now = noon.Add(time.Hour)
			seen := &observed{Seen: membership.Seen{Cluster: h.cluster("a")}}
			seen.Cluster.Status.Silence = tc.silence
			if !tc.unread {
				seen.Internal = &v1beta1.InternalMemberCluster{Status: v1beta1.InternalMemberClusterStatus{AgentStatus: heardAt(noon)}}
			}
			if tc.change != nil {
				tc.change(seen.Cluster)
			}
			if err := h.report(t.Context(), seen, ""); err != nil {
				t.Fatal(err)
			}
			if is := state(seen.Cluster.Status.Silence); is != tc.want {
				t.Errorf("%q; want %q", is, tc.want)
			}
			if events := h.events.All(); slices.ContainsFunc(events, func(e testworld.Event) bool { return e.Reason == "ClusterHeardAgain" }) {
				t.Errorf("events %v", events)
			}
		})
	}
}

// Which changes of a MemberCluster judge the waiting clusters again.
func TestEvidenceForWaitingClusters(t *testing.T) {
	const region = "region"
	due := noon.Add(-10 * time.Minute)
	is := func(age time.Duration, changes ...func(*v1beta1.MemberCluster)) *v1beta1.MemberCluster {
		c := testworld.NewMemberCluster("b")
		c.Labels = map[string]string{region: "west"}
		c.Status.AgentStatus = heardAt(noon.Add(-age))
		for _, change := range changes {
			change(c)
		}
		return c
	}
	away := func(c *v1beta1.MemberCluster) { c.Annotations = map[string]string{contract.AnnotationAway: "true"} }
	lost := func(c *v1beta1.MemberCluster) { c.Status.Silence = &v1beta1.ClusterSilence{State: v1beta1.SilenceLost} }
	east := func(c *v1beta1.MemberCluster) { c.Labels[region] = "east" }
	rare := func(c *v1beta1.MemberCluster) { c.Spec.HeartbeatPeriodSeconds = 600 }
	for _, tc := range []struct {
		what          string
		before, after *v1beta1.MemberCluster
		want          bool
	}{
		{"nothing", is(time.Minute), is(time.Minute), false},
		{"a heartbeat after another", is(time.Minute), is(0), false},
		{"the first since the other one should have been heard", is(11*time.Minute, rare), is(0, rare), true},
		{"of a cluster that was overdue", is(2 * time.Minute), is(0), true},
		{"of a cluster that was overdue and still is", is(time.Hour), is(2 * time.Minute), false},
		{"away", is(time.Hour), is(time.Hour, away), true},
		{"lost", is(time.Hour), is(time.Hour, lost), true},
		{"in another domain", is(time.Minute), is(time.Minute, east), true},
	} {
		r := &Registrar{Domain: region, Now: func() time.Time { return noon }}
		for _, name := range []string{"a", "b", "z"} {
			r.silences.await(name, due)
		}
		r.silences.settle("z")
		queue := &laterQueue{}
		r.evidence().Update(t.Context(), event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}, queue)
		want := []string{}
		if tc.want {
			want = []string{"a"}
		}
		if !slices.Equal(queue.names, want) {
			t.Errorf("%s: %v are judged; want %v", tc.what, queue.names, want)
		}
	}
}

// laterQueue accepts only requests with a delay, which it does not wait for.
type laterQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	names []string
}

func (q *laterQueue) AddAfter(request reconcile.Request, wait time.Duration) {
	if wait > 0 {
		q.names = append(q.names, request.Name)
	}
}

// On a real API server: a silent cluster is judged by its timer, and an annotation releases it.
func TestSilenceOnAHub(t *testing.T) {
	h := onHub(t)
	a := h.startAgent(time.Hour)
	h.invite("mute")
	testworld.Update(t, h.Client, h.await("mute", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue), func(c *v1beta1.MemberCluster) {
		c.Spec.HeartbeatPeriodSeconds = 1
	})
	h.beat("mute", metav1.ConditionTrue, time.Now())
	silence := func(what string, want ...v1beta1.SilenceState) *v1beta1.MemberCluster {
		t.Helper()
		var cluster v1beta1.MemberCluster
		testworld.Await(t, testworld.Workload, what, func(context.Context) error {
			if err := h.get(&cluster, "", "mute"); err != nil {
				return err
			}
			if is := state(cluster.Status.Silence); !slices.Contains(want, is) {
				return fmt.Errorf("%q", is)
			}
			return nil
		})
		return &cluster
	}
	// Clusters of other tests may be heard or not, so that either may be concluded.
	cluster := silence("mute to be silent", v1beta1.SilenceBraked, v1beta1.SilenceLost)
	if cluster.Status.Silence.State == v1beta1.SilenceBraked {
		a.events.Await(t, "Warning", "FailoverBraked", "No heartbeat since ")
		testworld.Update(t, h.Client, cluster, func(c *v1beta1.MemberCluster) {
			c.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(c.Status.Silence)}
		})
		silence("mute to be released", v1beta1.SilenceReleased)
		a.events.Await(t, "Warning", "ClusterReleased", "declared the cluster lost")
	} else {
		a.events.Await(t, "Warning", "ClusterLost", "counts as lost")
	}
	a.Take()
	testworld.Stable(t, time.Second, "quiet", func(context.Context) error { return writesNaming("mute", a) })
	h.beat("mute", metav1.ConditionTrue, time.Now())
	silence("mute to be heard", v1beta1.SilenceOver)
	a.events.Await(t, "Normal", "ClusterHeardAgain", "hears the cluster again")
	testworld.Update(t, h.Client, cluster, func(c *v1beta1.MemberCluster) {
		c.Annotations = map[string]string{contract.AnnotationAway: "true"}
	})
	silence("mute to be away", "")
}

func TestGlances(t *testing.T) {
	var s silences
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {time.Millisecond, false}, {glance - 2*time.Millisecond, false}, {time.Millisecond, true}, {glance, true},
		{-time.Hour, true}, // the clock was set back
		{glance / 2, false},
	} {
		now = now.Add(step.after)
		if got := s.glances(now); got != step.want {
			t.Errorf("step %d, %s later: %t, want %t", i, step.after, got, step.want)
		}
	}
}
