package lenient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// cut ends the requests of an agent that run, as an API server ends watches from time to time.
type cut struct {
	mu      sync.Mutex
	current context.Context
	end     context.CancelFunc
}

func newCut() *cut {
	c := &cut{}
	c.all()
	return c
}

func (c *cut) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		c.end()
	}
	c.current, c.end = context.WithCancel(context.Background())
}

func (c *cut) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		c.mu.Lock()
		until := c.current
		c.mu.Unlock()
		ctx, end := context.WithCancel(r.Context())
		context.AfterFunc(until, end)
		return next.RoundTrip(r.WithContext(ctx))
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A running agent that loses the access to one kind, of ours or of Kubernetes, is not ready when its watch has failed for a minute, says which
// one, and is ready again when it has the access back.
func TestReadinessOfWatchesThatAreRefused(t *testing.T) {
	s := newScene(t)
	for name, tc := range map[string]struct {
		// namespace is the one that is read, as a member's agent does; "" is all, as the hub's does.
		namespace string
		kind      string
		group     string
		resource  string
	}{
		"the hub agent's Works":       {"", "Work", v1beta1.GroupVersion.Group, "works"},
		"the hub agent's namespaces":  {"", "Namespace", "", "namespaces"},
		"the member agent's Works":    {namespace, "Work", v1beta1.GroupVersion.Group, "works"},
		"the member agent's clusters": {namespace, "InternalMemberCluster", clusterv1beta1.GroupVersion.Group, "internalmemberclusters"},
	} {
		t.Run(name, func(t *testing.T) {
			here := &scene{t, s.Cluster}
			user := strings.ReplaceAll(strings.TrimPrefix(name, "the "), " ", "-")
			user = strings.ToLower(strings.ReplaceAll(user, "'", ""))
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}}
			granted := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}}
			role.Rules = granted
			here.must(here.Client.Create(t.Context(), role))
			here.must(here.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: user},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
			}))

			cut := newCut()
			cfg := rest.CopyConfig(here.Config)
			cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
			cfg.Wrap(cut.wrap)
			var passed atomic.Int64 // time that the test lets pass
			watches := &lenient.Watches{Now: func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }}
			var faults lenient.Faults
			ready := here.readiness(watches)
			options := testworld.ManagerOptions()
			options.NewCache = lenient.Settings{Namespace: tc.namespace, Faults: &faults, Watches: watches}.NewCache
			if tc.namespace != "" {
				options.Cache.DefaultNamespaces = map[string]cache.Config{tc.namespace: {}}
			}
			mgr, err := ctrl.NewManager(cfg, options)
			here.must(err)
			kinds := []client.Object{&v1beta1.Work{}, &clusterv1beta1.InternalMemberCluster{}}
			if tc.namespace == "" {
				kinds = append(kinds, &corev1.Namespace{})
			}
			for _, kind := range kinds {
				_, err := mgr.GetCache().GetInformer(t.Context(), kind, cache.BlockUntilSynced(false))
				here.must(err)
			}
			testworld.Run(t, mgr)
			if !mgr.GetCache().WaitForCacheSync(t.Context()) {
				t.Fatal("the cache does not fill")
			}
			passed.Add(int64(time.Hour))
			testworld.Await(t, testworld.Soon, "the agent to be ready", func(ctx context.Context) error { // the hub may learn of its rights late
				if code, text := ready(ctx); code != http.StatusOK {
					return fmt.Errorf("%d %s", code, text)
				}
				return nil
			})

			role.Rules = without(tc.group, tc.resource)
			here.must(here.Client.Update(t.Context(), role))
			here.awaitRefusal(user, tc.group, tc.resource)
			cut.all()
			testworld.Await(t, testworld.Soon, "the agent not to be ready", func(ctx context.Context) error {
				passed.Add(int64(lenient.Patience))
				code, text := ready(ctx)
				if code != http.StatusServiceUnavailable || !strings.Contains(text, tc.kind+" cannot be watched since ") {
					return fmt.Errorf("%d %s", code, text)
				}
				if strings.Count(text, "cannot be watched") != 1 {
					return fmt.Errorf("others are named beside %s: %s", tc.kind, text)
				}
				return nil
			})
			role.Rules = granted
			here.must(here.Client.Update(t.Context(), role))
			testworld.Await(t, testworld.Workload, "the agent to be ready again", func(ctx context.Context) error {
				if code, text := ready(ctx); code != http.StatusOK {
					return fmt.Errorf("%d %s", code, text)
				}
				return nil
			})
		})
	}
}

// readiness serves the probes of an agent that has these watches, and asks for the answer of /readyz.
func (s *scene) readiness(watches *lenient.Watches) func(context.Context) (int, string) {
	s.Helper()
	var gates process.Gates
	gates.Check(watches.Failing)
	address, err := testworld.FreeAddress()
	s.must(err)
	s.must(process.ServeProbes(s.Context(), address, &gates))
	return func(ctx context.Context) (int, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
		if err != nil {
			return 0, err.Error()
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, err.Error()
		}
		return response.StatusCode, string(text)
	}
}

// awaitRefusal waits until the API server's authorizer has heard of it.
func (s *scene) awaitRefusal(user, group, resource string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, user+" to lose the access to "+resource, func(ctx context.Context) error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: "watch"},
		}}
		if err := s.Client.Create(ctx, review); err != nil {
			return err
		}
		if review.Status.Allowed {
			return errors.New("it may watch them still")
		}
		return nil
	})
}

// without grants reading of everything that the agents of this test watch but for one resource.
func without(group, resource string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, r := range []struct{ group, resource string }{
		{"", "namespaces"}, {v1beta1.GroupVersion.Group, "works"}, {clusterv1beta1.GroupVersion.Group, "internalmemberclusters"},
	} {
		if r.group != group || r.resource != resource {
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{"get", "list", "watch"}})
		}
	}
	return rules
}
