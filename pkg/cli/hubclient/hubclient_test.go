package hubclient

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// discovery is an API server that serves the named kinds of the group of MemberCluster, and knows no other group.
func discovery(t *testing.T, kinds ...string) (address string) {
	t.Helper()
	version := metav1.GroupVersionForDiscovery{GroupVersion: clusterv1beta1.GroupVersion.String(), Version: clusterv1beta1.GroupVersion.Version}
	group := metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: clusterv1beta1.GroupVersion.Group,
		Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
	resources := metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version.GroupVersion,
	}
	for _, kind := range kinds {
		resources.APIResources = append(resources.APIResources, metav1.APIResource{Name: strings.ToLower(kind) + "s", Kind: kind, Verbs: metav1.Verbs{"get"}})
	}
	answers := map[string]any{
		"/api":                          metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}},
		"/apis":                         metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group}},
		"/apis/" + group.Name:           group,
		"/apis/" + version.GroupVersion: resources,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestConnect(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	const noHub = "this cluster is not a hub: it does not serve the kind %; choose the hub with --context"
	for name, c := range map[string]struct {
		server, kubeconfig string
		kind               client.Object
		err                string
	}{
		"a hub":                {server: discovery(t, "MemberCluster"), kind: &clusterv1beta1.MemberCluster{}},
		"another kind":         {server: discovery(t, "Other"), kind: &clusterv1beta1.MemberCluster{}, err: strings.Replace(noHub, "%", "MemberCluster", 1)},
		"another group":        {server: discovery(t, "MemberCluster"), kind: &v1beta1.ResourcePlacement{}, err: strings.Replace(noHub, "%", "ResourcePlacement", 1)},
		"no server":            {server: "http://127.0.0.1:1", kind: &clusterv1beta1.MemberCluster{}, err: "connect to the hub: "},
		"no such kubeconfig":   {kubeconfig: "no-such-file", kind: &clusterv1beta1.MemberCluster{}, err: "no-such-file"},
		"an unregistered kind": {server: discovery(t), kind: &unregistered{}, err: "connect to the hub: "},
	} {
		flags := NewFlags()
		set := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags.AddTo(set)
		if err := set.Parse([]string{"--server", c.server, "--kubeconfig", c.kubeconfig}); err != nil {
			t.Fatal(err)
		}
		hub, err := flags.Connect(c.kind)
		if c.err == "" && (err != nil || hub == nil) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}

type unregistered struct{ clusterv1beta1.MemberCluster }
