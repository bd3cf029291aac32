package snapshot

import (
	"encoding/json"
	"strconv"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Relabel is a change of the labels and annotations of a snapshot; its content never changes.
type Relabel struct {
	// Name is the name of the snapshot.
	Name string `json:"-"`
	// Labels and Annotations are set, or, if nil, removed.
	Labels      map[string]*string `json:"labels,omitempty"`
	Annotations map[string]*string `json:"annotations,omitempty"`
}

// relabelLatest returns the change that sets or clears the label of the latest snapshot.
func relabelLatest(name string, latest bool) Relabel {
	text := strconv.FormatBool(latest)
	return Relabel{Name: name, Labels: map[string]*string{contract.LabelLatest: &text}}
}

// Patch returns the change as a JSON merge patch.
func (m Relabel) Patch() []byte {
	patch, err := json.Marshal(map[string]Relabel{"metadata": m})
	if err != nil {
		panic(err) // maps of strings: cannot fail
	}
	return patch
}
