// Package claims checks that the tests that pages of the documentation name exist, and that every attack input is used
// by a test.
package claims

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	named    = regexp.MustCompile(`\bTest[A-Z]\w+`)
	declared = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// If a page names a test that does not exist, its claim is not tested.
func TestNamedTestsExist(t *testing.T) {
	all := map[string]bool{}
	for _, text := range sources(t) {
		for _, found := range declared.FindAllStringSubmatch(text, -1) {
			all[found[1]] = true
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "SECURITY.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			if !all[name] {
				t.Errorf("%s names %s, but there is no such test", page, name)
			}
		}
	}
}

// Every attack input is used by a test.
func TestEveryAttackIsPlayed(t *testing.T) {
	inputs, err := filepath.Glob(filepath.Join(root, "test", "walls", "testdata", "*.yaml"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("inputs %v, error %v", inputs, err)
	}
	var walls strings.Builder
	for path, text := range sources(t) {
		if filepath.Dir(path) == filepath.Join(root, "test", "walls") {
			walls.WriteString(text)
		}
	}
	for _, input := range inputs {
		if name := strings.TrimSuffix(filepath.Base(input), ".yaml"); !strings.Contains(walls.String(), `"`+name+`"`) {
			t.Errorf("no test in test/walls uses %s", input)
		}
	}
}

// sources returns the contents of all test files by path.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
