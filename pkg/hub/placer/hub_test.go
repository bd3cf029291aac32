package placer_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/objects"
	"github.com/flagship-fleet/flagship/pkg/hub/placer"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hub = testworld.SharedHub()

func TestMain(m *testing.M) {
	if os.Getenv("FLAGSHIP_TEST_LOG") != "" {
		ctrl.SetLogger(logr.FromSlogHandler(slogHandler()))
	}
	hub.Main(m)
}

// defaults are the windows of a hub agent without flags.
var defaults = snapshot.Windows{Interval: 30 * time.Second, Collection: 15 * time.Second}

// start runs a placer, with a source of objects, until the test ends, or until it is stopped. faults, if any, come
// between the placer and its objects.
func start(t *testing.T, windows snapshot.Windows, faults ...*faulty) *testworld.Agent {
	t.Helper()
	rules, err := selection.NewRules(selection.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return testworld.RunAgent(t, hub.Get(t)[0].Config, func(mgr ctrl.Manager, direct client.Client) error {
		source, err := objects.New(mgr.GetConfig(), mgr.GetHTTPClient(), rules, time.Now)
		if err != nil {
			return err
		}
		if err := mgr.Add(source); err != nil {
			return err
		}
		var known placer.Objects = source
		for _, f := range faults {
			f.Objects, known = known, f
		}
		p := &placer.Placer{
			Client: mgr.GetClient(), Direct: direct, Recorder: mgr.GetEventRecorderFor("placement-controller"), //nolint:staticcheck // core/v1 events are the contract
			Objects: known, Reviser: &revise.Reviser{Client: mgr.GetClient(), Objects: known, Now: time.Now}, Windows: windows, Workers: 10, Namespaced: true, Now: time.Now,
		}
		return p.SetupWithManager(mgr)
	})
}

// faulty are Objects that fail as a real server will not on request.
type faulty struct {
	placer.Objects
	mu sync.Mutex
	// unread are kinds that cannot be listed: objects of theirs seem to be gone. unreadable is why nothing can be
	// read.
	unread     []schema.GroupKind
	unreadable error
	// unheard says that the hub has not told of config maps yet; missed is when that last mattered.
	unheard func() bool
	missed  time.Time
	// former is whether the watch still shows the former objects of today's names.
	former bool
}

func (f *faulty) set(unread []schema.GroupKind, unreadable error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unread, f.unreadable = unread, unreadable
}

func (f *faulty) Select(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	selected, err := f.Objects.Select(ctx, key, terms)
	selected.Unread = append(selected.Unread, f.unread...)
	selected.Cause = errors.New("forbidden")
	if f.former {
		for i := range selected.Refs {
			selected.Refs[i].UID, selected.Refs[i].Version = "former", "former"
		}
	}
	hidden := f.unread
	if f.missed = (time.Time{}); f.unheard != nil && f.unheard() {
		hidden, f.missed = append(slices.Clone(hidden), schema.GroupKind{Kind: "ConfigMap"}), time.Now()
	}
	selected.Refs = slices.DeleteFunc(selected.Refs, func(r selection.Ref) bool { return slices.Contains(hidden, r.Kind.GroupKind()) })
	return selected, err
}

func (f *faulty) Changes(key types.NamespacedName) snapshot.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.missed.IsZero() && !f.unheard() {
		return snapshot.Changes{}.With(f.missed)
	}
	return f.Objects.Changes(key)
}

func (f *faulty) Read(ctx context.Context, refs []selection.Ref) ([]selection.Content, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unreadable != nil {
		return nil, f.unreadable
	}
	return f.Objects.Read(ctx, refs)
}
