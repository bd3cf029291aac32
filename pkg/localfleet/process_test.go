package localfleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// shell is a program that runs script.
func shell(t *testing.T, script string) program {
	t.Helper()
	dir := t.TempDir()
	return program{
		name: "the script", path: "/bin/sh", args: []string{"-c", script}, dir: dir,
		log: filepath.Join(dir, "log"), record: filepath.Join(dir, "pid"),
	}
}

func start(t *testing.T, p program, onExit func(*process)) *process {
	t.Helper()
	proc, err := launch(p, onExit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.kill(); err != nil {
			t.Error(err)
		}
	})
	return proc
}

func TestAProcessIsFoundAgainByItsPidFile(t *testing.T) {
	p := shell(t, "exec sleep 60")
	proc := start(t, p, nil)
	found := recall(p)
	if found == nil || found.pid != proc.pid {
		t.Fatalf("found %+v, want process %d", found, proc.pid)
	}
	if err := found.stop(testworld.Context(t), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := proc.wait(testworld.Context(t)); err != nil { // its parent is notified later
		t.Fatal(err)
	}
	if recall(p) != nil {
		t.Error("runs after it was stopped")
	}
	if _, err := os.Stat(p.record); err == nil {
		t.Error("the pid file is left")
	}
}

// A pid file that is older than the process with its pid names another process, which must not be touched.
func TestARecycledPidIsLeftAlone(t *testing.T) {
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	t.Cleanup(func() {
		if err := stranger.Process.Kill(); err != nil {
			t.Error(err)
		}
	})

	born, ok := birth(stranger.Process.Pid)
	if !ok {
		t.Fatal("the stranger is not seen")
	}
	p := shell(t, "")
	old := &process{program: p, pid: stranger.Process.Pid, born: born + "0"}
	if old.running() {
		t.Error("the stranger is taken for ours")
	}
	if err := old.stop(testworld.Context(t), time.Second); err != nil {
		t.Error(err)
	}
	if err := old.kill(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		t.Errorf("the stranger was hit: %v", err)
	default:
	}
}

func TestProcessIsKilledAfterGrace(t *testing.T) {
	p := shell(t, "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
	proc := start(t, p, func(*process) { t.Error("the end was asked for") })
	ctx := testworld.Context(t)
	if err := until(ctx, func() (bool, error) { return proc.lastWords() == "deaf", nil }); err != nil {
		t.Fatal(err)
	}
	if err := proc.stop(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if proc.running() {
		t.Error("still runs")
	}
}

func TestFailureQuotesTheLog(t *testing.T) {
	p := shell(t, "echo first; echo the port is taken >&2; exit 3")
	if err := os.WriteFile(p.log, []byte("of an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	start(t, p, func(proc *process) { told <- proc.failure().Error() })
	select {
	case text := <-told:
		for _, want := range []string{"the script failed: exit status 3", "first\nthe port is taken", p.log} {
			if !strings.Contains(text, want) {
				t.Errorf("%q does not say %q", text, want)
			}
		}
		if strings.Contains(text, "earlier run") {
			t.Errorf("%q quotes an earlier run", text)
		}
	case <-testworld.Context(t).Done():
		t.Fatal("nothing was told")
	}
}

func TestLongLogIsCutInTheMiddle(t *testing.T) {
	p := shell(t, "echo wrong flag; seq 100")
	proc := start(t, p, nil)
	if err := proc.wait(testworld.Context(t)); err != nil {
		t.Fatal(err)
	}
	want := "wrong flag\n1\n2\n...\n92\n93\n94\n95\n96\n97\n98\n99\n100"
	if got := proc.lastWords(); got != want {
		t.Errorf("quoted %q, want %q", got, want)
	}
}
