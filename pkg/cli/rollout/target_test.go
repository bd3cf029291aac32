package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
)

// Errors use the words of the user, not of the code.
func TestErrorsAreForPeople(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("no")
		},
	}).Build()
	o := &target{key: types.NamespacedName{Name: "web"}}
	if _, err := o.placement(t.Context(), c); err == nil || err.Error() != "get ClusterResourcePlacement web: no" {
		t.Errorf("error %v", err)
	}
	o.key.Namespace = "shop"
	if _, err := o.placement(t.Context(), c); err == nil || err.Error() != "get ResourcePlacement shop/web: no" {
		t.Errorf("error %v", err)
	}
	for _, args := range [][]string{nil, {"web", "shop"}} {
		err := newStatusCommand(genericiooptions.NewTestIOStreamsDiscard()).Args(nil, args)
		if err == nil || !strings.Contains(err.Error(), `name one placement`) || !strings.Contains(err.Error(), "kubectl get crp") {
			t.Errorf("error %v", err)
		}
	}
}
