package snapshot

import (
	"encoding/json"
	"strconv"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Mark is a change of a snapshot's labels and annotations, which say what its content cannot: content is never changed.
type Mark struct {
	// Name is the snapshot.
	Name string `json:"-"`
	// Labels and Annotations are set, or, if nil, removed.
	Labels      map[string]*string `json:"labels,omitempty"`
	Annotations map[string]*string `json:"annotations,omitempty"`
}

// latestMark says whether a snapshot is the latest.
func latestMark(name string, latest bool) Mark {
	text := strconv.FormatBool(latest)
	return Mark{Name: name, Labels: map[string]*string{contract.LabelLatest: &text}}
}

// Patch is the change as a JSON merge patch.
func (m Mark) Patch() []byte {
	patch, err := json.Marshal(map[string]Mark{"metadata": m})
	if err != nil {
		panic(err) // strings in maps: cannot fail
	}
	return patch
}
