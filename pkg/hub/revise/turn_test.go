package revise

import (
	"context"
	"errors"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestOneCallerHasAPlacementAtATime(t *testing.T) {
	var all turns
	key := types.NamespacedName{Namespace: "app", Name: "web"}
	inside, total := 0, 0 // no lock guards them but the turn
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 50 {
				end, err := all.take(t.Context(), key)
				if err != nil {
					t.Errorf("take: %v", err)
					return
				}
				if inside++; inside != 1 {
					t.Errorf("%d callers have the turn", inside)
				}
				total++
				inside--
				end()
			}
		})
	}
	callers.Wait()
	if total != 20*50 || len(all.taken) != 0 {
		t.Errorf("%d turns, %d placements remembered; want %d and none", total, len(all.taken), 20*50)
	}
}

func TestTurnsAtOtherPlacementsDoNotWait(t *testing.T) {
	var all turns
	endFirst, err := all.take(t.Context(), types.NamespacedName{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer endFirst()
	endOther, err := all.take(t.Context(), types.NamespacedName{Namespace: "app", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	endOther()
}

func TestWaitingForATurnEndsWithItsContext(t *testing.T) {
	var all turns
	key := types.NamespacedName{Name: "web"}
	end, err := all.take(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.take(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want that of the context", err)
	}
	end()
	if end, err = all.take(t.Context(), key); err != nil {
		t.Fatalf("the turn is not free after a caller stopped waiting: %v", err)
	}
	end()
}
