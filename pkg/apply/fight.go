package apply

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Fight counts how often the same manifest was written, because another writer changed its object back. A person's
// change is overwritten at once; against a controller, this would go on without end and as fast as both can write.
type Fight struct {
	// writes are the times of the last writes, at most mostWrites of them.
	writes []time.Time
	// pauses is how many writes had to wait; 0 before the first.
	pauses int
}

const (
	// mostWrites within busy make a fight.
	mostWrites, busy = 6, time.Minute
	// The pause before a write in a fight doubles from firstPause to longestPause.
	firstPause, longestPause = 10 * time.Second, time.Minute
	// calm is how long an object must stay as written to end a fight.
	calm = 2 * longestPause
)

// Hot reports whether there is a fight: writes have to wait, and the object counts as not applied even if it matches
// at present.
func (f Fight) Hot() bool { return f.pauses > 0 }

// Wrote is the fight after a write. unsettled: the API server's answer already differed from the written object.
func (f Fight) Wrote(now time.Time, unsettled bool) Fight {
	if f.Over(now) {
		f = Fight{}
	}
	if len(f.writes) == mostWrites {
		f.writes = f.writes[1:]
	}
	f.writes = append(f.writes[:len(f.writes):len(f.writes)], now)
	if f.Hot() || unsettled || len(f.writes) == mostWrites && now.Sub(f.writes[0]) < busy {
		f.pauses++
	}
	return f
}

// Over reports whether the object has stayed as written for long enough.
func (f Fight) Over(now time.Time) bool {
	return len(f.writes) == 0 || now.Sub(f.writes[len(f.writes)-1]) >= calm
}

// Wait is how long the next write must wait.
func (f Fight) Wait(now time.Time) time.Duration {
	if !f.Hot() {
		return 0
	}
	return max(0, f.writes[len(f.writes)-1].Add(min(longestPause, firstPause<<min(f.pauses-1, 10))).Sub(now))
}

// Look is when to check the object again without an event: when the fight is over if the object stays as it is.
func (f Fight) Look(now time.Time) time.Duration {
	if len(f.writes) == 0 {
		return 0
	}
	return max(0, f.writes[len(f.writes)-1].Add(calm).Sub(now))
}

// Undone names, for a message, the field that was changed after a write, and the writer.
func Undone(in Input) string {
	if in.Live == nil {
		return "another client of the member cluster deleted the object"
	}
	want, err := prepare(in.Manifest, in.Stamp)
	if err != nil {
		return "the object was changed"
	}
	var found []v1beta1.PatchDetail
	if in.Trial != nil && in.Trial.Object != nil {
		found = details(outcome(in), in.Live)
	} else {
		found = details(want.object, in.Live)
	}
	path := "/metadata"
	for i := len(found) - 1; i >= 0; i-- {
		if path = found[i].Path; found[i].ValueInHub != "" {
			break
		}
	}
	who := changer(in.Live, path)
	if who == "" {
		return "the API server of the member cluster, or a webhook there, changed " + path + " back"
	}
	return fmt.Sprintf("manager %q changed %s back", who, path)
}

// changer is the manager of the field at path, or of the nearest field, according to managedFields. Of several it is
// the latest.
func changer(live *unstructured.Unstructured, path string) string {
	name, deepest := "", -1
	var latest metav1.Time
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource != "" || ours(entry) {
			continue
		}
		depth := depthOf(ownedBy(live, func(e metav1.ManagedFieldsEntry) bool {
			return e.Manager == entry.Manager && e.Operation == entry.Operation && e.Subresource == ""
		}), live.Object, strings.Split(strings.TrimPrefix(path, "/"), "/"))
		var at metav1.Time
		if entry.Time != nil {
			at = *entry.Time
		}
		if depth > deepest || depth == deepest && latest.Before(&at) {
			name, deepest, latest = entry.Manager, depth, at
		}
	}
	return name
}

// depthOf is the number of segments of a path that are in fields.
func depthOf(fields map[string]any, value any, path []string) int {
	if len(path) == 0 || len(fields) == 0 {
		return 0
	}
	switch v := value.(type) {
	case map[string]any:
		key := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
		if _, owned := fields["f:"+key]; owned {
			return 1 + depthOf(below(fields, "f:"+key), v[key], path[1:])
		}
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(v) {
			return 0
		}
		for name := range fields {
			if is, ok := element(name); ok && is(v[i]) {
				return 1 + depthOf(below(fields, name), v[i], path[1:])
			}
		}
	}
	return 0
}
