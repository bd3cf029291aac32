package local

import (
	"os"
	"os/exec"
	"path/filepath"
)

// plugin is the command that runs this plugin: "kubectl fleet" if kubectl finds it, else its path.
func plugin() string {
	if _, err := exec.LookPath("kubectl-fleet"); err == nil {
		return "kubectl fleet"
	}
	return os.Args[0]
}

// kubectl is the command that runs kubectl: its path if it is not on PATH but in the directory of this plugin.
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
