package consistent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
)

// interrupted is an API server of ConfigMaps whose watch tells of nothing, and can be cut.
type interrupted struct {
	mu      sync.Mutex
	version int
	maps    map[string]*corev1.ConfigMap
	cut     chan struct{}
	// watching receives from each watch that has begun.
	watching chan struct{}
}

func (s *interrupted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, obj any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(obj)
	}
	fail := func(err *apierrors.StatusError) { answer(int(err.Status().Code), statusOf(err)) }
	_, name, _ := strings.Cut(r.URL.Path, "/configmaps")
	name = strings.TrimPrefix(name, "/")
	switch {
	case r.URL.Query().Get("watch") != "":
		s.mu.Lock()
		cut := s.cut
		s.mu.Unlock()
		if r.URL.Query().Get("sendInitialEvents") != "" {
			fail(apierrors.NewInvalid(schema.GroupKind{}, "", nil))
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		s.watching <- struct{}{}
		select {
		case <-cut:
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": statusOf(apierrors.NewResourceExpired("cut"))})
		case <-r.Context().Done():
		}
	case name == "" && r.Method == http.MethodGet:
		s.mu.Lock()
		defer s.mu.Unlock()
		list := corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(s.version)}}
		for _, m := range s.maps {
			list.Items = append(list.Items, *m)
		}
		answer(http.StatusOK, list)
	case r.Method == http.MethodPut:
		s.mu.Lock()
		defer s.mu.Unlock()
		m := s.maps[name].DeepCopy()
		s.version++
		m.ResourceVersion = fmt.Sprint(s.version)
		s.maps[name] = m
		answer(http.StatusOK, m)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		if m := s.maps[name]; m != nil {
			answer(http.StatusOK, m)
			return
		}
		fail(apierrors.NewNotFound(corev1.Resource("configmaps"), name))
	}
}

func statusOf(err *apierrors.StatusError) metav1.Status {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	return status
}

// What was written and then deleted by another client while the watch was interrupted has no event that the cache
// could wait for.
func TestReadAfterAnInterruptedWatch(t *testing.T) {
	thing := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: "uid", ResourceVersion: "1",
		}}
	}
	server := &interrupted{version: 10, maps: map[string]*corev1.ConfigMap{"goes": thing("goes")}, cut: make(chan struct{}), watching: make(chan struct{}, 100)}
	listener := httptest.NewServer(server)
	defer listener.CloseClientConnections() // Close would wait for the watch
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	both, err := cluster.New(&rest.Config{Host: listener.URL}, func(o *cluster.Options) {
		o.Scheme, o.NewClient = scheme, NewClient
		o.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			mapper := meta.NewDefaultRESTMapper(nil)
			mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
			return mapper, nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = both.Start(t.Context()) }()
	c, ok := both.GetClient().(*reader)
	if !ok {
		t.Fatalf("the client is %T", both.GetClient())
	}
	got := &corev1.ConfigMap{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(thing("goes")), got); err != nil {
		t.Fatal(err)
	}
	<-server.watching // one that begins after the cut would not be cut
	c.patience = 50 * time.Millisecond
	if err := c.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}

	// The cache has not seen it: a read by name asks the API server, and a list is refused.
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil || got.ResourceVersion != "11" {
		t.Errorf("resource version %s, error %v; want what was written", got.ResourceVersion, err)
	}
	list := &corev1.ConfigMapList{}
	if err := c.List(t.Context(), list, client.InNamespace("default")); err == nil || !strings.Contains(err.Error(), "resource version 1;") {
		t.Errorf("error %v; want it to name what the cache lacks", err)
	}

	server.mu.Lock()
	server.version++
	delete(server.maps, "goes")
	close(server.cut)
	server.cut = make(chan struct{})
	server.mu.Unlock()
	for begin := time.Now(); ; {
		err := c.List(t.Context(), list, client.InNamespace("default"))
		if err == nil {
			break
		}
		if time.Since(begin) > 5*time.Minute {
			t.Fatal(err)
		}
	}
	if len(list.Items) > 0 {
		t.Errorf("the list has %+v", list.Items)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(got), got); !apierrors.IsNotFound(err) {
		t.Errorf("error %v; want that it is not there", err)
	}
}
