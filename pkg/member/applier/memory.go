package applier

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// memory is the state between passes, which avoids reads and writes for unchanged objects. All of it can be lost: the
// next pass reads each object once.
type memory struct {
	mu    sync.Mutex
	works map[string]*recollection
}

// recollection is the memory of one Work. Its objects are shared with the watches and guarded by mu; the other fields
// belong to the one pass that runs for the Work.
type recollection struct {
	// mu is that of the memory.
	mu         *sync.Mutex
	work       types.UID
	generation int64
	ledger     types.UID
	objects    map[apply.Key]*object
	at         map[place]*object
	// latest holds the last event of each place that the Work watches.
	latest map[place]occurrence
	// ends are how objects finished according to their events, by place: when a pass reads the object, it may be gone.
	ends map[place]ending
	// awaited: an event came for a place that holds no object of the Work yet; what failed may succeed now.
	awaited bool

	// looks are the inspected contents of objects that leave the Work.
	looks map[apply.Key]look

	// fights are about objects that other writers change back.
	fights map[apply.Key]fight

	// delayed is for a status that only reports progress.
	delayed loop.HoldBack
	// attempts counts passes since the last one without a failure.
	attempts int
	// hope is when an awaited event came last.
	hope time.Time
}

// object is an object of a Work as last seen.
type object struct {
	// intent is a digest of manifest and strategy; the rest holds only for them.
	intent uint64
	place  place
	// uid, resourceVersion and metadata are of the live object when it was read or written.
	uid             types.UID
	resourceVersion string
	metadata        uint64
	// owned: it carries our owner reference.
	owned bool
	// taken: it was on the cluster before it was placed.
	taken bool
	// quiet: only its metadata and spec matter, so changes of its status alone are ignored.
	quiet bool
	// stale: an event newer than resourceVersion has arrived for it.
	stale bool
	// verified is item.verified.
	verified uint64
	// end is how its run ended, or that of the ledger's object that is gone; nil if it has not ended, or that is
	// unknown.
	end *ending
	// wait, if not 0, is when to check again without an event: there is a fight about the object.
	wait time.Duration
	// relies is another object on which the decision depended; nil if there is none.
	relies *reliance
	// workload describes an object that has replicas; nil for others.
	workload *apply.Workload
	fact     report.Manifest
}

// reliance is an object of the member that must exist for a decision to stand.
type reliance struct {
	place           place
	resourceVersion string
}

// lost reports whether the event removes what a decision relied on.
func (r *reliance) lost(p place, e occurrence) bool {
	return r != nil && r.place == p && e.gone && newer(e.resourceVersion, r.resourceVersion)
}

// ending is how the run of an object ended, such as a Job.
type ending struct {
	uid types.UID
	run v1beta1.FinishedRun
}

// occurrence is an event on the member.
type occurrence struct {
	resourceVersion string
	metadata        uint64
	generation      int64
	gone            bool
	// end is how the object's run ended; nil if it has not.
	end *ending
}

func newMemory() *memory { return &memory{works: map[string]*recollection{}} }

func (m *memory) of(work string) *recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.works[work]
	if r == nil {
		r = &recollection{mu: &m.mu, objects: map[apply.Key]*object{}, at: map[place]*object{}, latest: map[place]occurrence{},
			ends: map[place]ending{}}
		m.works[work] = r
	}
	return r
}

func (m *memory) forget(work string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.works, work)
}

// names are the Works with a memory.
func (m *memory) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.works))
}

func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.works = map[string]*recollection{}
}

// reset forgets the Work's objects.
func (r *recollection) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects, r.at = map[apply.Key]*object{}, map[place]*object{}
}

// begin starts a pass over a generation of the Work. The retry delay starts over after an awaited event. If a Work
// went back to an earlier generation, or was created anew, its objects are read again: they carry their owners.
func (r *recollection) begin(work types.UID, generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.work != work || r.generation > generation {
		for _, o := range r.objects {
			o.stale = true
		}
	}
	r.work = work
	if r.generation != generation || r.awaited {
		r.attempts = 0
	}
	r.generation, r.awaited = generation, false
}

// current returns the object of key if it was made with this intent and no event has arrived for it since.
func (r *recollection) current(key apply.Key, intent uint64) *object {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.objects[key]; o != nil && o.intent == intent && !o.stale {
		return o
	}
	return nil
}

// record remembers o, which the pass has just read or written. If an event overtook it, it is stale at once; that
// event has queued the Work again.
func (r *recollection) record(key apply.Key, o *object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.latest[o.place]; ok {
		o.stale = matters(o, e)
	}
	if o.relies != nil {
		o.stale = o.stale || o.relies.lost(o.relies.place, r.latest[o.relies.place])
	}
	r.objects[key], r.at[o.place] = o, o
}

// drop forgets the object of key and returns it: the next write to it starts without a memory.
func (r *recollection) drop(key apply.Key) *object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropLocked(key)
}

// dropLocked is drop for callers that hold mu.
func (r *recollection) dropLocked(key apply.Key) *object {
	o := r.objects[key]
	if o != nil {
		delete(r.at, o.place)
		delete(r.objects, key)
	}
	return o
}

// retain forgets everything about the Work except these objects and places.
func (r *recollection) retain(keys map[apply.Key]bool, places map[place]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.objects {
		if !keys[key] {
			r.dropLocked(key)
		}
	}
	maps.DeleteFunc(r.fights, func(key apply.Key, _ fight) bool { return !keys[key] })
	for p := range r.latest {
		if !places[p] {
			delete(r.latest, p)
		}
	}
	maps.DeleteFunc(r.ends, func(p place, _ ending) bool { return !places[p] })
}

// ended returns how an object's run ended, if one of its events showed it.
func (r *recollection) ended(p place, uid types.UID) *ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.ends[p]; ok && e.uid == uid {
		return &e
	}
	return nil
}

// note records an event and reports whether the Work must be reconciled because of it.
func (m *memory) note(work string, p place, e occurrence) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.works[work]
	if r == nil {
		return false
	}
	r.latest[p] = e
	if e.end != nil {
		if _, known := r.ends[p]; !known || r.ends[p].uid != e.end.uid { // later content of a finished object did not run
			r.ends[p] = *e.end
		}
	}
	o, relied, lost := r.at[p], false, false
	for _, other := range r.objects {
		relied = relied || other.relies != nil && other.relies.place == p
		if other.relies.lost(p, e) {
			other.stale, lost = true, true
		}
	}
	if lost {
		return true
	}
	if o == nil && relied {
		return false // autoscalers update their status all the time
	}
	if o == nil {
		r.awaited = true
		return true
	}
	if !matters(o, e) {
		return false
	}
	o.stale = true
	return true
}

// doubt invalidates the memory of a Work's objects.
func (m *memory) doubt(work string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.works[work]
	if r == nil {
		return
	}
	clear(r.latest)
	clear(r.ends)
	for _, o := range r.objects {
		o.stale = true
	}
}

// matters reports whether an event can change the treatment or the report of an object. Statuses of kinds whose
// availability is not tracked change often and are ignored: where a generation counts changes of the spec, only
// metadata and generation matter.
func matters(o *object, e occurrence) bool {
	if e.gone && o.uid == "" {
		return false // it did not exist when the pass read it either
	}
	if !newer(e.resourceVersion, o.resourceVersion) {
		return false
	}
	return e.gone || e.end != nil && o.end == nil || !o.quiet || e.generation == 0 || e.metadata != o.metadata
}

// newer compares resourceVersions; if they are not ordered, any other one is newer.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return a != b
	}
	return order > 0
}

// digestContent covers an object without its status and the server's metadata. It is never 0.
func digestContent(obj *unstructured.Unstructured) uint64 {
	data, err := json.Marshal(apply.Sanitise(obj).Object)
	if err != nil {
		return 1
	}
	return max(2, xxhash.Sum64(data))
}

// digestJudged covers what the answer of a dry run depends on beside the manifest: the live object, and whether an
// autoscaler controls its replicas.
func digestJudged(in apply.Input) uint64 {
	digest := digestContent(in.Live)
	if in.Autoscaled {
		return digest ^ 1
	}
	return digest
}

// digestMetadata covers the metadata whose change matters.
func digestMetadata(obj metav1.Object) uint64 {
	data, err := json.Marshal([]any{
		obj.GetUID(), obj.GetGeneration(), obj.GetDeletionTimestamp(), obj.GetLabels(), obj.GetAnnotations(), obj.GetOwnerReferences(),
		obj.GetFinalizers(),
	})
	if err != nil {
		return 0
	}
	return xxhash.Sum64(data)
}
