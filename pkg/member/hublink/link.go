package hublink

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/process"
)

// Names of the gates that a link closes while it waits.
const (
	gateServer = "hub"
	gateAccess = "access to the hub"
)

// waiting is for alerts on a lost hub, and on credentials that it refuses.
var waiting = metrics.Gauge(metrics.Definition{
	Name:   "fleet_member_agent_waiting",
	Help:   "1 while the member agent waits for the hub, 0 otherwise. Alert on it: placed objects stay, and no changes arrive.",
	Labels: []metrics.Label{{Name: "for", Values: "`" + gateServer + "`: the hub is unreachable; `" + gateAccess + "`: the hub refuses the agent's credentials"}},
	Agents: []metrics.Agent{metrics.Member},
})

// How often the agent checks access while the hub denies it: the hub sends no event when access is granted.
const (
	accessFirst = 200 * time.Millisecond
	accessMost  = time.Second
)

// dialLimit is how long a connection may take to come up; without it a lost packet delays much longer.
const dialLimit = 5 * time.Second

// kinds are those that the agent reads in its namespace.
var kinds = []schema.GroupVersionResource{
	clusterv1beta1.GroupVersion.WithResource("internalmemberclusters"),
	placementv1beta1.GroupVersion.WithResource("works"),
}

// Link is the connection to the hub.
type Link struct {
	settings Settings
	cfg      *rest.Config
	gates    *process.Gates
	dynamic  dynamic.Interface
	history  history

	mu      sync.Mutex
	reasons map[string]string // by gate; "" for an open one
}

// Open sets up the connection to the hub. It sends no request to the hub yet, but starts to watch the token, on the
// cluster of member, until ctx ends. The gates are closed until Await has returned, and again whenever the hub is
// unreachable.
func Open(ctx context.Context, settings Settings, member *rest.Config, gates *process.Gates) (*Link, error) {
	l := &Link{settings: settings, gates: gates, reasons: map[string]string{}}
	l.cfg = &rest.Config{
		Host: settings.Server,
		TLSClientConfig: rest.TLSClientConfig{
			Insecure: settings.Insecure,
			CAFile:   settings.CAFile,
			CAData:   settings.CA,
		},
		UserAgent: rest.DefaultKubernetesUserAgent(),
		Dial:      (&net.Dialer{Timeout: dialLimit, KeepAlive: 30 * time.Second}).DialContext,
	}
	waits := patience{
		trouble: func(why string) {
			if why != "" {
				l.history.broke()
			}
			l.setGate(ctx, gateServer, why)
		},
		explain: settings.unreachable,
	}
	if settings.CertFile != "" {
		if err := withCertificate(l.cfg, &settings); err != nil {
			return nil, fmt.Errorf("trust the hub: %w; %s must name a PEM file", err, caFile)
		}
	} else {
		source, err := settings.tokens(ctx, member)
		if err != nil {
			return nil, err
		}
		waits.woken = source.Changed
		l.cfg.Wrap(bearer(source))
	}
	if len(settings.Headers) > 0 {
		l.cfg.Wrap(withHeaders(settings.Headers))
	}
	l.cfg.Wrap(waits.wrap)
	l.setGate(ctx, gateServer, settings.Server+" has not answered yet")
	l.setGate(ctx, gateAccess, "not checked yet")
	return l, nil
}

func (s *Settings) tokens(ctx context.Context, member *rest.Config) (tokens, error) {
	if s.TokenFile != "" {
		return &fileTokens{path: s.TokenFile}, nil
	}
	return watchSecret(ctx, member, s.TokenSecret)
}

// Config returns a configuration for clients of the hub that may send qps requests per second with this burst. Its
// GETs, lists and watches wait while the hub is unreachable or does not accept the token; afterwards everything is
// read anew, as the hub may have been restored from a backup.
func (l *Link) Config(qps float64, burst int) *rest.Config {
	cfg := rest.CopyConfig(l.cfg)
	cfg.QPS, cfg.Burst = float32(qps), burst
	cfg.Wrap(l.history.reader())
	return cfg
}

// Await returns when the hub answers and grants read access to the member's namespace. It fails only when ctx ends.
// refused, if not nil, is called each time that the hub denies access.
func (l *Link) Await(ctx context.Context, refused func()) error {
	wait := accessFirst
	for {
		why := l.access(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the hub: %w", ctx.Err())
		}
		l.setGate(ctx, gateAccess, why)
		if why == "" {
			return nil
		}
		if refused != nil {
			refused()
		}
		pause(ctx, wait, nil)
		wait = min(2*wait, accessMost)
	}
}

// client creates the client once its settings are valid.
func (l *Link) client() (dynamic.Interface, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dynamic == nil {
		hub, err := dynamic.NewForConfig(l.Config(-1, 0))
		if err != nil {
			return nil, err
		}
		l.dynamic = hub
	}
	return l.dynamic, nil
}

// access returns "" if the agent has all the read access it needs, else why not.
func (l *Link) access(ctx context.Context) string {
	hub, err := l.client()
	if err != nil { // a file named in the settings does not exist yet
		return fmt.Sprintf("no client for %s: %v; %s must name a PEM file", l.settings.Server, err, caFile)
	}
	for _, kind := range kinds {
		if _, err := hub.Resource(kind).Namespace(l.settings.Namespace()).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return l.settings.barred(err)
		}
	}
	return ""
}

// setGate closes gate with the reason why, or opens it if why is empty. It logs changes only.
func (l *Link) setGate(ctx context.Context, gate, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, known := l.reasons[gate]
	if known && was == why {
		return
	}
	l.reasons[gate] = why
	log := ctrl.LoggerFrom(ctx)
	if why == "" {
		waiting.WithLabelValues(gate).Set(0)
		l.gates.Open(gate)
		log.Info("Stopped waiting for the hub", "gate", gate, "server", l.settings.Server)
		return
	}
	waiting.WithLabelValues(gate).Set(1)
	l.gates.Close(gate, why)
	log.Info("Waiting for the hub", "gate", gate, "reason", why)
}
