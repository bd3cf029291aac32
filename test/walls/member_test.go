package walls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// member-forges-binding: a binding in the member's own namespace, for another cluster. The member may not make it; and
// one that is there, by whatever way, is not carried out.
func TestMemberForgesBinding(t *testing.T) {
	t.Parallel()
	text := input(t, "member-forges-binding")
	forbidden(t, m1.onHub, text)
	apply(t, theHub, text)
	arrives(t, "rg-after-forged-binding")
	absent(t, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "rg-evil-admin"}}, m1.actor, m2.actor)
}

// mirror-forged-work: a Work in the namespace of a member that the placement does not go to, which reports another
// load balancer for the Service of the placement. The member may not make it; and one that is there is not believed.
func TestMirrorForgedWork(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "rg-mir", Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	create(t, theHub, testworld.Namespace("rg-mir"))
	create(t, theHub, service)
	apply(t, theHub, input(t, "mirror-placement"))
	onMember := service.DeepCopy()
	testworld.AwaitPresent(t, m2, m2.name, onMember)

	forgery := input(t, "mirror-forged-work")
	forbidden(t, m1.onHub, forgery)
	apply(t, theHub, forgery)
	reportService(t, m1, "rg-fw", "203.0.113.66")
	// The victim's true report, after the forged one, has its turn.
	setLoadBalancer(t, m2, service, "192.0.2.1")
	testworld.Await(t, testworld.Workload, "the address of the victim's load balancer on the hub", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(service), service); err != nil {
			return err
		}
		if in := service.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != "192.0.2.1" {
			return fmt.Errorf("it is %v", in)
		}
		return nil
	})
	reportService(t, m1, "rg-fw", "203.0.113.67")
	arrives(t, "rg-after-forged-work")
	if err := theHub.Get(t.Context(), client.ObjectKeyFromObject(service), service); err != nil {
		t.Fatal(err)
	}
	if in := service.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != "192.0.2.1" {
		t.Errorf("the hub believes %v, which member rg-m1 has forged", in)
	}
}

// reportService has a member report a load balancer's address for Service rg-mir/web in one of its Works.
func reportService(t *testing.T, m member, name, address string) {
	t.Helper()
	testworld.Await(t, testworld.Soon, "a report as "+m.name, func(ctx context.Context) error {
		work := &v1beta1.Work{}
		if err := m.onHub.Get(ctx, client.ObjectKey{Namespace: m.namespace, Name: name}, work); err != nil {
			return err
		}
		now := metav1.Now()
		applied := metav1.Condition{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, ObservedGeneration: work.Generation, LastTransitionTime: now, Reason: "x"}
		work.Status.Conditions = []metav1.Condition{applied}
		forged := v1beta1.BackReportedStatus{ObservationTime: now}
		forged.ObservedStatus.Raw = fmt.Appendf(nil,
			`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"rg-mir","name":"web"},"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, address)
		work.Status.ManifestConditions = []v1beta1.ManifestCondition{{
			Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "Service", Resource: "services", Namespace: "rg-mir", Name: "web"},
			Conditions: []metav1.Condition{applied}, BackReportedStatus: &forged,
		}}
		return m.onHub.Status().Update(ctx, work)
	})
}

func setLoadBalancer(t *testing.T, m member, service *corev1.Service, address string) {
	t.Helper()
	testworld.Await(t, testworld.Soon, "a load balancer on "+m.name, func(ctx context.Context) error {
		live := &corev1.Service{}
		if err := m.Get(ctx, client.ObjectKeyFromObject(service), live); err != nil {
			return err
		}
		live.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
		return m.Status().Update(ctx, live)
	})
}

// member-holds-its-removal: an object with a finalizer of the member's own in its namespace. The member may not make
// it; and where one is, by whatever way, the hub's administrator learns what holds the removal up, and can end it.
func TestMemberHoldsItsRemoval(t *testing.T) {
	t.Parallel()
	text := input(t, "member-holds-its-removal")
	forbidden(t, m1.onHub, text)

	_, cluster := letIn(t, "rg-anchored")
	apply(t, theHub, renamed(text, m1.namespace, contract.MemberNamespace(cluster.Name)))
	if err := theHub.Delete(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Long, "the MemberCluster to name what holds it", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(cluster), cluster); err != nil {
			return err
		}
		for _, c := range cluster.Status.Conditions {
			if strings.Contains(c.Message, "rg-anchor") && strings.Contains(c.Message, "rogue.example/stay") {
				return nil
			}
		}
		return fmt.Errorf("conditions are %v", cluster.Status.Conditions)
	})
	annotate := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"kubernetes-fleet.io/force-leave":"true"}}}`))
	if err := theHub.Patch(t.Context(), cluster, annotate); err != nil {
		t.Fatal(err)
	}
	testworld.AwaitGone(t, theHub, cluster, nil)
}

// A member changes of its Works the status, its finalizer and labels that mean nothing to the fleet: not what it is
// given, and not which placement's they are.
func TestMemberRewritesItsWork(t *testing.T) {
	t.Parallel()
	arrives(t, "rg-rewritten")
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: m1.namespace, Name: "rg-rewritten-work"}}
	for what, patch := range map[string]string{
		"a label":           `{"metadata":{"labels":{"kubernetes-fleet.io/parent-CRP":"other"}}}`,
		"a label of ours":   `{"metadata":{"labels":{"placement.kubernetes-fleet.io/new":"x"}}}`,
		"a missing label":   `{"metadata":{"labels":{"kubernetes-fleet.io/parent-CRP":null}}}`,
		"an annotation":     `{"metadata":{"annotations":{"a":"b"}}}`,
		"an owner":          `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}`,
		"another finalizer": `{"metadata":{"finalizers":["kubernetes-fleet.io/work-cleanup","rogue.example/stay"]}}`,
		"the content":       `{"spec":{"workload":{"manifests":[]}}}`,
	} {
		err := m1.onHub.Patch(t.Context(), work.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll)
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("the member changes %s: %v", what, err)
		}
	}
	// contract:278
	for what, patch := range map[string]string{
		"adds":    `{"metadata":{"labels":{"member.example/label":"x","plain":"y"}}}`,
		"changes": `{"metadata":{"labels":{"plain":"z"}}}`,
		"removes": `{"metadata":{"labels":{"member.example/label":null,"plain":null}}}`,
	} {
		if err := m1.onHub.Patch(t.Context(), work.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll); err != nil {
			t.Errorf("the member %s labels of its own: %v", what, err)
		}
	}
}

// member-bad-times-and-quantities: values in the status that an API server takes for a time or a quantity, and that Go
// does not. They harm the member alone: others' placements go on, also after the hub agent was started again.
func TestMemberBadTimesAndQuantities(t *testing.T) {
	rogue, cluster := letIn(t, "rg-bad-values")
	internal := &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(cluster.Name), Name: cluster.Name}}
	for _, status := range []string{
		`{"agentStatus":[{"type":"MemberAgent","lastReceivedHeartbeat":"2026-01-01t00:00:00z"}]}`,
		`{"conditions":[{"type":"Joined","status":"True","reason":"x","message":"","lastTransitionTime":"2026-01-01t00:00:00z"}]}`,
		`{"resourceUsage":{"capacity":{"cpu":"1e1.5"},"observationTime":"2026-01-01T00:00:00Z"}}`,
		`{"resourceUsage":{"capacity":{"cpu":"1"},"observationTime":"2026-01-01t00:00:00z"}}`,
		`{"properties":{"x":{"value":"1","observationTime":"2026-01-01t00:00:00z"}}}`,
	} {
		err := rogue.Status().Patch(t.Context(), internal.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":`+status+`}`)))
		t.Logf("%s: %v", status, err) // refused or not, others must not notice
	}
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: m1.namespace, Name: "rg-bad-time-work"}}
	arrives(t, "rg-bad-time")
	err := m1.onHub.Status().Patch(t.Context(), work, client.RawPatch("application/merge-patch+json",
		[]byte(`{"status":{"conditions":[{"type":"Applied","status":"True","reason":"x","message":"","lastTransitionTime":"2026-01-01t00:00:00z"}]}}`)))
	t.Logf("a Work's status: %v", err)
	arrives(t, "rg-after-bad-values")
	restartHubAgent(t)
	arrives(t, "rg-restarted-after-bad-values")
}

// A member records as many events as it can, as large as it can: the hub keeps a bounded number of them, the member's
// agent reports as before, and others do not notice.
func TestMemberFloodsItsNamespace(t *testing.T) {
	t.Parallel()
	arrives(t, "rg-before-flood")
	testworld.AwaitEvents(t, theHub, m1.namespace, "the agent's own events", func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == clusterv1beta1.ReasonInternalMemberClusterJoined })
	})
	event := func(name string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: m1.namespace, Name: name},
			InvolvedObject: corev1.ObjectReference{Namespace: m1.namespace, Name: m1.cluster},
			Reason:         "Flood", Message: strings.Repeat("a", 1024),
		}
	}
	huge, held := event(m1.cluster+".00"), event(m1.cluster+".00")
	huge.Message = strings.Repeat("a", 1_000_000)
	held.Finalizers = []string{"rogue.example/stay"}
	generated := event("")
	generated.GenerateName = m1.cluster + "."
	for what, e := range map[string]*corev1.Event{
		"a name of its choice": event("rg-flood.17a3b4c5d6e7f809"), "a generated name": generated, "a large message": huge, "a finalizer": held,
	} {
		if err := m1.onHub.Create(t.Context(), e); !apierrors.IsForbidden(err) {
			t.Errorf("an event with %s: %v; want that it is forbidden", what, err)
		}
	}
	var flood errgroup.Group
	flood.SetLimit(16)
	for i := range 0x120 {
		flood.Go(func() error {
			err := m1.onHub.Create(t.Context(), event(fmt.Sprintf("%s.%02x", m1.cluster, i)))
			if bounded := i > 0xff; bounded != apierrors.IsForbidden(err) || !bounded && client.IgnoreAlreadyExists(err) != nil {
				return fmt.Errorf("event %x: %w", i, err)
			}
			return nil
		})
	}
	if err := flood.Wait(); err != nil {
		t.Error(err)
	}
	var events corev1.EventList
	if err := theHub.List(t.Context(), &events, client.InNamespace(m1.namespace)); err != nil || len(events.Items) != 0x100 {
		t.Errorf("the hub keeps %d events of the member, error %v; want 256", len(events.Items), err)
	}

	arrives(t, "rg-after-flood")
	for _, m := range members {
		testworld.Await(t, testworld.Soon, "a report of "+m.name, func(ctx context.Context) error {
			work := &v1beta1.Work{}
			if err := theHub.Get(ctx, client.ObjectKey{Namespace: m.namespace, Name: "rg-after-flood-work"}, work); err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(work.Status.Conditions, v1beta1.ConditionApplied) {
				return fmt.Errorf("conditions are %v", work.Status.Conditions)
			}
			return nil
		})
	}
	for _, name := range []string{m1.cluster, m2.cluster} {
		cluster := &clusterv1beta1.MemberCluster{}
		if err := theHub.Get(t.Context(), client.ObjectKey{Name: name}, cluster); err != nil || !meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1beta1.ConditionJoined) {
			t.Errorf("%s, error %v: conditions are %v", name, err, cluster.Status.Conditions)
		}
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(name), Name: contract.QuotaName(name)}}
		if err := theHub.Get(t.Context(), client.ObjectKeyFromObject(quota), quota); err != nil {
			t.Errorf("the quota of %s: %v", name, err)
		}
	}
}

func restartHubAgent(t *testing.T) {
	t.Helper()
	if err := errors.Join(local.StopAgent(t.Context(), local.Hub()), local.StartAgent(t.Context(), local.Hub())); err != nil {
		t.Fatalf("start the hub agent again: %v", err)
	}
}

// forbidden fails the test if any object of a text can be created as who.
func forbidden(t *testing.T, who actor, text string) {
	t.Helper()
	for _, obj := range objects(t, text) {
		err := who.Create(t.Context(), obj, client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s creates %s %s/%s: %v; want that it is forbidden", who.name, obj.GetKind(), obj.GetNamespace(), obj.GetName(), err)
		}
	}
}

// renamed is a text with other names of objects, for what is played twice.
func renamed(text string, names ...string) string { return strings.NewReplacer(names...).Replace(text) }
