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
	// ask: the API server has to make a dry run first.
	ask bool
	// degraded: it refused the manifest, so all fields were compared.
	degraded bool
	failure  string
	details  []v1beta1.PatchDetail
}

// differences compares as the strategy requests: in full, all fields of either side; otherwise the changes that
// applying would make, which only the API server knows, because it sets defaults, normalizes values and drops unknown
// fields.
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

// try requests a dry run of applying the manifest to the live object. If the server refuses to apply it (it has
// unknown fields, or a list item twice), a dry run of the merge follows, which is less strict.
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

// moves reports whether the dry run showed that applying would change anything of the live object, including labels
// and finalizers of the machinery, which are never shown as differences.
func (w *wanted) moves(in Input) bool {
	switch {
	case in.Trial.Same:
		return false
	case in.Trial.Object == nil:
		return true
	}
	return !reflect.DeepEqual(Sanitise(outcome(in)).Object, Sanitise(in.Live).Object)
}

// outcome is the live object with the manifest's fields as in the dry run. Other changes in the dry run are not the
// manifest's: a webhook that changes every request, a reordered list.
func outcome(in Input) *unstructured.Unstructured {
	now, before := ownedBy(in.Trial.Object, applied), ownedBy(in.Live, applied)
	if in.Trial.Merged || len(now) == 0 {
		return in.Trial.Object // the server does not report managed fields
	}
	merged, ok := overlay(in.Live.Object, in.Trial.Object.Object, now, before).(map[string]any)
	if !ok {
		return in.Trial.Object
	}
	return &unstructured.Unstructured{Object: merged}
}
