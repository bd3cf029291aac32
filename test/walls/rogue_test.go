package walls

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	clusterGroup   = "cluster.kubernetes-fleet.io"
	placementGroup = "placement.kubernetes-fleet.io"
)

// row is what the two rogues may do with a resource in the one namespace that is theirs. They may do nothing with it
// anywhere else.
type row struct{ member, tenant []string }

var (
	every   = []string{"*"}
	reads   = []string{"get", "list", "watch"}
	changes = []string{"update", "patch"}
)

// rows has every resource of the fleet that the hub serves, by its group: a kind that is added needs a row here, and a
// decision.
var rows = map[string]map[string]row{
	clusterGroup: {
		"internalmemberclusters":        {member: reads},
		"internalmemberclusters/status": {member: changes},
		"memberclusters":                {},
		"memberclusters/status":         {},
	},
	placementGroup: {
		// The agent takes its finalizer off; what else of a Work it may change, admission decides.
		"works":        {member: slices.Concat(reads, changes)},
		"works/status": {member: changes},

		// The Role of the tenant in this suite.
		"resourceenvelopes":  {tenant: every},
		"resourceoverrides":  {tenant: every},
		"resourceplacements": {tenant: every},

		"approvalrequests":                          {},
		"approvalrequests/status":                   {},
		"clusterapprovalrequests":                   {},
		"clusterapprovalrequests/status":            {},
		"clusterresourcebindings":                   {},
		"clusterresourcebindings/status":            {},
		"clusterresourceenvelopes":                  {},
		"clusterresourceoverrides":                  {},
		"clusterresourceoverridesnapshots":          {},
		"clusterresourceplacementdisruptionbudgets": {},
		"clusterresourceplacementevictions":         {},
		"clusterresourceplacementevictions/status":  {},
		"clusterresourceplacements":                 {},
		"clusterresourceplacements/status":          {},
		"clusterresourceplacementstatuses":          {},
		"clusterresourcesnapshots/status":           {},
		"clusterresourcesnapshots":                  {},
		"clusterschedulingpolicysnapshots":          {},
		"clusterschedulingpolicysnapshots/status":   {},
		"clusterstagedupdateruns":                   {},
		"clusterstagedupdateruns/status":            {},
		"clusterstagedupdatestrategies/status":      {},
		"clusterstagedupdatestrategies":             {},
		"resourcebindings":                          {},
		"resourcebindings/status":                   {},
		"resourceoverridesnapshots":                 {},
		"resourceplacementdisruptionbudgets":        {},
		"resourceplacementevictions":                {},
		"resourceplacementevictions/status":         {},
		"resourceplacements/status":                 {},
		"resourcesnapshots/status":                  {},
		"resourcesnapshots":                         {},
		"schedulingpolicysnapshots":                 {},
		"schedulingpolicysnapshots/status":          {},
		"stagedupdateruns":                          {},
		"stagedupdateruns/status":                   {},
		"stagedupdatestrategies":                    {},
	},
}

// What the rogues may do with resources of others.
var (
	// everybody is what Kubernetes lets every authenticated client do, in every namespace.
	everybody = []authorizationv1.ResourceRule{
		rule("authorization.k8s.io", []string{"create"}, "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
		rule("authentication.k8s.io", []string{"create"}, "selfsubjectreviews"),
	}
	// memberOnly is in the member's own namespace.
	memberOnly = []authorizationv1.ResourceRule{rule("", []string{"create", "patch"}, "events")}
	// tenantOnly is in the tenant's.
	tenantOnly = []authorizationv1.ResourceRule{rule("rbac.authorization.k8s.io", []string{"get"}, "roles")}
)

// paths are what every authenticated client may get beside resources.
var paths = []string{
	"/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/",
	"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/",
}

// verbs are those of requests, and those that only RBAC and admission know.
var verbs = []string{
	"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
	"impersonate", "bind", "escalate", "use", "approve", "sign", "attest", "place-privileged", "place-secrets", "manage-internals",
}

// elsewhere are namespaces of others, one of each kind, and one that does not exist: what is allowed there is allowed
// in the whole cluster.
func elsewhere() []string {
	return []string{m2.namespace, "kube-system", "kube-public", "fleet-system", "default", "rg-no-such-namespace"}
}

func rule(group string, verbs []string, resources ...string) authorizationv1.ResourceRule {
	return authorizationv1.ResourceRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}

// A rogue may do what the table has, and nothing else, with all that the hub serves: no CRD and no rule is added
// without a row.
func TestRogueIsGrantedWhatTheTableHas(t *testing.T) {
	t.Parallel()
	served := resources(t)
	for _, resource := range served {
		known, ours := rows[resource.Group]
		if _, ok := known[resource.Resource]; ours && !ok {
			t.Errorf("the hub serves %s: decide who may do what with it, and add a row", resource)
		}
	}
	for _, rogue := range rogues() {
		t.Run(rogue.name, func(t *testing.T) {
			want := expand(everybody, served)
			for _, namespace := range elsewhere() {
				if diff := cmp.Diff(want, granted(t, rogue.actor, namespace, served)); diff != "" {
					t.Errorf("in namespace %s (-table +hub):\n%s", namespace, diff)
				}
			}
			for _, other := range rogues() {
				want := want
				if other.namespace == rogue.namespace {
					want = expand(slices.Concat(everybody, rogue.rules()), served)
				}
				if diff := cmp.Diff(want, granted(t, rogue.actor, other.namespace, served)); diff != "" {
					t.Errorf("in namespace %s (-table +hub):\n%s", other.namespace, diff)
				}
			}
		})
	}
}

// The same by requests on the fleet's own kinds, where admission has its say too. They are dry runs.
func TestRogueIsLetDoWhatTheTableHas(t *testing.T) {
	t.Parallel()
	for _, rogue := range rogues() {
		t.Run(rogue.name, func(t *testing.T) {
			t.Parallel()
			dyn, err := dynamic.NewForConfig(rogue.config)
			if err != nil {
				t.Fatal(err)
			}
			allowed := expand(rogue.rules(), nil)
			places := append([]string{m1.namespace, theTenant.namespace}, elsewhere()...)
			var group sync.WaitGroup
			defer group.Wait()
			for _, kind := range ownKinds(t) {
				for _, namespace := range places {
					target := dynamic.ResourceInterface(dyn.Resource(kind.GroupVersionResource))
					if kind.namespaced {
						target = dyn.Resource(kind.GroupVersionResource).Namespace(namespace)
					} else if namespace != places[0] {
						continue // there is one place only
					}
					group.Go(func() {
						for verb, try := range attempts {
							mine := kind.namespaced && namespace == rogue.namespace
							may := mine && slices.Contains(allowed, grant(verb, kind.GroupResource(), ""))
							err := try(t.Context(), target, kind, namespace)
							if refused := apierrors.IsForbidden(err); refused == may {
								t.Errorf("%s %s in %q: allowed in the table: %t; answer of the hub: %v", verb, kind.Resource, namespace, may, err)
							}
						}
					})
				}
			}
		})
	}
}

// rogue is an attacker with one namespace of its own.
type rogue struct {
	actor
	namespace string
	rules     func() []authorizationv1.ResourceRule
}

func rogues() []rogue {
	return []rogue{
		{m1.onHub, m1.namespace, func() []authorizationv1.ResourceRule {
			return append(fromRows(func(r row) []string { return r.member }), memberOnly...)
		}},
		{theTenant.actor, theTenant.namespace, func() []authorizationv1.ResourceRule {
			return append(fromRows(func(r row) []string { return r.tenant }), tenantOnly...)
		}},
	}
}

func fromRows(of func(row) []string) []authorizationv1.ResourceRule {
	var rules []authorizationv1.ResourceRule
	for group, resources := range rows {
		for resource, r := range resources {
			if granted := of(r); granted != nil {
				rules = append(rules, rule(group, granted, resource))
			}
		}
	}
	return rules
}

// granted is all that who may do in a namespace.
func granted(t *testing.T, who actor, namespace string, served []schema.GroupResource) []string {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := who.Create(t.Context(), review); err != nil {
		t.Fatalf("ask what %s may do in %s: %v", who.name, namespace, err)
	}
	if review.Status.Incomplete {
		t.Fatalf("the hub does not know all that %s may do in %s: %s", who.name, namespace, review.Status.EvaluationError)
	}
	for _, r := range review.Status.NonResourceRules {
		for _, path := range r.NonResourceURLs {
			if !slices.Contains(paths, path) || !slices.Equal(r.Verbs, []string{"get"}) {
				t.Errorf("%s may %v %s", who.name, r.Verbs, path)
			}
		}
	}
	return expand(review.Status.ResourceRules, served)
}

// expand is what rules come to: a line for each verb on each resource that they name or, by a wildcard, cover.
func expand(rules []authorizationv1.ResourceRule, served []schema.GroupResource) []string {
	all := map[string]bool{}
	for _, r := range rules {
		for _, resource := range covered(r, served) {
			for _, verb := range r.Verbs {
				these := []string{verb}
				if verb == "*" {
					these = append(slices.Clone(verbs), verb)
				}
				for _, verb := range these {
					for _, name := range append(slices.Clone(r.ResourceNames), make([]string, max(0, 1-len(r.ResourceNames)))...) {
						all[grant(verb, resource, name)] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func covered(r authorizationv1.ResourceRule, served []schema.GroupResource) []schema.GroupResource {
	var found []schema.GroupResource
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			found = append(found, schema.GroupResource{Group: group, Resource: resource})
			for _, s := range served {
				_, sub, _ := strings.Cut(s.Resource, "/")
				inGroup := group == "*" || group == s.Group
				if inGroup && (resource == "*" || resource == s.Resource || sub != "" && resource == "*/"+sub) {
					found = append(found, s)
				}
			}
		}
	}
	return found
}

func grant(verb string, resource schema.GroupResource, name string) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", verb, resource, name))
}

// resources are all that the hub serves, subresources too.
func resources(t *testing.T) []schema.GroupResource {
	t.Helper()
	seen := map[schema.GroupResource]bool{}
	for _, list := range discovered(t) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			seen[schema.GroupResource{Group: gv.Group, Resource: r.Name}] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// ownKind is a kind of the fleet's.
type ownKind struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
}

func ownKinds(t *testing.T) []ownKind {
	t.Helper()
	var kinds []ownKind
	for _, list := range discovered(t) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		if gv != clusterv1beta1.GroupVersion && gv != v1beta1.GroupVersion {
			continue
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") {
				kinds = append(kinds, ownKind{gv.WithResource(r.Name), r.Kind, r.Namespaced})
			}
		}
	}
	return kinds
}

func discovered(t *testing.T) []*metav1.APIResourceList {
	t.Helper()
	disco, err := discovery.NewDiscoveryClientForConfig(theHub.config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := disco.ServerGroupsAndResources()
	if err != nil {
		t.Fatalf("ask the hub what it serves: %v", err)
	}
	return lists
}

// attempts are requests that would do what their verb is, to an object that does not exist.
var attempts = map[string]func(context.Context, dynamic.ResourceInterface, ownKind, string) error{
	"get": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		_, err := at.Get(ctx, victim, metav1.GetOptions{})
		return err
	},
	"list": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		_, err := at.List(ctx, metav1.ListOptions{Limit: 1})
		return err
	},
	"watch": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		events, err := at.Watch(ctx, metav1.ListOptions{TimeoutSeconds: ptr.To[int64](1)})
		if err == nil {
			events.Stop()
		}
		return err
	},
	"create": func(ctx context.Context, at dynamic.ResourceInterface, kind ownKind, namespace string) error {
		_, err := at.Create(ctx, nothing(kind, namespace), metav1.CreateOptions{DryRun: dryRun})
		return err
	},
	"update": func(ctx context.Context, at dynamic.ResourceInterface, kind ownKind, namespace string) error {
		obj := nothing(kind, namespace)
		obj.SetResourceVersion("1")
		_, err := at.Update(ctx, obj, metav1.UpdateOptions{DryRun: dryRun})
		return err
	},
	"patch": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		_, err := at.Patch(ctx, victim, "application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{DryRun: dryRun})
		return err
	},
	"delete": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		return at.Delete(ctx, victim, metav1.DeleteOptions{DryRun: dryRun})
	},
	"deletecollection": func(ctx context.Context, at dynamic.ResourceInterface, _ ownKind, _ string) error {
		return at.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: dryRun}, metav1.ListOptions{FieldSelector: "metadata.name=" + victim})
	},
}

// victim is the name of an object that does not exist, so that a request that is let in finds nothing to harm.
const victim = "rg-victim"

var dryRun = []string{metav1.DryRunAll}

// nothing is an object of a kind without content.
func nothing(kind ownKind, namespace string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.kind))
	obj.SetName(victim)
	if kind.namespaced {
		obj.SetNamespace(namespace)
	}
	return obj
}

// placementResources are the fleet's kinds at the hub, for a search.
func placementResources(t *testing.T) []schema.GroupVersionResource {
	t.Helper()
	var all []schema.GroupVersionResource
	for _, kind := range ownKinds(t) {
		all = append(all, kind.GroupVersionResource)
	}
	return all
}
