package delivery

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Mark is written on a binding together with what it is given: contract.AnnotationRollout by a rolling update,
// contract.AnnotationUpdateRun by an update run, JSON. With it a rollback is possible even if the agent ended before it stored anything else,
// or if the cluster has become healthy with the new content since.
type Mark struct {
	// Run is the update run that gave it; empty for a rolling update.
	Run types.UID `json:"run,omitempty"`
	// To is what a rolling update gave, and At when.
	To v1beta1.Revision `json:"to,omitzero"`
	At time.Time        `json:"at,omitzero"`
	// Before is what the cluster was last healthy with before; nil if it had never been healthy.
	Before *v1beta1.Revision `json:"before"`
	// Back is whether To was given to roll the cluster back.
	Back bool `json:"back,omitempty"`
}

// RolloutMark returns the mark of the rolling update that last changed a binding, nil if there is none that can be read.
func RolloutMark(b v1beta1.BindingObject) *Mark { return markIn(b, contract.AnnotationRollout) }

// RunMark returns the mark that the update run with this UID has left on a binding, nil if there is none that can be read.
func RunMark(b v1beta1.BindingObject, run types.UID) *Mark {
	m := markIn(b, contract.AnnotationUpdateRun)
	if m == nil || m.Run != run {
		return nil
	}
	return m
}

// beforeIn returns the revision to return to in the mark of a rolling update. It reads only that, so that its snapshots are kept even if the
// rest of the mark cannot be read.
func beforeIn(b v1beta1.BindingObject) *v1beta1.Revision {
	var m struct {
		Before *v1beta1.Revision `json:"before"`
	}
	if decode.JSON([]byte(b.GetAnnotations()[contract.AnnotationRollout]), &m) != nil {
		return nil
	}
	return m.Before
}

func markIn(b v1beta1.BindingObject, annotation string) *Mark {
	text := b.GetAnnotations()[annotation]
	if text == "" {
		return nil
	}
	m := new(Mark)
	if decode.JSON([]byte(text), m) != nil {
		return nil
	}
	return m
}

// Put writes the mark on a binding, in the place of the last one of its kind.
func (m Mark) Put(b v1beta1.BindingObject) error {
	annotation := contract.AnnotationRollout
	if m.Run != "" {
		annotation = contract.AnnotationUpdateRun
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("mark binding %s: %w", b.GetName(), err)
	}
	annotations := maps.Clone(b.GetAnnotations()) // a cache's may be shared
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotation] = string(text)
	b.SetAnnotations(annotations)
	return nil
}
