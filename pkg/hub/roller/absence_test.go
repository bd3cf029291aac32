package roller

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func silence(s *scene) {
	s.settled()
	s.silence("m1")
	s.content(1, 1, 0)
	s.await("m1=Bound0! m2=Bound1 m3=Bound0!")
	s.available("m2", true)
	s.await("m1=Bound0! m2=Bound1 m3=Bound1")
	s.available("m3", true)
	s.content(2, 1, 0)
	s.await("m1=Bound0! m2=Bound2 m3=Bound1!")
	s.available("m2", true)
	s.await("m1=Bound0! m2=Bound2 m3=Bound2")
	s.available("m3", true)
	s.quiet("all who are heard of have it")
	s.heard("m1", time.Now().Add(time.Hour))
	s.await("m1=Bound2 m2=Bound2 m3=Bound2")
}

// silence makes a cluster silent for the agent.
func (s *scene) silence(cluster string) {
	s.heard(cluster, time.Now().Add(-time.Hour))
	testworld.Await(s, testworld.Soon, "the agent to know that "+cluster+" is silent", func(ctx context.Context) error {
		var found clusterv1beta1.MemberCluster
		if err := s.agent.Knows.Get(ctx, types.NamespacedName{Name: cluster}, &found); err != nil || liveness.Of(&found, time.Now()) == liveness.Silent {
			return err
		}
		return errors.New("it was heard of")
	})
}

// parks gives up a silent cluster: what it has stays until it is heard, and takes no room.
func parks(s *scene) {
	fourth := "m4-" + s.key.Name
	s.join(fourth)
	s.settled(func(spec *v1beta1.PlacementSpec) {
		spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(3))}
		spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
	})
	s.silence("m1")
	s.change("m1", func(b v1beta1.BindingObject) { b.GetSpec().State = v1beta1.BindingStateUnscheduled })
	s.quiet("the cluster is not heard")
	s.schedule(fourth)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + fourth + "=Bound0")
	s.available(fourth, true)
	s.quiet("the cluster is still not heard")
	s.heard("m1", time.Now().Add(time.Hour))
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + fourth + "=Bound0")
}

func leave(s *scene) {
	leaver := "m0-" + s.key.Name
	s.join(leaver)
	s.place(func(spec *v1beta1.PlacementSpec) {
		spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{leaver, "m1"}}
	})
	s.content(0, 1, 0)
	s.schedule(leaver, "m1")
	s.await(leaver + "=Bound0 m1=Bound0")
	s.available(leaver, true)
	s.available("m1", false)
	s.content(1, 1, 0)
	s.await(leaver + "=Bound0! m1=Bound1")
	s.available("m1", true)
	s.await(leaver + "=Bound1 m1=Bound1")
	s.content(2, 1, 0)
	s.await(leaver + "=Bound2 m1=Bound1!") // it does not report, and may be down
	s.Must(s.Client.Delete(s.Context(), testworld.NewMemberCluster(leaver)))
	s.await(leaver + "=Bound2 m1=Bound2")
	s.available("m1", true)
	s.content(3, 1, 0)
	s.await(leaver + "=Bound2 m1=Bound3")
	patch := []byte(`{"metadata":{"finalizers":null}}`)
	s.Must(s.Client.Patch(s.Context(), testworld.NewMemberCluster(leaver), client.RawPatch(types.MergePatchType, patch)))
	s.change(leaver, func(b v1beta1.BindingObject) { b.GetSpec().State = v1beta1.BindingStateUnscheduled })
	s.await(leaver + "=Unscheduled2- m1=Bound3")
}
