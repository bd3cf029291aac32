package lenient

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWatchesThatFailForAMinute(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &Watches{Now: func() time.Time { return now }}
	works, clusters := schema.GroupVersionKind{Kind: "Work"}, schema.GroupVersionKind{Kind: "MemberCluster"}
	refused := errors.New("forbidden")
	want := func(kinds ...string) {
		t.Helper()
		got := w.Failing()
		if len(got) != len(kinds) {
			t.Fatalf("got %v, want %v", got, kinds)
		}
		for i, kind := range kinds {
			if !strings.HasPrefix(got[i], kind+" cannot be watched since 2026-01-01T00:00:00Z: forbidden") {
				t.Errorf("got %s, want %s", got[i], kind)
			}
		}
	}
	want()
	w.observe(works, true, refused)
	w.observe(clusters, true, refused)
	now = now.Add(59 * time.Second)
	w.observe(works, false, nil) // its list succeeds, its watch does not
	w.observe(works, true, refused)
	w.observe(clusters, true, nil)
	want()
	now = now.Add(time.Second)
	want("Work")
	w.observe(works, true, nil)
	want()
	w.observe(works, true, refused)
	want() // the time begins anew
}
