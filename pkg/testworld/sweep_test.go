package testworld_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A sweep finds each leak that is planted, also one that is gone again, and nothing where Secrets belong.
func TestSweepFindsLeaks(t *testing.T) {
	const mark = "planted0a1b2c3d4e5f6"
	cluster := testworld.StartCluster(t, testworld.ClusterOptions{Name: "swept", CRDs: []string{testworld.HubCRDs}})
	sweep := testworld.NewSweep(mark)
	if err := sweep.Watch(t.Context(), "hub", cluster.Config); err != nil {
		t.Fatal(err)
	}
	create := func(obj client.Object) {
		t.Helper()
		obj.SetNamespace("default")
		if err := cluster.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	base := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	value := runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":%q}}`, mark)}

	create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: map[string]string{"copy": mark}}, StringData: map[string]string{"a": mark}})
	create(&v1beta1.Work{ObjectMeta: meta("w"), Spec: v1beta1.WorkSpec{Workload: v1beta1.WorkloadTemplate{Manifests: []v1beta1.Manifest{{RawExtension: value}}}}})
	create(&v1beta1.ResourceEnvelope{ObjectMeta: meta("e"), Data: map[string]runtime.RawExtension{"a": value}})

	create(&corev1.ConfigMap{ObjectMeta: meta("plain"), Data: map[string]string{"a": "x" + mark}})
	create(&corev1.ConfigMap{ObjectMeta: meta("encoded"), Data: map[string]string{"a": base("x" + mark + "yz")}})
	create(&corev1.ConfigMap{ObjectMeta: meta("twice"), Data: map[string]string{"a": base("xy" + base("z"+mark))}})
	create(&corev1.ConfigMap{ObjectMeta: meta("bytes"), Data: map[string]string{"a": fmt.Sprintf("%d", []byte(mark))}})
	create(&corev1.ConfigMap{ObjectMeta: meta("digits"), Data: map[string]string{"a": fmt.Sprintf("%x", mark)}})
	create(&corev1.Event{ObjectMeta: meta("event"), InvolvedObject: corev1.ObjectReference{Namespace: "default"}, Message: mark})
	create(&v1beta1.ResourceEnvelope{ObjectMeta: metav1.ObjectMeta{Name: "copy", Annotations: map[string]string{"a": mark}}, Data: map[string]runtime.RawExtension{"a": value}})
	log := filepath.Join(t.TempDir(), "agent.log")
	if err := os.WriteFile(log, []byte("a line\nanother with "+mark), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sweep.Log(log); err != nil {
		t.Fatal(err)
	}
	sweep.Text("metrics", `a{b="`+mark+`"} 1`)

	want := []string{"default/plain", "default/encoded", "default/twice", "default/bytes", "default/digits", "default/event", "resourceenvelopes.placement.kubernetes-fleet.io of hub: default/copy",
		"agent.log", "metrics"}
	// What only lists finds all that is there.
	once := testworld.NewSweep(mark)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(once.Watch(ctx, "hub", cluster.Config), once.List(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := once.Leaks(); len(got) != 8 { // events are served twice
		t.Errorf("listed: %q; want the first seven, events twice, of %q", got, want)
	}

	var leaks []string
	found := func() error {
		leaks = append(leaks, sweep.Leaks()...)
		for _, name := range want {
			if !strings.Contains(strings.Join(leaks, "\n"), name+" shows") {
				return fmt.Errorf("%s is not found; found: %q", name, leaks)
			}
		}
		return nil
	}
	testworld.Await(t, testworld.Long, "the sweep to find what is planted", func(context.Context) error { return found() })
	for _, leak := range leaks {
		if strings.HasPrefix(leak, "works.") || strings.HasPrefix(leak, "resourceenvelopes.") && !strings.Contains(leak, "/copy") || strings.HasPrefix(leak, "secrets") {
			t.Errorf("where it belongs: %s", leak)
		}
	}
}

// A kind that goes between its discovery and its list has no leaks, and one that is not ready to be listed is listed
// later.
func TestSweepOfKindsThatComeAndGo(t *testing.T) {
	const mark = "planted0a1b2c3d4e5f6"
	lists := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api":
			fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			fmt.Fprint(w, `{"kind":"APIGroupList","groups":[]}`)
		case "/api/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[`+
				`{"name":"gone","kind":"Gone","verbs":["list"]},{"name":"new","kind":"New","verbs":["list"]}]}`)
		case "/api/v1/new":
			if lists++; lists == 1 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			fmt.Fprintf(w, `{"kind":"NewList","items":[{"kind":"New","metadata":{"name":"n"},"data":%q}]}`, mark)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	sweep := testworld.NewSweep(mark)
	if err := errors.Join(sweep.Watch(t.Context(), "hub", &rest.Config{Host: server.URL}), sweep.List(t.Context())); err != nil {
		t.Fatal(err)
	}
	if leaks := sweep.Leaks(); len(leaks) != 1 || !strings.HasPrefix(leaks[0], "new of hub: n shows") {
		t.Errorf("found %q, want what is in n", leaks)
	}
}
