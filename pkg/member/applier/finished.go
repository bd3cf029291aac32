package applier

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// finite reports whether objects of a resource run to completion.
func finite(gvr schema.GroupVersionResource) bool {
	switch gvr.GroupResource() {
	case schema.GroupResource{Group: "batch", Resource: "jobs"}, schema.GroupResource{Resource: "pods"}:
		return true
	}
	return false
}

// ending returns how the run of an object ended; nil if it has not.
func (a *Applier) ending(obj *unstructured.Unstructured) *ending {
	if run := apply.Finished(obj, a.rules); run != nil {
		return &ending{uid: obj.GetUID(), run: *run}
	}
	return nil
}

// record is the ending as the ledger stores it.
func (e *ending) record() *v1beta1.FinishedRun {
	if e == nil {
		return nil
	}
	return e.run.DeepCopy()
}

// conclude determines how the run of the object under decision ended: of the live one, or of the ledger's if it is
// gone.
func (p *pass) conclude(ctx context.Context, it *item, at place, in *apply.Input) error {
	if it.end = nil; p.comparing() || !apply.Finite(it.GroupVersionKind().GroupKind()) {
		return nil
	}
	if in.Live != nil {
		it.end = p.endOfLive(it, at, in.Live)
	} else {
		var err error
		if it.end, err = p.endOfGone(ctx, it, at); err != nil {
			return readError{err}
		}
	}
	if it.end == nil {
		return nil
	}
	// A client removed the annotation. An end that the ledger recorded without a hash stays without one: the manifest
	// may be a later one.
	if it.end.run.SpecHash == "" && p.ledger.entries[it.Key()].Finished == nil && p.reportedApplied(it.Key()) {
		hash, err := apply.SpecHash(in.Manifest)
		if err != nil {
			return err
		}
		it.end.run.SpecHash = hash
	}
	in.Finished = &it.end.run
	return nil
}

// carriedBack is the status of an object that was reported back last: that of a finished object that is gone stays.
func (p *pass) carriedBack(key apply.Key) []byte {
	if !p.mirrors() {
		return nil
	}
	for i := range p.work.Status.ManifestConditions {
		m := &p.work.Status.ManifestConditions[i]
		if apply.KeyOf(m.Identifier) == key && m.BackReportedStatus != nil {
			return m.BackReportedStatus.ObservedStatus.Raw
		}
	}
	return nil
}

// reportedApplied reports whether the current content of a manifest was reported as applied.
func (p *pass) reportedApplied(key apply.Key) bool {
	return !p.blind && slices.ContainsFunc(p.work.Status.ManifestConditions, func(m v1beta1.ManifestCondition) bool {
		return apply.KeyOf(m.Identifier) == key && meta.IsStatusConditionTrue(m.Conditions, v1beta1.ConditionApplied)
	})
}

// recorded is how the run of the object with a UID ended, according to the ledger or one of its events.
func (p *pass) recorded(it *item, at place, uid types.UID) *ending {
	if entry := p.ledger.entries[it.Key()]; entry.UID == uid && entry.Finished != nil {
		return &ending{uid, *entry.Finished}
	}
	return p.memory.ended(at, uid)
}

func (p *pass) endOfLive(it *item, at place, live *unstructured.Unstructured) *ending {
	if !p.owner().Owns(live) {
		return nil
	}
	if end := p.recorded(it, at, live.GetUID()); end != nil {
		return end
	}
	return p.agent.ending(live)
}

// endOfGone is how the run of an absent object ended: of the one in this Work's ledger, or of one that another Work of
// the placement had.
func (p *pass) endOfGone(ctx context.Context, it *item, at place) (*ending, error) {
	uid := p.ledger.entries[it.Key()].UID
	if uid == "" {
		uid = it.uid
	}
	if uid == "" {
		return p.takenUp(ctx, it.Key())
	}
	if end := p.recorded(it, at, uid); end != nil || !p.reportedApplied(it.Key()) {
		return end, nil
	}
	return p.traced(ctx, at, uid)
}

// traced looks for the end of a Job in the events of its controller: the agent may not have been running when the Job
// ended. The content that ran is the one last reported as applied.
func (p *pass) traced(ctx context.Context, at place, uid types.UID) (*ending, error) {
	if at.Resource != "jobs" {
		return nil, nil
	}
	list, err := p.agent.Dynamic.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(at.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(uid)).String(),
	})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list events of a deleted Job: %w", err)
	}
	if run := apply.Traced(list.Items); run != nil {
		return &ending{uid, *run}, nil
	}
	return nil, nil
}

// legacy holds the ends of objects that moved from one Work to another, until the other Work's ledger is written.
type legacy struct {
	mu   sync.Mutex
	ends map[bequest]ending
}

type bequest struct {
	binding string
	apply.Key
}

// leave keeps the ends of entries that work's ledger is about to drop, for objects that other Works list. All others
// leave the placement; if they are placed again, they run again.
func (l *legacy) leave(work *v1beta1.Work, entries []apply.Entry, elsewhere sets.Set[apply.Key]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ends == nil {
		l.ends = map[bequest]ending{}
	}
	for _, e := range entries {
		b := bequest{work.Labels[contract.LabelBinding], apply.KeyOf(e.WorkResourceIdentifier)}
		switch {
		case e.Finished != nil && elsewhere.Has(b.Key):
			l.ends[b] = ending{e.UID, *e.Finished}
		case e.UID == "" && elsewhere.Has(b.Key): // it was only intended: the end that another Work left is still needed
		default:
			delete(l.ends, b)
		}
	}
}

func (l *legacy) of(work *v1beta1.Work, key apply.Key) *ending {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end, ok := l.ends[bequest{work.Labels[contract.LabelBinding], key}]; ok {
		return &end
	}
	return nil
}

// recorded drops the ends that a pass over work has taken over: its ledger contains them by now.
func (l *legacy) recorded(work *v1beta1.Work, items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		if it.object == nil {
			continue // it was not applied yet
		}
		end := it.end
		if end == nil { // an earlier pass took it over, but did not write the ledger
			end = it.object.end
		}
		b := bequest{work.Labels[contract.LabelBinding], it.Key()}
		if kept, ok := l.ends[b]; ok && end != nil && kept.uid == end.uid {
			delete(l.ends, b)
		}
	}
}

// takenUp is the end of an object that came from another Work of the binding.
func (p *pass) takenUp(ctx context.Context, key apply.Key) (*ending, error) {
	binding := p.work.Labels[contract.LabelBinding]
	if binding == "" {
		return nil, nil
	}
	works, err := p.agent.works(ctx, p.work)
	if err != nil {
		return nil, err
	}
	left := p.agent.legacy.of(p.work, key) // read before the ledgers: it is dropped only after one of them was written
	for i := range works {
		if works[i].Name == p.work.Name || works[i].Labels[contract.LabelBinding] != binding {
			continue
		}
		other, err := p.agent.ledgerOf(ctx, works[i].Name)
		if err != nil {
			return nil, err
		}
		if other == nil || !p.agent.identity("").SameMember(other.work) {
			continue
		}
		if e := other.entries[key]; e.Finished != nil {
			return &ending{e.UID, *e.Finished}, nil
		}
	}
	return left, nil
}

// endOf is how the run of the object ended that a decision resulted in; nil if it has not.
func (p *pass) endOf(it *item, live *unstructured.Unstructured) *ending {
	switch {
	case live == nil || it.end != nil && it.end.uid == live.GetUID():
		return it.end
	case p.comparing() || !p.owner().Owns(live):
		return nil
	}
	return p.agent.ending(live)
}
