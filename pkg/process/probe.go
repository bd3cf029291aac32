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

// Gates are what an agent still waits for before it can do its work. Its readiness probe fails while any is closed and says why, so
// that "kubectl describe pod" or curl answers what is missing. The zero value has no closed gate.
type Gates struct {
	mu     sync.Mutex
	closed map[string]string
	checks []func() []string
	notes  []func() []string
}

// Check adds a function that is called at each probe: while it names anything, the agent is not ready.
func (g *Gates) Check(check func() []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checks = append(g.checks, check)
}

// Note adds a function whose lines each answer of the readiness probe has besides, ready or not.
func (g *Gates) Note(note func() []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notes = append(g.notes, note)
}

// Close makes the agent unready until Open is called for the same name. why is a phrase for the user: "CRD works.… is not installed".
func (g *Gates) Close(name, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = map[string]string{}
	}
	g.closed[name] = why
}

// Open ends the wait for name.
func (g *Gates) Open(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.closed, name)
}

// Waiting returns nil when no gate is closed and no check fails, else an error that names every closed gate and what checks name.
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

// gather calls functions without holding a lock: they have locks of their own.
func gather(ask []func() []string) (out []string) {
	for _, f := range ask {
		out = append(out, f()...)
	}
	return out
}

// ServeProbes answers /healthz always and /readyz while no gate is closed and no check fails, on addr ("" or "0": not at all), until ctx ends.
// It listens before it returns, so that an address in use is an error at start. It serves from the first moment of the process,
// unlike a manager's probes, which come up only after everything the agent may have to wait for.
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
