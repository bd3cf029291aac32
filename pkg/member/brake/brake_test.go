package brake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// scene is a cluster with a brake, and its clock.
type scene struct {
	testing.TB
	*Brake
	now     time.Time
	cluster client.WithWatch
}

func newScene(t testing.TB, most, protect string) *scene {
	t.Helper()
	s := &scene{TB: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), cluster: fake.NewFakeClient()}
	s.restart(most, protect)
	return s
}

// restart starts the agent again, with these flags.
func (s *scene) restart(most, protect string) {
	s.Helper()
	policy, err := removal.Parse(most, protect)
	if err != nil {
		s.Fatal(err)
	}
	s.Brake = &Brake{Limit: Limit{Policy: policy, Window: time.Hour}, Client: s.cluster, Now: func() time.Time { return s.now }}
}

// objects are n ConfigMaps of a Work.
func objects(work string, n int) []removal.Object {
	out := make([]removal.Object, n)
	for i := range out {
		out[i] = removal.Object{Kind: "ConfigMap", Namespace: work, Name: fmt.Sprint(i)}
	}
	return out
}

func (s *scene) ask(r removal.Request) *v1beta1.HeldRemoval {
	s.Helper()
	held, err := s.Ask(context.Background(), r)
	if err != nil {
		s.Fatal(err)
	}
	return held
}

// removes asks for n of 10 objects of a Work, on a cluster with so many objects.
func (s *scene) removes(work string, n, placed int) bool {
	s.Helper()
	return s.ask(removal.Request{Work: types.UID(work), Leaving: objects(work, n), Total: 10, Placed: placed}) == nil
}

func TestLimit(t *testing.T) {
	s := newScene(t, "20%", "")
	for i, step := range []struct {
		after     time.Duration
		work      string
		n, placed int
		want      bool
	}{
		{0, "a", 10, 100, true},
		{time.Minute, "a", 10, 90, true}, // the same removal counts once
		{time.Minute, "b", 10, 90, true},
		{time.Minute, "c", 1, 80, false}, // 21 of 100
		{time.Minute, "d", 0, 80, true},
		{time.Hour - 3*time.Minute, "e", 8, 80, true}, // those of a no longer count: 18 of 90
		{0, "f", 9, 70, false},
	} {
		s.now = s.now.Add(step.after)
		if got := s.removes(step.work, step.n, step.placed); got != step.want {
			t.Errorf("step %d: removal of %d objects of %s is let through: %t, want %t", i, step.n, step.work, got, step.want)
		}
	}
}

// What was removed counts after a restart; the rest of a removal counts again.
func TestRestartForgetsNothing(t *testing.T) {
	s := newScene(t, "10", "")
	if !s.removes("a", 6, 100) {
		t.Fatal("6 of at most 10 objects are held")
	}
	s.restart("10", "")
	if s.removes("b", 5, 94) {
		t.Error("11 objects are removed, 5 of them after a restart")
	}
	if !s.removes("c", 4, 94) {
		t.Error("10 objects are not removed")
	}
}

func TestOthersCount(t *testing.T) {
	s := newScene(t, "20%", "")
	r := removal.Request{Work: "a", Leaving: objects("a", 1), Total: 1, Others: 99, Placed: 100}
	held := s.ask(r)
	if held == nil || held.Removed != 1 {
		t.Fatalf("the first of 100 objects that the hub wants removed is removed: %+v", held)
	}
	r.Others, r.Was = 0, held
	s.now = s.now.Add(24 * time.Hour)
	if again := s.ask(r); again == nil || again.Digest != held.Digest {
		t.Errorf("a held removal is let through after a while, without a release: %+v", again)
	}
	r.Released = "other"
	if s.ask(r) == nil {
		t.Error("the release of another removal lets it through")
	}
	r.Released = held.Digest
	if got := s.ask(r); got != nil {
		t.Errorf("a released removal is held: %+v", got)
	}
	r.Was, r.Released = nil, ""
	if got := s.ask(r); got != nil {
		t.Errorf("a released removal is held before it is complete: %+v", got)
	}
	s.Done("a")
	s.now = s.now.Add(24 * time.Hour)
	r.Others, r.Released = 99, held.Digest
	if s.ask(r) == nil {
		t.Error("a release lets a later removal of the same objects through")
	}
	if len(s.record.Data) > 0 {
		t.Errorf("removals that were released count: %v", s.record.Data)
	}
}

// What was let through counts anew if the hub wants it again, and removes it again.
func TestGrantsEndWithTheWish(t *testing.T) {
	s := newScene(t, "4", "")
	for i, step := range []struct {
		n    int
		want bool
	}{{3, true}, {3, true}, {1, true}, {2, true}, {3, false}} {
		if got := s.removes("a", step.n, 100); got != step.want {
			t.Errorf("step %d: the removal of %d objects is let through: %t, want %t", i, step.n, got, step.want)
		}
	}
}

func TestProtectedKinds(t *testing.T) {
	s := newScene(t, "", "PersistentVolumeClaim")
	if !s.removes("a", 10, 10) {
		t.Error("ConfigMaps are held")
	}
	r := removal.Request{Work: "b", Leaving: append(objects("b", 2), removal.Object{Kind: "PersistentVolumeClaim", Namespace: "b", Name: "data"}), Total: 100, Placed: 1000}
	if held := s.ask(r); held == nil || held.Protected != 1 || held.First[0] != "PersistentVolumeClaim b/data" {
		t.Errorf("held: %+v", held)
	}
}

func TestNoLimit(t *testing.T) {
	s := newScene(t, "", "")
	if s.On() || !s.removes("a", 10, 10) || s.record != nil {
		t.Error("without a limit something is held, or counted")
	}
}

// Without the record it is not known what may be removed.
func TestRecordFails(t *testing.T) {
	record := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Record.Namespace, Name: Record.Name}}
	for name, tc := range map[string]struct {
		data    map[string]string
		fails   interceptor.Funcs
		problem string
	}{
		"unreadable": {fails: interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("unreachable")
		}}, problem: "unreachable"},
		"not written": {fails: interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return errors.New("refused")
		}}, problem: "refused"},
		"damaged time":  {data: map[string]string{"yesterday": "1"}, problem: `damaged at key "yesterday"`},
		"damaged count": {data: map[string]string{"20260101T000000Z": "many"}, problem: `damaged at key "20260101T000000Z"`},
		"negative":      {data: map[string]string{"20260101T000000Z": "-5"}, problem: `damaged at key "20260101T000000Z"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "50%", "")
			if tc.data != nil {
				damaged := record.DeepCopy()
				damaged.Data = tc.data
				if err := s.cluster.Create(t.Context(), damaged); err != nil {
					t.Fatal(err)
				}
			}
			s.Client = interceptor.NewClient(s.cluster, tc.fails)
			r := removal.Request{Work: "a", Leaving: objects("a", 1), Total: 1, Placed: 100}
			if _, err := s.Ask(t.Context(), r); err == nil || !strings.Contains(err.Error(), tc.problem) {
				t.Fatalf("error %v; want %q", err, tc.problem)
			}
			s.Client = s.cluster
			if err := client.IgnoreNotFound(s.cluster.Delete(t.Context(), record.DeepCopy())); err != nil {
				t.Fatal(err)
			}
			if held, err := s.Ask(t.Context(), r); held != nil || err != nil {
				t.Errorf("when the cause is gone: %+v, %v", held, err)
			}
		})
	}
}

// Within any window, no more is removed than the limit allows, but for what was released; however Works, restarts and
// time follow each other.
func TestNeverBeyondTheLimit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(0, 30).Draw(r, "most")
		s := newScene(t, fmt.Sprint(most), "")
		var done []count
		for i := range rapid.IntRange(1, 40).Draw(r, "steps") {
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 1800).Draw(r, "seconds")) * time.Second)
			if rapid.Bool().Draw(r, "restart") {
				s.restart(fmt.Sprint(most), "")
			}
			n := rapid.IntRange(1, 12).Draw(r, "objects")
			if s.removes(fmt.Sprint(i), n, 1000) {
				done = append(done, count{s.now, n})
			}
			sum := 0
			for _, c := range done {
				if s.now.Sub(c.at) < s.Limit.Window {
					sum += c.objects
				}
			}
			if counts := len(s.counts); counts > mostCounts+1 {
				r.Fatalf("the record has %d counts", counts)
			}
			if sum > most {
				r.Fatalf("%d objects were removed within the window; at most %d may be", sum, most)
			}
		}
	})
}
