// Package logs brings what the parts of the cluster log, through klog, slog and etcd's zap, into one stream, and keeps
// out of it what would only frighten a reader. It also catches a part's wish to end the whole process.
package logs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// Log is the stream. Write is for the parts, Printf for the program itself.
type Log struct {
	out       io.Writer
	verbosity int
	fatal     chan error
	lastWords atomic.Pointer[string]
	ending    atomic.Bool
}

// Open makes the process' klog and slog write to out: everything at a verbosity, warnings and errors without one.
func Open(out io.Writer, verbosity int) *Log {
	l := &Log{out: out, verbosity: verbosity, fatal: make(chan error, 1)}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{
		"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true",
		"v": strconv.Itoa(verbosity),
	} {
		if err := flags.Set(name, value); err != nil {
			panic(err) // a flag that klog does not have
		}
	}
	klog.SetOutputBySeverity("INFO", io.Discard)
	if verbosity > 0 {
		klog.SetOutputBySeverity("INFO", l)
	}
	for _, severity := range []string{"WARNING", "ERROR"} {
		klog.SetOutputBySeverity(severity, l)
	}
	klog.SetOutputBySeverity("FATAL", fatalLines{l})
	klog.OsExit = l.exit
	slog.SetDefault(slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: l.level(slog.LevelWarn, slog.LevelInfo)})))
	return l
}

// Printf writes a line of the program itself.
func (l *Log) Printf(format string, args ...any) { fmt.Fprintf(l.out, format+"\n", args...) }

// Write takes one line of a part's log.
func (l *Log) Write(line []byte) (int, error) {
	if l.verbosity == 0 && (l.ending.Load() || isStackDump(line) || isHarmless(line)) {
		return len(line), nil
	}
	return l.out.Write(line)
}

// Zap is a logger for etcd.
func (l *Log) Zap() *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	level := zapcore.WarnLevel
	if l.verbosity > 0 {
		level = zapcore.InfoLevel
	}
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.AddSync(l), level)
	return zap.New(core, zap.WithPanicHook(zapFatal{l}), zap.WithFatalHook(zapFatal{l})).Named("etcd")
}

// Fatal delivers the last words of a part that wanted to end the process. That part's goroutine never goes on.
func (l *Log) Fatal() <-chan error { return l.fatal }

// Ending tells that the parts are being ended: that they complain about each other's absence is no news.
func (l *Log) Ending() { l.ending.Store(true) }

// exit stands in for os.Exit, which would leave files behind.
func (l *Log) exit(code int) {
	err := fmt.Errorf("a part of the control plane ended the process with code %d", code)
	if words := l.lastWords.Load(); words != nil {
		err = errors.New(*words)
	}
	l.die(err)
}

func (l *Log) die(err error) {
	select {
	case l.fatal <- err:
	default: // another part was first
	}
	select {}
}

func (l *Log) level(quiet, verbose slog.Level) slog.Level {
	if l.verbosity > 0 {
		return verbose
	}
	return quiet
}

// fatalLines remembers the line with which klog ends the process, to become the error of the program.
type fatalLines struct{ log *Log }

func (f fatalLines) Write(line []byte) (int, error) {
	if !isStackDump(line) {
		words := string(bytes.TrimSpace(line))
		f.log.lastWords.Store(&words)
	}
	return f.log.Write(line)
}

type zapFatal struct{ log *Log }

// OnWrite implements zapcore.CheckWriteHook.
func (z zapFatal) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	details := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(details)
	}
	z.log.die(fmt.Errorf("etcd: %s: %v", entry.Message, details.Fields["error"]))
}

// isStackDump: klog adds the stacks of all goroutines to a fatal line, tens of thousands of lines in this process.
func isStackDump(line []byte) bool { return bytes.HasPrefix(line, []byte("goroutine ")) }

// harmless are parts of lines that every healthy cluster writes.
var harmless = [][]byte{
	// The API server drops the first connection of each of its etcd clients.
	[]byte("grpc: addrConn.createTransport failed to connect to {Addr: \"unix:etcd:"),
	// Old versions of APIs that are off by default.
	[]byte("because it has no resources."),
	// A flag that nobody gave.
	[]byte("The manifest file is empty, ignoring."),
	// Without an endpoint reconciler there is nothing to be removed, and it is said to be removed.
	[]byte("Found stale data, removed previous endpoints on kubernetes service"),
	// A controller of the API server that comes before its namespace, and is tried again.
	[]byte("kube-apiserver-legacy-service-account-token-tracking"),
	// An etcd that is new to its folder, before its first snapshot.
	[]byte("missing term information"),
	// etcd's users and its second protocol, neither of which is in use.
	[]byte("simple token is not cryptographically signed"),
	[]byte("Running http and grpc server on single port."),
	// Controllers that were faster than their caches, and try again.
	[]byte("is not as new as written version"),
	// The scheduler, about pods that wait for a volume.
	[]byte("Status after running PostFilter plugins for pod"),
	// The API server's look after its own addresses may come before the address of its first Service is noted.
	[]byte("for Service default/kubernetes is not allocated; repairing"),
}

func isHarmless(line []byte) bool {
	for _, text := range harmless {
		if bytes.Contains(line, text) {
			return true
		}
	}
	return false
}
