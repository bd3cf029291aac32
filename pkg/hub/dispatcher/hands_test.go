package dispatcher

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestHands(t *testing.T) {
	at := func(generation int64) *v1beta1.Work {
		return &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{UID: "w", Generation: generation}}
	}
	type patch struct {
		answer, onto int64
		respecified  bool
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var h hands
	steps := []struct {
		what    string
		wrote   int64
		retuned patch
		after   time.Duration
		seen    int64
		changed bool
		wait    time.Duration
	}{
		{what: "what is seen first is taken for our own", seen: 3},
		{what: "so is what we write", wrote: 4, seen: 4},
		{what: "and what was before it, in a cache that is behind", seen: 3},
		{what: "a later one is another writer's", seen: 5, changed: true},
		{what: "until it is put right, which may fail", seen: 5, wait: restoreEvery},
		{what: "it is tried again", after: restoreEvery, seen: 5, changed: true},
		{what: "then it is right", wrote: 6, seen: 6},
		{what: "one who insists gets no hot loop", seen: 7, wait: restoreEvery},
		{what: "and is undone again after a while", after: restoreEvery, seen: 7, changed: true},
		{what: "and what a patch of the strategies leaves is ours", wrote: 8, retuned: patch{9, 8, true}, seen: 9},
		{what: "unless an edit came before the patch", after: restoreEvery, retuned: patch{11, 9, true}, seen: 11, changed: true},
		{what: "or the edit is known and waits for its turn", wrote: 12, retuned: patch{14, 13, true}, seen: 14, wait: restoreEvery},
		{what: "or the patch was of a mark only", after: restoreEvery, wrote: 14, retuned: patch{15, 14, false}, seen: 15, changed: true},
		{what: "a patch of a mark leaves the generation", wrote: 16, retuned: patch{16, 16, false}, seen: 16},
	}
	for _, step := range steps {
		if step.wrote > 0 {
			h.wrote(at(step.wrote))
		}
		if p := step.retuned; p.answer > 0 {
			h.retuned(at(p.answer), p.onto, p.respecified)
		}
		now = now.Add(step.after)
		if changed, wait := h.changed(at(step.seen), now); changed != step.changed || wait != step.wait {
			t.Errorf("%s: changed %t, wait %s", step.what, changed, wait)
		}
	}
	h.forget("w")
	if h.own(at(1)) {
		t.Error("what is forgotten is known")
	}
	if h.retuned(at(5), 4, true); !h.own(at(5)) {
		t.Error("the first patch on what is seen first is another writer's")
	}
	h.forget("w")
	if h.retuned(at(6), 4, true); h.own(at(5)) || !h.own(at(4)) {
		t.Error("an edit before the first patch is our own")
	}
}

func TestAheadOfTheCache(t *testing.T) {
	var h hands
	at := func(generation int64) *v1beta1.Work {
		return &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{UID: "w", Generation: generation}}
	}
	if h.ahead(at(1)) {
		t.Error("nothing was written")
	}
	h.wrote(at(2))
	if !h.ahead(at(1)) || h.ahead(at(2)) || h.ahead(at(3)) {
		t.Error("want what is older than the last write, and nothing else")
	}
}
