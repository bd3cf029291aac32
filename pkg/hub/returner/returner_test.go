package returner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hubs = testworld.SharedHub()

func TestMain(m *testing.M) { hubs.Main(m) }

// hub is a real API server on which one returner at a time runs; the test plays all other agents. All tests share it:
// each has placements with names of its own.
type hub struct {
	testworld.Hub
	events *testworld.Recorder
	// agent is the returner that was started last.
	agent *testworld.Agent
}

func onHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{Hub: hubs.Hub(t), events: &testworld.Recorder{}}
	for _, name := range []string{"app", "fleet-member-m"} {
		if err := h.Client.Create(t.Context(), testworld.Namespace(name)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	return h
}

// start runs a returner until it is stopped. It reaches users' objects with objects, or, if that is nil, with the
// client of the administrator.
func (h *hub) start(objects client.Client) {
	h.Helper()
	h.agent = testworld.RunAgent(h.T, h.Config, func(mgr ctrl.Manager, direct client.Client) error {
		if objects != nil {
			direct = objects
		}
		r := &Returner{Client: mgr.GetClient(), Direct: direct, Recorder: h.events, Workers: 2, Namespaced: true, RetryRefused: 100 * time.Millisecond}
		return r.SetupWithManager(mgr)
	})
}

// place makes an Ingress that a placement selects, with a policy.
func (h *hub) place(name string, policy *v1beta1.PlacementPolicy) {
	h.Helper()
	// No controller of the hub's own writes the status of an Ingress.
	h.Must(h.Client.Create(h.Context(), &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: name}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}))
	to := v1beta1.ReportBackDestinationOriginalResource
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.PlacementSpec{
		ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}}, Policy: policy,
		Strategy: v1beta1.RolloutStrategy{ReportBackStrategy: &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeMirror, Destination: &to}},
	}}
	h.Must(h.Client.Create(h.Context(), placement))
	placement.Status.SelectedResources = []v1beta1.ResourceIdentifier{ingress(name)}
	h.Must(h.Client.Status().Update(h.Context(), placement))
}

// bind binds a placement to member m, unless it is bound.
func (h *hub) bind(name string) *v1beta1.ClusterResourceBinding {
	h.Helper()
	binding := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: name + "-m"}}
	_, err := ctrl.CreateOrUpdate(h.Context(), h.Client, binding, func() error {
		binding.Labels = map[string]string{contract.LabelPlacement: name}
		binding.Spec.State, binding.Spec.TargetCluster = v1beta1.BindingStateBound, "m"
		binding.Spec.ClusterDecision = v1beta1.ClusterDecision{ClusterName: "m", Selected: true, Reason: "test"}
		return nil
	})
	h.Must(err)
	return binding
}

// report makes the member report a status of the Ingress, in the Work of its placement's binding.
func (h *hub) report(name string, observed int) {
	h.Helper()
	binding := h.bind(name)
	testworld.AwaitKnown(h, h.agent.Knows, binding) // the dispatcher, too, makes a Work only for a binding that it knows
	h.reportIn("fleet-member-m", name+"-work", name, observed, map[string]string{
		contract.LabelPlacement: name, contract.LabelBinding: binding.Name,
	}, map[string]string{contract.AnnotationBindingUID: string(binding.UID)})
}

// reportIn reports a status of the Ingress in a Work that may be there already.
func (h *hub) reportIn(namespace, name, ofIngress string, observed int, labels, annotations map[string]string) {
	h.Helper()
	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err := ctrl.CreateOrUpdate(h.Context(), h.Client, work, func() error {
		work.Labels, work.Annotations = labels, annotations
		work.Spec.ReportBackStrategy = &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeMirror}
		return nil
	})
	h.Must(err)
	work.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, Reason: "Test",
		ObservedGeneration: work.Generation, LastTransitionTime: metav1.Now()}}
	text := fmt.Sprintf(`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.%d"}]}}}`, observed)
	work.Status.ManifestConditions = []v1beta1.ManifestCondition{{
		Identifier:         v1beta1.WorkResourceIdentifier{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress", Resource: "ingresses", Namespace: "app", Name: ofIngress},
		Conditions:         []metav1.Condition{},
		BackReportedStatus: &v1beta1.BackReportedStatus{ObservedStatus: runtime.RawExtension{Raw: []byte(text)}, ObservationTime: metav1.Now()},
	}}
	h.Must(h.Client.Status().Update(h.Context(), work))
}

func ingress(name string) v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress", Namespace: "app", Name: name}
}

func (h *hub) await(name string, observed int) {
	h.Helper()
	testworld.Await(h, testworld.Soon, "the status of "+name, func(ctx context.Context) error {
		var found networkingv1.Ingress
		if err := h.Client.Get(ctx, client.ObjectKey{Namespace: "app", Name: name}, &found); err != nil {
			return err
		}
		if at := found.Status.LoadBalancer.Ingress; len(at) != 1 || at[0].IP != fmt.Sprintf("10.0.0.%d", observed) {
			return fmt.Errorf("%+v; want %d", found.Status, observed)
		}
		return nil
	})
}

// statuses are the writes to users' objects since the last call.
func (h *hub) statuses() int {
	n := 0
	for _, w := range h.agent.Take() {
		if strings.Contains(w, "/ingresses/") {
			n++
		}
	}
	return n
}

// Cases mirror-placement and mirror-forged-work: another member than the one that the placement goes to makes a Work
// in its own namespace that looks like the placement's, and reports another address.
func TestForgedWork(t *testing.T) {
	h := onHub(t)
	h.Must(h.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-member-rogue"}}))
	h.start(nil)
	h.place("web", &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"m"}})
	binding := h.bind("web")
	looks := map[string]string{contract.LabelPlacement: "web"}
	made := map[string]string{contract.AnnotationBindingUID: string(binding.UID)}
	h.reportIn("fleet-member-rogue", "rg-fw", "web", 66, looks, nil)
	h.reportIn("fleet-member-rogue", "web-work", "web", 66, map[string]string{contract.LabelPlacement: "web", contract.LabelBinding: binding.Name}, made)
	h.reportIn("fleet-member-m", "no-binding", "web", 66, looks, made)
	h.reportIn("fleet-member-m", "earlier-binding", "web", 66, map[string]string{contract.LabelPlacement: "web", contract.LabelBinding: binding.Name},
		map[string]string{contract.AnnotationBindingUID: "another"})
	// What comes after them is carried, and is the first to be.
	h.report("web", 7)
	h.await("web", 7)
	h.reportIn("fleet-member-rogue", "rg-fw", "web", 67, looks, nil)
	h.report("web", 8)
	h.await("web", 8)
	if n := h.statuses(); n != 2 {
		t.Errorf("%d statuses were written; want the two of the placement's own member", n)
	}
}

func TestStatusComesBack(t *testing.T) {
	h := onHub(t)
	h.start(nil)
	fixed := &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"m"}}
	h.place("one", fixed)
	h.report("one", 7)
	h.await("one", 7)
	h.report("one", 8)
	h.await("one", 8)
	h.statuses()

	// A placement to many clusters is told why nothing comes.
	h.place("many", nil)
	h.report("many", 7)
	h.events.Await(t, "Warning", "from one cluster only")
	if n := h.statuses(); n != 0 {
		t.Errorf("%d statuses were written; want none of a placement to many clusters", n)
	}

	// A restart with nothing new writes nothing; then the next report is carried.
	h.agent.Stop()
	h.start(nil)
	h.place("two", fixed)
	h.report("two", 3)
	h.await("two", 3)
	if n := h.statuses(); n != 1 {
		t.Errorf("%d statuses were written; want that of the new object alone", n)
	}

	// An object that is made again gets its status as soon as it is selected again.
	before := &networkingv1.Ingress{}
	h.Must(h.Client.Get(t.Context(), client.ObjectKey{Namespace: "app", Name: "two"}, before))
	h.Must(h.Client.Delete(t.Context(), before))
	var placement v1beta1.ClusterResourcePlacement
	selected := func(change func()) {
		h.Must(h.Client.Get(t.Context(), client.ObjectKey{Name: "two"}, &placement))
		change()
		h.Must(h.Client.Status().Update(t.Context(), &placement))
	}
	selected(func() { placement.Status.SelectedResources = nil })
	before.ResourceVersion, before.Status = "", networkingv1.IngressStatus{}
	h.Must(h.Client.Create(t.Context(), before))
	selected(func() {
		placement.Status.SelectedResources = []v1beta1.ResourceIdentifier{ingress("two")}
	})
	h.await("two", 3)
}

// An agent that may not write the status records an event, once, that names the remedy. When the permission is granted,
// it writes the status, without any other change.
func TestRefusedStatusIsWrittenOnceItIsPermitted(t *testing.T) {
	h := onHub(t)
	cfg := rest.CopyConfig(h.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "hub-agent"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get"}},
	}}
	h.Must(h.Client.Create(t.Context(), role))
	h.Must(h.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reads"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reads"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "hub-agent"}}}))
	asAgent, err := client.New(cfg, client.Options{Scheme: h.Client.Scheme()})
	h.Must(err)
	h.start(asAgent)
	h.place("three", &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"m"}})
	h.report("three", 1)
	h.events.Await(t, "Ingress", `"networking.k8s.io"`, "statusBackReporting")
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses/status"}, Verbs: []string{"update"}})
	h.Must(h.Client.Update(t.Context(), role))
	h.await("three", 1)
	for _, e := range h.events.All() {
		if about, ok := e.About.(client.Object); ok && about.GetName() == "three" {
			t.Errorf("another event was recorded: %s", e)
		}
	}
}

// refusing is a client of the hub that refuses statuses: of Ingresses with no permission, and of Services as invalid.
type refusing struct {
	client.Client
	gets, updates int
}

func (c *refusing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	c.gets++
	return nil
}

func (c *refusing) Status() client.SubResourceWriter { return refusingWriter{client: c} }

type refusingWriter struct {
	client.SubResourceWriter
	client *refusing
}

func (w refusingWriter) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	w.client.updates++
	if kind := o.GetObjectKind().GroupVersionKind(); kind.Kind != "Ingress" {
		return apierrors.NewInvalid(kind.GroupKind(), o.GetName(), nil)
	}
	return apierrors.NewForbidden(networkingv1.Resource("ingresses"), o.GetName(),
		errors.New(`User "hub-agent" cannot update resource "ingresses/status" in API group "networking.k8s.io"`))
}

// Two different refusals are recorded once each, however often they repeat, and a missing permission is tried once in a
// pass.
func TestRefusalsAreRecordedOnceEach(t *testing.T) {
	hub, events := &refusing{}, &testworld.Recorder{}
	r := &Returner{Direct: hub, Recorder: events, failures: map[types.NamespacedName]*failing{}}
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "both"}}
	back := func(group, kind, name string) report.Returned {
		return report.Returned{Status: []byte(`{"n":1}`), Origin: report.Origin{
			GroupVersionKind: schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind},
			NamespacedName:   types.NamespacedName{Namespace: "app", Name: name},
		}}
	}
	const passes = 3
	for range passes {
		var pass pass
		for _, b := range []report.Returned{
			back("networking.k8s.io", "Ingress", "a"), back("", "Service", "b"), back("networking.k8s.io", "Ingress", "c"), back("", "Service", "b"),
		} {
			if err := r.carry(t.Context(), &pass, placement, b); err != nil {
				t.Fatal(err)
			}
		}
		if !pass.refused.Load() {
			t.Error("the pass found no refusal")
		}
	}
	if n := len(events.All()); n != 2 {
		t.Errorf("%d events: %v; want one for each refusal", n, events.All())
	}
	if want := 3 * passes; hub.gets != want || hub.updates != want {
		t.Errorf("%d reads and %d writes; want %d of each", hub.gets, hub.updates, want)
	}
	for i := range 2 * mostReported {
		r.recordFailure(placement, fmt.Sprintf("failure %d", i))
	}
	if n := len(events.All()); n != mostReported {
		t.Errorf("%d events; want %d at most", n, mostReported)
	}
}

func TestBackOff(t *testing.T) {
	r := &Returner{RetryRefused: time.Minute, failures: map[types.NamespacedName]*failing{}}
	key, now := types.NamespacedName{Name: "web"}, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := r.backOff(key, now); got != want*time.Minute {
			t.Errorf("waits %s; want %s", got, want*time.Minute)
		}
		now = now.Add(want * time.Minute)
		if got := r.backOff(key, now.Add(-time.Second)); got != time.Second {
			t.Errorf("a reconciliation before that waits %s; want the rest of the time", got)
		}
	}
	r.restart(key)
	if got := r.backOff(key, now); got != time.Minute {
		t.Errorf("waits %s after a status was written; want the first wait", got)
	}
	r.recovered(key)
	if len(r.failures) != 0 {
		t.Errorf("%d placements are kept", len(r.failures))
	}
}
