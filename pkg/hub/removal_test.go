package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// incident is a placement of ConfigMaps of a team, by their label, on three members.
type incident struct {
	*failovers
	of        *v1beta1.ResourcePlacement
	namespace string
	objects   []string
}

func (f *failovers) incident(namespace string, most intstr.IntOrString) *incident {
	f.Helper()
	i := &incident{failovers: f, namespace: namespace, objects: []string{"a", "b", "c", "d"}}
	f.must(f.Client.Create(f.Context(), testworld.Namespace(namespace)))
	for _, name := range i.objects {
		cm := testworld.ConfigMap(namespace, name)
		cm.Name, cm.Labels = name, map[string]string{"team": "a"}
		if name == "a" {
			cm.Labels["keep"] = "yes"
		}
		f.must(f.Client.Create(f.Context(), cm))
	}
	i.of = testworld.Placement(namespace, "team", testworld.PickFixed("west-1", "west-2", "east-1"), testworld.MaxUnavailable(intstr.FromString("100%")),
		testworld.Selecting(testworld.WithLabel("ConfigMap", "team", "a")))
	i.of.Finalizers = nil
	i.of.Spec.Strategy.Removal = &v1beta1.RemovalPolicy{Max: &most}
	f.must(f.Client.Create(f.Context(), i.of))
	i.has("west-1", i.objects...)
	i.has("west-2", i.objects...)
	i.has("east-1", i.objects...)
	return i
}

// onMember are the objects in the Works of a member, which it places.
func (i *incident) onMember(ctx context.Context, cluster string) ([]string, error) {
	var works v1beta1.WorkList
	if err := i.Client.List(ctx, &works, client.InNamespace(contract.MemberNamespace(cluster)), client.MatchingLabels{
		contract.LabelPlacement: i.of.Name, contract.LabelPlacementNamespace: i.namespace,
	}); err != nil {
		return nil, err
	}
	var out []string
	for _, w := range works.Items {
		if !w.DeletionTimestamp.IsZero() {
			continue
		}
		for _, m := range w.Spec.Workload.Manifests {
			out = append(out, removal.Identify(m.Raw).Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (i *incident) has(cluster string, want ...string) {
	i.Helper()
	testworld.Await(i, testworld.Workload, "objects on "+cluster, func(ctx context.Context) error {
		got, err := i.onMember(ctx, cluster)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("on it are %q", got)
		}
		return err
	})
}

// heldWith waits until the placement is held, with a message that has these words.
func (i *incident) heldWith(words ...string) {
	i.Helper()
	testworld.Await(i, testworld.Workload, "the placement to be held", func(ctx context.Context) error {
		if err := i.Client.Get(ctx, client.ObjectKeyFromObject(i.of), i.of); err != nil {
			return err
		}
		c := meta.FindStatusCondition(i.of.Status.Conditions, "ResourcePlacementRemovalHeld")
		if c == nil {
			return fmt.Errorf("it is not: %+v", i.of.Status.Conditions)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return errors.New(c.Message)
			}
		}
		return nil
	})
}

// free waits until nothing of the placement is held, and everything is available.
func (i *incident) free() {
	i.Helper()
	testworld.Await(i, testworld.Workload, "the placement to be available, and not held", func(ctx context.Context) error {
		if err := i.Client.Get(ctx, client.ObjectKeyFromObject(i.of), i.of); err != nil {
			return err
		}
		held := meta.FindStatusCondition(i.of.Status.Conditions, "ResourcePlacementRemovalHeld")
		available := meta.FindStatusCondition(i.of.Status.Conditions, "ResourcePlacementAvailable")
		if held != nil || available == nil || available.Status != metav1.ConditionTrue || available.ObservedGeneration != i.of.Generation {
			return fmt.Errorf("conditions %+v", i.of.Status.Conditions)
		}
		return nil
	})
}

// stays requires that the members keep objects.
func (i *incident) stays(want ...string) {
	i.Helper()
	testworld.Stable(i, 2*time.Second, "all objects on all members", func(ctx context.Context) error {
		for _, cluster := range []string{"west-1", "west-2", "east-1"} {
			if got, err := i.onMember(ctx, cluster); err != nil || !slices.Equal(got, want) {
				return fmt.Errorf("on %s are %q (%w)", cluster, got, err)
			}
		}
		return nil
	})
}

// selects changes the label by which the placement selects.
func (i *incident) selects(key, value string) {
	i.Helper()
	testworld.Update(i, i.Client, i.of, func(p *v1beta1.ResourcePlacement) {
		p.Spec.ResourceSelectors = []v1beta1.ResourceSelectorTerm{testworld.WithLabel("ConfigMap", key, value)}
	})
}

// release lets through what is held now.
func (i *incident) release() {
	i.Helper()
	key := client.ObjectKeyFromObject(i.of)
	bindings, err := scope.Bindings.List(i.Context(), i.Client, i.namespace, client.MatchingLabels{contract.LabelPlacement: i.of.Name})
	i.must(err)
	policies, err := scope.PolicySnapshots.List(i.Context(), i.Client, i.namespace, client.MatchingLabels{contract.LabelPlacement: i.of.Name, contract.LabelLatest: "true"})
	i.must(err)
	if len(policies) != 1 {
		i.Fatalf("%d policies of %s are the latest", len(policies), key)
	}
	text, _ := removal.Release(report.HoldsOf(bindings, policies[0]).All())
	i.annotate(text)
}

func (i *incident) annotate(text string) {
	i.Helper()
	testworld.Update(i, i.Client, i.of, func(p *v1beta1.ResourcePlacement) {
		p.Annotations = map[string]string{contract.AnnotationReleaseRemoval: text}
	})
}

// A selector that matches nothing by mistake removes nothing, until that is released.
func TestIncidentBadLabel(t *testing.T) {
	i := hubs.take(t).incident("incident-label", intstr.FromString("50%"))
	i.selects("team", "typo")
	i.heldWith("from 3 clusters: east-1, west-1, west-2", "4 of 4 objects", "ConfigMap incident-label/a", "kubectl fleet release team -n incident-label")
	i.stays(i.objects...)
	i.selects("team", "a")
	i.free()
	i.selects("keep", "yes")
	i.heldWith("from 3 clusters", "3 of 4 objects", "ConfigMap incident-label/b")
	i.stop()
	i.start()
	i.stays(i.objects...)
	i.release()
	for _, cluster := range []string{"west-1", "west-2", "east-1"} {
		i.has(cluster, "a")
	}
	i.free()
	i.selects("team", "typo") // the last one is no part of what was released
	i.heldWith("1 of 1 objects")
	i.stays("a")
	i.delete()
}

// A policy that is changed by mistake drops most clusters.
func TestIncidentPolicy(t *testing.T) {
	i := hubs.take(t).incident("incident-policy", intstr.FromString("50%"))
	testworld.Update(i, i.Client, i.of, func(p *v1beta1.ResourcePlacement) { p.Spec.Policy.ClusterNames = []string{"east-2"} })
	i.heldWith("the policy would leave 3 of 3 clusters: east-1, west-1, west-2")
	i.has("east-2", i.objects...)
	i.stays(i.objects...)
	i.release()
	for _, cluster := range []string{"west-1", "west-2", "east-1"} {
		i.has(cluster)
	}
	i.free()
	i.delete()
}

// delete deletes the namespace of the placement, which is held, until that is released.
func (i *incident) delete() {
	i.Helper()
	before := map[string][]string{}
	clusters := []string{"west-1", "west-2", "east-1", "east-2"}
	for _, cluster := range clusters {
		var err error
		before[cluster], err = i.onMember(i.Context(), cluster)
		i.must(err)
	}
	namespace := testworld.Namespace(i.namespace)
	i.must(i.Client.Delete(i.Context(), namespace))
	i.heldWith("the deletion of the placement would remove", "set deleteStrategy.propagationPolicy to Abandon")
	testworld.Await(i, testworld.Workload, "the bindings to be deleted by others", func(ctx context.Context) error {
		bindings, err := scope.Bindings.List(ctx, i.Client, i.namespace)
		for _, b := range bindings {
			if b.GetDeletionTimestamp().IsZero() {
				return fmt.Errorf("%s lives", b.GetName())
			}
		}
		return err
	})
	testworld.Stable(i, 2*time.Second, "all objects on all members", func(ctx context.Context) error {
		for _, cluster := range clusters {
			if got, err := i.onMember(ctx, cluster); err != nil || !slices.Equal(got, before[cluster]) {
				return fmt.Errorf("on %s are %q (%w)", cluster, got, err)
			}
		}
		return nil
	})
	i.must(i.Client.Get(i.Context(), client.ObjectKeyFromObject(i.of), i.of))
	i.annotate(removal.DigestOfDeletion(i.of.UID, *i.of.DeletionTimestamp))
	testworld.AwaitGone(i, i.Client, i.of, nil)
	for _, cluster := range clusters {
		i.has(cluster)
	}
}
