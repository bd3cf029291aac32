// Package charts contains the Helm charts of the two agents, so that programs that install them need no checkout.
// It returns loaded charts; pkg/localfleet installs them, and the tests here render them.
package charts

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// The names of the charts.
const (
	HubAgent    = "hub-agent"
	MemberAgent = "member-agent"
)

//go:embed all:hub-agent all:member-agent
var files embed.FS

// Load returns the chart that was embedded in this program when it was built.
func Load(name string) (*chart.Chart, error) {
	var found []*archive.BufferedFile
	err := fs.WalkDir(files, name, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := files.ReadFile(file)
		if err != nil {
			return err
		}
		found = append(found, &archive.BufferedFile{Name: strings.TrimPrefix(file, name+"/"), Data: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read chart %s: %w", name, err)
	}
	loaded, err := loader.LoadFiles(found)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", name, err)
	}
	return loaded, nil
}

// CRDs returns the names of the CustomResourceDefinitions that a chart installs: the fleet's own, and those of other
// projects that it needs. Their files are named <group>_<plural>.yaml.
func CRDs(name string) ([]string, error) {
	var names []string
	for _, folder := range []string{"crds", "inventory"} {
		entries, err := files.ReadDir(path.Join(name, "files", folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the CustomResourceDefinitions of chart %s: %w", name, err)
		}
		for _, entry := range entries {
			group, plural, ok := strings.Cut(strings.TrimSuffix(entry.Name(), ".yaml"), "_")
			if ok {
				names = append(names, plural+"."+group)
			}
		}
	}
	return names, nil
}
