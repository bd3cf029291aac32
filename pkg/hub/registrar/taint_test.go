package registrar

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// The first sight of a taint is recorded by the hub's clock, and a restart does not begin anew.
func TestFirstSightOfATaintIsRecorded(t *testing.T) {
	h := onQuietHub(t, "a", "b")
	h.settled("a", "b")
	taint := func(taints ...v1beta1.Taint) {
		t.Helper()
		c := h.cluster("a")
		c.Spec.Taints = taints
		if err := h.Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(what, value string, since time.Time) {
		t.Helper()
		got := h.cluster("a").Status.Taints
		if len(got) != 1 || got[0].Key != "leave" || got[0].Value != value || !got[0].Since.Time.Equal(since) {
			t.Errorf("%s: %+v; want since %s", what, got, since)
		}
	}
	leave := v1beta1.Taint{Key: "leave", Value: "1", Effect: corev1.TaintEffectNoSchedule, Evict: true}
	taint(leave, v1beta1.Taint{Key: "cordon", Effect: corev1.TaintEffectNoSchedule})
	first := noon.Add(10 * time.Second)
	h.now = first.Add(300 * time.Millisecond)
	h.look("a", noon)
	seen("a new taint", "1", first)
	writes := h.writes
	h.now = noon.Add(20 * time.Second)
	if h.look("a", noon); h.writes != writes {
		t.Error("the status was written although nothing changed")
	}
	h.Registrar = &Registrar{Client: h.Client, Recorder: &h.events, Now: func() time.Time { return h.now }, Awake: h.now}
	h.now = noon.Add(30 * time.Second)
	if h.look("a", noon); h.writes != writes {
		t.Error("the status was written after a restart although nothing changed")
	}
	seen("after a restart", "1", first)
	leave.Value = "2"
	taint(leave)
	h.look("a", noon)
	seen("another value", "2", h.now)
	taint()
	h.look("a", noon)
	if got := h.cluster("a").Status.Taints; len(got) != 0 {
		t.Errorf("the taint has gone: %+v", got)
	}
}
