// Command derive writes the other served versions of an API group from its v1beta1 package.
//
// Its argument is the directory of the groups: for every <group>/v1beta1 in it, it writes next to it one package for each
// version that a kind of v1beta1 is marked with. A derived package contains the kinds marked with its version, their
// lists, every type that they use, the constants of those types, and their registration in a scheme. It keeps comments
// and markers, but not methods and untyped constants, because the agents use only v1beta1.
//
// Markers in the comments of v1beta1 describe the differences. VERSIONS is a comma-separated list.
//
//	+flagship:versions=VERSIONS          on a kind: it is also served in these; without it, in v1beta1 only
//	+flagship:not-in=VERSIONS            on a field or constant: it does not exist in these
//	+flagship:type-in=VERSIONS TYPE      on a field: its Go type is TYPE in these
//	+flagship:previous-not-in=VERSIONS   the comment line above is omitted in these
//	+flagship:only-in=VERSIONS TEXT      TEXT is a comment line in these
//
// The marker +kubebuilder:storageversion is omitted everywhere, because the API server stores v1beta1.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	sourceVersion = "v1beta1"
	typesFile     = "zz_generated.types.go"
	registerFile  = "zz_generated.register.go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: derive DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "derive:", err)
		os.Exit(1)
	}
}

// run derives the versions of every group below dir.
func run(dir string) error {
	sources, err := filepath.Glob(filepath.Join(dir, "*", sourceVersion))
	if err != nil {
		return fmt.Errorf("find groups in %s: %w", dir, err)
	}
	if len(sources) == 0 {
		return fmt.Errorf("no group with version %s in %s", sourceVersion, dir)
	}
	var errs []error
	for _, source := range sources {
		errs = append(errs, deriveGroup(source))
	}
	return errors.Join(errs...)
}

// deriveGroup writes the derived versions of the group whose source package is in dir.
func deriveGroup(dir string) error {
	src, err := load(dir)
	if err != nil {
		return fmt.Errorf("load %s: %w", dir, err)
	}
	for _, version := range src.versions {
		derived, err := src.derive(version)
		if err != nil {
			return fmt.Errorf("derive %s from %s: %w", version, dir, err)
		}
		target := filepath.Join(filepath.Dir(dir), version)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("make package %s: %w", version, err)
		}
		for name, content := range map[string][]byte{typesFile: derived.types, registerFile: derived.register} {
			if err := os.WriteFile(filepath.Join(target, name), content, 0o644); err != nil {
				return fmt.Errorf("write package %s: %w", version, err)
			}
		}
	}
	return nil
}
