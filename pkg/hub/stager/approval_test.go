package stager

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// A cache that is behind must not open a gate: the run that the request in it was made for has been deleted, the
// request with it, and another run made with the same name.
func TestOnlyTheServerOpensGates(t *testing.T) {
	key := types.NamespacedName{Namespace: "app", Name: "run-before-prod"}
	run := scope.UpdateRuns.New(key)
	run.SetNamespace(key.Namespace)
	holding := func(conditions ...string) client.Client {
		request := scope.ApprovalRequests.New(key)
		request.SetNamespace(key.Namespace)
		request.SetName(key.Name)
		*request.GetSpec() = v1beta1.ApprovalRequestSpec{UpdateRunName: "run", TargetStage: "prod"}
		for _, kind := range conditions {
			*request.GetConditions() = append(*request.GetConditions(), metav1.Condition{Type: kind, Status: metav1.ConditionTrue})
		}
		return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(request).Build()
	}
	none := fake.NewClientBuilder().WithScheme(apis.Scheme()).Build()
	for _, c := range []struct {
		name           string
		cached, direct client.Client
		there, open    bool
	}{
		{"the request was deleted", holding(v1beta1.ConditionApproved), none, false, false},
		{"the approval was withdrawn", holding(v1beta1.ConditionApproved), holding(), true, false},
		{"it is approved", holding(v1beta1.ConditionApproved), holding(v1beta1.ConditionApproved), true, true},
		{"it was accepted, and then withdrawn", holding(v1beta1.ConditionApproved), holding(v1beta1.ConditionApprovalAccepted), true, true},
		{"the cache has not heard of the approval", holding(), holding(v1beta1.ConditionApproved), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&Stager{Client: c.cached, Direct: c.direct}).request(t.Context(), run, key.Name)
			if err != nil || (got != nil) != c.there || got != nil && got.Approved != c.open {
				t.Errorf("request %+v, error %v; want there=%t, open=%t", got, err, c.there, c.open)
			}
		})
	}
}
