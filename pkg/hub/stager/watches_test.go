package stager

import (
	"context"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// indexes lets scope register its indexes with a fake client.
type indexes struct{ *fake.ClientBuilder }

func (i indexes) IndexField(_ context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(obj, field, values)
	return nil
}

// A cluster that is heard again wakes the runs that remove their placement from it.
func TestOnReturn(t *testing.T) {
	binding := func(placement, cluster string, state v1beta1.BindingState) client.Object {
		b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{
			Name: placement + "-" + cluster, Labels: map[string]string{contract.LabelPlacement: placement},
		}}
		b.Spec.State, b.Spec.TargetCluster = state, cluster
		return b
	}
	run := func(placement string) client.Object {
		r := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: placement + "-run"}}
		r.Spec.PlacementName, r.Spec.State = placement, v1beta1.UpdateRunRun
		return r
	}
	builder := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(
		run("settled"), binding("settled", "m0", v1beta1.BindingStateBound),
		run("left"), binding("left", "m0", v1beta1.BindingStateUnscheduled),
		run("left-another"), binding("left-another", "m0", v1beta1.BindingStateBound), binding("left-another", "m1", v1beta1.BindingStateUnscheduled),
	)
	if err := scope.Index(t.Context(), indexes{builder}); err != nil {
		t.Fatal(err)
	}
	s := &Stager{Client: builder.Build()}
	var got []string
	for _, request := range s.onReturn(t.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m0"}}) {
		got = append(got, request.Name)
	}
	slices.Sort(got)
	if want := []string{"left-run"}; !slices.Equal(got, want) {
		t.Errorf("woken are %q; want %q", got, want)
	}
}
