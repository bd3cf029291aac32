package approve

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct{ kind, namespace, name, want string }{
		{"clusterapprovalrequest", "", "a", ""}, {"CAREQ", "", "a", ""}, {"approvalrequest", "shop", "a", ""}, {"areq", "shop", "a", ""},
		{"careq", "", "", "--name is required"},
		{"careq", "shop", "a", "--namespace shop: a ClusterApprovalRequest has no namespace"},
		{"areq", "", "a", "--namespace is required"},
		{"run", "", "a", `kind "run" is not known`},
	} {
		o := &Options{key: types.NamespacedName{Namespace: c.namespace, Name: c.name}}
		err := o.Complete([]string{c.kind})
		if err == nil {
			err = o.Validate()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

func TestApprove(t *testing.T) {
	for key, reason := range map[types.NamespacedName]string{
		{Name: "web-1-before-prod"}:                    "ClusterApprovalRequestApproved",
		{Namespace: "shop", Name: "web-1-before-prod"}: "ApprovalRequestApproved",
	} {
		request := scope.ApprovalRequests.New(key)
		request.SetNamespace(key.Namespace)
		request.SetName(key.Name)
		request.SetGeneration(2)
		c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(request).WithStatusSubresource(request).Build()
		out := &strings.Builder{}
		o := &Options{key: key, IOStreams: genericiooptions.IOStreams{Out: out}}
		for _, want := range []string{"web-1-before-prod approved\n", "web-1-before-prod is already approved\n"} {
			out.Reset()
			if err := o.approve(t.Context(), c); err != nil || out.String() != want {
				t.Errorf("%s: printed %q, error %v", key, out, err)
			}
		}
		now, err := scope.ApprovalRequests.Get(t.Context(), c, key)
		if err != nil {
			t.Fatal(err)
		}
		approved := meta.FindStatusCondition(*now.GetConditions(), v1beta1.ConditionApproved)
		if approved == nil || approved.Status != "True" || approved.Reason != reason || approved.ObservedGeneration != 2 {
			t.Errorf("%s: condition %+v", key, approved)
		}
		o.key.Name = "none"
		if err := o.approve(t.Context(), c); err == nil || !strings.Contains(err.Error(), "approval request none not found") {
			t.Errorf("%s: error %v", key, err)
		}
	}
}
