package admission

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
)

// Trust chooses which certificate a replica serves. A new certificate and its CA reach replicas and API servers in any
// order: the replica serves the certificate before for as long as the configurations trust that one and not the newest.
// It is a manager's Runnable that does not wait to lead.
type Trust struct {
	// Config is how its watch of the configurations reaches the hub.
	Config *rest.Config
	// Now is the clock.
	Now func() time.Time

	mu sync.Mutex
	// pairs are the newest certificate, and the one that was served when it came.
	pairs []*tls.Certificate
	// bundles are the CAs of each configuration, by its name.
	bundles map[string][][]byte
	serving *tls.Certificate
	trusted bool
}

// Certificate is what the replica serves now.
func (t *Trust) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.serving == nil {
		return nil, errNoCertificate
	}
	return t.serving, nil
}

// Notes is a line for the readiness probe if API servers cannot trust what is served.
func (t *Trust) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trusted || len(t.published()) == 0 {
		return nil
	}
	return []string{"the webhook configurations do not trust the webhook certificate"}
}

// NeedLeaderElection is false: replicas that stand by serve, too.
func (t *Trust) NeedLeaderElection() bool { return false }

// Take makes a certificate the newest one.
func (t *Trust) Take(ctx context.Context, pair *tls.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.pairs) > 0 && same(t.pairs[0], pair):
		return
	case t.serving != nil && same(t.serving, pair):
		t.pairs = []*tls.Certificate{t.serving}
	case t.serving != nil:
		t.pairs = []*tls.Certificate{pair, t.serving}
	default:
		t.pairs = []*tls.Certificate{pair}
	}
	t.choose(ctx)
}

func same(a, b *tls.Certificate) bool { return a.Leaf.Equal(b.Leaf) }

// serves reports whether a certificate is the one that is served.
func (t *Trust) serves(pair *tls.Certificate) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.serving != nil && same(t.serving, pair)
}

// choose chooses what is served. t.mu is held.
func (t *Trust) choose(ctx context.Context) {
	if len(t.pairs) == 0 {
		return
	}
	index, trusted := certificate.Choose(t.pairs, t.published(), t.Now())
	if next := t.pairs[index]; next != t.serving {
		ctrl.LoggerFrom(ctx).Info("Serving webhook certificate", "until", next.Leaf.NotAfter.UTC().Format(time.RFC3339), "newest", index == 0)
		t.serving = next
	} else if index > 0 {
		ctrl.LoggerFrom(ctx).V(1).Info("Keeping webhook certificate", "reason", "the webhook configurations do not trust the newest one yet")
	}
	t.trusted = trusted
	if index == 0 && trusted {
		t.pairs = t.pairs[:1]
	}
}

// published are the CAs of all configurations that have any. t.mu is held.
func (t *Trust) published() [][]byte {
	var out [][]byte
	for _, bundles := range t.bundles {
		out = append(out, bundles...)
	}
	return out
}

// Start follows the CAs of the configurations until ctx ends.
func (t *Trust) Start(ctx context.Context) error {
	selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: webhook.Labels()})
	if err != nil {
		return fmt.Errorf("watch webhook configurations: %w", err)
	}
	kinds := []client.Object{&admissionv1.MutatingWebhookConfiguration{}, &admissionv1.ValidatingWebhookConfiguration{}}
	byObject := map[client.Object]cache.ByObject{}
	for _, kind := range kinds {
		byObject[kind] = cache.ByObject{Label: selector}
	}
	configurations, err := cache.New(t.Config, cache.Options{Scheme: apis.Scheme(), ByObject: byObject})
	if err != nil {
		return fmt.Errorf("watch webhook configurations: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- configurations.Start(ctx) }()
	see := func(obj any) { t.see(ctx, obj, true) }
	for _, kind := range kinds {
		informer, err := configurations.GetInformer(ctx, kind)
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc: see, UpdateFunc: func(_, obj any) { see(obj) }, DeleteFunc: func(obj any) { t.see(ctx, obj, false) },
			})
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch webhook configurations: %w", err)
		}
	}
	return <-ended
}

// see notes the CAs of a configuration, or that there is none.
func (t *Trust) see(ctx context.Context, obj any, exists bool) {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	name, bundles := bundlesOf(obj)
	if name == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bundles == nil {
		t.bundles = map[string][][]byte{}
	}
	delete(t.bundles, name)
	if exists {
		t.bundles[name] = bundles
	}
	t.choose(ctx)
}

// bundlesOf are the CAs of the webhooks in a configuration, each once, and the configuration's name; none if it is not
// ours. A webhook without a CA does not count: cert-manager has not reached it yet.
func bundlesOf(obj any) (name string, bundles [][]byte) {
	add := func(c *admissionv1.WebhookClientConfig) {
		known := slices.ContainsFunc(bundles, func(b []byte) bool { return string(b) == string(c.CABundle) })
		if len(c.CABundle) > 0 && !known {
			bundles = append(bundles, c.CABundle)
		}
	}
	ours := func(name string) string {
		if slices.Contains([]string{webhook.MutatingName, webhook.ValidatingName, webhook.GuardRailName}, name) {
			return name
		}
		return ""
	}
	switch o := obj.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		name = ours(o.Name)
		for n := range o.Webhooks {
			add(&o.Webhooks[n].ClientConfig)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		name = ours(o.Name)
		for n := range o.Webhooks {
			add(&o.Webhooks[n].ClientConfig)
		}
	}
	return name, bundles
}
