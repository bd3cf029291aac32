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
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var h hands
	steps := []struct {
		what    string
		wrote   int64
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
	}
	for _, step := range steps {
		if step.wrote > 0 {
			h.wrote(at(step.wrote))
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
}
