package warden

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// in is the namespace of a member.
const in = "fleet-member-m"

func TestReservedNamespacesAreIgnoredAloud(t *testing.T) {
	hub := testworld.StartHub(t)
	must := hub.Must
	for _, namespace := range []string{in, "app"} {
		must(hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	}
	var events testworld.Recorder
	start := func() *testworld.Agent {
		return testworld.RunAgent(t, hub.Config, func(mgr ctrl.Manager, direct client.Client) error {
			w := &Warden{Client: mgr.GetClient(), Direct: direct, Recorder: &events, Namespaced: true, Evictions: true, Runs: true, Now: time.Now}
			return w.SetupWithManager(mgr)
		})
	}
	placement := testworld.Placement(in, "evil")
	placement.Finalizers = []string{contract.FinalizerPlacement, contract.FinalizerScheduler}
	binding := &v1beta1.ResourceBinding{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil-m", Finalizers: []string{contract.FinalizerBinding},
		Labels: map[string]string{contract.LabelPlacement: "evil"}}}
	binding.Spec.State, binding.Spec.TargetCluster = v1beta1.BindingStateBound, "m2"
	binding.Spec.ClusterDecision = v1beta1.ClusterDecision{ClusterName: "m2", Selected: true, Reason: "x"}
	override := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil", Finalizers: []string{contract.FinalizerOverride}}}
	override.Spec.ResourceSelectors = []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: "x"}}
	override.Spec.Policy = &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{OverrideType: v1beta1.OverrideTypeDelete}}}
	eviction := &v1beta1.ResourcePlacementEviction{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil"}}
	eviction.Spec.PlacementName, eviction.Spec.ClusterName = "evil", "m2"
	run := &v1beta1.StagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil", Finalizers: []string{contract.FinalizerUpdateRun}}}
	run.Spec.PlacementName, run.Spec.StagedUpdateStrategyName = "evil", "s"
	conditioned := map[client.Object]string{
		placement: "ResourcePlacementScheduled", binding: v1beta1.ConditionWorkSynchronized,
		eviction: v1beta1.ConditionEvictionValid, run: v1beta1.ConditionInitialized,
	}
	for obj := range conditioned {
		must(hub.Client.Create(t.Context(), obj))
	}
	must(hub.Client.Create(t.Context(), override))
	envelope := &v1beta1.ResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil"}}
	envelope.Data = map[string]runtime.RawExtension{"cm": {Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`)}}
	budget := &v1beta1.ResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil"}}
	budget.Spec.MinAvailable = ptr.To(intstr.FromInt32(1))
	strategy := &v1beta1.StagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "evil"}}
	strategy.Spec.Stages = []v1beta1.StageConfig{{Name: "all"}}
	mute := []client.Object{override, envelope, budget, strategy}
	for _, obj := range mute[1:] {
		must(hub.Client.Create(t.Context(), obj))
	}
	elsewhere := testworld.Placement("app", "good")
	must(hub.Client.Create(t.Context(), elsewhere))

	agent := start()
	for obj, kind := range conditioned {
		testworld.Await(t, testworld.Soon, fmt.Sprintf("%T to be told", obj), func(ctx context.Context) error {
			if err := hub.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			c := meta.FindStatusCondition(*obj.(interface{ GetConditions() *[]metav1.Condition }).GetConditions(), kind)
			if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "namespace "+in+" is reserved") {
				return fmt.Errorf("condition %+v", c)
			}
			return nil
		})
	}
	for range mute {
		events.Await(t, "reserved")
	}
	agent.Stop()

	// A restart with nothing changed writes nothing, and deletions end.
	agent = start()
	for obj := range conditioned {
		must(client.IgnoreNotFound(hub.Client.Delete(t.Context(), obj))) // the warden deletes the placement's binding, too
	}
	for _, obj := range mute {
		must(hub.Client.Delete(t.Context(), obj))
	}
	for _, obj := range append([]client.Object{placement, binding, eviction, run}, mute...) {
		testworld.Await(t, testworld.Soon, fmt.Sprintf("%T to go", obj), func(ctx context.Context) error {
			err := hub.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it has finalizers %v: %w", obj.GetFinalizers(), err)
			}
			return nil
		})
	}
	for _, write := range agent.All() {
		if !strings.HasPrefix(write, "PATCH") && !strings.HasPrefix(write, "DELETE") {
			t.Errorf("after a restart the warden wrote %s", write)
		}
	}
	must(hub.Client.Get(t.Context(), client.ObjectKeyFromObject(elsewhere), elsewhere))
	if len(elsewhere.Status.Conditions) > 0 {
		t.Errorf("a placement in another namespace was told %+v", elsewhere.Status.Conditions)
	}
}
