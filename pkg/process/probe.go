package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// Gates are the conditions that an agent waits for before it is ready. Its readiness probe fails while any gate is
// closed, with the reason, so that "kubectl describe pod" or curl shows what is missing. The zero value has no closed
// gate.
type Gates struct {
	mu     sync.Mutex
	closed map[string]string
	checks []func() []string
	notes  []func() []string
}

// Check adds a function that is called at each probe: while it returns any problem, the agent is not ready.
func (g *Gates) Check(check func() []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checks = append(g.checks, check)
}

// Note adds a function whose lines are added to every response of the readiness probe, ready or not.
func (g *Gates) Note(note func() []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notes = append(g.notes, note)
}

// Close makes the agent unready until Open is called for the same name. why is a phrase for the user: "CRD works.… is
// not installed".
func (g *Gates) Close(name, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = map[string]string{}
	}
	g.closed[name] = why
}

// Open opens the gate name.
func (g *Gates) Open(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.closed, name)
}

// Waiting returns nil when no gate is closed and no check fails, else an error with every closed gate and the problems
// of all checks.
func (g *Gates) Waiting() error {
	g.mu.Lock()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(g.closed)) {
		parts = append(parts, name+": "+g.closed[name])
	}
	checks := slices.Clone(g.checks)
	g.mu.Unlock()
	var problems []string
	if len(parts) > 0 {
		problems = append(problems, "waiting for "+strings.Join(parts, "; "))
	}
	if problems = append(problems, gather(checks)...); len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

// Notes returns the lines of the functions that Note has added.
func (g *Gates) Notes() []string {
	g.mu.Lock()
	notes := slices.Clone(g.notes)
	g.mu.Unlock()
	return gather(notes)
}

// gather calls functions. The caller must hold no lock: the functions take locks of their own.
func gather(functions []func() []string) (out []string) {
	for _, f := range functions {
		out = append(out, f()...)
	}
	return out
}

// ServeProbes serves /healthz, and /readyz, which succeeds while no gate is closed and no check fails, on addr ("" or
// "0": disabled) until ctx ends. It listens before it returns, so that an address in use is an error at start. Agents
// call it when they start, because a manager's probes start only after everything that the agent waits for.
func ServeProbes(ctx context.Context, addr string, gates *Gates) error {
	if addr == "" || addr == "0" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for probes on %s: %w; choose another address with --health-probe-bind-address", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/healthz", healthz.CheckHandler{Checker: healthz.Ping})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		text, code := "ok", http.StatusOK
		if err := gates.Waiting(); err != nil {
			text, code = err.Error(), http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		fmt.Fprintln(w, strings.Join(append([]string{text}, gates.Notes()...), "\n"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return nil
}
