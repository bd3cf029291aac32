package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// While no agent answers, the hub refuses what a webhook must have seen, and nothing else.
func TestWithoutAnAgentOnlySpecsAreRefused(t *testing.T) {
	p := given(t, placement("outage", `{`+selectors+`}`))
	o := given(t, clusterOverride("outage", `[`+roleA+`]`, good))
	mc := upstreamCluster(t)
	if err := local.KillAgent(local.Hub()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.StartAgent(testworld.Context(t), local.Hub()); err != nil {
			t.Fatal(err)
		}
		testworld.Await(t, testworld.Long, "the agent to answer again", inForce)
	})
	const unanswered = "failed calling webhook"
	for _, r := range []row{
		{"a placement is created", master, creates(placement("new", `{`+selectors+`}`)), unanswered},
		{"the spec of a placement is changed", master, patches(p, `{"spec": {"revisionHistoryLimit": 3}}`), unanswered},
		{"the spec of an override is changed", master, patches(o, inSpec(t, `[`+roleB+`]`, "clusterResourceSelectors", good)), unanswered},
		{"a taint is added", master, patches(mc, `{"spec": {"taints": [{"key": "z", "value": "z", "effect": "NoSchedule"}]}}`), unanswered},
		{"a pod of users is created", master, creates(pod("default", "new")), unanswered},
		{"labels of a placement are changed", master, patches(p, labelsOfUsers), ""},
		{"an annotation of an override is added", master, patches(o, annotated("a", "b")), ""},
		{"labels of a cluster are changed", user, patches(mc, labelsOfUsers), ""},
		{"the status of a cluster is changed", master, patchesStatus(mc, usage), ""},
		{"an override is deleted", master, deletes(o), ""},
		{"a cluster is deleted", master, deletes(mc), ""},
		{"a pod of the cluster's own is created", master, creates(pod("kube-system", "new")), ""},
		{"a config map of users is created", user, creates(named("v1", "ConfigMap", "default", "outage")), ""},
		{"the guard rail is passed", user, creates(named("v1", "ConfigMap", "fleet-system", "outage")), ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.says == "" {
				if err := r.what(t.Context(), r.who, true); err != nil {
					t.Error(err)
				}
				return
			}
			// The API server learns of the final configuration a moment after it is stored.
			testworld.Await(t, testworld.Soon, "a refusal", func(ctx context.Context) error {
				err := r.what(ctx, r.who, true)
				if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), r.says) {
					return fmt.Errorf("the answer is %v, want %q", err, r.says) //nolint:errorlint // it may be nil
				}
				return nil
			})
		})
	}
}

// withoutWebhooks is nil when there are no configurations of webhooks, and the API server has forgotten them.
func withoutWebhooks(ctx context.Context) error {
	for name, c := range map[string]client.Object{
		webhook.MutatingName:   &admissionv1.MutatingWebhookConfiguration{},
		webhook.ValidatingName: &admissionv1.ValidatingWebhookConfiguration{},
		webhook.GuardRailName:  &admissionv1.ValidatingWebhookConfiguration{},
	} {
		err := master.Get(ctx, types.NamespacedName{Name: name}, c)
		if err == nil {
			return fmt.Errorf("%s is there", name)
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	return errors.Join(
		creates(clusterOverride("probe", `[`+labelled+`]`, good))(ctx, master, true),
		creates(named("v1", "Namespace", "", "fleet-probe"))(ctx, user, true),
	)
}

// Turned off, the guard rail leaves nothing behind, and so do all webhooks. The other ones stay.
func TestWebhooksAreTurnedOff(t *testing.T) {
	restart(t, hubAgent(map[string]any{"enableGuardRail": false}), func(ctx context.Context) error {
		err := creates(clusterOverride("probe", `[`+labelled+`]`, good))(ctx, master, true)
		return errors.Join(
			refusal(err, "label selector is not supported for resource selection"),
			creates(named("v1", "Namespace", "", "fleet-probe"))(ctx, user, true),
		)
	})
	restart(t, hubAgent(map[string]any{"enableWebhook": false, "enableGuardRail": false}), withoutWebhooks)
	restart(t, hubAgent(nil), inForce)
}

// An uninstalled chart leaves no webhooks that no agent answers: they go with a ClusterRole of the chart.
func TestWebhooksGoWithTheChart(t *testing.T) {
	if err := local.KillAgent(local.Hub()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Another value, so that Helm installs the chart again, with the role.
		restart(t, hubAgent(map[string]any{"logVerbosity": 3}), inForce)
		restart(t, hubAgent(nil), inForce)
	})
	role := named("rbac.authorization.k8s.io/v1", "ClusterRole", "", "hub-agent-webhooks")
	if err := master.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Workload, "the end of the webhooks", withoutWebhooks)
}
