package applier

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// reasonChangedBack is the reason of the event on an object that another writer repeatedly changes back.
const reasonChangedBack = "ChangedBack"

// fight is the history of the writes of one manifest. It holds for one intent, and can be lost.
type fight struct {
	apply.Fight
	intent uint64
	// why is what undid the last write; empty if nothing did.
	why string
}

// fightOf is the fight about the object of key, if it is about this intent.
func (r *recollection) fightOf(key apply.Key, intent uint64, now time.Time) fight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.fights[key]
	if !ok || f.intent != intent || f.Over(now) {
		return fight{intent: intent}
	}
	return f
}

func (r *recollection) setFight(key apply.Key, f fight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fights == nil {
		r.fights = map[apply.Key]fight{}
	}
	r.fights[key] = f
}

// pause is the outcome for an object in a fight that is checked again after wait: not applied, even if it matches at
// present.
func (f fight) pause(o *object, wait time.Duration) *object {
	o.wait = max(wait, time.Millisecond)
	o.fact.Available = report.Finding{}
	o.fact.Applied = report.Finding{Reason: v1beta1.ReasonManifestApplyFailed, Message: notApplied + f.message()}
	return o
}

func (f fight) message() string {
	return cut("after each write, " + f.why + ". The member agent now writes the object at most once a minute, " +
		"until it stays as written for two minutes; stop the other writer, or leave the field out of the manifest")
}

// wrote counts a write, and records an event on the object when a fight about it begins. before is the input of the
// decision, after the input with the API server's answer; unsettled is whether the decision about that is another
// write.
func (p *pass) wrote(it *item, before, after apply.Input, unsettled bool) fight {
	now := p.agent.Now()
	f := p.memory.fightOf(it.Key(), it.intent, now)
	switch {
	case unsettled:
		f.why = apply.Undone(after)
	case !f.Over(now):
		f.why = apply.Undone(before)
	}
	was := f.Hot()
	f.Fight = f.Wrote(now, unsettled)
	p.memory.setFight(it.Key(), f)
	if f.Hot() && !was {
		p.agent.warn(after.Live, f.message())
	}
	return f
}

func (a *Applier) warn(obj *unstructured.Unstructured, message string) {
	if a.Recorder != nil && obj != nil {
		a.Recorder.Event(obj, corev1.EventTypeWarning, reasonChangedBack, "A fleet places this object: "+message)
	}
}
