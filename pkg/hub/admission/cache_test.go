package admission

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestSlim(t *testing.T) {
	given := metav1.ObjectMeta{Name: "o", Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}
	policy := &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{OverrideType: v1beta1.OverrideTypeDelete}}}
	wide := []v1beta1.ResourceSelectorTerm{{Kind: "Namespace", Name: "n"}}
	narrow := []v1beta1.ResourceSelector{{Kind: "ConfigMap", Name: "c"}}
	crd := func(version, metadata map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": metadata, "spec": map[string]any{"versions": []any{version}}}}
	}
	for name, c := range map[string]struct{ given, want any }{
		"a ClusterResourceOverride": {
			&v1beta1.ClusterResourceOverride{ObjectMeta: given, Spec: v1beta1.ClusterResourceOverrideSpec{ClusterResourceSelectors: wide, Policy: policy}},
			&v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: "o"}, Spec: v1beta1.ClusterResourceOverrideSpec{ClusterResourceSelectors: wide}},
		},
		"a ResourceOverride": {
			&v1beta1.ResourceOverride{ObjectMeta: given, Spec: v1beta1.ResourceOverrideSpec{ResourceSelectors: narrow, Policy: policy}},
			&v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: "o"}, Spec: v1beta1.ResourceOverrideSpec{ResourceSelectors: narrow}},
		},
		"a CustomResourceDefinition": {
			crd(map[string]any{"name": "v1", "schema": map[string]any{}}, map[string]any{"name": "o", "annotations": map[string]any{"a": "b"}, "managedFields": []any{}}),
			crd(map[string]any{"name": "v1"}, map[string]any{"name": "o"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := slim(c.given)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("cached object (-want +got):\n%s", diff)
			}
		})
	}
}

// halfDown is a discovery API whose group example.com does not answer until the read with number upAt. It keeps when
// it is read.
type halfDown struct {
	discovery.ServerResourcesInterfaceWithContext
	upAt  int
	reads []time.Time
}

func (d *halfDown) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	d.reads = append(d.reads, time.Now())
	lists := []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "namespaces", Kind: "Namespace"}}}}
	late := schema.GroupVersion{Group: "example.com", Version: "v1"}
	if len(d.reads) < d.upAt {
		return nil, lists, &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{late: context.DeadlineExceeded}}
	}
	return nil, append(lists, &metav1.APIResourceList{GroupVersion: late.String(), APIResources: []metav1.APIResource{{Name: "things", Kind: "Thing"}}}), nil
}

func TestGroupsThatDoNotAnswerAreDiscoveredSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := &halfDown{upAt: 6}
		kinds := &Kinds{Discovery: api}
		first := make(chan struct{})
		go kinds.discover(ctx, nil, first)
		<-first
		if !kinds.serves(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}) {
			t.Error("the kinds of groups that answer are not known")
		}
		if err := kinds.await(ctx, schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}); err != nil {
			t.Error(err)
		}
		time.Sleep(rediscovery) //nolint:forbidigo // the time of the bubble, which the machine does not measure
		synctest.Wait()
		cancel()
		synctest.Wait()
		var pauses []time.Duration
		for i, at := range api.reads[1:] {
			pauses = append(pauses, at.Sub(api.reads[i]))
		}
		if diff := cmp.Diff([]time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute, rediscovery}, pauses); diff != "" {
			t.Errorf("pauses between reads (-want +got):\n%s", diff)
		}
	})
}

// A MemberCluster with mode Skip is deleted while the exported services are unknown.
func TestDeletionThatSkipsValidationReadsNothing(t *testing.T) {
	s := &Server{Networking: true, Kinds: &Kinds{served: served{exports: true}}}
	c := &clusterv1beta1.MemberCluster{}
	if _, err := s.memberDeletion(t.Context(), c); err == nil {
		t.Error("a cluster with unknown exports is deleted")
	}
	c.Spec.DeleteOptions = &clusterv1beta1.DeleteOptions{ValidationMode: clusterv1beta1.DeleteValidationModeSkip}
	if wrong, err := s.memberDeletion(t.Context(), c); err != nil || len(wrong) > 0 {
		t.Errorf("mode Skip: %v, %v", wrong, err)
	}
}
