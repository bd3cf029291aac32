package localfleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a program to run, with the paths of its log and pid file.
type program struct {
	// name identifies it in errors: "cluster hub".
	name string
	path string
	args []string
	env  []string
	dir  string
	// log is appended to; record is the pid file.
	log, record string
	// detached programs outlive this process; others end with it, however it ends.
	detached bool
}

// process is a program that runs or ran: a child of this process, or one that an earlier command started.
type process struct {
	program
	pid int
	// born distinguishes the process from a later one with the same pid.
	born string
	// launched is when this process started it; zero if an earlier one did.
	launched time.Time
	// logStart is the size of the log before the start.
	logStart int64
	// ended is closed when a child has ended; nil for processes that are no children of this one.
	ended chan struct{}
	// result of a child, once it has ended.
	result error

	mu       sync.Mutex
	expected bool
}

// record is the content of a pid file.
type record struct {
	PID int `json:"pid"`
	// Born is the start time of the process, in the system's format.
	Born string `json:"born"`
}

// poll is the interval of checks on what sends no event: processes that are no children, files, ports.
const poll = 25 * time.Millisecond

// launch starts p. onExit, if not nil, is called once if the process ends without a request.
func launch(p program, onExit func(*process)) (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer log.Close()
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", p.name, err)
	}
	// No context: a detached process outlives each, and others are stopped in order.
	cmd := exec.CommandContext(context.Background(), p.path, p.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, log, log
	cmd.SysProcAttr = attributes(p.detached)

	proc := &process{program: p, launched: time.Now(), logStart: size, ended: make(chan struct{})}
	if err := proc.start(cmd, onExit); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := proc.remember(); err != nil {
		return nil, errors.Join(err, proc.kill())
	}
	return proc, nil
}

// start runs cmd from a thread that lives as long as the child: a parent-death signal is bound to the thread, not to
// the process.
func (p *process) start(cmd *exec.Cmd, onExit func(*process)) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		if err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.result = cmd.Wait()
		close(p.ended)
		if onExit != nil && !p.asked() {
			onExit(p)
		}
	}()
	return <-started
}

func (p *process) remember() error {
	born, ok := birth(p.pid)
	if !ok {
		return nil // it ended at once, which its caller finds when it waits
	}
	p.born = born
	data, err := json.Marshal(record{PID: p.pid, Born: born})
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.record, data, 0o600); err != nil {
		return fmt.Errorf("record the process of %s: %w", p.name, err)
	}
	return nil
}

// recall returns the process in p's pid file, if it still runs.
func recall(p program) *process {
	data, err := os.ReadFile(p.record)
	if err != nil {
		return nil
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil { //nolint:forbidigo // our own file
		return nil
	}
	found := &process{program: p, pid: r.PID, born: r.Born}
	if !found.running() {
		return nil
	}
	return found
}

func (p *process) running() bool {
	if p.ended != nil {
		select {
		case <-p.ended:
			return false
		default:
			return true
		}
	}
	born, ok := birth(p.pid)
	return ok && born == p.born
}

// stop requests that the process end, and kills it if it has not after grace.
func (p *process) stop(ctx context.Context, grace time.Duration) error {
	p.expect()
	if !p.running() {
		return p.forget()
	}
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.wait(ctx) == nil {
		return p.forget()
	}
	return p.kill()
}

// kill kills the process and its children at once.
func (p *process) kill() error {
	p.expect()
	// The program leads its own process group, so no other process is hit. A pid that has been reused is not
	// signalled.
	if p.running() {
		if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s: %w", p.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a process that waits for its disk
	defer cancel()
	if err := p.wait(ctx); err != nil {
		return fmt.Errorf("%s (process %d) does not end: %w", p.name, p.pid, err)
	}
	return p.forget()
}

func (p *process) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// asked reports whether the end of the process was requested.
func (p *process) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}

func (p *process) forget() error {
	if err := os.Remove(p.record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the process of %s: %w", p.name, err)
	}
	return nil
}

// wait returns when the process or ctx has ended.
func (p *process) wait(ctx context.Context) error {
	if p.ended != nil {
		select {
		case <-p.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return until(ctx, func() (bool, error) { return !p.running(), nil })
}

// failure describes an unrequested end of a process, with the end of its log.
func (p *process) failure() error {
	how := "ended"
	if p.ended != nil && p.result != nil {
		how = "failed: " + p.result.Error()
	}
	words := p.lastWords()
	if words == "" {
		return fmt.Errorf("%s %s, and wrote nothing to %s", p.name, how, p.log)
	}
	return fmt.Errorf("%s %s; from %s:\n%s", p.name, how, p.log, words)
}

// How many lines of a log are quoted: a program may report the fault first and then print its whole usage.
const (
	quotedFirst = 3
	quotedLast  = 9
)

// lastWords returns the first and the last lines of the log since the process started.
func (p *process) lastWords() string {
	data, err := os.ReadFile(p.log)
	if err != nil || int64(len(data)) < p.logStart {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data[p.logStart:]), []byte("\n"))
	if len(lines) > quotedFirst+quotedLast {
		last := lines[len(lines)-quotedLast:]
		lines = append(append(slices.Clip(lines[:quotedFirst]), []byte("...")), last...)
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// birth returns the start time of process pid, as a text to compare; ok is false if there is no such process, or only
// a zombie.
func birth(pid int) (born string, ok bool) {
	if pid <= 0 {
		return "", false
	}
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return birthByPS(pid)
	}
	// The second field is the command's name in parentheses and may hold anything; after it come the state and, as
	// field 22 of the line, the start time in ticks since boot.
	_, rest, found := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
	fields := strings.Fields(rest)
	const startTime = 22 - 3
	if !found || len(fields) <= startTime || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[startTime], true
}

// birthByPS is birth for systems without /proc.
func birthByPS(pid int) (string, bool) {
	if runtime.GOOS == "linux" {
		return "", false
	}
	out, err := exec.CommandContext(context.Background(), "ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	state, started, found := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !found || strings.HasPrefix(state, "Z") {
		return "", false
	}
	return strings.TrimSpace(started), true
}

// until calls done repeatedly until it returns true or an error, or ctx ends.
func until(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
