package loop

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestWaiting(t *testing.T) {
	a, b := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	var w Waiting
	if w.Has(a) || len(w.All()) != 0 {
		t.Errorf("at first %v wait", w.All())
	}
	w.Set(a, true)
	w.Set(b, false)
	if !w.Has(a) || w.Has(b) || len(w.All()) != 1 {
		t.Errorf("%v wait; want a", w.All())
	}
	w.Set(a, false)
	if w.Has(a) || len(w.All()) != 0 {
		t.Errorf("in the end %v wait", w.All())
	}
}
