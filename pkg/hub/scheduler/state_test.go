package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// workOf is a Work that names a binding and reports the step of a Job; made is the UID of the binding that it was
// made for.
func workOf(b v1beta1.BindingObject, made types.UID, name, job, step string) *v1beta1.Work {
	key, _ := scope.PlacementOf(b)
	w := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{
		Namespace: contract.MemberNamespace(b.GetSpec().TargetCluster), Name: name,
		Labels:      map[string]string{contract.LabelPlacement: key.Name, contract.LabelBinding: b.GetName()},
		Annotations: map[string]string{contract.AnnotationBindingUID: string(made)},
	}}
	if key.Namespace != "" {
		w.Labels[contract.LabelPlacementNamespace] = key.Namespace
	}
	m := v1beta1.ManifestCondition{
		Identifier: v1beta1.WorkResourceIdentifier{Group: "batch", Version: "v1", Kind: "Job", Resource: "jobs", Namespace: "app", Name: job},
		Conditions: []metav1.Condition{},
	}
	if step != "" {
		m.BackReportedStatus = &v1beta1.BackReportedStatus{ObservationTime: metav1.Now(), ObservedStatus: runtime.RawExtension{
			Raw: fmt.Appendf(nil, `{"apiVersion":"batch/v1","kind":"Job","status":{"step":%q}}`, step),
		}}
	}
	w.Status = v1beta1.WorkStatus{Conditions: []metav1.Condition{}, ManifestConditions: []v1beta1.ManifestCondition{m}}
	return w
}

// stepOfJobs takes the steps of Jobs along.
func stepOfJobs() []v1beta1.FailoverState {
	return []v1beta1.FailoverState{{Group: "batch", Kind: "Job", JSONPath: ".status.step", Annotation: "example.com/step"}}
}

// store creates a Work with its status, and its namespace, and waits until the agent knows.
func (s *scene) store(w *v1beta1.Work) {
	s.Helper()
	err := s.Client.Create(s.Context(), testworld.Namespace(w.Namespace))
	if !apierrors.IsAlreadyExists(err) {
		s.Must(err)
	}
	status := w.Status
	s.Must(s.Client.Create(s.Context(), w))
	w.Status = status
	s.Must(s.Client.Status().Update(s.Context(), w))
	testworld.AwaitKnown(s, s.agent.Knows, w)
}

// along is what the binding to a cluster has of another one.
func (s *scene) along(cluster string) string {
	s.Helper()
	var out []string
	for _, v := range s.binding(cluster).GetSpec().FailoverState {
		out = append(out, v.Name+"="+v.Value)
	}
	return strings.Join(out, " ")
}

// missing waits for the events about what was not taken along to a cluster, and returns them.
func (s *scene) missing(cluster string) (out []string) {
	s.Helper()
	testworld.AwaitEvents(s, s.Client, cmp.Or(s.key.Namespace, metav1.NamespaceDefault), "what is missing on "+cluster, func(events []corev1.Event) bool {
		out = nil
		for _, e := range events {
			if e.Reason == eventStateMissing && e.InvolvedObject.Name == s.key.Name && strings.Contains(e.Message, "to cluster "+cluster+".") {
				out = append(out, fmt.Sprintf("%s %d %s", e.Type, max(e.Count, 1), e.Message))
			}
		}
		return len(out) > 0
	})
	return out
}

func takesStateAlong(s *scene) {
	lost, spare, third := "lost-"+s.key.Name, "spare-"+s.key.Name, "third-"+s.key.Name
	s.join(lost, true)
	s.place(contract.FinalizerScheduler)
	s.withFailover(4, 5*time.Minute)
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(o client.Object) { o.(v1beta1.PlacementObject).GetSpec().Policy.Failover.State = stepOfJobs() })
	s.use(pickN(), 4)
	const others = "m1=Scheduled m2=Scheduled m3=Scheduled"
	s.await(lost+"=Scheduled "+others, lost+" m1 m2 m3 "+fulfilledReason)
	b := s.binding(lost)
	s.store(workOf(b, b.GetUID(), "a", "train", "s3://7"))
	s.store(workOf(b, b.GetUID(), "b", "silent", ""))
	s.store(workOf(b, "forged", "c", "other", "9"))

	s.silence(lost, 6*time.Minute, clusterv1beta1.SilenceLost)
	s.join(spare, true)
	s.await(lost+"=Unscheduled "+others+" "+spare+"=Scheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	if got := s.along(spare); got != "train=s3://7" {
		s.Errorf("%s got %q", spare, got)
	}
	want := "Warning 1 1 values of policy.failover.state were taken along to cluster " + spare + ". Missing: Job app/silent, .status.step: " +
		"the cluster has not reported its status"
	if got := s.missing(spare); !slices.Equal(got, []string{want}) {
		s.Errorf("events %q; want %q", got, want)
	}
	s.quiet("the exchange is written")

	// The next cluster gets what that one reported, and what that one got itself of objects that it did not report.
	b = s.binding(spare)
	s.store(workOf(b, b.GetUID(), "d", "silent", "3"))
	s.silence(spare, 6*time.Minute, clusterv1beta1.SilenceLost)
	s.join(third, true)
	s.await(lost+"=Unscheduled "+others+" "+spare+"=Unscheduled "+third+"=Scheduled", "m1 m2 m3 "+third+" "+fulfilledReason)
	if got := s.along(third); got != "silent=3 train=s3://7" {
		s.Errorf("%s got %q", third, got)
	}
	s.silence(spare, 6*time.Minute, clusterv1beta1.SilenceOver) // it is taken back as it was
	s.await(lost+"=Unscheduled "+others+" "+spare+"=Scheduled "+third+"=Unscheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	if got := s.along(spare); got != "train=s3://7" {
		s.Errorf("%s has %q after it was taken back", spare, got)
	}
	for _, name := range []string{lost, spare, third} {
		s.Must(s.Client.Delete(s.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
}

// exchangingTo is a placement that takes state along, with a binding to cluster a, and the decision to replace a by b.
func exchangingTo(t *testing.T) (p *v1beta1.ClusterResourcePlacement, a *v1beta1.ClusterResourceBinding, d schedule.Decision) {
	t.Helper()
	p = testworld.ClusterPlacement("p", "app", testworld.PickN(1), func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Failover = &v1beta1.Failover{State: stepOfJobs()}
	})
	p.UID = "uid"
	a = &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{
		Name: "p-a", UID: "uid-of-a", Labels: map[string]string{contract.LabelPlacement: "p"}, Annotations: map[string]string{contract.AnnotationPlacementUID: "uid"},
	}}
	a.Spec.TargetCluster = "a"
	return p, a, schedule.Decision{
		Create:   []v1beta1.ClusterDecision{{ClusterName: "b", Selected: true}},
		Replaces: map[string]*failover.Exchange{"b": {With: "a", Reason: failover.Lost}},
	}
}

// A failed read of Works is an error, before anything is written; without Works, all is missing.
func TestStateIsReadBeforeAnythingIsWritten(t *testing.T) {
	p, a, d := exchangingTo(t)
	bindings := []v1beta1.BindingObject{a}
	var fail error
	builder := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return cmp.Or(fail, c.List(ctx, list, opts...))
		},
	})
	index := indexer(func(o client.Object, field string, values client.IndexerFunc) {
		builder = builder.WithIndex(o, field, values)
	})
	if err := scope.Index(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	s := &Scheduler{Client: builder.Build()}
	got, err := s.takeAlong(t.Context(), p, bindings, d)
	if err != nil || len(got["b"].Values) != 0 || len(got["b"].Missing) != 1 {
		t.Errorf("without Works: %+v, %v", got, err)
	}
	fail = errors.New("no answer")
	if _, err := s.takeAlong(t.Context(), p, bindings, d); !errors.Is(err, fail) {
		t.Errorf("a failed read: %v", err)
	}
	p.Spec.Policy.Failover.State = nil
	if got, err := s.takeAlong(t.Context(), p, bindings, d); err != nil || len(got["b"].Missing) != 0 {
		t.Errorf("without rules, which need no read: %+v, %v", got, err)
	}
}

// Only a cluster that begins to replace another one gets its state.
func TestExchangesIn(t *testing.T) {
	_, b, d := exchangingTo(t)
	e := failover.Exchange{With: "a", Reason: failover.Lost, Since: metav1.NewTime(noon)}
	b.Name, b.Spec.TargetCluster = "p-b", "b"
	change := func(change func(*schedule.Change)) schedule.Decision {
		c := schedule.Change{Binding: "p-b", State: v1beta1.BindingStateBound, Replaces: &e}
		change(&c)
		return schedule.Decision{Change: []schedule.Change{c}}
	}
	for name, tc := range map[string]struct {
		recorded *failover.Exchange
		decision schedule.Decision
		want     string
	}{
		"a cluster is created":              {decision: d, want: "a"},
		"one that was given up is picked":   {decision: change(func(*schedule.Change) {}), want: "a"},
		"it replaces another one now":       {recorded: &failover.Exchange{With: "c", Reason: failover.Lost, Since: e.Since}, decision: change(func(*schedule.Change) {}), want: "a"},
		"it is recorded already":            {recorded: &e, decision: change(func(*schedule.Change) {})},
		"it is taken back":                  {decision: change(func(c *schedule.Change) { c.TakenBack = true })},
		"it is given up":                    {decision: change(func(c *schedule.Change) { c.State = v1beta1.BindingStateUnscheduled })},
		"the record is forgotten":           {recorded: &e, decision: change(func(c *schedule.Change) { c.Replaces = nil })},
		"a cluster that replaces no other ": {decision: schedule.Decision{Create: d.Create}},
	} {
		b.Annotations = map[string]string{}
		annotate(b.Annotations, contract.AnnotationReplaces, tc.recorded)
		got := ""
		if e := exchangesIn([]v1beta1.BindingObject{b}, tc.decision)["b"]; e != nil {
			got = e.With
		}
		if got != tc.want {
			t.Errorf("%s: it replaces %q, want %q", name, got, tc.want)
		}
	}
}
