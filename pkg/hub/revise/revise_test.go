package revise_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hub = testworld.SharedHub()

func TestMain(m *testing.M) { hub.Main(m) }

// editions are three large objects that all change each time they are selected: every look is of another edition. A
// revision of them has three parts.
type editions struct{ looks atomic.Int32 }

func (e *editions) Look(context.Context, types.NamespacedName, []v1beta1.ResourceSelectorTerm) (selection.Selection, error) {
	edition := e.looks.Add(1)
	var found selection.Selection
	for _, name := range []string{"a", "b", "c"} {
		found.Refs = append(found.Refs, selection.Ref{
			Kind: selection.Kind{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}}, Namespace: "app", Name: name, Version: fmt.Sprint(edition),
		})
	}
	return found, nil
}

func (e *editions) Read(_ context.Context, refs []selection.Ref) ([]selection.Content, error) {
	var out []selection.Content
	for _, ref := range refs {
		raw := fmt.Sprintf(`{"apiVersion":"v1","data":{"edition":%q,"text":%q},"kind":"ConfigMap","metadata":{"name":%q,"namespace":"app"}}`,
			ref.Version, strings.Repeat("x", 500_000), ref.Name)
		out = append(out, selection.Content{Raw: []byte(raw), Version: ref.Version})
	}
	return out, nil
}

// Two update runs, or a run and the placer, may make revisions of one placement at the same time. Each revision is
// complete and holds one state of the selected objects, and each caller gets the revision with what it selected.
func TestRevisionsMadeAtTheSameTimeDoNotMix(t *testing.T) {
	const callers = 4
	cluster := hub.Get(t)[0]
	reviser := &revise.Reviser{Objects: &editions{}, Now: time.Now}
	agent := testworld.RunAgent(t, cluster.Config, func(mgr ctrl.Manager, _ client.Client) error {
		reviser.Client = mgr.GetClient()
		return nil
	})
	placement := &v1beta1.ClusterResourcePlacement{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: v1beta1.PlacementSpec{
			ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
			Strategy:          v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal},
		},
	}
	if err := cluster.Client.Create(t.Context(), placement); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKeyFromObject(placement)
	testworld.AwaitKnown(t, agent.Knows, placement)

	indexes := make([]int, callers)
	var together sync.WaitGroup
	for i := range callers {
		together.Go(func() {
			var err error
			if indexes[i], err = reviser.Release(t.Context(), key); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	together.Wait()

	slices.Sort(indexes)
	if want := []int{0, 1, 2, 3}; !slices.Equal(indexes, want) {
		t.Errorf("the callers got revisions %v; want %v", indexes, want)
	}
	all, err := scope.ResourceSnapshots.List(t.Context(), cluster.Client, "", client.MatchingLabels{contract.LabelPlacement: "web"})
	if err != nil {
		t.Fatal(err)
	}
	groups := snapshot.Groups(all)
	if len(groups) != callers {
		t.Fatalf("%d revisions; want %d", len(groups), callers)
	}
	for _, g := range groups {
		items, err := g.Items()
		if err != nil {
			t.Errorf("revision %d: %v", g.Index, err)
			continue
		}
		if hash := snapshot.NewContent(items).Hash; hash != g.Hash() || len(items) != 3 {
			t.Errorf("revision %d of %d objects has hash %s; its content has %s", g.Index, len(items), g.Hash(), hash)
		}
	}
	if latest, _ := snapshot.Latest(groups); latest.Index != callers-1 {
		t.Errorf("revision %d is labelled latest; want %d", latest.Index, callers-1)
	}
}
