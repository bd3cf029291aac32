package roller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// indexes lets scope register its indexes with a fake client.
type indexes struct{ *fake.ClientBuilder }

func (i indexes) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(obj, field, values)
	return nil
}

// A cluster that is heard again wakes the placements that wait for it. Many may be heard at once, with placements on
// all of them, so that the bindings to other clusters are not read.
func TestOnHeard(t *testing.T) {
	const members = 40
	bindings := func(placement string, of func(int, v1beta1.BindingObject)) (out []client.Object) {
		for i := range members {
			b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("%s-%d", placement, i), Labels: map[string]string{contract.LabelPlacement: placement},
			}}
			b.Spec.State, b.Spec.TargetCluster = v1beta1.BindingStateBound, fmt.Sprintf("m%d", i)
			of(i, b)
			out = append(out, b)
		}
		return out
	}
	giveUp := func(number int, by string) func(int, v1beta1.BindingObject) {
		return func(i int, b v1beta1.BindingObject) {
			if i != number {
				return
			}
			b.GetSpec().State = v1beta1.BindingStateUnscheduled
			if by != "" {
				b.SetAnnotations(map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: by, Reason: failover.Lost}.String()})
			}
		}
	}
	read := 0
	builder := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			read += meta.LenList(list)
			return err
		},
	}).WithObjects(slices.Concat(
		bindings("settled", func(int, v1beta1.BindingObject) {}),
		bindings("left", giveUp(0, "")),
		bindings("left-another", giveUp(1, "")),
		bindings("replaced", giveUp(1, "m0")),
		bindings("lacks-the-replacement", giveUp(1, "m-gone")),
	)...)
	if err := scope.Index(t.Context(), indexes{builder}); err != nil {
		t.Fatal(err)
	}
	r := &Roller{Client: builder.Build()}
	var got []string
	for _, request := range r.onHeard(t.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m0"}}) {
		got = append(got, request.Name)
	}
	slices.Sort(got)
	if woken := strings.Join(got, " "); woken != "lacks-the-replacement left replaced" {
		t.Errorf("woken are %q", woken)
	}
	if read > 5+2 {
		t.Errorf("%d bindings are read; there are 5 on the cluster, and 2 are replaced", read)
	}
}
