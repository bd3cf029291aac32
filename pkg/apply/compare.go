package apply

import (
	"encoding/json"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// finding is the outcome of comparing a manifest with the live object.
type finding struct {
	// ask: the API server must be asked first.
	ask bool
	// degraded: it would not have the manifest, so every field was compared.
	degraded bool
	failure  string
	details  []v1beta1.PatchDetail
}

// differences compares as the strategy says: in full, everything either side has; else what applying would change, which only the
// API server knows, because it fills in defaults, rewrites values and drops what its schema does not have.
func (w *wanted) differences(in Input) finding {
	switch {
	case in.full():
		return finding{details: w.details(in.Live)}
	case in.Trial == nil:
		return finding{ask: true}
	case in.Trial.Same:
		return finding{}
	case in.Trial.Invalid:
		return finding{degraded: true, details: w.details(in.Live)}
	case in.Trial.Object == nil:
		return finding{failure: in.Trial.Failure}
	}
	return finding{details: details(outcome(in), in.Live)}
}

// details compares in full.
func (w *wanted) details(live *unstructured.Unstructured) []v1beta1.PatchDetail {
	return details(w.object, live)
}

// try asks what the manifest would make of the live object. Where the server will not apply it (it has fields that the schema has not,
// or an element twice), a merge of our own is tried, which is laxer.
func (w *wanted) try(in Input) Action {
	live := in.Live
	want := w.yielding(in)
	action := Action{Verb: Try, Object: want.DeepCopy()}
	patch, kind, err := merge(lastApplied(live), want, live)
	if hasTwins(want) {
		kind = types.MergePatchType
		patch, err = rewrite(want, live)
	}
	if err == nil {
		if body, err := json.Marshal(patch); err == nil {
			action.Type, action.Body = kind, body
		}
	}
	return action
}

// moves says whether the trial showed that applying would change anything of the live object, the machinery's labels and finalizers
// included, which are never shown as differences.
func (w *wanted) moves(in Input) bool {
	switch {
	case in.Trial.Same:
		return false
	case in.Trial.Object == nil:
		return true
	}
	return !reflect.DeepEqual(Sanitise(outcome(in)).Object, Sanitise(in.Live).Object)
}

// outcome is the live object with the manifest's fields as the trial has them. What else the trial changed is none of the manifest's
// doing: a webhook that stamps every request, a list that was put in another order.
func outcome(in Input) *unstructured.Unstructured {
	now, before := ownedBy(in.Trial.Object, applied), ownedBy(in.Live, applied)
	if in.Trial.Merged || len(now) == 0 {
		return in.Trial.Object // a server that does not say which fields are whose
	}
	merged, ok := overlay(in.Live.Object, in.Trial.Object.Object, now, before).(map[string]any)
	if !ok {
		return in.Trial.Object
	}
	return &unstructured.Unstructured{Object: merged}
}
