package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// observer watches the bindings of one placement and the Works made of them, every change of each in order, and holds
// it against what the run at work may do.
type observer struct {
	placement string
	stages    []v1beta1.StageConfig

	mu sync.Mutex
	// release is the snapshot that the run at work releases, and run its name.
	release, run string
	// retreats is whether the run may take clusters back, and turned whether it has begun to.
	retreats, turned bool
	// opened are the gates of the run that were opened, by their request's name.
	opened map[string]bool
	// halted are, once the run has said that it is stopped, the clusters it had begun with; nil while it is at work.
	halted map[string]bool
	at     map[string]*spot
	faults []string
	past   []string
}

// spot is what is known of the placement on one cluster.
type spot struct {
	version, snapshot string
	// before is what it had when the run at work began.
	before string
	uid    types.UID
	// begun is whether the run at work has given the cluster its release, done whether the cluster was well with it
	// since.
	begun, done bool
	// well is since when it is, as its binding says; ended when it first was with what the run at work releases.
	well, ended time.Time
	// works are the releases that its Work has had, the last at the end.
	works []string
	// back is whether the run has sent the cluster back, and home whether it was well there since.
	back, home bool
	// sent is when it was seen to be sent back, and work the version of its Work.
	sent time.Time
	work string
}

// returning is whether the cluster is on its way back. One that does not report within the window that it is well
// there is not waited for; half of the window leaves room for what is seen late.
func (p *spot) returning() bool { return p.back && !p.home && time.Since(p.sent) < healthWindow/2 }

// observe begins with the bindings as they are, and ends with the test.
func observe(t *testing.T, placement string, stages []v1beta1.StageConfig) *observer {
	t.Helper()
	o := &observer{placement: placement, stages: stages, at: map[string]*spot{}, opened: map[string]bool{}}
	follow(t, &v1beta1.ClusterResourceBindingList{}, func(kind watch.EventType, obj client.Object) {
		o.see(kind, obj.(*v1beta1.ClusterResourceBinding))
	}, client.MatchingLabels{contract.LabelPlacement: placement})
	follow(t, &v1beta1.WorkList{}, func(_ watch.EventType, obj client.Object) {
		o.carries(obj.(*v1beta1.Work))
	}, client.MatchingLabels{contract.LabelPlacement: placement})
	return o
}

// follow passes on every object of a kind there is, and every change since, in order, until the test ends.
func follow(t *testing.T, list client.ObjectList, see func(watch.EventType, client.Object), options ...client.ListOption) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if err := theHub.List(ctx, list, options...); err != nil {
		t.Fatal(err)
	}
	kind := list.DeepCopyObject().(client.ObjectList)
	w, err := toolswatch.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return theHub.Watch(ctx, kind, append(slices.Clone(options), &client.ListOptions{Raw: &o})...)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		see(watch.Added, item.(client.Object))
	}
	var following sync.WaitGroup
	following.Go(func() {
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				t.Errorf("the watch of %T ends: %v", list, e.Object)
			} else if obj, ok := e.Object.(client.Object); ok && e.Type != watch.Bookmark {
				see(e.Type, obj)
			}
		}
	})
	t.Cleanup(func() { cancel(); following.Wait() })
}

// begin says what is released from now on, and whether that run may take it back. What the observer has not been told
// of yet must belong to what was before: see caughtUp.
func (o *observer) begin(run, snapshot string, retreats bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.run, o.release, o.halted, o.retreats, o.turned = run, snapshot, nil, retreats, false
	o.note("run %s releases %s", run, snapshot)
	for _, p := range o.at {
		p.begun, p.before, p.back, p.home = false, p.snapshot, false, false
		p.done = p.snapshot == snapshot && !p.well.IsZero()
		p.ended, p.works = p.well, nil
	}
}

// opens notes that a gate is about to be opened.
func (o *observer) opens(request string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened[request] = true
	o.note("%s is approved", request)
}

// halts notes that the run says that it is stopped, and what it had begun until then; nil that it was told to go on.
func (o *observer) halts(begun []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.halted = nil
	if begun != nil {
		o.halted = map[string]bool{}
		for _, cluster := range begun {
			o.halted[cluster] = true
		}
	}
	o.note("halted: %v", begun)
}

func (o *observer) note(format string, args ...any) {
	o.past = append(o.past, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (o *observer) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
	o.note("FAULT: "+format, args...)
}

// see is called for each change, in the order in which they were written.
func (o *observer) see(kind watch.EventType, b *v1beta1.ClusterResourceBinding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	cluster, p := b.Spec.TargetCluster, o.at[b.Spec.TargetCluster]
	if p == nil {
		p = &spot{uid: b.UID}
		o.at[cluster] = p
	}
	if kind == watch.Deleted || !b.DeletionTimestamp.IsZero() || b.UID != p.uid || b.Spec.State == v1beta1.BindingStateUnscheduled {
		o.fault("%s: %s of binding %s (%s, deleted at %v): nobody has asked for it", cluster, kind, b.Name, b.Spec.State, b.DeletionTimestamp)
		return
	}
	p.version = b.ResourceVersion
	was := p.snapshot
	if p.snapshot = b.Spec.ResourceSnapshotName; was != p.snapshot {
		o.moves(cluster, p, was)
	}
	if well := meta.FindStatusCondition(b.Status.Conditions, v1beta1.ConditionAvailable); well != nil &&
		well.Status == metav1.ConditionTrue && well.ObservedGeneration == b.Generation {
		if p.well.IsZero() {
			o.note("%s is well with %s", cluster, p.snapshot)
		}
		p.well = well.LastTransitionTime.Time
		if !p.done && p.snapshot == o.release {
			p.done, p.ended = true, p.well
		}
		p.home = p.home || p.back
	} else {
		if !p.well.IsZero() {
			o.fault("%s was well with %s, and nothing happened there; now its binding says %+v", cluster, p.snapshot, b.Status.Conditions)
		}
		p.well = time.Time{}
	}
	o.count()
}

// carries is called for each change of a Work, in the order in which they were written; those of bindings come apart
// from them. A Work that had what a run releases never goes back.
func (o *observer) carries(w *v1beta1.Work) {
	o.mu.Lock()
	defer o.mu.Unlock()
	cluster := strings.TrimPrefix(w.Namespace, contract.MemberNamespace(""))
	p, snapshot := o.at[cluster], w.Annotations[contract.AnnotationWorkSnapshot]
	if p == nil {
		return // before there was anything to run
	}
	p.work = w.ResourceVersion
	if n := len(p.works); n > 0 && p.works[n-1] == snapshot {
		return
	}
	p.works = append(p.works, snapshot)
	o.note("the Work of %s carries %s", cluster, snapshot)
	if i := slices.Index(p.works, o.release); i >= 0 && i < len(p.works)-1 && (!o.retreats || i < len(p.works)-2 || snapshot != p.before) {
		o.fault("the Work of %s carried %s, and now carries %s", cluster, o.release, snapshot)
	}
}

// moves judges that a cluster was given something else.
func (o *observer) moves(cluster string, p *spot, was string) {
	o.note("%s is given %s, was at %q", cluster, p.snapshot, was)
	switch {
	case o.retreats && p.begun && !p.back && p.snapshot == p.before:
		o.returns(cluster, p)
		return
	case p.snapshot != o.release:
		o.fault("%s was given %s while run %s releases %s; it was at %q", cluster, p.snapshot, o.run, o.release, was)
		return
	case o.halted != nil && !o.halted[cluster]:
		o.fault("%s was given %s although run %s is stopped", cluster, p.snapshot, o.run)
	case o.turned:
		o.fault("%s was given %s although run %s is taking clusters back", cluster, p.snapshot, o.run)
	}
	p.begun, p.done, p.well = true, false, time.Time{}
	for i, stage := range o.stages {
		if stage.Name == rings[cluster] {
			o.enters(cluster, stage)
			return
		}
		o.ended(cluster, o.stages[i])
	}
}

// returns judges that a cluster was sent back: those of later stages are home by then.
func (o *observer) returns(cluster string, p *spot) {
	o.turned, p.back, p.well, p.sent = true, true, time.Time{}, time.Now()
	for _, stage := range slices.Backward(o.stages) {
		if stage.Name == rings[cluster] {
			return
		}
		for name, other := range o.at {
			if rings[name] == stage.Name && other.begun && (!other.back || other.returning()) {
				o.fault("%s was sent back to %s before %s of stage %s was home", cluster, p.snapshot, name, stage.Name)
			}
		}
	}
}

// enters asserts that a stage may be at work.
func (o *observer) enters(cluster string, stage v1beta1.StageConfig) {
	if request := contract.BeforeStageApproval(o.run, stage.Name); len(stage.BeforeStageTasks) > 0 && !o.opened[request] {
		o.fault("%s was given %s before %s was approved", cluster, o.release, request)
	}
}

// ended asserts that a stage that comes before a cluster's has ended.
func (o *observer) ended(cluster string, stage v1beta1.StageConfig) {
	var last time.Time
	for name, p := range o.at {
		if rings[name] != stage.Name {
			continue
		}
		if !p.done {
			o.fault("%s was given %s before %s of stage %s was well with it", cluster, o.release, name, stage.Name)
		}
		if p.ended.After(last) {
			last = p.ended
		}
	}
	for _, task := range stage.AfterStageTasks {
		switch task.Type {
		case v1beta1.StageTaskApproval:
			if request := contract.AfterStageApproval(o.run, stage.Name); !o.opened[request] {
				o.fault("%s was given %s before %s was approved", cluster, o.release, request)
			}
		case v1beta1.StageTaskTimedWait:
			// Conditions tell the second in which a cluster was well, and this one has heard of the next later than it
			// was: so no wait that was kept looks too short.
			if passed := time.Since(last); passed < task.WaitTime.Duration {
				o.fault("%s was given %s %s after the last cluster of stage %s was well; the wait is %s",
					cluster, o.release, passed, stage.Name, task.WaitTime.Duration)
			}
		}
	}
}

// count asserts that no stage has more clusters in progress than it may.
func (o *observer) count() {
	for _, stage := range o.stages {
		var busy []string
		for name, p := range o.at {
			// Who is on the way back counts, and, until the run turns, who is on the way.
			if rings[name] == stage.Name && (p.returning() || !o.turned && p.begun && !p.done) {
				busy = append(busy, name)
			}
		}
		if most := stage.MaxConcurrency.IntValue(); len(busy) > most {
			slices.Sort(busy)
			o.fault("%v of stage %s are in progress at once; %d may be", busy, stage.Name, most)
		}
	}
}

// caughtUp is nil if the observer has seen the bindings and the Works as they are now.
func (o *observer) caughtUp(ctx context.Context) error {
	var list v1beta1.ClusterResourceBindingList
	if err := theHub.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: o.placement}); err != nil {
		return err
	}
	var works v1beta1.WorkList
	if err := theHub.List(ctx, &works, client.MatchingLabels{contract.LabelPlacement: o.placement}); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(list.Items) != len(o.at) {
		return fmt.Errorf("there are %d bindings, and %d were seen", len(list.Items), len(o.at))
	}
	for _, b := range list.Items {
		if p := o.at[b.Spec.TargetCluster]; p == nil || p.version != b.ResourceVersion {
			return fmt.Errorf("the last change of binding %s was not seen yet", b.Name)
		}
	}
	for _, w := range works.Items {
		if p := o.at[strings.TrimPrefix(w.Namespace, contract.MemberNamespace(""))]; p == nil || p.work != w.ResourceVersion {
			return fmt.Errorf("the last change of Work %s/%s was not seen yet", w.Namespace, w.Name)
		}
	}
	return nil
}

// noFaults fails the test if anything was seen that must not be, with what led to it.
func (o *observer) noFaults(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.faults) > 0 {
		t.Fatalf("%s\nwhat was seen:\n%s", strings.Join(o.faults, "\n"), strings.Join(o.past, "\n"))
	}
}
