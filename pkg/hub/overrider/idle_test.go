package overrider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// An override without an effect is reported after Patience.
func TestUselessOverrideIsReported(t *testing.T) {
	hub := hubs.Hub(t)
	create := func(obj client.Object) {
		t.Helper()
		if err := hub.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	err := hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "idle"}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	member := testworld.NewMemberCluster("idle-member")
	member.Labels = map[string]string{"region": "east"}
	create(member)
	create(testworld.ClusterPlacement("idle-placement", "idle"))
	content := &v1beta1.ClusterResourceSnapshot{ObjectMeta: metav1.ObjectMeta{
		Name: contract.MasterSnapshotName("idle-placement", 0),
		Labels: map[string]string{
			contract.LabelPlacement: "idle-placement", contract.LabelResourceIndex: "0", contract.LabelLatest: "true",
		},
		Annotations: map[string]string{contract.AnnotationResourceHash: "hash", contract.AnnotationSnapshotCount: "1"},
	}}
	content.Spec.SelectedResources = []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"idle"}}`),
	}}}
	create(content)

	override := func(name, object, placement string, where []v1beta1.ClusterSelectorTerm) {
		o := testworld.Override("idle", name, testworld.Patching(where, testworld.Annotating("k", "v")))
		o.Spec.ResourceSelectors[0].Name = object
		if placement != "" {
			o.Spec.Placement = &v1beta1.PlacementRef{Name: placement, Scope: v1beta1.PlacementScopeCluster}
		}
		create(o)
	}
	east := []v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{"region": "east"})}
	west := []v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{"region": "west"})}
	override("useful", "cm", "", east)
	override("useful-there", "cm", "idle-placement", east)
	override("reported-by-its-placement", "other", "idle-placement", east)
	override("of-nothing", "other", "", east)
	override("for-no-placement", "cm", "no-such-placement", east)
	override("nowhere", "cm", "", west)
	override("nowhere-there", "cm", "idle-placement", west)
	long := strings.Repeat("x", 64)
	override(long, "cm", "", east)
	deep := testworld.Override("idle", "deep", testworld.Patching(east, v1beta1.JSONPatchOverride{
		Operator: v1beta1.JSONPatchAdd, Path: "/data",
		Value: apiextensionsv1.JSON{Raw: []byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))},
	}))
	deep.Spec.ResourceSelectors[0].Name = "cm"
	create(deep)

	defer start(t, hub, 200*time.Millisecond).Stop()
	want := map[string]string{
		"of-nothing": eventIdle, "for-no-placement": eventIdle, "nowhere": eventNoCluster, "nowhere-there": eventNoCluster, long: eventNameTooLong,
		"deep": eventTooDeep,
	}
	reported := func(ctx context.Context) error {
		var events corev1.EventList
		if err := hub.Client.List(ctx, &events, client.InNamespace("idle")); err != nil {
			return err
		}
		got := map[string]string{}
		for _, e := range events.Items {
			if e.InvolvedObject.Kind != "ResourceOverride" || e.Source.Component != RecorderName || e.Count > 1 || got[e.InvolvedObject.Name] != "" {
				return fmt.Errorf("event %+v", e)
			}
			got[e.InvolvedObject.Name] = e.Reason
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("events are %v; want %v", got, want)
		}
		return nil
	}
	testworld.Await(t, testworld.Soon, "events", reported)
	testworld.Stable(t, time.Second, "events", reported)
	var copies v1beta1.ResourceOverrideSnapshotList
	if err := hub.Client.List(t.Context(), &copies, client.InNamespace("idle"), client.MatchingLabels{contract.LabelOverride: "deep"}); err != nil ||
		len(copies.Items) > 0 {
		t.Errorf("snapshots of the deep override: %v, %v", copies.Items, err)
	}
	// The next start would record the events again.
	for _, name := range []string{long, "deep"} {
		doomed := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: "idle", Name: name}}
		if err := hub.Client.Delete(t.Context(), doomed); err != nil {
			t.Fatal(err)
		}
	}
}
