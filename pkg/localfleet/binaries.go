package localfleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the paths of the programs that a fleet runs.
type Binaries struct {
	// EmbeddedCluster is the program that runs a cluster.
	EmbeddedCluster string
	// HubAgent and MemberAgent are the agents.
	HubAgent, MemberAgent string
}

// find sets empty paths: to the program beside this executable, else in the folder bin of the working directory or of
// a parent of it (where tests run), else on PATH.
func (b Binaries) find() (Binaries, error) {
	var errs []error
	for _, program := range []struct {
		path *string
		name string
	}{
		{&b.EmbeddedCluster, "embedded-cluster"},
		{&b.HubAgent, "hubagent"},
		{&b.MemberAgent, "memberagent"},
	} {
		var err error
		if *program.path, err = findBinary(*program.path, program.name); err != nil {
			errs = append(errs, err)
		}
	}
	return b, errors.Join(errs...)
}

func findBinary(given, name string) (string, error) {
	if given != "" {
		path, err := filepath.Abs(given)
		if err == nil && !isProgram(path) {
			err = errors.New("no program exists at that path")
		}
		if err != nil {
			return "", fmt.Errorf("program %s: %w", given, err)
		}
		return path, nil
	}
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), name); isProgram(path) {
			return path, nil
		}
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			if path := filepath.Join(dir, "bin", name); isProgram(path) {
				return path, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("program %s is neither beside this program, nor in a folder bin, nor on PATH: build it with \"make build\"", name)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
