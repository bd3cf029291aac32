package admission

import (
	"context"
	"errors"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// With the admission policy manager the API server answers by itself, before a webhook is called.
func TestPoliciesAnswerFirst(t *testing.T) {
	const noAccounts = "writing service accounts in reserved namespaces or requesting tokens from such service accounts is disallowed"
	const noWorkloads = "creating pods and replicas is disallowed in the fleet hub cluster"
	t.Cleanup(func() {
		restart(t, hubAgent(nil), func(ctx context.Context) error {
			return errors.Join(inForce(ctx),
				master.DeleteAllOf(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{}, ofManager),
				master.DeleteAllOf(ctx, &admissionv1.ValidatingAdmissionPolicy{}, ofManager))
		})
		refused(t, user, creates(named("v1", "ServiceAccount", "kube-system", "new")),
			standard(user, "CREATE", "/v1, Kind=ServiceAccount", "", "kube-system", "new"))
	})
	restart(t, hubAgent(map[string]any{"enableAdmissionPolicyManager": true}), inForce)
	for _, r := range []row{
		{"contract:294 a user creates a service account in kube-system", user, creates(named("v1", "ServiceAccount", "kube-system", "new")), noAccounts},
		{"contract:295 a user creates a pod in default", user, creates(pod("default", "new")), noWorkloads},
		{"contract:296 a user creates a replica set in default", user, creates(replicaSet("default", "new")), noWorkloads},
	} {
		t.Run(r.name, func(t *testing.T) { refused(t, r.who, r.what, r.says) })
	}
	testworld.Await(t, testworld.Soon, "the webhooks to answer beside them", inForce)
}

var ofManager = client.MatchingLabels{"app.kubernetes.io/component": "admission-policy-manager"}
