package evict

import (
	"encoding/json"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Spending is what evictions are taking from a budget now: JSON in an annotation on the budget. It is written with the budget's
// resourceVersion, so that the evictions of one placement take turns across processes.
type Spending []Spent

// Spent is one binding that is about to be deleted.
type Spent struct {
	Binding types.UID `json:"binding"`
	Cluster string    `json:"cluster"`
	Since   time.Time `json:"since"`
}

// reservation is how long a binding counts as about to be deleted: much longer than a deletion takes. It ends, so that an eviction that was
// not carried out does not block others forever.
const reservation = time.Minute

// ReadSpending reads the annotation. It is empty if the annotation cannot be decoded, because another client changed it.
func ReadSpending(annotation string) Spending {
	var out Spending
	if annotation != "" && decode.JSON([]byte(annotation), &out) != nil {
		return nil
	}
	return out
}

// Current are the bindings that are about to be deleted.
func (s Spending) Current(now time.Time) map[types.UID]bool {
	out := map[types.UID]bool{}
	for _, e := range s {
		if now.Sub(e.Since) < reservation {
			out[e.Binding] = true
		}
	}
	return out
}

// With is the annotation with one more binding, without entries that are not current or whose binding is not in there.
func (s Spending) With(next Spent, there map[types.UID]bool, now time.Time) (string, error) {
	current := s.Current(now)
	out := slices.DeleteFunc(slices.Clone(s), func(e Spent) bool {
		return !current[e.Binding] || !there[e.Binding] || e.Binding == next.Binding
	})
	text, err := json.Marshal(append(out, next))
	return string(text), err
}
