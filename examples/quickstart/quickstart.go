// Package quickstart contains the manifests of this directory, for programs that apply them without a checkout.
package quickstart

import (
	"embed"
	"fmt"
)

// Placement is the name of the ClusterResourcePlacement, and Namespace the name of the namespace that it places.
const (
	Placement = "bookstore"
	Namespace = "bookstore"
)

//go:embed *.yaml
var files embed.FS

// YAML returns the files of the example in the order in which to apply them. Each may contain several documents.
func YAML() ([][]byte, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("read the quickstart: %w", err)
	}
	var contents [][]byte
	for _, entry := range entries {
		data, err := files.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read the quickstart: %w", err)
		}
		contents = append(contents, data)
	}
	return contents, nil
}
