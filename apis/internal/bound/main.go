// Command bound adds bounds to every field of the CRDs in the given directories: the Go types must be able to decode
// everything that an API server stores, and one field must not fill an object. controller-gen cannot add bounds to
// fields of types from other packages (times, quantities, conditions).
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func main() {
	var errs []error
	for _, folder := range os.Args[1:] {
		paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		errs = append(errs, err)
		for _, path := range paths {
			if err := rewrite(path); err != nil {
				errs = append(errs, fmt.Errorf("bound %s: %w", path, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func rewrite(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		return err
	}
	for i := range crd.Spec.Versions {
		root := crd.Spec.Versions[i].Schema.OpenAPIV3Schema
		for name, field := range root.Properties {
			if name == "apiVersion" || name == "kind" || name == "metadata" {
				continue // API servers see to them
			}
			bound(name, &field)
			root.Properties[name] = field
		}
	}
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
	if err != nil {
		return err
	}
	delete(out, "status")
	unstructured.RemoveNestedField(out, "metadata", "creationTimestamp")
	if content, err = yaml.Marshal(out); err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("---\n"), content...), 0o644)
}
