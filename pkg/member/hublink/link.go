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
	Help:   "1 while the member agent waits for the hub, 0 when it does not. Alert on it: what is placed stays, and nothing new arrives.",
	Labels: []metrics.Label{{Name: "for", Values: "`" + gateServer + "`: the hub does not answer; `" + gateAccess + "`: the hub refuses the agent's credentials"}},
	Agents: []metrics.Agent{metrics.Member},
})

// How often access is asked for while it is refused: the hub sends no event to those it keeps out.
const (
	askFirst = 200 * time.Millisecond
	askMost  = time.Second
)

// dialLimit is how long a connection may take to come up; packets into the void would be waited for much longer.
const dialLimit = 5 * time.Second

// kinds are what the agent reads in its namespace.
var kinds = []schema.GroupVersionResource{
	clusterv1beta1.GroupVersion.WithResource("internalmemberclusters"),
	placementv1beta1.GroupVersion.WithResource("works"),
}

// Link is the way to the hub.
type Link struct {
	settings Settings
	cfg      *rest.Config
	gates    *process.Gates
	dynamic  dynamic.Interface
	history  history

	mu   sync.Mutex
	told map[string]string
}

// Open sets up the way to the hub. It asks nothing of the hub yet, but starts to follow the token, on the cluster of member, until ctx
// ends. The gates are closed until Await has returned, and again whenever the hub cannot be reached.
func Open(ctx context.Context, settings Settings, member *rest.Config, gates *process.Gates) (*Link, error) {
	l := &Link{settings: settings, gates: gates, told: map[string]string{}}
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
			l.say(ctx, gateServer, why)
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
	l.say(ctx, gateServer, settings.Server+" has not answered yet")
	l.say(ctx, gateAccess, "not asked for yet")
	return l, nil
}

func (s *Settings) tokens(ctx context.Context, member *rest.Config) (tokens, error) {
	if s.TokenFile != "" {
		return &fileTokens{path: s.TokenFile}, nil
	}
	return watchSecret(ctx, member, s.TokenSecret)
}

// Config returns how to talk to the hub, for a client that may send qps requests a second and burst at once. What it GETs, lists and
// watches waits for the hub while that is away, and for a token that the hub takes; then all is read anew, as the hub may have come back
// from a backup.
func (l *Link) Config(qps float64, burst int) *rest.Config {
	cfg := rest.CopyConfig(l.cfg)
	cfg.QPS, cfg.Burst = float32(qps), burst
	cfg.Wrap(l.history.reader())
	return cfg
}

// Await returns when the hub answers and lets the agent read the member's namespace. It fails only when ctx ends. refused, if it is not
// nil, is called each time that the hub answers that it does not.
func (l *Link) Await(ctx context.Context, refused func()) error {
	wait := askFirst
	for {
		why := l.ask(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the hub: %w", ctx.Err())
		}
		l.say(ctx, gateAccess, why)
		if why == "" {
			return nil
		}
		if refused != nil {
			refused()
		}
		pause(ctx, wait, nil)
		wait = min(2*wait, askMost)
	}
}

// client is made once it can be.
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

// ask returns "" if the agent may read everything it has to, else why it may not.
func (l *Link) ask(ctx context.Context) string {
	hub, err := l.client()
	if err != nil { // a file that is named in the settings is not there yet
		return fmt.Sprintf("no client for %s: %v; %s must name a PEM file", l.settings.Server, err, caFile)
	}
	for _, kind := range kinds {
		if _, err := hub.Resource(kind).Namespace(l.settings.Namespace()).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return l.settings.barred(err)
		}
	}
	return ""
}

// say closes gate because of why, or opens it if there is none. The log hears of it when it is something new.
func (l *Link) say(ctx context.Context, gate, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, known := l.told[gate]
	if known && was == why {
		return
	}
	l.told[gate] = why
	log := ctrl.LoggerFrom(ctx)
	if why == "" {
		waiting.WithLabelValues(gate).Set(0)
		l.gates.Open(gate)
		log.Info("no longer waiting", "for", gate, "server", l.settings.Server)
		return
	}
	waiting.WithLabelValues(gate).Set(1)
	l.gates.Close(gate, why)
	log.Info("waiting", "for", gate, "reason", why)
}
