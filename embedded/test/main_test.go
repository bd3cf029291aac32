// Package test runs the built embedded-cluster as its users do, and looks at it from outside. Nothing here imports the
// program: linking Kubernetes into the test would take longer than the tests.
package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the path of the embedded-cluster under test.
var program string

func TestMain(m *testing.M) {
	code, err := testAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "embedded-test-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if program, err = findProgram(dir); err != nil {
		return 0, fmt.Errorf("find or build the program: %w", err)
	}
	workers.dir = filepath.Join(dir, "workers")
	defer workers.close()
	return m.Run(), nil
}

// findProgram takes the program that EMBEDDED_CLUSTER names, else the built one if it is newer than the sources, else
// it builds one in dir.
func findProgram(dir string) (string, error) {
	if named := os.Getenv("EMBEDDED_CLUSTER"); named != "" {
		return filepath.Abs(named)
	}
	built, err := filepath.Abs("../../bin/embedded-cluster")
	if err != nil {
		return "", err
	}
	changed, err := lastChange("..")
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(built); err == nil && info.ModTime().After(changed) {
		return built, nil
	}
	fmt.Fprintln(os.Stderr, "building embedded-cluster, which compiles Kubernetes the first time")
	out := filepath.Join(dir, "embedded-cluster")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return out, nil
}

// lastChange is that of the youngest file the program is made from.
func lastChange(dir string) (last time.Time, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) == ".md" {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's temporary file
		}
		if err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return err
	})
	return last, err
}
