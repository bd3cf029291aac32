// Package admission serves the admission webhooks of the hub and keeps the objects that make the hub's API server call
// them. Every replica of the hub agent serves; the leader writes the configurations and replaces certificates. What is
// refused, packages validate and guardrail decide, from what the API server sent and from a cache.
package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/admission/guardrail"
)

// DefaultPort is the port of the webhooks.
const DefaultPort = 9443

// Server serves the webhooks of one replica. It is a manager's Runnable that does not wait to lead.
type Server struct {
	// Reader is the cache that it reads from, started and ended with the server.
	Reader cache.Cache
	// Kinds are the kinds that the hub serves; the server keeps them up to date.
	Kinds *Kinds
	// Policy is that of the guard rail.
	Policy guardrail.Policy
	// Networking is whether members export services.
	Networking bool
	// Address and Port are where it listens; no address is all of them.
	Address string
	Port    int
	// Certificate returns the certificate to serve.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Linger is for how long the server goes on after ctx has ended, so that a Service stops sending requests first.
	Linger time.Duration
	// Serving is closed when it answers.
	Serving chan struct{}

	// exporting is set when the cache has the services that members export.
	exporting atomic.Bool
}

// NeedLeaderElection is false: replicas that stand by serve, too.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.Reader.Start(ctx) }()
	if err := s.watch(ctx); err != nil {
		if ctx.Err() != nil {
			return <-ended
		}
		return err
	}
	if !s.Reader.WaitForCacheSync(ctx) {
		return <-ended
	}
	if err := s.serve(ctx); err != nil {
		return fmt.Errorf("serve admission webhooks: %w", err)
	}
	return <-ended
}

// watch fills the cache with what requests read: a request for a kind that is not watched would begin the watch, and
// wait for it.
func (s *Server) watch(ctx context.Context) error {
	for _, obj := range []client.Object{&v1beta1.ClusterResourceOverride{}, &v1beta1.ResourceOverride{}, &v1beta1.ClusterResourcePlacement{}, &clusterv1beta1.MemberCluster{}} {
		if _, err := s.Reader.GetInformer(ctx, obj); err != nil {
			return fmt.Errorf("watch %T for admission: %w", obj, err)
		}
	}
	if err := s.Kinds.follow(ctx, s.Reader); err != nil {
		return err
	}
	if !s.Networking {
		return nil
	}
	if !s.Kinds.serves(exports) {
		go s.watchExports(ctx) // fleet networking is not installed
		return nil
	}
	s.watchExports(ctx)
	return ctx.Err()
}

// watchExports fills the cache with the services that members export, once the hub serves their kind.
func (s *Server) watchExports(ctx context.Context) {
	services := &metav1.PartialObjectMetadata{}
	services.SetGroupVersionKind(exports)
	for s.Kinds.await(ctx, exports) == nil {
		_, err := s.Reader.GetInformer(ctx, services)
		if err == nil {
			s.exporting.Store(true)
			return
		}
		ctrl.LoggerFrom(ctx).Error(err, "Cannot watch the services that members export; trying again")
		select {
		case <-time.After(discoverAgain):
		case <-ctx.Done():
		}
	}
}

// Bounds of what clients hold together. An object that etcd stores has at most 1.5 MiB, and an update has two of them.
const (
	mostConnections = 256
	mostStreams     = 32
	mostRequests    = 32
	mostBytes       = 6 << 20
)

// limited lets few requests be answered at a time; the others wait for as long as their client does.
func limited(next http.Handler) http.Handler {
	places := make(chan struct{}, mostRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			r.Body = http.MaxBytesReader(w, r.Body, mostBytes)
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
		}
	})
}

// shutdown is how long requests may take to end: as long as an API server waits for them.
const shutdown = 5 * time.Second

// mux serves each webhook at its path.
func (s *Server) mux(log logr.Logger) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for path, h := range s.handlers() {
		served, err := admission.StandaloneWebhook(&admission.Webhook{Handler: h}, admission.StandaloneOptions{Logger: log, MetricsPath: path})
		if err != nil {
			return nil, err
		}
		mux.Handle(path, served)
	}
	return mux, nil
}

func (s *Server) serve(ctx context.Context) error {
	mux, err := s.mux(ctrl.LoggerFrom(ctx))
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port)))
	if err != nil {
		return err
	}
	close(s.Serving)
	// Everyone who reaches the port may connect, without credentials: the limits bound what such a client can hold.
	server := &http.Server{
		Handler: limited(mux), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: mostStreams}, ReadHeaderTimeout: shutdown, ReadTimeout: 2 * shutdown, WriteTimeout: 2 * shutdown, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: 1 << 16,
		// Clients that break off, or do not trust the certificate, are no errors of the server.
		ErrorLog:  slog.NewLogLogger(logr.ToSlogHandler(ctrl.LoggerFrom(ctx).V(1)), slog.LevelInfo),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: s.Certificate},
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		if s.Linger > 0 {
			time.Sleep(s.Linger)
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		stopped <- server.Shutdown(ending)
	}()
	if err := server.ServeTLS(netutil.LimitListener(listener, mostConnections), "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
