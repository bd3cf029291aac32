package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// work is the only Work of a placement for a member.
func (f *failovers) work(ctx context.Context, p *v1beta1.ClusterResourcePlacement, member string) (*v1beta1.Work, error) {
	var list v1beta1.WorkList
	err := f.Client.List(ctx, &list, client.InNamespace(contract.MemberNamespace(member)), client.MatchingLabels{contract.LabelPlacement: p.Name})
	if err == nil && len(list.Items) != 1 {
		err = fmt.Errorf("%s has %d Works", member, len(list.Items))
	}
	if err != nil {
		return nil, err
	}
	return &list.Items[0], nil
}

// reports writes the status of the ConfigMap, as a member would that is asked for it.
func (f *failovers) reports(p *v1beta1.ClusterResourcePlacement, member, status string) {
	f.Helper()
	testworld.Await(f, testworld.Soon, member+" to report "+status, func(ctx context.Context) error {
		w, err := f.work(ctx, p, member)
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
		return f.Client.Status().Update(ctx, w)
	})
}

// step is the annotation of that name of the ConfigMap for a member.
func (f *failovers) step(p *v1beta1.ClusterResourcePlacement, member string) (step string) {
	f.Helper()
	w, err := f.work(f.Context(), p, member)
	f.must(err)
	for _, m := range w.Spec.Workload.Manifests {
		var o metav1.PartialObjectMetadata
		f.must(json.Unmarshal(m.Raw, &o))
		if o.Kind == "ConfigMap" && o.Name == "cm" {
			step = o.Annotations["example.com/step"]
		}
	}
	return step
}

// takesStateAlong leaves a cluster whose status has the value, and then one that never reported.
func takesStateAlong(f *failovers) {
	rule := func(path, annotation string) v1beta1.FailoverState {
		return v1beta1.FailoverState{Kind: "ConfigMap", Name: "cm", JSONPath: path, Annotation: annotation}
	}
	p := f.place("stateful", "east", 1, "east-2")
	before, err := f.work(f.Context(), p, "east-2")
	f.must(err)
	testworld.Await(f, testworld.Soon, "the edit of what is taken along", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		p.Spec.Policy.Failover.State = []v1beta1.FailoverState{rule(".status.step", "example.com/step"), rule(".status.other", "example.com/other")}
		return f.Client.Update(ctx, p)
	})
	f.reports(p, "east-2", `{"step":7}`)
	f.available(p, "east-2")
	if w, err := f.work(f.Context(), p, "east-2"); err != nil || w.UID != before.UID || !slices.EqualFunc(w.Spec.Workload.Manifests, before.Spec.Workload.Manifests,
		func(a, b v1beta1.Manifest) bool { return string(a.Raw) == string(b.Raw) }) {
		f.Errorf("the edit changed the content of the Work: %v", err)
	}

	f.members["east-2"].Silent()
	f.available(p, "east-1")
	f.awaitSilence("east-2", clusterv1beta1.SilenceLost)
	if here, there := f.step(p, "east-1"), f.step(p, "east-2"); here != "7" || there != "" {
		f.Errorf("east-1 has step %q, and east-2 %q", here, there)
	}
	f.missed(p, "1 values of policy.failover.state were taken along to cluster east-1. Missing: ConfigMap shop/cm, .status.other: the status has no such value")
	var snapshots v1beta1.ClusterSchedulingPolicySnapshotList
	f.must(f.Client.List(f.Context(), &snapshots, client.MatchingLabels{contract.LabelPlacement: p.Name}))
	if n := len(snapshots.Items); n != 1 {
		f.Errorf("%d policy snapshots; what is taken along must create none", n)
	}
	f.members["east-2"].Healthy()
	f.awaitBindings(p, "east-1=Bound")

	f.members["east-1"].Silent() // which has not reported its status
	f.available(p, "east-2")
	if step := f.step(p, "east-2"); step != "7" {
		f.Errorf("east-2 gets step %q back", step)
	}
	f.members["east-1"].Healthy()
	f.awaitBindings(p, "east-2=Bound")
}

// missed waits for the only event that a placement did not take something along to the cluster in the message.
func (f *failovers) missed(p *v1beta1.ClusterResourcePlacement, message string) {
	f.Helper()
	testworld.AwaitEvents(f, f.Client, metav1.NamespaceDefault, message, func(events []corev1.Event) bool {
		events = slices.DeleteFunc(events, func(e corev1.Event) bool {
			return e.Reason != "FailoverStateMissing" || e.InvolvedObject.Name != p.Name
		})
		return len(events) == 1 && events[0].Count <= 1 && strings.HasPrefix(events[0].Message, message)
	})
}
