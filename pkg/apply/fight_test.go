package apply

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// However often an object is changed back, it is written a handful of times in a minute, and at once when it was left
// alone for a while.
func TestAFightCoolsDown(t *testing.T) {
	for name, every := range map[string]time.Duration{"at once": 0, "every second": time.Second, "twice a minute": 30 * time.Second} {
		var f Fight
		began := time.Unix(0, 0)
		first, last := 0, 0
		for now := began; now.Sub(began) < time.Hour; now = now.Add(max(every, 100*time.Millisecond)) {
			if f.Wait(now) > 0 {
				continue
			}
			f = f.Wrote(now, false)
			if now.Sub(began) < time.Minute {
				first++
			}
			if now.Sub(began) >= 59*time.Minute {
				last++
			}
		}
		switch {
		case every <= time.Second && (first > 9 || last > 2 || !f.Hot()):
			t.Errorf("%s: %d writes in the first minute, %d in the last; hot: %v", name, first, last, f.Hot())
		case every > time.Second && f.Hot():
			t.Errorf("%s: %d writes in the first minute are a fight", name, first)
		}
		later := began.Add(time.Hour + calm)
		if again := f.Wrote(later, false); !f.Over(later) || again.Hot() || again.Wait(later) != 0 {
			t.Errorf("%s: when all is calm the fight goes on: %+v", name, again)
		}
	}
	now := time.Unix(0, 0)
	if f := (Fight{}).Wrote(now, true); f.Wait(now) != firstPause {
		t.Errorf("a write that did not settle is followed by another after %s", f.Wait(now))
	}
}

func TestUndoneNamesFieldAndManager(t *testing.T) {
	entry := managed("meddler", "Update", `{"f:data":{"f:key":{}}}`)
	other := managed("bystander", "Update", `{"f:metadata":{"f:labels":{"f:x":{}}}}`)
	live := placed(t, cm, v1beta1.ApplyStrategy{}, set("theirs", "data", "key"),
		fieldsBy(managed(contract.ManagerMember, "Update", `{"f:metadata":{"f:labels":{"f:a":{}}}}`), other, entry))
	for want, live := range map[string]*unstructured.Unstructured{
		`manager "meddler" changed /data/key back`:                                                  live,
		"another client of the member cluster deleted the object":                                   nil,
		"the API server of the member cluster, or a webhook there, changed /metadata/labels/a back": placed(t, cm, v1beta1.ApplyStrategy{}, set("theirs", "metadata", "labels", "a")),
	} {
		in := Input{Manifest: object(t, cm), Live: live, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})}
		if got := Undone(in); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
