package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// door is the way to the API server. When it is shut, requests fail, and it keeps a list of them; watches that have
// begun go on.
type door struct {
	shut atomic.Bool

	mu    sync.Mutex
	tried []string
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (d *door) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if !d.shut.Load() {
			return next.RoundTrip(r)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.tried = append(d.tried, r.Method+" "+r.URL.RequestURI())
		return nil, errors.New("the door to the API server is shut")
	})
}

// exportKind is the CRD of the services that members export.
func exportKind() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "internalserviceexports." + exports.Group},
		"spec": map[string]any{
			"group": exports.Group, "scope": "Namespaced",
			"names": map[string]any{"kind": exports.Kind, "plural": "internalserviceexports"},
			"versions": []any{map[string]any{"name": exports.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
		},
	}}
}

const (
	aPlacement = `{"metadata":{"name":"p"},"spec":{"resourceSelectors":[{"group":"","version":"v1","kind":"Namespace","name":"n"},
		{"group":"rbac.authorization.k8s.io","version":"v1","kind":"ClusterRole","name":"r"},
		{"group":"apiextensions.k8s.io","version":"v1","kind":"CustomResourceDefinition","name":"c"},
		{"group":"placement.kubernetes-fleet.io","version":"v1beta1","kind":"ClusterResourceEnvelope","name":"e"}]}}`
	anUnknownKind = `{"metadata":{"name":"p"},"spec":{"resourceSelectors":[{"group":"example.com","version":"v1","kind":"Nothing","name":"n"}]}}`
	aMember       = `{"metadata":{"name":"m","annotations":{"fleet.azure.com/a":"b"}},"spec":{"identity":{"kind":"User","name":"u"}}}`
	anOverride    = `{"metadata":{"name":"o","namespace":"n"},"spec":{"clusterResourceSelectors":[{"group":"","version":"v1","kind":"Namespace","name":"n"}],
		"resourceSelectors":[{"group":"","version":"v1","kind":"ConfigMap","name":"c"}],"policy":{"overrideRules":[{"clusterSelector":{"clusterSelectorTerms":[]},"overrideType":"Delete"}]}}}`
	anEviction = `{"metadata":{"name":"e"},"spec":{"placementName":"stored","clusterName":"m"}}`
	aBudget    = `{"metadata":{"name":"stored"},"spec":{"minAvailable":1}}`
	aPod       = `{"metadata":{"name":"p","namespace":"n"}}`
)

// objects are what is written to each webhook.
var objects = map[string][]string{
	webhook.Placements.MutatePath():          {aPlacement},
	webhook.Placements.ValidatePath():        {aPlacement, anUnknownKind},
	webhook.MemberClusters.ValidatePath():    {aMember},
	webhook.ClusterOverrides.ValidatePath():  {anOverride},
	webhook.Overrides.ValidatePath():         {anOverride},
	webhook.Evictions.ValidatePath():         {anEviction, strings.ReplaceAll(anEviction, "stored", "none")},
	webhook.DisruptionBudgets.ValidatePath(): {aBudget, strings.ReplaceAll(aBudget, "stored", "none")},
	webhook.Pods.ValidatePath():              {aPod},
	webhook.ReplicaSets.ValidatePath():       {aPod},
	webhook.PodBudgets.ValidatePath():        {aPod},
	webhook.GuardRailPath:                    {aMember, aPod},
	webhook.ProbePath:                        {aPod},
}

// guarded are resources that the guard rail decides about, with a namespace of each sort.
var guarded = []admissionv1.AdmissionRequest{
	{Resource: metav1.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, Name: "works.placement.kubernetes-fleet.io"},
	{Resource: metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"}, Name: "fleet-member-m"},
	{Resource: metav1.GroupVersionResource{Group: "cluster.kubernetes-fleet.io", Version: "v1beta1", Resource: "memberclusters"}, Name: "m"},
	{Resource: metav1.GroupVersionResource{Version: "v1", Resource: "secrets"}, Namespace: "fleet-system", Name: "s"},
	{Resource: metav1.GroupVersionResource{Group: "placement.kubernetes-fleet.io", Version: "v1beta1", Resource: "works"}, Namespace: "fleet-member-stored", Name: "w"},
	{Resource: metav1.GroupVersionResource{Group: "placement.kubernetes-fleet.io", Version: "v1beta1", Resource: "works"}, Namespace: "fleet-member-none", Name: "w"},
}

// requests are the requests for each webhook: every operation on each of its objects.
func requests(path string) []admission.Request {
	base := []admissionv1.AdmissionRequest{{}}
	if path == webhook.GuardRailPath {
		base = guarded
	}
	var out []admission.Request
	for _, object := range objects[path] {
		for _, request := range base {
			for _, operation := range []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete} {
				request.Operation, request.UserInfo = operation, authenticationv1.UserInfo{Username: "ada", Groups: []string{"system:authenticated"}}
				raw := runtime.RawExtension{Raw: []byte(object)}
				request.Object, request.OldObject = raw, runtime.RawExtension{}
				switch operation {
				case admissionv1.Update:
					request.OldObject = runtime.RawExtension{Raw: []byte(strings.Replace(object, `"spec":{`, `"spec":{"changed":1,`, 1))}
				case admissionv1.Delete:
					request.Object, request.OldObject = runtime.RawExtension{}, raw
				}
				out = append(out, admission.Request{AdmissionRequest: request})
			}
		}
	}
	return out
}

// Once its caches are filled, a server answers from memory alone: it answers while the API server is slow or gone, and
// no client can use it to put load on the API server.
func TestRequestsAreAnsweredWithoutTheAPI(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})
	for _, obj := range []client.Object{testworld.ClusterPlacement("stored", "n"), testworld.NewMemberCluster("stored"), testworld.NewMemberCluster("m"),
		testworld.Namespace("fleet-member-m"), testworld.ClusterOverride("stored", "other", testworld.LeavingOut(testworld.Labelled(map[string]string{"a": "b"})))} {
		if err := hub.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	way := &door{}
	cfg := rest.CopyConfig(hub.Config)
	cfg.Wrap(way.wrap)
	s := newServer(t, cfg)
	testworld.Go(t, "the server", s.Start)
	testworld.Await(t, testworld.Long, "the server to answer", func(context.Context) error {
		select {
		case <-s.Serving:
			return nil
		default:
			return errors.New("it does not")
		}
	})

	answer := func(t *testing.T) {
		t.Helper()
		way.shut.Store(true)
		defer way.shut.Store(false)
		handlers := s.handlers()
		for _, path := range slices.Sorted(maps.Keys(handlers)) {
			all := requests(path)
			if len(all) == 0 {
				t.Errorf("there is no request for %s: add it to objects", path)
			}
			for _, request := range all {
				response := handlers[path].Handle(t.Context(), request)
				if response.Result != nil && response.Result.Code == http.StatusInternalServerError {
					t.Errorf("%s %s of %s: %s", path, request.Operation, request.Resource.Resource, response.Result.Message)
				}
				way.mu.Lock()
				if len(way.tried) > 0 {
					t.Errorf("%s %s %s of %s reads the API: %v", path, request.Operation, request.Object.Raw, request.Resource.Resource, way.tried)
				}
				way.tried = nil
				way.mu.Unlock()
			}
		}
	}
	t.Run("without fleet networking", answer)

	if err := hub.Client.Create(t.Context(), exportKind()); err != nil {
		t.Fatal(err)
	}
	export := &unstructured.Unstructured{}
	export.SetGroupVersionKind(exports)
	export.SetNamespace("fleet-member-m")
	export.SetName("exported")
	testworld.Await(t, testworld.Soon, "the kind of exported services", func(ctx context.Context) error { return hub.Client.Create(ctx, export) })
	deletion := requests(webhook.MemberClusters.ValidatePath())[2]
	deletion.OldObject.Raw = []byte(strings.Replace(aMember, `"spec":{`, `"spec":{"deleteOptions":{"validationMode":"Strict"},`, 1))
	testworld.Await(t, testworld.Soon, "the deletion of a cluster that exports services to be refused", func(ctx context.Context) error {
		response := s.handlers()[webhook.MemberClusters.ValidatePath()].Handle(ctx, deletion)
		if response.Allowed || !strings.Contains(response.Result.Message, "exported") {
			return fmt.Errorf("the answer is %+v", response)
		}
		return nil
	})
	t.Run("with fleet networking", answer)
}

// newServer is a server of the hub at cfg.
func newServer(t *testing.T, cfg *rest.Config) *Server {
	t.Helper()
	address, err := testworld.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(address, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := cache.New(cfg, cache.Options{Scheme: apis.Scheme(), ByObject: ByObject()})
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{
		Reader: reader, Kinds: &Kinds{Discovery: kinds}, Networking: true, Address: "127.0.0.1", Port: port, Serving: make(chan struct{}),
		Certificate: (&Trust{}).Certificate, // no client connects
	}
}
