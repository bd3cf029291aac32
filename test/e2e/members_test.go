package e2e

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Scenarios about members that come and go have members of their own, which exist on the hub alone. So that placements
// of other scenarios, which run beside, do not pick them, they have a taint that only the placements of their own
// scenario tolerate.

// member is a MemberCluster of the scenario's own with the labels; nothing is known about it until the test says it.
func (s *scene) member(name string, labels map[string]string) *testworld.ModelMember {
	s.Helper()
	mc := testworld.NewMemberCluster(name + "-" + s.name)
	mc.Labels = labels
	mc.Spec.Taints = []clusterv1beta1.Taint{s.taint()}
	return testworld.StartModelMember(s.T, theHub, mc)
}

func (s contents) taint() clusterv1beta1.Taint { return testworld.Taint("scenario", s.name) }

// reachOwnMembers lets a placement pick the scenario's own members too.
func (s *scene) reachOwnMembers() testworld.Option { return testworld.Tolerating(s.taint()) }

// unhealthy is the name of a MemberCluster that joined and has not been heard of for long.
func (s *scene) unhealthy() string {
	s.Helper()
	m := testworld.StartModelMember(s.T, theHub, testworld.NewMemberCluster("unhealthy-"+s.name))
	m.Silent()
	return m.Name
}

// left is the name of a MemberCluster that is being deleted and held.
func (s *scene) left() string {
	s.Helper()
	mc := testworld.NewMemberCluster("left-" + s.name)
	mc.Finalizers = []string{testworld.Blocker}
	m := testworld.StartModelMember(s.T, theHub, mc)
	testworld.Await(s.T, testworld.Soon, "the hub to know "+m.Name, func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(mc), mc); err != nil {
			return err
		}
		if !controllerutil.ContainsFinalizer(mc, contract.FinalizerMemberCluster) {
			return errors.New("the hub has not put its finalizer on it")
		}
		return nil
	})
	m.Leave()
	return m.Name
}

// label sets a label of one of the fleet's members for the time of the scenario. The key must be the scenario's own.
func (s onCluster) label(key, value string) {
	s.Helper()
	mc := testworld.NewMemberCluster(s.cluster.name)
	testworld.Update(s, theHub, mc, func(mc *clusterv1beta1.MemberCluster) { mc.Labels[key] = value })
	s.Cleanup(func() {
		ctx := context.WithoutCancel(s.Context())
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}}}`, key)
		if err := theHub.Patch(ctx, mc, client.RawPatch(types.MergePatchType, patch)); err != nil {
			s.Errorf("remove label %s of %s: %v", key, s.cluster.name, err)
		}
	})
}
