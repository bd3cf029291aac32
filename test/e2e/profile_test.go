package e2e

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	inventoryv1alpha1 "sigs.k8s.io/cluster-inventory-api/apis/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// inventory is the hub as tools see it that know clusters by their profiles.
func (s *scene) inventory() cluster {
	s.Helper()
	scheme := runtime.NewScheme()
	if err := inventoryv1alpha1.AddToScheme(scheme); err != nil {
		s.Fatal(err)
	}
	c, err := client.NewWithWatch(theHub.config, client.Options{Scheme: scheme})
	if err != nil {
		s.Fatal(err)
	}
	return cluster{name: theHub.name, config: theHub.config, WithWatch: c}
}

func profileOf(member string) *inventoryv1alpha1.ClusterProfile {
	return &inventoryv1alpha1.ClusterProfile{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: member}}
}

// contract:226 where the member that leaves is one of the scenario's own.
func TestMembersHaveProfiles(t *testing.T) {
	t.Parallel()
	s := bare(t)
	hub := s.inventory()
	for _, m := range members() {
		profile := profileOf(m.name)
		testworld.Await(t, testworld.Soon, "profile of "+m.name, func(ctx context.Context) error {
			if err := hub.Get(ctx, client.ObjectKeyFromObject(profile), profile); err != nil {
				return err
			}
			providers := profile.Status.AccessProviders
			if profile.Status.Version.Kubernetes == "" || len(providers) != 1 || providers[0].Name != contract.ClusterManager {
				return fmt.Errorf("status is %+v", profile.Status)
			}
			if block, _ := pem.Decode(providers[0].Cluster.CertificateAuthorityData); block == nil {
				return errors.New("it does not say who signs for the API server")
			}
			return nil
		})
	}

	own := s.member("f1", nil)
	own.Healthy()
	profile := profileOf(own.Name)
	testworld.Await(t, testworld.Soon, "profile of "+own.Name, func(ctx context.Context) error {
		return hub.Get(ctx, client.ObjectKeyFromObject(profile), profile)
	})
	own.Leave()
	s.on(hub).gone(profile)
}
