package testworld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Unbound makes CRDs accept any object, as CRDs of an older release may, and waits until the API server does. A test
// can then store objects that no agent can decode.
func Unbound(t testing.TB, c client.Client, names ...string) {
	t.Helper()
	for _, name := range names {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		Await(t, Soon, "an empty schema of "+name, func(ctx context.Context) error {
			if err := c.Get(ctx, types.NamespacedName{Name: name}, crd); err != nil {
				return err
			}
			versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
			for _, v := range versions {
				v.(map[string]any)["schema"] = map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				}}
			}
			if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
				return err
			}
			return c.Update(ctx, crd)
		})
	}
	for _, name := range names {
		Await(t, Soon, name+" to accept any object", func(ctx context.Context) error { return takesEverything(ctx, c, name) })
	}
}

// takesEverything checks with a dry run: an API server serves a changed CRD with a delay.
func takesEverything(ctx context.Context, c client.Client, name string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	if err := c.Get(ctx, types.NamespacedName{Name: name}, u); err != nil {
		return err
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1beta1", "kind": kind, "metadata": map[string]any{"name": "probe"}, "spec": int64(1), "unknown": "kept",
	}}
	if scope == "Namespaced" {
		probe.SetNamespace("default")
	}
	if err := c.Create(ctx, probe, &client.CreateOptions{DryRun: []string{"All"}}); err != nil {
		return err
	}
	if probe.Object["unknown"] != "kept" {
		return errors.New("fields are still pruned")
	}
	return nil
}

// Post sends an unchanged body to the API server: clients that decode the body refuse deeply nested JSON.
func Post(t testing.TB, cfg *rest.Config, path, body string) error {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cfg.Host+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return errors.Join(fmt.Errorf("%s: %s", response.Status, answer), err)
	}
	return nil
}
