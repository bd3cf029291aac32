package applier

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Watches cover the relevant namespaces, one by one while they are few and all at once when they get many; they pass
// on what exists, what changes and what is missing in places with an interest, and nothing else; and they end with the
// last interest.
func TestWatchesAreNarrow(t *testing.T) {
	member := clusters.Get(t)[1]
	// While interests are added, no stream lists: it could not report places added later as missing.
	var noting sync.RWMutex
	config := metadata.ConfigFor(member.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(r *http.Request) (*http.Response, error) {
			noting.RLock()
			noting.RUnlock() //nolint:staticcheck // only to wait
			return next.RoundTrip(r)
		})
	})
	client, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	at := func(i int, name string) place {
		return place{maps, types.NamespacedName{Namespace: fmt.Sprintf("narrow-%d", i), Name: name}}
	}
	create := func(i int, name string) {
		t.Helper()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("narrow-%d", i), Name: name}}
		if err := member.Client.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
	}
	for i := range mostNarrow + 1 {
		if err := member.Client.Create(t.Context(), testworld.Namespace(fmt.Sprintf("narrow-%d", i))); err != nil {
			t.Fatal(err)
		}
		create(i, "there")
		create(i, "foreign")
	}

	var mu sync.Mutex
	seen, missing := map[place]int{}, map[place]int{}
	count := func(in map[place]int, p place) int {
		mu.Lock()
		defer mu.Unlock()
		return in[p]
	}
	note := func(in map[place]int, p place) {
		mu.Lock()
		defer mu.Unlock()
		in[p]++
	}
	w := newWatches(client)
	w.seen = func(_ string, p place, _ occurrence) { note(seen, p) }
	w.listed = func(_ string, p place, _ string) { note(missing, p) }
	w.turned = func(string) { t.Error("the cluster is said to have gone back in time") }
	w.start(t.Context())
	streams := func(want int) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		got := 0
		for _, r := range w.resources {
			got += len(r.streams)
		}
		if got != want {
			t.Errorf("%d watches; want %d", got, want)
		}
	}
	world := &world{T: t}
	await := func(what string, in map[place]int, p place, least int) {
		t.Helper()
		world.eventually(what, func() error {
			if n := count(in, p); n < least {
				return fmt.Errorf("%d times", n)
			}
			return nil
		})
	}

	noting.Lock()
	for i := range mostNarrow {
		w.add("a", at(i, "there"))
		w.add("a", at(i, "late"))
		w.add("b", at(i, "there"))
	}
	noting.Unlock()
	streams(mostNarrow)
	for i := range mostNarrow {
		await("what is there, for both", seen, at(i, "there"), 2)
		await("what is missing", missing, at(i, "late"), 1)
	}
	create(0, "late")
	await("what comes", seen, at(0, "late"), 1)

	noting.Lock()
	w.add("a", at(mostNarrow, "there"))
	w.add("a", at(mostNarrow, "late"))
	noting.Unlock()
	streams(1)
	await("what is there, in one watch over all", seen, at(mostNarrow, "there"), 1)
	await("what is missing, in one watch over all", missing, at(mostNarrow, "late"), 1)
	create(1, "late")
	await("what comes, in one watch over all", seen, at(1, "late"), 1)

	w.release("a")
	streams(1)
	w.release("b")
	streams(0)
	mu.Lock()
	defer mu.Unlock()
	for p := range seen {
		if p.Name == "foreign" {
			t.Errorf("%v was passed on, and nobody asked", p)
		}
	}
}
