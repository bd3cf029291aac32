package admission

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
)

// Keeper has the certificate that a replica serves: that of a Secret which all replicas share. It is a manager's
// Runnable that does not wait to lead.
type Keeper struct {
	// Hub reads and writes the Secret directly.
	Hub client.Client
	// Config is how its watch reaches the hub.
	Config *rest.Config
	// Secret is where the certificates are kept.
	Secret types.NamespacedName
	// Hosts are the names and addresses by which API servers reach the webhooks.
	Hosts []string
	// Trust chooses whether to serve what the Secret holds.
	Trust *Trust
	// Terms say how long certificates are valid.
	Terms certificate.Terms
	// Now is the clock.
	Now func() time.Time

	// kept is the last state whose certificate this replica served.
	kept atomic.Pointer[certificate.State]
}

var errNoCertificate = errors.New("there is no certificate yet")

// only is what a cache holds of Secrets: the one of the certificates.
func (k *Keeper) only() cache.ByObject {
	return cache.ByObject{Namespaces: map[string]cache.Config{
		k.Secret.Namespace: {FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, k.Secret.Name)},
	}}
}

// NeedLeaderElection is false: replicas that stand by serve, too.
func (k *Keeper) NeedLeaderElection() bool { return false }

// Load reads the Secret, or makes it if there is none: with what this replica serves, if it was deleted.
func (k *Keeper) Load(ctx context.Context) error {
	secret := &corev1.Secret{}
	err := k.Hub.Get(ctx, k.Secret, secret)
	if apierrors.IsNotFound(err) {
		var state certificate.State
		if kept := k.kept.Load(); kept != nil {
			state = *kept
		} else if state, err = certificate.New(k.Now(), k.Terms, k.Hosts...); err != nil {
			return err
		}
		secret.Namespace, secret.Name, secret.Data = k.Secret.Namespace, k.Secret.Name, state.Data()
		if err = k.Hub.Create(ctx, secret); apierrors.IsAlreadyExists(err) { // another replica was faster
			err = k.Hub.Get(ctx, k.Secret, secret)
		}
	}
	if err != nil {
		return fmt.Errorf("load the webhook certificate from Secret %s: %w", k.Secret, err)
	}
	k.take(ctx, secret)
	return nil
}

// Start follows the Secret until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	secrets, err := cache.New(k.Config, cache.Options{Scheme: k.Hub.Scheme(), ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: k.only()}})
	if err != nil {
		return fmt.Errorf("watch Secret %s: %w", k.Secret, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- secrets.Start(ctx) }()
	informer, err := secrets.GetInformer(ctx, &corev1.Secret{})
	if err != nil {
		if ctx.Err() != nil {
			return <-ended
		}
		return fmt.Errorf("watch Secret %s: %w", k.Secret, err)
	}
	take := func(obj any) {
		if secret, ok := obj.(*corev1.Secret); ok {
			k.take(ctx, secret)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: take, UpdateFunc: func(_, obj any) { take(obj) }})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch Secret %s: %w", k.Secret, err)
	}
	return <-ended
}

// take serves what the Secret holds, if it is trusted. What cannot be served changes nothing: the leader replaces it.
func (k *Keeper) take(ctx context.Context, secret *corev1.Secret) {
	state, err := certificate.Read(secret.Data)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot serve the webhook certificate; serving the last one", "secret", k.Secret.String())
		return
	}
	if pair, err := state.Serving.TLS(); err == nil {
		k.Trust.Take(ctx, pair)
		k.keep(state)
	}
}

// keep notes a state if its certificate is served, and returns the state to go on from: one whose certificate is not
// served is that of another client, and comes after the one that is.
func (k *Keeper) keep(state certificate.State) certificate.State {
	if pair, err := state.Serving.TLS(); err == nil && k.Trust.serves(pair) {
		k.kept.Store(&state)
		return state
	}
	if kept := k.kept.Load(); kept != nil {
		return certificate.After(*kept, state, k.Now(), k.Hosts...)
	}
	return state
}
