package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A member's owner decides what may be placed there. Not beside other scenarios: it changes what an agent may do.
func TestMemberThatAcceptsOnlySomeKinds(t *testing.T) {
	if local == nil {
		t.Skip("the agents of this fleet are not ours to configure")
	}
	s := bare(t)
	s.open()
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "hidden"}, StringData: map[string]string{"key": marked("hidden")}})
	s.on(c3).restricted(rule("", "namespaces", "configmaps"))

	p := s.place(testworld.PickFixed(c3.name))
	s.on(c3).holds("test")
	testworld.Await(t, testworld.Workload, "the rule that is missing, in the placement's status", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, cluster := range p.GetStatus().PerClusterPlacementStatuses {
			for _, failed := range cluster.FailedPlacements {
				if failed.Kind == "Secret" && strings.Contains(failed.Condition.Message, `resources: ["secrets"]`) {
					return nil
				}
			}
		}
		return fmt.Errorf("%+v", p.GetStatus().PerClusterPlacementStatuses)
	})

	s.on(c3).accepts(rule("", "namespaces", "configmaps", "secrets"))
	s.of(p).expectWithin(testworld.Workload, testworld.Complete(c3.name))
	if err := c3.Get(t.Context(), client.ObjectKey{Namespace: s.app, Name: "hidden"}, &corev1.Secret{}); err != nil {
		t.Errorf("the placement is complete, but its Secret is not on %s: %v", c3.name, err)
	}
}

// rule is one of the chart's value rbac.placeable.
func rule(group string, resources ...any) map[string]any {
	return map[string]any{"apiGroups": []any{group}, "resources": resources}
}

// restricted runs a member's agent with a chart that lets nothing but what these rules say be placed, until the end of
// the scenario.
func (s onCluster) restricted(rules ...any) {
	s.Helper()
	ctx := context.WithoutCancel(s.Context())
	run := func(change func()) {
		s.Helper()
		if err := local.StopAgent(ctx, s.cluster.name); err != nil {
			s.Fatalf("stop the agent of %s: %v", s.cluster.name, err)
		}
		change()
		if err := local.StartAgent(ctx, s.cluster.name); err != nil {
			s.Fatalf("start the agent of %s: %v", s.cluster.name, err)
		}
	}
	run(func() { s.accepts(rules...) })
	s.Cleanup(func() {
		run(func() {
			if err := local.ConfigureAgent(ctx, s.cluster.name, memberAgent); err != nil {
				s.Errorf("let everything be placed on %s again: %v", s.cluster.name, err)
			}
		})
	})
}

// accepts lets nothing but what these rules say be placed on a member.
func (s onCluster) accepts(rules ...any) {
	s.Helper()
	agent := memberAgent
	agent.Values = map[string]any{"rbac": map[string]any{"placeable": rules}}
	if err := local.ConfigureAgent(s.Context(), s.cluster.name, agent); err != nil {
		s.Fatalf("change what may be placed on %s: %v", s.cluster.name, err)
	}
}
