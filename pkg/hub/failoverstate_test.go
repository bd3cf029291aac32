package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// work is the only Work for a member.
func (p *placed) work(ctx context.Context, member string) (*v1beta1.Work, error) {
	var list v1beta1.WorkList
	err := p.Client.List(ctx, &list, client.InNamespace(contract.MemberNamespace(member)), client.MatchingLabels{contract.LabelPlacement: p.of.Name})
	if err == nil && len(list.Items) != 1 {
		err = fmt.Errorf("%s has %d Works", member, len(list.Items))
	}
	if err != nil {
		return nil, err
	}
	return &list.Items[0], nil
}

// reportsBack writes the status of the ConfigMap, as a member would that is asked for it.
func (p *placed) reportsBack(member, status string) {
	p.Helper()
	testworld.Await(p, testworld.Soon, member+" to report "+status, func(ctx context.Context) error {
		w, err := p.work(ctx, member)
		if err != nil {
			return err
		}
		if s := w.Spec.ReportBackStrategy; s == nil || s.Type != v1beta1.ReportBackTypeMirror || *s.Destination != v1beta1.ReportBackDestinationWorkAPI {
			return fmt.Errorf("the Work reports back %+v", s)
		}
		w.Status.ManifestConditions = []v1beta1.ManifestCondition{{
			Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: "cm"},
			Conditions: []metav1.Condition{},
			BackReportedStatus: &v1beta1.BackReportedStatus{ObservationTime: metav1.Now(), ObservedStatus: runtime.RawExtension{
				Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","status":%s}`, status),
			}},
		}}
		return p.Client.Status().Update(ctx, w)
	})
}

// step is the annotation of that name of the ConfigMap for a member.
func (p *placed) step(member string) (step string) {
	p.Helper()
	w, err := p.work(p.Context(), member)
	p.must(err)
	for _, m := range w.Spec.Workload.Manifests {
		var o metav1.PartialObjectMetadata
		p.must(json.Unmarshal(m.Raw, &o))
		if o.Kind == "ConfigMap" && o.Name == "cm" {
			step = o.Annotations["example.com/step"]
		}
	}
	return step
}

// A value of a status becomes an annotation on the cluster that replaces another one, and is passed on by a cluster that
// never reported its own.
func TestFailoverTakesStateAlong(t *testing.T) {
	f := hubs.take(t)
	rule := func(path, annotation string) v1beta1.FailoverState {
		return v1beta1.FailoverState{Kind: "ConfigMap", Name: "cm", JSONPath: path, Annotation: annotation}
	}
	p := f.place("stateful", 1, []string{"east-1", "east-2"})
	before, err := p.work(p.Context(), "east-2")
	p.must(err)
	p.edit(func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Failover.State = []v1beta1.FailoverState{rule(".status.step", "example.com/step"), rule(".status.other", "example.com/other")}
	})
	p.reportsBack("east-2", `{"step":7}`)
	p.available("east-2")
	if w, err := p.work(p.Context(), "east-2"); err != nil || w.UID != before.UID || !slices.EqualFunc(w.Spec.Workload.Manifests, before.Spec.Workload.Manifests,
		func(a, b v1beta1.Manifest) bool { return string(a.Raw) == string(b.Raw) }) {
		p.Errorf("the edit changed the content of the Work: %v", err)
	}

	f.lose(2*after, "east-2")
	p.available("east-1")
	if here, there := p.step("east-1"), p.step("east-2"); here != "7" || there != "" {
		p.Errorf("east-1 has step %q, and east-2 %q", here, there)
	}
	p.missed("1 values of policy.failover.state were taken along to cluster east-1. Missing: ConfigMap shop/cm, .status.other: the status has no such value")
	if n := p.snapshots(); n != 1 {
		p.Errorf("%d policy snapshots; what is taken along must create none", n)
	}
	f.hear("east-2")
	p.bound("east-1")

	f.lose(2*after, "east-1") // which has not reported its status
	p.available("east-2")
	if step := p.step("east-2"); step != "7" {
		p.Errorf("east-2 gets step %q back", step)
	}
	f.hear("east-1")
	p.bound("east-2")
}

// missed waits for the only event that a placement did not take something along to the cluster in the message.
func (p *placed) missed(message string) {
	p.Helper()
	testworld.AwaitEvents(p, p.Client, metav1.NamespaceDefault, message, func(events []corev1.Event) bool {
		events = slices.DeleteFunc(events, func(e corev1.Event) bool {
			return e.Reason != "FailoverStateMissing" || e.InvolvedObject.Name != p.of.Name
		})
		return len(events) == 1 && events[0].Count <= 1 && strings.HasPrefix(events[0].Message, message)
	})
}
