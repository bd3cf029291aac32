package e2e

import (
	"context"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// export is what fleet networking keeps on the hub of a service that a member exports.
var export = schema.GroupVersionKind{Group: "networking.fleet.azure.com", Version: "v1alpha1", Kind: "InternalServiceExport"}

// exports puts a service of a member on the hub. Kubernetes refuses a kind that is younger than the member's quota
// until it counts it there: at the latest when it syncs all quotas again, every five minutes.
func (s onCluster) exports() {
	s.Helper()
	service := &unstructured.Unstructured{}
	service.SetGroupVersionKind(export)
	service.SetNamespace(contract.MemberNamespace(s.cluster.name))
	service.SetName(s.name)
	testworld.Await(s.T, 3*testworld.Long, "services to be exported by "+s.cluster.name, func(ctx context.Context) error {
		return theHub.Create(ctx, service)
	})
}

// contract:225 Not beside other scenarios: all members leave.
func TestMembersLeaveBothKindsOfPlacementAndComeBack(t *testing.T) {
	s := bare(t)
	s.open()
	s.create(widgets(export))
	for _, m := range members() {
		s.on(m).exports()
	}
	s.create(s.wrapped(s.quota()))
	wide := &v1beta1.ClusterResourceEnvelope{Data: wrapping(s.clusterRole())}
	wide.Name = s.name + "-envelope"
	s.create(wide)
	carrier := testworld.ClusterPlacement(s.name, s.app, testworld.NamespaceOnly, func(spec *v1beta1.PlacementSpec) {
		spec.ResourceSelectors = append(spec.ResourceSelectors,
			testworld.Named(v1beta1.GroupVersion.Group, "v1beta1", "ClusterResourceEnvelope", wide.Name))
	})
	s.create(carrier)
	s.of(carrier).carried(c1.name, c2.name, c3.name)
	p := testworld.Placement(s.app, s.name, testworld.Selecting(testworld.Named("", "v1", "ConfigMap", "cm"),
		testworld.Named(v1beta1.GroupVersion.Group, "v1beta1", "ResourceEnvelope", "envelope")))
	s.create(p)
	s.of(p).expectWithin(testworld.Workload, onAll())

	var left []*clusterv1beta1.MemberCluster
	for _, m := range members() {
		mc := testworld.NewMemberCluster(m.name)
		if err := theHub.Get(t.Context(), client.ObjectKeyFromObject(mc), mc); err != nil {
			t.Fatal(err)
		}
		left = append(left, mc)
		t.Cleanup(func() { rejoin(t, mc) })
		leaving := mc.DeepCopy()
		testworld.Update(s, theHub, leaving, func(mc *clusterv1beta1.MemberCluster) {
			mc.Spec.DeleteOptions = &clusterv1beta1.DeleteOptions{ValidationMode: clusterv1beta1.DeleteValidationModeSkip}
		})
		if err := theHub.Delete(t.Context(), leaving); err != nil {
			t.Fatal(err)
		}
	}
	for _, mc := range left {
		testworld.Await(t, testworld.Long, mc.Name+" to leave", func(ctx context.Context) error {
			err := theHub.Get(ctx, client.ObjectKey{Name: mc.Name}, &clusterv1beta1.MemberCluster{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("still there: %w", err)
		})
	}
	s.of(carrier).expect(testworld.None())
	s.of(p).expect(testworld.None())
	testworld.Stable(t, calm, "objects on members that left", func(ctx context.Context) error {
		for _, m := range members() {
			for _, obj := range []client.Object{s.namespace(), s.cm(), s.quota(), s.clusterRole()} {
				if err := m.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
					return fmt.Errorf("%T on %s: %w", obj, m.name, err)
				}
			}
		}
		return nil
	})
	for _, mc := range left {
		rejoin(t, mc)
	}
	s.of(carrier).expectWithin(testworld.Long, onAll())
	s.of(p).expectWithin(testworld.Long, onAll())
}
