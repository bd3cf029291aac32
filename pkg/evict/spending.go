package evict

import (
	"encoding/json"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Spending is what evictions are taking from a budget at this moment, as an annotation on the budget keeps it. Writing it with the
// budget's version is what makes the evictions of one placement take turns, whoever carries them out.
type Spending []Spent

// Spent is one binding that is about to be deleted.
type Spent struct {
	Binding types.UID `json:"binding"`
	Cluster string    `json:"cluster"`
	Since   time.Time `json:"since"`
}

// hold is how long a binding counts as about to be deleted: much longer than a deletion takes, so that an eviction that came to nothing
// does not keep others from the budget for good.
const hold = time.Minute

// ReadSpending reads the annotation. One that cannot be read counts as empty: it is ours, and somebody has spoilt it.
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
		if now.Sub(e.Since) < hold {
			out[e.Binding] = true
		}
	}
	return out
}

// With is the annotation that adds a binding and drops what is no longer current, or not among the bindings that are there to be deleted.
func (s Spending) With(next Spent, there map[types.UID]bool, now time.Time) (string, error) {
	current := s.Current(now)
	out := slices.DeleteFunc(slices.Clone(s), func(e Spent) bool {
		return !current[e.Binding] || !there[e.Binding] || e.Binding == next.Binding
	})
	text, err := json.Marshal(append(out, next))
	return string(text), err
}
