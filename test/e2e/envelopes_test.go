package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// wrapping puts objects into the data of an envelope.
func wrapping(objects ...runtime.Object) map[string]runtime.RawExtension {
	out := map[string]runtime.RawExtension{}
	for i, o := range objects {
		out[fmt.Sprintf("%d.yaml", i)] = runtime.RawExtension{Raw: must(json.Marshal(o))}
	}
	return out
}

func (s contents) quota(scopes ...corev1.ResourceQuotaScope) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "quota"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("100")}, Scopes: scopes},
	}
}

func pod(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: "example.com/" + name}}},
	}
}

func (s contents) deployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: pod("web")},
	}
}

func (s contents) daemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "agent"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: pod("agent")},
	}
}

// statefulSet has a claim that nothing can fill.
func (s contents) statefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(int32(1)), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: pod("db"),
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("no-such-class"),
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			}}},
		},
	}
}

func (s contents) clusterRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"}, ObjectMeta: metav1.ObjectMeta{Name: s.name + "-reader"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}},
	}
}

func (s contents) wrapped(objects ...runtime.Object) *v1beta1.ResourceEnvelope {
	return &v1beta1.ResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "envelope"}, Data: wrapping(objects...)}
}

// selectedEnvelope is an envelope as a status names it.
func (s contents) selectedEnvelope(kind, namespace, name string) v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Group: v1beta1.GroupVersion.Group, Version: "v1beta1", Kind: kind, Namespace: namespace, Name: name}
}

// there waits until objects are on members.
func (s *scene) there(objects []client.Object, on ...cluster) {
	s.Helper()
	for _, m := range on {
		for _, o := range objects {
			testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%T %s on %s", o, o.GetName(), m.name), func(ctx context.Context) error {
				return m.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
			})
		}
	}
}

// failing waits until every cluster that has failed objects has this one alone, and some has.
func (s ofPlacement) failing(limit timeLimit, condition, kind, name, reason, message string) {
	s.Helper()
	testworld.Await(s.T, limit, fmt.Sprintf("%s %s to fail: %s", kind, name, reason), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		found := 0
		for _, entry := range s.p.GetStatus().PerClusterPlacementStatuses {
			for _, f := range entry.FailedPlacements {
				if f.Kind != kind || f.Name != name || f.Condition.Type != condition || f.Condition.Reason != reason || !strings.Contains(f.Condition.Message, message) ||
					f.Envelope == nil || *f.Envelope != (v1beta1.EnvelopeIdentifier{Name: "envelope", Namespace: s.app, Type: v1beta1.EnvelopeTypeResourceEnvelope}) {
					return fmt.Errorf("on %s failed %+v in %+v", entry.ClusterName, f, f.Envelope)
				}
				found++
			}
		}
		if found == 0 {
			return fmt.Errorf("nothing failed")
		}
		return nil
	})
}

// contract:146
func TestEnvelopesOfBothKinds(t *testing.T) {
	s := begin(t)
	envelope := s.wrapped(s.quota(corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeNotTerminating), s.deployment())
	s.create(envelope)
	wide := &v1beta1.ClusterResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-envelope"}, Data: wrapping(s.clusterRole())}
	s.create(wide)
	p := s.place(func(spec *v1beta1.PlacementSpec) {
		spec.ResourceSelectors = append(spec.ResourceSelectors, testworld.Named(v1beta1.GroupVersion.Group, "v1beta1", "ClusterResourceEnvelope", wide.Name))
	})
	s.of(p).selects(append(s.all(), s.selectedEnvelope("ResourceEnvelope", s.app, "envelope"), s.selectedEnvelope("ClusterResourceEnvelope", "", wide.Name))...)
	s.of(p).expectWithin(testworld.Workload, complete().AtOrNext("0"))
	if got := p.GetStatus().SelectedResources; len(got) != 4 {
		t.Errorf("selected are %v", got)
	}
	inside := []client.Object{s.quota(), s.deployment(), s.clusterRole()}
	s.there(inside, members()...)

	change := func(scopes ...corev1.ResourceQuotaScope) {
		t.Helper()
		testworld.Update(s, theHub, envelope, func(e *v1beta1.ResourceEnvelope) { e.Data = wrapping(s.quota(scopes...), s.deployment()) })
	}
	change(corev1.ResourceQuotaScopeBestEffort)
	s.of(p).failing(testworld.Soon, v1beta1.ConditionApplied, "ResourceQuota", "quota", v1beta1.ReasonManifestApplyFailed, "field is immutable")
	s.of(p).blocked()
	change(corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeNotTerminating)
	s.of(p).expectWithin(testworld.Workload, complete().AtOrNext("2"))
	s.of(p).deletes()
	for _, m := range members() {
		s.on(m).gone(s.clusterRole())
	}
}

// contract:147
func TestWorkloadsInAnEnvelope(t *testing.T) {
	s := begin(t)
	s.create(s.wrapped(s.deployment(), s.daemonSet(), s.statefulSet()))
	p := s.place()
	s.of(p).failing(testworld.Long, v1beta1.ConditionAvailable, "StatefulSet", "db", v1beta1.ReasonManifestNotAvailableYet, "")
	s.of(p).expectWithin(testworld.Long, testworld.NotAvailable(c1.name, c2.name, c3.name).AtOrNext("0"))
	s.of(p).failing(testworld.Soon, v1beta1.ConditionAvailable, "StatefulSet", "db", v1beta1.ReasonManifestNotAvailableYet, "")
}

// contract:148
func TestNamespacedPlacementOfAnEnvelope(t *testing.T) {
	s := begin(t)
	s.create(s.wrapped(s.quota(), s.deployment()))
	carrier := s.carry(c1.name, c2.name, c3.name)
	p := s.place(testworld.Selecting(testworld.Named(v1beta1.GroupVersion.Group, "v1beta1", "ResourceEnvelope", "envelope")))
	s.of(p).expectWithin(testworld.Workload, complete().AtOrNext("0").Selecting(s.selectedEnvelope("ResourceEnvelope", s.app, "envelope")))
	inside := []client.Object{s.quota(), s.deployment()}
	s.there(inside, members()...)
	for _, m := range members() {
		s.on(m).clean()
	}
	s.of(p).deletes()
	for _, m := range members() {
		for _, o := range inside {
			s.on(m).gone(o)
		}
		s.there([]client.Object{s.namespace()}, m)
	}
	s.of(carrier).deletes()
	for _, m := range members() {
		s.on(m).gone(s.namespace())
	}
}

// contract:149
func TestGeneratedNameInAnEnvelope(t *testing.T) {
	t.Parallel()
	s := bare(t)
	namespace := testworld.Namespace(s.app)
	namespace.GenerateName = "generated-"
	s.create(namespace)
	s.create(s.wrapped(&corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, GenerateName: "generated-"},
	}))
	p := s.place(testworld.PickFixed(c1.name))
	s.of(p).failing(testworld.Workload, v1beta1.ConditionApplied, "ConfigMap", "", v1beta1.ReasonManifestFoundGenerateName, "")
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name))
	s.there([]client.Object{s.namespace()}, c1)
	var list corev1.ConfigMapList
	if err := c1.List(t.Context(), &list, client.InNamespace(s.app)); err != nil {
		t.Fatal(err)
	}
	for _, cm := range list.Items {
		if strings.HasPrefix(cm.Name, "generated-") {
			t.Errorf("%s was made", cm.Name)
		}
	}
}

// What an envelope may not hold stops the binding before anything is written, and names the entry; a correction ends
// it.
func TestEnvelopeWithAnEntryOfAnotherNamespace(t *testing.T) {
	s := begin(t)
	stray := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "stray"}}
	envelope := s.wrapped(stray)
	s.create(envelope)
	p := s.place(testworld.PickFixed(c1.name))
	testworld.Await(t, testworld.Soon, "the envelope to be refused", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, entry := range p.GetStatus().PerClusterPlacementStatuses {
			for _, c := range entry.Conditions {
				if c.Type == v1beta1.ConditionWorkSynchronized && c.Reason == v1beta1.ReasonSyncWorkFailed && strings.Contains(c.Message, "elsewhere/stray") {
					return nil
				}
			}
		}
		return fmt.Errorf("it says %+v", p.GetStatus().PerClusterPlacementStatuses)
	})
	if err := c1.Get(t.Context(), client.ObjectKeyFromObject(s.namespace()), s.namespace()); !apierrors.IsNotFound(err) {
		t.Errorf("something was placed: %v", err)
	}
	testworld.Update(s, theHub, envelope, func(e *v1beta1.ResourceEnvelope) { e.Data = wrapping(s.quota()) })
	s.of(p).expect(testworld.Complete(c1.name))
}

// Overrides change what is in an envelope, one object by one.
func TestOverrideInAnEnvelope(t *testing.T) {
	s := begin(t)
	wrapped := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "wrapped"},
	}
	s.create(s.wrapped(wrapped, s.quota()))
	o := testworld.Override(s.app, s.name+"-ro", testworld.Patching([]v1beta1.ClusterSelectorTerm{east}, testworld.Annotating(key, "v")), testworld.LeavingOut(west))
	o.Spec.ResourceSelectors[0].Name = "wrapped"
	s.create(o)
	p := s.place()
	s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
	s.on(c1).carries(wrapped, "v")
	s.there([]client.Object{s.quota()}, members()...)
	s.on(c3).gone(wrapped)
}
