package localfleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// starting starts a cluster whose program is a script, which may give up or answer, and returns the script's folder.
func starting(t *testing.T, script string) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	program := filepath.Join(dir, "program")
	text := "#!/bin/sh\ncd " + dir + "\necho try >>tries\nanswer() { cp kubeconfig whole; mv whole \"$5\"; exec sleep 600; }\n" + script
	kubeconfig := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n" +
		"clusters: [{name: c, cluster: {server: \"https://localhost:1\"}}]\nusers: [{name: c, user: {}}]\n"
	for file, content := range map[string]string{program: text, filepath.Join(dir, "kubeconfig"): kubeconfig} {
		if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := &cluster{Cluster: Cluster{Name: "hub"}, dir: dir}
	f := &Fleet{options: Options{Dir: dir, Patience: testworld.Patience, Binaries: Binaries{EmbeddedCluster: program}}, clusters: []*cluster{c}}
	t.Cleanup(func() {
		if c.server != nil {
			if err := c.server.kill(); err != nil {
				t.Error(err)
			}
		}
	})
	return dir, f.startCluster(testworld.Context(t), c)
}

// tries is how often the script was run.
func tries(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "tries"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func TestAClusterThatGivesUpIsLaunchedAgain(t *testing.T) {
	dir, err := starting(t, `[ "$(wc -l <tries)" -lt 3 ] && exit 1; answer "$@"`)
	if n := tries(t, dir); err != nil || n != 3 {
		t.Errorf("launched %d times: %v", n, err)
	}
	dir, err = starting(t, "echo the port is taken; exit 1")
	if n := tries(t, dir); err == nil || !strings.Contains(err.Error(), "the port is taken") || n != launches {
		t.Errorf("launched %d times: %v", n, err)
	}
}
