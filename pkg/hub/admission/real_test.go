package admission_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/admission"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// terms let three certificates be due within the hour by which they begin early: the API server has a clock of its
// own.
var terms = certificate.Terms{Life: time.Hour, Renew: 50 * time.Minute, Overlap: time.Second}

var secret = types.NamespacedName{Namespace: contract.NamespaceSystem, Name: "fleetwebhook-certificate"}

// agent is a replica with webhooks that leads.
type agent struct {
	testworld.Writes
	stop  func()
	trust *admission.Trust
	// publisher is what it publishes with.
	publisher *admission.Publisher
	// ahead is by how many nanoseconds its clock is ahead.
	ahead atomic.Int64
}

func (a *agent) now() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }

func start(t *testing.T, hub *testworld.Cluster, change ...func(*admission.Server, *admission.Keeper, *admission.Publisher)) *agent {
	t.Helper()
	a := &agent{}
	mgr, err := ctrl.NewManager(a.Of(hub.Config), testworld.ManagerOptions())
	must(t, err)
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: apis.Scheme()})
	must(t, err)
	kinds, err := discovery.NewDiscoveryClientForConfig(hub.Config)
	must(t, err)
	reader, err := cache.New(hub.Config, cache.Options{Scheme: apis.Scheme(), ByObject: admission.ByObject()})
	must(t, err)
	address, err := testworld.FreeAddress()
	must(t, err)
	_, port, _ := strings.Cut(address, ":")
	trust := &admission.Trust{Config: hub.Config, Now: a.now}
	a.trust = trust
	keeper := &admission.Keeper{Hub: direct, Config: hub.Config, Secret: secret, Hosts: []string{"127.0.0.1"}, Terms: terms, Now: a.now, Trust: trust}
	server := &admission.Server{
		Reader: reader, Address: "127.0.0.1", Certificate: trust.Certificate, Serving: make(chan struct{}),
		Kinds: &admission.Kinds{Discovery: kinds},
	}
	_, err = fmt.Sscan(port, &server.Port)
	must(t, err)
	publisher := &admission.Publisher{Hub: direct, Keeper: keeper, Serving: server.Serving, Now: a.now, ProbeNamespace: contract.NamespaceSystem, Options: webhook.Options{
		GuardRail: true, PodDisruptionBudgets: true, Client: webhook.Client{URL: "https://" + address},
	}}
	a.publisher = publisher
	for _, c := range change {
		c(server, keeper, publisher)
	}
	must(t, keeper.Load(t.Context()))
	must(t, mgr.Add(server))
	must(t, mgr.Add(keeper))
	must(t, mgr.Add(trust))
	must(t, publisher.SetupWithManager(mgr))
	a.stop = testworld.Run(t, mgr)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// validating reads the validating configuration.
func validating(ctx context.Context, hub *testworld.Cluster) (*admissionv1.ValidatingWebhookConfiguration, error) {
	c := &admissionv1.ValidatingWebhookConfiguration{}
	return c, hub.Client.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, c)
}

func override(name, target string) *v1beta1.ClusterResourceOverride {
	return &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Group: "", Version: "v1", Kind: "Namespace", Name: target}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{ClusterSelector: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{}}, OverrideType: v1beta1.OverrideTypeDelete}}},
	}}
}

// A webhook that refuses what is not answered must be answered at every moment: while its certificate is replaced, and
// while another replica takes over.
func TestNoWriteIsRefusedWhileCertificatesRotate(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})
	must(t, hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.NamespaceSystem}}))
	a := start(t, hub)
	testworld.Await(t, testworld.Soon, "mistakes to be refused", mistakesAreRefused(hub))

	var written atomic.Int64
	writer := testworld.Go(t, "the writer", func(ctx context.Context) error {
		for n := 0; ctx.Err() == nil; n++ {
			o := override(fmt.Sprintf("o-%d", n%50), fmt.Sprintf("n-%d", n))
			err := hub.Client.Create(ctx, o)
			if apierrors.IsAlreadyExists(err) {
				is := &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
				if err = hub.Client.Get(ctx, client.ObjectKeyFromObject(is), is); err == nil {
					is.Spec = o.Spec
					err = hub.Client.Update(ctx, is)
				}
			}
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("after %d writes: %w", written.Load(), err)
			}
			written.Add(1)
		}
		return nil
	})
	writes := func() { testworld.AwaitProgress(t, writer, &written) }
	for range 3 {
		before, err := validating(t.Context(), hub)
		must(t, err)
		was := &corev1.Secret{}
		must(t, hub.Client.Get(t.Context(), secret, was))
		a.ahead.Add(int64(terms.Life - terms.Renew))
		wake(t, hub)
		testworld.Await(t, testworld.Soon, "a second CA to be published", func(ctx context.Context) error {
			c, err := validating(ctx, hub)
			if err == nil && string(c.Webhooks[0].ClientConfig.CABundle) == string(before.Webhooks[0].ClientConfig.CABundle) {
				err = errors.New("the bundle is the same")
			}
			return err
		})
		testworld.Await(t, testworld.Soon, "another certificate to be served", func(ctx context.Context) error {
			is := &corev1.Secret{}
			if err := hub.Client.Get(ctx, secret, is); err != nil {
				return err
			}
			if string(is.Data["tls.crt"]) == string(was.Data["tls.crt"]) {
				return errors.New("the certificate is the same")
			}
			return nil
		})
		writes()
	}

	// The Secret is deleted: it comes back as it was.
	is := &corev1.Secret{}
	must(t, hub.Client.Get(t.Context(), secret, is))
	must(t, hub.Client.Delete(t.Context(), is.DeepCopy()))
	testworld.Await(t, testworld.Soon, "the Secret to come back", func(ctx context.Context) error {
		now := &corev1.Secret{}
		if err := hub.Client.Get(ctx, secret, now); err != nil {
			return err
		}
		if string(now.Data["tls.crt"]) != string(is.Data["tls.crt"]) {
			return errors.New("it holds another certificate")
		}
		is = now
		return nil
	})
	writes()

	// Another client stores another certificate: its CA is published before it is served.
	other, err := certificate.New(a.now(), terms, "127.0.0.1")
	must(t, err)
	testworld.Await(t, testworld.Soon, "another certificate to be stored", func(ctx context.Context) error {
		if err := hub.Client.Get(ctx, secret, is); err != nil {
			return err
		}
		is.Data = other.Data()
		return hub.Client.Update(ctx, is)
	})
	testworld.Await(t, testworld.Soon, "another certificate to be served", func(context.Context) error {
		pair, err := a.trust.Certificate(nil)
		want, wrong := other.Serving.TLS()
		if err := errors.Join(err, wrong); err != nil {
			return err
		}
		if !pair.Leaf.Equal(want.Leaf) {
			return errors.New("the one before is")
		}
		return nil
	})
	writes()
	writer.Stop()
	if written.Load() == 0 {
		t.Error("nothing was written")
	}

	t.Run("a replica that starts with nothing changed writes nothing", func(t *testing.T) {
		a.stop()
		b := start(t, hub)
		b.ahead.Store(a.ahead.Load())
		testworld.Await(t, testworld.Soon, "the new address to be published", func(ctx context.Context) error {
			return hub.Client.Create(ctx, override("fresh", "fresh"), client.DryRunAll)
		})
		for _, write := range b.All() {
			if strings.Contains(write, "secrets") || strings.HasPrefix(write, "POST") && strings.Contains(write, "configurations") {
				t.Errorf("it wrote %s; want only the configurations' new address", write)
			}
		}
		b.stop()
	})
}

// The API server reaches the agent by the name of a Service, which the certificate is for. It resolves an external name
// by itself; a Service with endpoints would need a network of Services.
func TestTheAPIServerReachesAService(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})
	must(t, hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.NamespaceSystem}}))
	const name = "fleetwebhook"
	must(t, hub.Client.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}))
	a := start(t, hub, func(s *admission.Server, k *admission.Keeper, p *admission.Publisher) {
		k.Hosts = []string{name + "." + contract.NamespaceSystem + ".svc"}
		p.Options.Client = webhook.Client{Namespace: contract.NamespaceSystem, Service: name, Port: int32(s.Port)} //nolint:gosec // a port
	})
	testworld.Await(t, testworld.Soon, "mistakes to be refused", mistakesAreRefused(hub))
	a.stop()
}

// Webhooks whose failures count refuse everything if the API server cannot reach them, as where a firewall keeps it
// from pods: failures are ignored until it has reached them at their address.
func TestNothingIsRefusedUntilTheAPIServerReachesTheAgent(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})
	must(t, hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.NamespaceSystem}}))
	nowhere, err := testworld.FreeAddress()
	must(t, err)
	outOfReach := func(_ *admission.Server, _ *admission.Keeper, p *admission.Publisher) {
		p.Options.Client.URL = "https://" + nowhere
	}
	passes := func(ctx context.Context) error {
		c, err := validating(ctx, hub)
		if err != nil {
			return err
		}
		for _, w := range c.Webhooks {
			if *w.FailurePolicy != admissionv1.Ignore {
				return fmt.Errorf("the failure policy of %s is %s", w.Name, *w.FailurePolicy)
			}
		}
		return hub.Client.Create(ctx, override("wrong", ""), client.DryRunAll)
	}
	probed := func(a *agent) {
		t.Helper()
		testworld.Await(t, testworld.Workload, "the agent to report that no request arrives", func(context.Context) error {
			if len(a.publisher.Notes()) == 0 {
				return errors.New("it reports nothing")
			}
			return nil
		})
	}
	a := start(t, hub, outOfReach)
	probed(a)
	testworld.Await(t, testworld.Soon, "everything to pass", passes)
	a.stop()
	a = start(t, hub)
	testworld.Await(t, testworld.Soon, "mistakes to be refused", mistakesAreRefused(hub))
	if notes := a.publisher.Notes(); notes != nil {
		t.Errorf("notes %v", notes)
	}
	a.stop()
	a = start(t, hub, outOfReach)
	probed(a)
	testworld.Await(t, testworld.Soon, "everything to pass at the new address", passes)
	a.stop()
}

// The configurations go with the ClusterRole that owns them, so that they do not outlive an uninstalled chart.
func TestConfigurationsGoWithTheirOwner(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "hub-agent-webhooks"}}
	for _, obj := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.NamespaceSystem}}, role} {
		must(t, hub.Client.Create(t.Context(), obj))
	}
	a := start(t, hub, func(_ *admission.Server, _ *admission.Keeper, p *admission.Publisher) { p.Owner = role.Name })
	testworld.Await(t, testworld.Soon, "mistakes to be refused", mistakesAreRefused(hub))
	must(t, hub.Client.Delete(t.Context(), role))
	testworld.Await(t, testworld.Soon, "the configurations to be deleted, and not written again", func(ctx context.Context) error {
		for _, c := range []client.Object{
			&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.MutatingName}},
			&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.ValidatingName}},
			&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.GuardRailName}},
		} {
			if err := hub.Client.Get(ctx, client.ObjectKeyFromObject(c), c); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", c.GetName(), orNone(err))
			}
		}
		return nil
	})
	a.stop()
	must(t, hub.Client.Create(t.Context(), override("without", "without"), client.DryRunAll))
}

// mistakesAreRefused returns a check that is nil if the hub calls the webhooks, and refuses what they do not answer.
func mistakesAreRefused(hub *testworld.Cluster) func(context.Context) error {
	return func(ctx context.Context) error {
		err := hub.Client.Create(ctx, override("wrong", ""), client.DryRunAll)
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "resource name is required for resource selection") {
			return fmt.Errorf("the answer is %w", orNone(err))
		}
		c, err := validating(ctx, hub)
		if err == nil && *c.Webhooks[0].FailurePolicy != admissionv1.Fail {
			err = errors.New("a failure is ignored")
		}
		return err
	}
}

// wake makes the publisher look at the clock again.
func wake(t *testing.T, hub *testworld.Cluster) {
	t.Helper()
	c, err := validating(t.Context(), hub)
	must(t, err)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"test/now":%q}}}`, time.Now().String())
	must(t, hub.Client.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func orNone(err error) error {
	if err == nil {
		return errors.New("none")
	}
	return err
}
