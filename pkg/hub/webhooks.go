package hub

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
	"github.com/flagship-fleet/flagship/pkg/admission/guardrail"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/admission"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/process"
)

// gateWebhooks is closed until the replica answers admission requests.
const gateWebhooks = "admission webhooks"

// serveWebhooks adds the webhook server of this replica to mgr.
func (c *candidate) serveWebhooks(ctx context.Context, mgr ctrl.Manager, gates *process.Gates) error {
	o := &c.options
	if !o.Webhook {
		return nil
	}
	direct, err := client.New(c.cfg, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return fmt.Errorf("make an uncached client: %w", err)
	}
	var faults lenient.Faults
	reader, err := lenient.Settings{Faults: &faults}.NewCache(c.cfg, cache.Options{
		Scheme: apis.Scheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: admission.ByObject(),
	})
	if err != nil {
		return err
	}
	kinds, err := discovery.NewDiscoveryClientForConfigAndClient(c.cfg, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a discovery client: %w", err)
	}
	server := &admission.Server{
		Reader: reader, Kinds: &admission.Kinds{Discovery: kinds}, Networking: o.NetworkingAgents, Port: o.WebhookPort, Serving: make(chan struct{}),
		Policy: guardrail.Policy{Admins: o.admins(), ProtectLabels: o.ProtectLabels, Own: namespace()}, Linger: o.linger(),
	}
	c.webhooks = &admission.Publisher{Hub: direct, Options: o.webhooks(), Serving: server.Serving, Now: time.Now,
		Owner: o.WebhookOwner, ProbeNamespace: o.LeaderNamespace}
	gates.Note(c.webhooks.Notes)
	trust := &admission.Trust{Config: c.cfg, Now: time.Now}
	server.Certificate = trust.Certificate
	gates.Note(trust.Notes)
	if err := mgr.Add(trust); err != nil {
		return err
	}
	if o.CertManager {
		files, err := certwatcher.New(filepath.Join(o.WebhookCertificates, "tls.crt"), filepath.Join(o.WebhookCertificates, "tls.key"))
		if err != nil {
			return fmt.Errorf("read the certificate in --webhook-cert-dir: %w", err)
		}
		files.RegisterCallback(func(pair tls.Certificate) { trust.Take(ctx, &pair) })
		if err := mgr.Add(files); err != nil {
			return err
		}
	} else {
		keeper := &admission.Keeper{
			Hub: direct, Config: c.cfg, Secret: types.NamespacedName{Namespace: namespace(), Name: o.WebhookService + "-certificate"},
			Hosts: o.webhookHosts(), Terms: certificate.DefaultTerms, Now: time.Now, Trust: trust,
		}
		if err := keeper.Load(ctx); err != nil {
			return err
		}
		if err := mgr.Add(keeper); err != nil {
			return err
		}
		c.webhooks.Keeper = keeper
	}
	gates.Close(gateWebhooks, "the webhook server has not filled its cache yet")
	go func() {
		select {
		case <-server.Serving:
			gates.Open(gateWebhooks)
		case <-ctx.Done():
		}
	}()
	return mgr.Add(server)
}

// publishWebhooks adds the configurations of the webhooks to what the leader keeps; without webhooks it deletes them.
func (c *candidate) publishWebhooks(ctx context.Context, mgr ctrl.Manager) error {
	if c.webhooks != nil {
		return c.webhooks.SetupWithManager(mgr)
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return fmt.Errorf("make an uncached client: %w", err)
	}
	err = admission.Remove(ctx, direct)
	if apierrors.IsForbidden(err) { // a role that does not allow it comes from a chart that never had webhooks
		ctrl.LoggerFrom(ctx).Info("Cannot delete webhook configurations", "reason", err.Error())
		return nil
	}
	return err
}

// namespace is that of the agent.
func namespace() string { return cmp.Or(os.Getenv("POD_NAMESPACE"), contract.NamespaceSystem) }

// webhooks are the configurations that the flags ask for.
func (o *Options) webhooks() webhook.Options {
	out := webhook.Options{
		GuardRail: o.GuardRail, Workloads: o.Workload || !o.DenyWorkloads, PodDisruptionBudgets: o.PodDisruptionBudgets, Networking: o.NetworkingAgents,
		Client: webhook.Client{Namespace: namespace(), Service: o.WebhookService, Port: admission.DefaultPort},
	}
	if !o.byService() {
		out.Client.URL = cmp.Or(strings.TrimSuffix(o.WebhookURL, "/"), "https://"+o.serviceName()+":"+strconv.Itoa(admission.DefaultPort))
	}
	if o.CertManager {
		out.InjectFrom = namespace() + "/fleet-webhook-certificate"
	}
	return out
}

// linger is how long the webhooks go on when the agent is stopped: until its endpoint is out of the Service.
func (o *Options) linger() time.Duration {
	if o.byService() {
		return 3 * time.Second
	}
	return 0
}

// serviceName is the name of the Service in the cluster.
func (o *Options) serviceName() string {
	return o.WebhookService + "." + namespace() + ".svc.cluster.local"
}

// webhookHosts are the names and addresses that the certificate is for.
func (o *Options) webhookHosts() []string {
	hosts := []string{o.WebhookService + "." + namespace() + ".svc", o.serviceName()}
	if u, err := url.Parse(o.WebhookURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

// admins are the users of --whitelisted-users.
func (o *Options) admins() sets.Set[string] {
	out := sets.New[string]()
	for _, user := range strings.Split(o.Admins, ",") {
		if user = strings.TrimSpace(user); user != "" {
			out.Insert(user)
		}
	}
	return out
}
