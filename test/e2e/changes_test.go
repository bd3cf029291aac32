package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:222
func TestContentComesChangesAndGoes(t *testing.T) {
	s := beginEmpty(t)
	p := s.place()
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.selectedNamespace()))
	s.create(testworld.ConfigMap(s.app, "test"))
	s.of(p).expect(onAll().AtOrNext("1").Selecting(s.all()...))
	s.placed("test", members()...)
	testworld.Update(s, theHub, testworld.ConfigMap(s.app, ""), func(cm *corev1.ConfigMap) { cm.Data["data"] = "changed" })
	s.placed("changed", members()...)
	s.of(p).expect(onAll().AtOrNext("2").Selecting(s.all()...))
	if err := theHub.Delete(t.Context(), testworld.ConfigMap(s.app, "")); err != nil {
		t.Fatal(err)
	}
	s.of(p).expect(onAll().AtOrNext("3").Selecting(s.selectedNamespace()))
	s.placed("")
}

// contract:223
func TestKindThatIsNew(t *testing.T) {
	s := beginEmpty(t)
	kind := schema.GroupVersionKind{Group: s.name + ".flagship.dev", Version: "v1", Kind: "Widget"}
	crd := widgets(kind)
	s.create(crd)
	widget := &unstructured.Unstructured{}
	widget.SetGroupVersionKind(kind)
	widget.SetNamespace(s.app)
	widget.SetName("widget")
	widget.Object["spec"] = map[string]any{"size": "small"}
	testworld.Await(t, testworld.Soon, kind.Group+" to be served", func(ctx context.Context) error { return theHub.Create(ctx, widget) })

	p := s.place(testworld.Selecting(testworld.Named("", "v1", "Namespace", s.app),
		testworld.Named(apiextensionsv1.GroupName, "v1", "CustomResourceDefinition", crd.GetName())))
	s.of(p).expectWithin(testworld.Workload, onAll().Untrackable().Selecting(s.selectedNamespace(),
		v1beta1.ResourceIdentifier{Group: apiextensionsv1.GroupName, Version: "v1", Kind: "CustomResourceDefinition", Name: crd.GetName()},
		v1beta1.ResourceIdentifier{Group: kind.Group, Version: "v1", Kind: "Widget", Namespace: s.app, Name: "widget"}))
	s.widgets(kind, "small")
	testworld.Update(s, theHub, widget, func(w *unstructured.Unstructured) { w.Object["spec"] = map[string]any{"size": "large"} })
	s.widgets(kind, "large")
}

// widgets waits until all members have the widget with a size.
func (s *scene) widgets(kind schema.GroupVersionKind, size string) {
	s.Helper()
	for _, m := range members() {
		testworld.Await(s.T, testworld.Soon, "the "+size+" widget on "+m.name, func(ctx context.Context) error {
			got := &unstructured.Unstructured{}
			got.SetGroupVersionKind(kind)
			if err := m.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "widget"}, got); err != nil {
				return err
			}
			if is, _, err := unstructured.NestedString(got.Object, "spec", "size"); is != size {
				return errors.Join(fmt.Errorf("it is %q", is), err)
			}
			return nil
		})
	}
}

// widgets is the definition of a kind.
func widgets(kind schema.GroupVersionKind) client.Object {
	anything := true
	plural := strings.ToLower(kind.Kind) + "s"
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + kind.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: kind.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural: plural, Singular: strings.ToLower(kind.Kind), Kind: kind.Kind, ListKind: kind.Kind + "List",
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: kind.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
			}},
		},
	}
}
