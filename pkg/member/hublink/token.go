package hublink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// tokenKey is where a token Secret holds the token, as Kubernetes' own ServiceAccount token Secrets do.
const tokenKey = "token"

// errNoToken means that there is no token to send. Nothing was sent.
var errNoToken = errors.New("no token for the hub")

// tokens returns the newest token. A rotation needs no restart: every request reads the token again.
type tokens interface {
	// Token returns the token, or an error that is errNoToken and names what is missing.
	Token() (string, error)
	// Changed is closed when the result of Token may have changed; nil if the source sends no event.
	Changed() <-chan struct{}
}

// fileTokens reads a file again whenever it was written or replaced. While it cannot be read, or is empty because it
// is being rewritten, the last token stays in use.
type fileTokens struct {
	path string

	mu      sync.Mutex
	token   string
	written time.Time
	size    int64
}

func (f *fileTokens) Changed() <-chan struct{} { return nil }

func (f *fileTokens) Token() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.read()
	if f.token != "" {
		return f.token, nil
	}
	if err == nil {
		err = fmt.Errorf("%s is empty", f.path)
	}
	return "", fmt.Errorf("%w: %w; %s must name the file that the token is written to", errNoToken, err, tokenFile)
}

func (f *fileTokens) read() error {
	info, err := os.Stat(f.path)
	if err != nil || info.ModTime().Equal(f.written) && info.Size() == f.size {
		return err
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	if token := strings.TrimSpace(string(data)); token != "" {
		f.token, f.written, f.size = token, info.ModTime(), info.Size()
	}
	return nil
}

// secretTokens watches one Secret of the member cluster. If the Secret is deleted or has no token, the last token
// stays in use for as long as the hub accepts it.
type secretTokens struct {
	name types.NamespacedName

	mu      sync.Mutex
	token   string
	problem string
	changed chan struct{}
}

// watchSecret starts to watch the Secret name on the cluster of cfg, until ctx ends.
func watchSecret(ctx context.Context, cfg *rest.Config, name types.NamespacedName) (*secretTokens, error) {
	s := &secretTokens{name: name, problem: "not read yet", changed: make(chan struct{})}
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(patience{trouble: s.trouble, forbiddenToo: true}.wrap)
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for Secret %s: %w", name, err)
	}
	// The name is in the selector, so that a Role with resourceNames is enough.
	only := cache.NewFilteredListWatchFromClient(clients.CoreV1().RESTClient(), "secrets", name.Namespace, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String()
	})
	informer := cache.NewSharedInformer(only, &corev1.Secret{}, 0)
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    s.seen,
		UpdateFunc: func(_, obj any) { s.seen(obj) },
		DeleteFunc: func(any) { s.set("", "does not exist") },
	}); err != nil {
		return nil, fmt.Errorf("watch Secret %s: %w", name, err)
	}
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) && len(informer.GetStore().ListKeys()) == 0 {
			s.set("", "does not exist")
		}
	}()
	return s, nil
}

func (s *secretTokens) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *secretTokens) Token() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" {
		return s.token, nil
	}
	return "", fmt.Errorf("%w: Secret %s of this cluster, named by %s, %s", errNoToken, s.name, tokenSecret, s.problem)
}

func (s *secretTokens) seen(obj any) {
	if secret, ok := obj.(*corev1.Secret); ok {
		s.set(strings.TrimSpace(string(secret.Data[tokenKey])), fmt.Sprintf("has no key %q", tokenKey))
	}
}

// trouble records why the Secret cannot be read; "" once it can be.
func (s *secretTokens) trouble(why string) {
	if why != "" {
		s.set("", "cannot be read: "+why)
	}
}

// set stores a token, or the reason why there is none; in the second case the previous token stays in use.
func (s *secretTokens) set(token, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != "" {
		s.token = token
	}
	s.problem = problem
	close(s.changed)
	s.changed = make(chan struct{})
}
