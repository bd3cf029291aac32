package test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The program cannot ask its module for the version of Kubernetes at link time, so a constant repeats it.
func TestVersionIsTheModules(t *testing.T) {
	t.Parallel()
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)$`).FindStringSubmatch(string(gomod))
	if required == nil {
		t.Fatal("go.mod requires no k8s.io/kubernetes")
	}
	said, err := exec.Command(program, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(said)); got != required[1] {
		t.Errorf("embedded-cluster version says %s, go.mod %s: change KubernetesVersion", got, required[1])
	}
	server, err := workers.get(t).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if server.GitVersion != required[1] || server.Major != required[2] || server.Minor != required[3] {
		t.Errorf("the API server says it is %+v", server)
	}
}
