package local

import (
	"os"
	"os/exec"
	"path/filepath"
)

// plugin is how the user types this plugin: as part of kubectl if kubectl finds it, else by its path.
func plugin() string {
	if _, err := exec.LookPath("kubectl-fleet"); err == nil {
		return "kubectl fleet"
	}
	return os.Args[0]
}

// kubectl is how the user types kubectl: by its path if there is one beside this plugin and none on PATH.
func kubectl() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return "kubectl"
	}
	beside := filepath.Join(filepath.Dir(os.Args[0]), "kubectl")
	if _, err := exec.LookPath(beside); err == nil {
		return beside
	}
	return "kubectl"
}
