// Package quickstart holds the objects of this folder, for programs that apply them without a checkout.
package quickstart

import (
	"embed"
	"fmt"
)

// Placement is the ClusterResourcePlacement, and Namespace what it carries to the members.
const (
	Placement = "bookstore"
	Namespace = "bookstore"
)

//go:embed *.yaml
var files embed.FS

// YAML returns the files of the example in the order they are to be applied in; each may hold several documents.
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
