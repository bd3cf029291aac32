// Package admission serves the admission webhooks of the hub and keeps the objects that make the hub's API server call them. Every replica
// of the hub agent serves; the leader writes the configurations and replaces certificates. What is refused, packages validate and guardrail
// decide, from what the API server sent and from a cache.
package admission

import (
	"context"
	"crypto/tls"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/admission/guardrail"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// DefaultPort is the port of the webhooks.
const DefaultPort = 9443

// Server serves the webhooks of one replica. It is a manager's Runnable that does not wait to lead.
type Server struct {
	// Reader is the cache that it reads from, started and ended with the server.
	Reader cache.Cache
	// Kinds looks up the kinds that the hub serves.
	Kinds validate.Kinds
	// Policy is that of the guard rail.
	Policy guardrail.Policy
	// Networking is whether members export services.
	Networking bool
	// Address and Port are where it listens; no address is all of them.
	Address string
	Port    int
	// Certificate returns the certificate to serve.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready is called when it can answer.
	Ready func()
}

// NeedLeaderElection is false: replicas that stand by serve, too.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	read := []client.Object{&v1beta1.ClusterResourceOverride{}, &v1beta1.ResourceOverride{}, &v1beta1.ClusterResourcePlacement{}, &clusterv1beta1.MemberCluster{}}
	if s.Networking {
		services := &v1.PartialObjectMetadata{}
		services.SetGroupVersionKind(exports)
		read = append(read, services)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Reader.Start(ctx) }()
	for _, obj := range read { // each request would begin the watch otherwise, and wait for it
		if _, err := s.Reader.GetInformer(ctx, obj); err != nil {
			if ctx.Err() != nil {
				return <-ended
			}
			return fmt.Errorf("watch %T for admission: %w", obj, err)
		}
	}
	if !s.Reader.WaitForCacheSync(ctx) {
		return <-ended
	}
	server := webhook.NewServer(webhook.Options{
		Host: s.Address, Port: s.Port,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.MinVersion, c.GetCertificate = tls.VersionTLS12, s.Certificate }},
	})
	for path, handler := range s.handlers() {
		server.Register(path, &admission.Webhook{Handler: handler})
	}
	go s.announce(ctx, server)
	if err := server.Start(ctx); err != nil {
		return fmt.Errorf("serve admission webhooks: %w", err)
	}
	return <-ended
}
