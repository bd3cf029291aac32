package main

import (
	"os"
	"path/filepath"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// kubectl explain shows what the CRDs say, in every version; a field without a description shows nothing.
func TestEveryFieldIsDescribed(t *testing.T) {
	paths, err := filepath.Glob("../../../charts/*/files/crds/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("no CRDs found in the charts")
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(content, &crd); err != nil {
			t.Fatalf("decode %s: %v", path, err)
		}
		for _, version := range crd.Spec.Versions {
			requireDescriptions(t, crd.Spec.Names.Kind+" "+version.Name, version.Schema.OpenAPIV3Schema)
		}
	}
}

func requireDescriptions(t *testing.T, at string, schema *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	for name, field := range schema.Properties {
		path := at + "." + name
		if field.Description == "" && name != "metadata" { // the API server describes metadata itself
			t.Errorf("%s has no description", path)
		}
		requireDescriptions(t, path, &field)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		requireDescriptions(t, at+"[]", schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		requireDescriptions(t, at+"[]", schema.AdditionalProperties.Schema)
	}
}
