package localfleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A child of an attached fleet does not outlive its parent, even one that is killed.
func TestAttachedProgramsEndWithTheirParent(t *testing.T) {
	if os.Getenv("LOCALFLEET_PARENT") != "" {
		proc, err := launch(program{
			name: "child", path: "/bin/sleep", args: []string{"60"}, dir: os.Getenv("LOCALFLEET_PARENT"),
			log: filepath.Join(os.Getenv("LOCALFLEET_PARENT"), "log"), record: filepath.Join(os.Getenv("LOCALFLEET_PARENT"), "pid"),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-proc.ended
		return
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run", "^TestAttachedProgramsEndWithTheirParent$")
	parent.Env = append(os.Environ(), "LOCALFLEET_PARENT="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child *process
	ctx := testworld.Context(t)
	err := until(ctx, func() (bool, error) {
		child = recall(program{record: filepath.Join(dir, "pid")})
		return child != nil, nil
	})
	if err != nil {
		t.Fatal("the child did not start")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	if err := child.wait(ctx); err != nil {
		t.Error("the child outlives its parent")
	}
}
