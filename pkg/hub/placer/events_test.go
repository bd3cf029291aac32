package placer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// events are what the owner of a placement was told: type, reason, and how often it was said.
func (w *world) events(p client.Object) []string {
	w.Helper()
	var events corev1.EventList
	if err := w.List(w.Context(), &events); err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, e := range events.Items {
		if e.InvolvedObject.UID == p.GetUID() && e.Source.Component == "placement-controller" {
			out = append(out, fmt.Sprintf("%s %s %d", e.Type, e.Reason, e.Count))
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) awaitEvents(p client.Object, want ...string) {
	w.Helper()
	slices.Sort(want)
	w.await("events", func() error {
		if got := w.events(p); !slices.Equal(got, want) {
			return fmt.Errorf("events %v; want %v", got, want)
		}
		return nil
	})
}

// fail lets the binding of a cluster report that something was refused.
func (w *world) fail(key types.NamespacedName, cluster string) {
	w.Helper()
	w.await("fail", func() error {
		binding, err := scope.Bindings.Get(w.Context(), w.Client, types.NamespacedName{Namespace: key.Namespace, Name: key.Name + "-" + cluster})
		if err != nil {
			return err
		}
		status := binding.GetStatus()
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: v1beta1.ConditionApplied, Status: metav1.ConditionFalse,
			Reason: v1beta1.ReasonNotAllWorkHaveBeenApplied, ObservedGeneration: binding.GetGeneration(), Message: "Some objects are not applied"})
		status.FailedPlacements = []v1beta1.FailedResourcePlacement{{
			ResourceIdentifier: v1beta1.ResourceIdentifier{Version: "v1", Kind: "ConfigMap", Name: "cm"},
			Condition: metav1.Condition{
				Type: v1beta1.ConditionApplied, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonManifestApplyFailed,
				LastTransitionTime: metav1.Now(),
			},
		}}
		return w.Status().Update(w.Context(), binding)
	})
}

// The owner of a placement, of either kind, is told what happens, once; not again after a restart; and what failed as
// a warning.
func TestEvents(t *testing.T) {
	for _, scoped := range []string{"cluster", "namespaced"} {
		t.Run(scoped, func(t *testing.T) {
			w := newWorld(t)
			agent := start(t, snapshot.Windows{})
			w.make(w.namespace(), w.configMap("cm", "one"))
			var p client.Object = w.crp()
			key, selected := w.key(), []string{"Namespace " + w.name, "ConfigMap cm"}
			if scoped == "namespaced" {
				p, key, selected = w.rp(), types.NamespacedName{Namespace: w.name, Name: "rp"}, selected[1:]
			}
			w.make(p)
			w.awaitSelected(key, 0, selected...)
			w.schedule(key, "a", "b")
			// It has been told by now that the clusters are chosen; what comes next is told on its own.
			told := []string{"Normal PlacementScheduled 1"}
			w.awaitEvents(p, told...)
			w.roll(key)
			w.awaitAvailable(key, "0")
			told = append(told, "Normal PlacementRolloutCompleted 1")
			w.awaitEvents(p, told...)

			w.fail(key, "a")
			told = append(told, "Warning ApplyFailed 1")
			w.awaitEvents(p, told...)
			w.fail(key, "b")
			w.await("both fail", func() error {
				for _, entry := range w.placement(key).GetStatus().PerClusterPlacementStatuses {
					if len(entry.FailedPlacements) != 1 {
						return fmt.Errorf("%s has no failure", entry.ClusterName)
					}
				}
				return nil
			})

			agent.Stop()
			start(t, snapshot.Windows{})
			w.make(w.configMap("cm2", "two"))
			w.awaitSelected(key, 1, append(selected, "ConfigMap cm2")...)
			testworld.Stable(t, time.Second, "silence", func(context.Context) error {
				if got := w.events(p); len(got) != len(told) {
					return fmt.Errorf("events %v", got)
				}
				return nil
			})
			if err := w.Delete(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			w.awaitEvents(p, append(told, "Normal PlacementCleanupFinalizerRemoved 1")...)
			w.release(p)
		})
	}
}

// While what a placement selects cannot be read, its clusters are still reported on.
func TestReportsWhileItCannotRead(t *testing.T) {
	w := newWorld(t)
	faults := &faulty{}
	start(t, snapshot.Windows{}, faults)
	namespace := w.namespace()
	w.make(namespace, w.configMap("cm", "one"), w.crp())
	w.awaitSelected(w.key(), 0, "Namespace "+w.name, "ConfigMap cm")
	w.schedule(w.key(), "a")
	w.roll(w.key())
	before := w.awaitAvailable(w.key(), "0").GetStatus()
	faults.set([]schema.GroupKind{{Kind: "ConfigMap"}}, nil)
	touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
	if err := w.Patch(t.Context(), namespace, touch); err != nil {
		t.Fatal(err)
	}
	w.fail(w.key(), "a")
	w.await("the failure", func() error {
		status := w.placement(w.key()).GetStatus()
		if len(status.PerClusterPlacementStatuses) != 1 || len(status.PerClusterPlacementStatuses[0].FailedPlacements) != 1 {
			return fmt.Errorf("status %+v", status)
		}
		if !slices.Equal(status.SelectedResources, before.SelectedResources) || status.ObservedResourceIndex != "0" {
			t.Errorf("index %q, resources %v", status.ObservedResourceIndex, status.SelectedResources)
		}
		return nil
	})
}

// An edit that changes nothing for the clusters leaves what is said of them as it is, however long the scheduler takes
// to look at it.
func TestAnEditDoesNotFlicker(t *testing.T) {
	w := newWorld(t)
	start(t, defaults)
	w.make(w.namespace(), w.crp())
	w.schedule(w.key(), "a")
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.roll(w.key())
	before := w.awaitAvailable(w.key(), "0")
	edit := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"revisionHistoryLimit":5}}`))
	begin := time.Now()
	if err := w.Patch(t.Context(), w.crp(), edit); err != nil {
		t.Fatal(err)
	}
	// Longer than progress is held back, and shorter than the scheduler is waited for. A machine that stalls for
	// longer shows nothing.
	testworld.Stable(t, 2*time.Second, "what was said", func(context.Context) error {
		now := w.placement(w.key())
		if equality.Semantic.DeepEqual(now.GetStatus(), before.GetStatus()) || time.Since(begin) > 4*time.Second {
			return nil
		}
		return fmt.Errorf("status %+v", now.GetStatus())
	})
	w.schedule(w.key(), "a")
	after := w.awaitAvailable(w.key(), "0").GetStatus()
	for i, c := range after.Conditions {
		was := before.GetStatus().Conditions[i]
		if c.Type != was.Type || c.Reason != was.Reason || c.ObservedGeneration != was.ObservedGeneration+1 {
			t.Errorf("condition %+v; before it was %+v", c, was)
		}
	}
}
