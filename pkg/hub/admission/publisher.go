package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
)

// Publisher keeps the webhook configurations of the hub, and replaces certificates before they end. The leader runs
// it.
type Publisher struct {
	// Hub reads and writes directly.
	Hub client.Client
	// Keeper says where certificates are kept; nil if cert-manager does that.
	Keeper *Keeper
	// Options are those of the configurations, without the CA.
	Options webhook.Options
	// Owner is the ClusterRole that owns the configurations, so that Kubernetes deletes them with it; the namespace
	// fleet-system owns them if it is empty.
	Owner string
	// ProbeNamespace is where the agent may create Leases, for the probe.
	ProbeNamespace string
	// Serving is closed when this replica answers requests.
	Serving <-chan struct{}
	// Now is the clock.
	Now func() time.Time

	answers atomic.Bool
	// probes is how many probes in a row got no answer.
	probes atomic.Int32
	// published is the CA that the API servers were given, and since when.
	published []byte
	since     time.Time
}

// all is the one request: everything is looked at together.
var all = reconcile.Request{NamespacedName: types.NamespacedName{Name: "webhooks"}}

// SetupWithManager runs the publisher with mgr.
func (p *Publisher) SetupWithManager(mgr ctrl.Manager) error {
	ours := metav1.LabelSelector{MatchLabels: webhook.Labels()}
	selector, err := metav1.LabelSelectorAsSelector(&ours)
	if err != nil {
		return fmt.Errorf("set up the webhook publisher: %w", err)
	}
	configurations := cache.ByObject{Label: selector}
	objects := map[client.Object]cache.ByObject{
		&admissionv1.MutatingWebhookConfiguration{}:   configurations,
		&admissionv1.ValidatingWebhookConfiguration{}: configurations,
	}
	if p.Keeper != nil {
		objects[&corev1.Secret{}] = p.Keeper.only()
	}
	watched, err := cache.New(mgr.GetConfig(), cache.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), ByObject: objects})
	if err != nil {
		return fmt.Errorf("set up the webhook publisher: %w", err)
	}
	if err := mgr.Add(watched); err != nil {
		return fmt.Errorf("set up the webhook publisher: %w", err)
	}
	toAll := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{all} })
	b := ctrl.NewControllerManagedBy(mgr).Named("webhook-publisher").WithOptions(loop.Options(1)).WatchesRawSource(source.Func(p.begin))
	for obj := range objects {
		b = b.WatchesRawSource(source.Kind(watched, obj, toAll))
	}
	if err := b.Complete(loop.Settle(p)); err != nil {
		return fmt.Errorf("set up the webhook publisher: %w", err)
	}
	return nil
}

// begin starts the publisher when this replica's server answers: the API server must not be sent to one that does not.
func (p *Publisher) begin(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go func() {
		select {
		case <-p.Serving:
			p.answers.Store(true)
			queue.Add(all)
		case <-ctx.Done():
		}
	}()
	return nil
}

// Reconcile takes the next step with the certificates, and writes the configurations that differ.
func (p *Publisher) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var result reconcile.Result
	if !p.answers.Load() {
		return result, nil
	}
	options := p.Options
	if p.Keeper != nil {
		again, err := p.renew(ctx, &options)
		if err != nil {
			return result, err
		}
		result.RequeueAfter = max(time.Millisecond, again.Sub(p.Now()))
	}
	known, err := p.known(ctx, options)
	if err != nil {
		return result, err
	}
	options.Trial = !known
	if err := p.publish(ctx, options); err != nil {
		return result, err
	}
	if p.Keeper != nil && !bytes.Equal(options.CA, p.published) {
		p.published, p.since = options.CA, p.Now()
	}
	if known {
		return result, nil
	}
	if err := p.probe(ctx); err != nil {
		again := p.unreached(ctx, err)
		if result.RequeueAfter == 0 || again < result.RequeueAfter {
			result.RequeueAfter = again
		}
		return result, nil
	}
	p.probes.Store(0)
	options.Trial = false
	return result, p.publish(ctx, options)
}

// known reports whether the API server has reached the webhooks at this address before: then the configuration is there
// in its final form.
func (p *Publisher) known(ctx context.Context, options webhook.Options) (bool, error) {
	wanted, is := webhook.Make(options).Validating, &admissionv1.ValidatingWebhookConfiguration{}
	err := p.Hub.Get(ctx, client.ObjectKeyFromObject(wanted), is)
	if apierrors.IsNotFound(err) || len(is.Webhooks) == 0 {
		return false, client.IgnoreNotFound(err)
	}
	if err != nil {
		return false, fmt.Errorf("read webhook configuration: %w", err)
	}
	addresses := map[string]string{}
	for _, w := range wanted.Webhooks {
		addresses[w.Name] = address(w.ClientConfig)
	}
	for _, w := range is.Webhooks {
		if w.FailurePolicy == nil || *w.FailurePolicy != admissionv1.Fail || addresses[w.Name] != "" && addresses[w.Name] != address(w.ClientConfig) {
			return false, nil
		}
	}
	return true, nil
}

// address is where the API server calls a webhook.
func address(c admissionv1.WebhookClientConfig) string {
	if c.Service != nil {
		return fmt.Sprintf("%s/%s:%d%s", c.Service.Namespace, c.Service.Name, ptr.Deref(c.Service.Port, 443), ptr.Deref(c.Service.Path, ""))
	}
	return ptr.Deref(c.URL, "")
}

// probe creates a Lease, in a dry run, which the webhooks refuse. It returns an error if their answer does not arrive:
// the API server ignores that.
func (p *Publisher) probe(ctx context.Context) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.ProbeNamespace, GenerateName: "fleet-webhook-probe-", Labels: map[string]string{webhook.ProbeLabel: "true"},
	}}
	err := p.Hub.Create(ctx, lease, client.DryRunAll)
	switch {
	case err == nil:
		return errors.New("the API server does not reach the webhooks")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), webhook.ProbeAnswer):
		return nil
	}
	return err
}

// Between two probes the agent waits for a time that doubles: at first the API server may not know the configuration,
// or the Service may have no endpoint yet.
const probeFirst, probeLast = 100 * time.Millisecond, 10 * time.Second

// fewProbes is how many probes may get no answer before the agent reports it: more than ten seconds.
const fewProbes = 7

// unreached notes that a probe got no answer, and returns when to probe again.
func (p *Publisher) unreached(ctx context.Context, why error) time.Duration {
	n := p.probes.Add(1)
	if n == fewProbes {
		ctrl.LoggerFrom(ctx).Info("Webhooks refuse nothing yet: no admission request from the API server arrives", "reason", why.Error())
	}
	if n > fewProbes {
		return probeLast
	}
	return probeFirst << (n - 1)
}

// Notes is a line for the readiness probe if the API server does not reach the webhooks.
func (p *Publisher) Notes() []string {
	if p.probes.Load() < fewProbes {
		return nil
	}
	return []string{"the webhooks refuse nothing yet: no admission request from the API server arrives"}
}

// renew takes the next step with the certificates, and puts the CA into options. It returns when the step after it is
// due.
func (p *Publisher) renew(ctx context.Context, options *webhook.Options) (time.Time, error) {
	if err := p.observe(ctx); err != nil {
		return time.Time{}, err
	}
	secret := &corev1.Secret{}
	if err := p.Keeper.Load(ctx); err != nil {
		return time.Time{}, err
	}
	if err := p.Hub.Get(ctx, p.Keeper.Secret, secret); err != nil {
		return time.Time{}, fmt.Errorf("read Secret %s: %w", p.Keeper.Secret, err)
	}
	state, err := certificate.Read(secret.Data)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Replacing a webhook certificate that cannot be read", "secret", p.Keeper.Secret.String())
		state = certificate.State{}
	}
	next, again, err := certificate.Step(p.Keeper.keep(state), p.Now(), p.Keeper.Terms, p.published, p.since, p.Keeper.Hosts...)
	if err != nil {
		return again, err
	}
	if data := next.Data(); !equality.Semantic.DeepEqual(data, secret.Data) {
		secret.Data = data
		if err := p.Hub.Update(ctx, secret); err != nil {
			return again, fmt.Errorf("write Secret %s: %w", p.Keeper.Secret, err)
		}
		ctrl.LoggerFrom(ctx).Info("Renewed webhook certificate", "secret", p.Keeper.Secret.String(), "next", again.UTC().Format(time.RFC3339))
	}
	options.CA = next.CA
	return again, nil
}

// observe notes the CA that all configurations hold.
func (p *Publisher) observe(ctx context.Context) error {
	ca, err := p.ofConfigurations(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(ca, p.published) {
		p.published, p.since = ca, p.Now()
	}
	return nil
}

// ofConfigurations is the CA that all webhooks have; nil if they differ.
func (p *Publisher) ofConfigurations(ctx context.Context) ([]byte, error) {
	wanted := webhook.Make(p.Options)
	var bundles [][]byte
	mutating := &admissionv1.MutatingWebhookConfiguration{}
	switch err := p.Hub.Get(ctx, client.ObjectKeyFromObject(wanted.Mutating), mutating); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read webhook configuration: %w", err)
	}
	for _, w := range mutating.Webhooks {
		bundles = append(bundles, w.ClientConfig.CABundle)
	}
	for _, c := range wanted.Validatings() {
		is := &admissionv1.ValidatingWebhookConfiguration{}
		switch err := p.Hub.Get(ctx, client.ObjectKeyFromObject(c), is); {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read webhook configuration: %w", err)
		}
		for _, w := range is.Webhooks {
			bundles = append(bundles, w.ClientConfig.CABundle)
		}
	}
	for _, b := range bundles {
		if !bytes.Equal(b, bundles[0]) {
			return nil, nil
		}
	}
	if len(bundles) == 0 {
		return nil, nil
	}
	return bundles[0], nil
}

// publish writes the configurations in place, and deletes that of a guard rail which is turned off.
func (p *Publisher) publish(ctx context.Context, options webhook.Options) error {
	owner, err := p.owner(ctx)
	if err != nil {
		return err
	}
	wanted := webhook.Make(options)
	mutating := &admissionv1.MutatingWebhookConfiguration{}
	mutating.Name = wanted.Mutating.Name
	err = p.put(ctx, mutating, wanted.Mutating, owner, func() {
		is := map[string][]byte{}
		for _, w := range mutating.Webhooks {
			is[w.Name] = w.ClientConfig.CABundle
		}
		mutating.Webhooks = wanted.Mutating.Webhooks
		for i := range mutating.Webhooks {
			p.keepInjected(&mutating.Webhooks[i].ClientConfig, is[mutating.Webhooks[i].Name])
		}
	})
	if err != nil {
		return err
	}
	for _, c := range wanted.Validatings() {
		validating := &admissionv1.ValidatingWebhookConfiguration{}
		validating.Name = c.Name
		err := p.put(ctx, validating, c, owner, func() {
			is := map[string][]byte{}
			for _, w := range validating.Webhooks {
				is[w.Name] = w.ClientConfig.CABundle
			}
			validating.Webhooks = c.Webhooks
			for i := range validating.Webhooks {
				p.keepInjected(&validating.Webhooks[i].ClientConfig, is[validating.Webhooks[i].Name])
			}
		})
		if err != nil {
			return err
		}
	}
	if wanted.GuardRail == nil {
		return remove(ctx, p.Hub, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.GuardRailName}})
	}
	return nil
}

// keepInjected leaves the CA that cert-manager has injected.
func (p *Publisher) keepInjected(c *admissionv1.WebhookClientConfig, is []byte) {
	if p.Keeper == nil {
		c.CABundle = is
	}
}

// put creates a configuration or updates it in place.
func (p *Publisher) put(ctx context.Context, obj, wanted client.Object, owner metav1.OwnerReference, set func()) error {
	done, err := controllerutil.CreateOrUpdate(ctx, p.Hub, obj, func() error {
		labels, annotations := obj.GetLabels(), obj.GetAnnotations()
		obj.SetLabels(merged(labels, wanted.GetLabels()))
		delete(annotations, webhook.AnnotationInject) // unless it is wanted: the agent makes the certificate
		obj.SetAnnotations(merged(annotations, wanted.GetAnnotations()))
		obj.SetOwnerReferences([]metav1.OwnerReference{owner})
		set()
		return nil
	})
	if err != nil {
		return fmt.Errorf("write webhook configuration %s: %w", obj.GetName(), err)
	}
	if done != controllerutil.OperationResultNone {
		ctrl.LoggerFrom(ctx).Info("Wrote webhook configuration", "name", obj.GetName(), "operation", string(done))
	}
	return nil
}

func merged(is, wanted map[string]string) map[string]string {
	if len(wanted) == 0 {
		return is
	}
	out := maps.Clone(is)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, wanted)
	return out
}

// owner is the object with which Kubernetes deletes the configurations.
func (p *Publisher) owner(ctx context.Context) (metav1.OwnerReference, error) {
	if p.Owner != "" {
		role := &rbacv1.ClusterRole{}
		if err := p.Hub.Get(ctx, types.NamespacedName{Name: p.Owner}, role); err != nil {
			return metav1.OwnerReference{}, fmt.Errorf("read ClusterRole %s, which owns the webhook configurations: %w", p.Owner, err)
		}
		return metav1.OwnerReference{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID}, nil
	}
	namespace := &corev1.Namespace{}
	if err := p.Hub.Get(ctx, types.NamespacedName{Name: contract.NamespaceSystem}, namespace); err != nil {
		return metav1.OwnerReference{}, fmt.Errorf("read namespace %s, which owns the webhook configurations: %w", contract.NamespaceSystem, err)
	}
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Namespace", Name: namespace.Name, UID: namespace.UID}, nil
}

// Remove deletes the configurations: without a server, those that refuse what is not answered would keep users from
// writing.
func Remove(ctx context.Context, hub client.Client) error {
	for _, obj := range []client.Object{
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.MutatingName}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.ValidatingName}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.GuardRailName}},
	} {
		if err := remove(ctx, hub, obj); err != nil {
			return err
		}
	}
	return nil
}

func remove(ctx context.Context, hub client.Client, obj client.Object) error {
	err := hub.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	if err == nil {
		if err = hub.Delete(ctx, obj); err == nil {
			ctrl.LoggerFrom(ctx).Info("Deleted webhook configuration", "name", obj.GetName())
		}
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete webhook configuration %s: %w", obj.GetName(), err)
	}
	return nil
}
