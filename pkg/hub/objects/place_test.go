package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// server is what a store sees of an API server: the objects of one kind as they are, and everything that has happened
// to them, and the watch has delivered only a part.
type server struct {
	metadata.Interface
	version int
	objects map[types.NamespacedName]metav1.PartialObjectMetadata
	history []happening
	sent    int
	// during is called before and after a list of one namespace is made.
	during func()
}

type happening struct {
	object metav1.PartialObjectMetadata
	gone   bool
}

type resourceOf struct {
	metadata.Getter
	server    *server
	namespace string
}

func (s *server) Resource(schema.GroupVersionResource) metadata.Getter { return resourceOf{server: s} }

func (r resourceOf) Namespace(namespace string) metadata.ResourceInterface {
	r.namespace = namespace
	return r
}

func (r resourceOf) List(context.Context, metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	r.server.during()
	list := r.server.list(r.namespace)
	r.server.during()
	return list, nil
}

// list is what there is now, in one namespace or, if that is empty, in all.
func (s *server) list(namespace string) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	for key, object := range s.objects {
		if namespace == "" || key.Namespace == namespace {
			list.Items = append(list.Items, object)
		}
	}
	return list
}

// touch makes, changes or deletes an object.
func (s *server) touch(key types.NamespacedName, remove bool) {
	s.version++
	object, exists := s.objects[key]
	if !exists && remove {
		return
	}
	if !exists {
		object.ObjectMeta = metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(strconv.Itoa(s.version))}
	}
	object.ResourceVersion = strconv.Itoa(s.version)
	s.objects[key] = object
	if remove {
		delete(s.objects, key)
	}
	s.history = append(s.history, happening{object, remove})
}

// deliver lets the watch tell up to n more of what has happened.
func (s *server) deliver(t interface{ Fatal(...any) }, to *store, n int) {
	for ; n > 0 && s.sent < len(s.history); n-- {
		next := s.history[s.sent]
		s.sent++
		act := to.Update
		if next.gone {
			act = to.Delete
		}
		if err := act(next.object.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
}

// relist is what a reflector does: it lists all, page by page, with between in the middle, and watches on from there.
func (s *server) relist(t interface{ Fatal(...any) }, to *store, between func()) {
	to.begin(metav1.ListOptions{})
	between()
	all := s.list("")
	sent := len(s.history)
	slices.SortFunc(all.Items, func(a, b metav1.PartialObjectMetadata) int {
		return strings.Compare(a.Namespace+a.Name, b.Namespace+b.Name)
	})
	var list []any
	for page := range slices.Chunk(all.Items, 2) {
		thinned := &metav1.PartialObjectMetadataList{Items: slices.Clone(page)}
		to.thin(thinned)
		for i := range thinned.Items {
			list = append(list, &thinned.Items[i])
		}
		between()
	}
	if err := to.Replace(list, all.ResourceVersion); err != nil {
		t.Fatal(err)
	}
	s.sent = sent
}

// Whatever happens, and however far the watch lags behind: who has asked for a namespace sees it as it is in the end,
// and is told if that is not what was there when the answer came. Namespaces without a reader are not held once
// there are many objects.
func TestAskedNamespacesAreKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		namespaces, names := []string{"a", "b", "c"}, []string{"v", "w", "x", "y", "z"}
		api := &server{objects: map[types.NamespacedName]metav1.PartialObjectMetadata{}, version: 90}
		s := newStore(configMap, "", func(_ schema.GroupKind, o *selection.Object) bool { return o.Name == "z" }, time.Now)
		s.keepAll, s.listEach, s.client = 4, 1, api
		answers, told := map[string]string{}, map[string]bool{}
		s.changed = func(_ schema.GroupKind, old, new *entry) {
			for _, e := range []*entry{old, new} {
				if e != nil {
					told[e.Namespace] = true
				}
			}
		}
		s.settled, s.gone = func(schema.GroupKind) {}, func() {}
		draw := func() func() {
			key := types.NamespacedName{Namespace: rapid.SampledFrom(namespaces).Draw(t, "namespace"), Name: rapid.SampledFrom(names).Draw(t, "name")}
			remove := rapid.IntRange(0, 2).Draw(t, "remove") == 0
			return func() { api.touch(key, remove) }
		}
		act := func() { draw()() }
		lag := func() { api.deliver(t, s, rapid.SampledFrom([]int{0, 1, 3, 100}).Draw(t, "events")) }
		listing := false
		ask := func() {
			// What happens before and after the list is made; the list is made by another goroutine, which cannot
			// draw.
			var meanwhile []func()
			for range 2 {
				do, events := draw(), rapid.SampledFrom([]int{0, 1, 3, 100}).Draw(t, "meanwhile")
				meanwhile = append(meanwhile, func() { do(); api.deliver(t, s, events) })
			}
			api.during = func() { meanwhile[0](); meanwhile = meanwhile[1:] }
			first := rapid.IntRange(0, 2).Draw(t, "from")
			asked := namespaces[first : first+rapid.IntRange(1, 3-first).Draw(t, "asked")]
			err := s.ask(t.Context(), asked...)
			switch {
			case err == nil:
				for _, namespace := range asked {
					if _, before := answers[namespace]; !before || told[namespace] {
						answers[namespace], told[namespace] = state(s, namespace), false
					}
				}
			case !errors.Is(err, selection.ErrNotListed) || s.isListed && !listing:
				t.Fatal(err)
			}
		}
		relist := func() {
			listing = true
			api.relist(t, s, func() {
				if rapid.Bool().Draw(t, "ask") {
					ask()
				}
			})
			listing = false
		}
		for range rapid.SampledFrom([]int{1, 5, 10}).Draw(t, "objects") {
			act()
		}
		relist()
		for range rapid.IntRange(10, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				relist()
			case 1:
				namespace := rapid.SampledFrom(namespaces).Draw(t, "left")
				s.leave(namespace)
				delete(answers, namespace)
			case 2, 3, 4:
				ask()
			case 5:
				lag()
			default:
				act()
			}
		}
		api.deliver(t, s, len(api.history))
		kept := 0
		for namespace, was := range answers {
			is := state(s, namespace)
			if want := wanted(api, namespace); is != want {
				t.Fatalf("namespace %s is known as %s; it is %s", namespace, is, want)
			}
			if is != was && !told[namespace] {
				t.Fatalf("namespace %s was %s and is %s, and nobody was told", namespace, was, is)
			}
		}
		for namespace, known := range s.byNamespace {
			kept += len(known)
			if s.part && s.asked[namespace] == nil {
				t.Fatalf("namespace %s is held, and nobody asks for it", namespace)
			}
		}
		if kept != s.size || !s.part && kept > s.keepAll {
			t.Fatalf("%d objects are held, %d counted, part %v", kept, s.size, s.part)
		}
	})
}

func state(s *store, namespace string) string {
	var out []string
	for _, e := range s.list(namespace) {
		out = append(out, fmt.Sprintf("%s/%s@%s", e.Name, e.UID, e.Version))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func wanted(api *server, namespace string) string {
	var out []string
	for _, o := range api.list(namespace).Items {
		if o.Name != "z" {
			out = append(out, fmt.Sprintf("%s/%s@%s", o.Name, o.UID, o.ResourceVersion))
		}
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

// A placement of one namespace holds nothing of the others, once there are many objects; and namespaces that no
// placement needs any more are let go.
func TestUnplacedObjectsAreNotHeld(t *testing.T) {
	w, _ := newSource(t)
	api := &server{objects: map[types.NamespacedName]metav1.PartialObjectMetadata{}, during: func() {}}
	s := w.stores[configMap.GroupKind()]
	s.client = api
	for i := range keepAll + 1 {
		for _, namespace := range []string{"app", "other"} {
			api.touch(types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}, false)
		}
	}
	api.deliver(t, s, len(api.history))
	if held := slices.Collect(maps.Keys(s.byNamespace)); len(held) > 0 {
		t.Errorf("namespaces %v are held, and nobody has asked for any", held)
	}
	w.put(t, namespace, "", "app", "1", nil)
	key := types.NamespacedName{Name: "p"}
	selected, err := w.Select(t.Context(), key, []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}})
	if err != nil || len(selected.Refs) != keepAll+2 {
		t.Fatalf("selected %d objects, %v; want %d", len(selected.Refs), err, keepAll+2)
	}
	if held := slices.Collect(maps.Keys(s.byNamespace)); !slices.Equal(held, []string{"app"}) || s.size != keepAll+1 {
		t.Errorf("namespaces %v and %d objects are held", held, s.size)
	}
	w.dropIdle(time.Now())
	if s.size != keepAll+1 {
		t.Error("a namespace was let go that a placement follows")
	}
	w.Forget(key)
	w.dropIdle(time.Now())
	if s.size != 0 {
		t.Errorf("%d objects are held for nobody", s.size)
	}
}

// The watch lags behind the list of a namespace: what it tells late does not undo what the list said.
func TestLateEventsAreOld(t *testing.T) {
	at := types.NamespacedName{Namespace: "app", Name: "x"}
	api := &server{objects: map[types.NamespacedName]metav1.PartialObjectMetadata{}, version: 90, during: func() {}}
	s := newStore(configMap, "", func(schema.GroupKind, *selection.Object) bool { return false }, time.Now)
	s.keepAll, s.client = 0, api
	s.changed, s.settled = func(schema.GroupKind, *entry, *entry) {}, func(schema.GroupKind) {}
	api.touch(types.NamespacedName{Namespace: "other", Name: "x"}, false)
	api.relist(t, s, func() {})
	api.touch(at, false) // 92
	api.touch(at, false) // 93
	api.touch(at, true)  // 94
	early := 1
	api.during = func() { api.deliver(t, s, early); early = 0 }
	if err := s.ask(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := state(s, "app"); got != "[]" {
			t.Errorf("an object is known that was gone when its namespace was listed: %s", got)
		}
		api.deliver(t, s, 1)
	}
}
