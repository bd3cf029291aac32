package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

const (
	// hollowWorkers is how many Works are answered at once.
	hollowWorkers = 16
	// hollowPeriod is the period of the heartbeats: the default of the API.
	hollowPeriod = time.Minute
	// hollowPage is how many Works are listed at once.
	hollowPage = 2000
)

// hollowFleet stands for the member agents of a whole fleet. No member has a cluster. One metadata watch shows it the
// Works of all members. It reports each new generation of a Work as applied and available, in one patch of the status
// as a member agent does; it completes deletions; and it sends the heartbeats of all members.
//
// Unlike real agents, all members share one connection and the credentials of an administrator.
type hollowFleet struct {
	hub   client.Client
	works metadata.Getter
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]
	// manifests are the manifests of the Works of a placement.
	manifests func(placement string) []report.Manifest

	mu       sync.Mutex
	known    map[types.NamespacedName]*hollowWork
	perOwner map[string]int
	arrivals map[arrival]*arrived
	muted    map[string]bool

	// answers and beats are the writes so far.
	answers, beats atomic.Int64
}

// hollowWork is what the fleet knows about one Work.
type hollowWork struct {
	uid                  types.UID
	placement            string
	index                int
	generation, answered int64
	deleting             bool
	finalizers           []string
	// since is when it was first applied.
	since metav1.Time
	// status is the last report if it was not that everything is available.
	status *v1beta1.WorkStatus
}

// arrival is one revision of a placement.
type arrival struct {
	placement string
	index     int
}

// arrived is how many members have a revision, and since when the last one has it.
type arrived struct {
	members int
	last    time.Time
}

func newHollowFleet(cfg *rest.Config, hub client.Client, manifests func(placement string) []report.Manifest) (*hollowFleet, error) {
	c, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a metadata client: %w", err)
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, 5*time.Second)
	return &hollowFleet{
		hub: hub, works: c.Resource(v1beta1.GroupVersion.WithResource("works")), manifests: manifests,
		queue: workqueue.NewTypedRateLimitingQueue[types.NamespacedName](limiter),
		known: map[types.NamespacedName]*hollowWork{}, perOwner: map[string]int{}, arrivals: map[arrival]*arrived{}, muted: map[string]bool{},
	}, nil
}

// start answers Works until ctx ends.
func (h *hollowFleet) start(ctx context.Context) {
	go func() {
		<-ctx.Done()
		h.queue.ShutDown()
	}()
	for range hollowWorkers {
		go h.work(ctx)
	}
	go func() {
		for ctx.Err() == nil {
			if err := h.follow(ctx); err != nil && ctx.Err() == nil {
				progress(fmt.Sprintf("scale: watch the Works: %v", err))
				_ = wait(ctx, time.Second)
			}
		}
	}()
}

// follow lists all Works, and watches them until the watch ends.
func (h *hollowFleet) follow(ctx context.Context) error {
	version := ""
	for options := (metav1.ListOptions{Limit: hollowPage}); ; {
		list, err := h.works.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			h.notice(&list.Items[i], false)
		}
		version, options.Continue = list.ResourceVersion, list.Continue
		if options.Continue == "" {
			break
		}
	}
	w, err := toolswatch.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return h.works.Watch(ctx, o) },
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if m, ok := e.Object.(*metav1.PartialObjectMetadata); ok && e.Type != watch.Bookmark {
			h.notice(m, e.Type == watch.Deleted)
		}
	}
	return nil
}

// notice records the state of a Work, and enqueues it if it needs an answer.
func (h *hollowFleet) notice(m *metav1.PartialObjectMetadata, gone bool) {
	key := client.ObjectKeyFromObject(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.known[key]
	if w != nil && (gone || w.uid != m.UID) {
		delete(h.known, key)
		h.perOwner[key.Namespace]--
		w = nil
	}
	if gone {
		return
	}
	index, err := strconv.Atoi(m.Labels[contract.LabelWorkResourceIndex])
	if err != nil {
		index = -1
	}
	if w == nil {
		w = &hollowWork{uid: m.UID, placement: m.Labels[contract.LabelPlacement], index: -1}
		h.known[key] = w
		h.perOwner[key.Namespace]++
	}
	if index > w.index {
		what := arrival{w.placement, index}
		if h.arrivals[what] == nil {
			h.arrivals[what] = &arrived{}
		}
		h.arrivals[what].members++
		h.arrivals[what].last = time.Now()
	}
	w.index, w.generation = index, m.Generation
	w.deleting, w.finalizers = m.DeletionTimestamp != nil, m.Finalizers
	if w.due() {
		h.queue.Add(key)
	}
}

// due reports whether the Work needs an answer.
func (w *hollowWork) due() bool {
	if w.deleting {
		return slices.Contains(w.finalizers, contract.FinalizerWork)
	}
	return w.generation > w.answered
}

func (h *hollowFleet) work(ctx context.Context) {
	for {
		key, stopped := h.queue.Get()
		if stopped {
			return
		}
		switch err := h.answer(ctx, key); {
		case err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, or another one has its name
			h.queue.Forget(key)
		case ctx.Err() == nil:
			progress(fmt.Sprintf("scale: answer Work %s: %v", key, err))
			h.queue.AddRateLimited(key)
		}
		h.queue.Done(key)
	}
}

// answer reports on a Work, or completes its deletion.
func (h *hollowFleet) answer(ctx context.Context, key types.NamespacedName) error {
	h.mu.Lock()
	found := h.known[key]
	if found == nil || !found.due() {
		h.mu.Unlock()
		return nil
	}
	w := *found
	h.mu.Unlock()
	if w.deleting {
		left := slices.DeleteFunc(slices.Clone(w.finalizers), func(f string) bool { return f == contract.FinalizerWork })
		return h.patch(ctx, key, map[string]any{"metadata": map[string]any{"uid": w.uid, "finalizers": left}})
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	if w.since.IsZero() {
		w.since = now
	}
	// No condition has changed since then but its generation.
	status, _ := report.Work(v1beta1.WorkStatus{}, w.generation, report.Pass{Manifests: h.manifests(w.placement)}, w.since)
	if err := h.patch(ctx, key, statusBody(status), "status"); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if found = h.known[key]; found != nil && found.uid == w.uid {
		found.answered, found.since, found.status = w.generation, w.since, nil
	}
	return nil
}

// statusBody is the patch of a Work's status that a member agent sends.
func statusBody(status v1beta1.WorkStatus) map[string]any {
	return map[string]any{"status": map[string]any{"conditions": status.Conditions, "manifestConditions": status.ManifestConditions}}
}

func (h *hollowFleet) patch(ctx context.Context, key types.NamespacedName, body map[string]any, subresources ...string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = h.works.Namespace(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, data, metav1.PatchOptions{}, subresources...)
	if err == nil {
		h.answers.Add(1)
	}
	return err
}

// flip reports that the Work of a placement on a member is available, or not.
func (h *hollowFleet) flip(ctx context.Context, key types.NamespacedName, available bool) error {
	h.mu.Lock()
	found := h.known[key]
	if found == nil {
		h.mu.Unlock()
		return fmt.Errorf("there is no Work %s", key)
	}
	w := *found
	h.mu.Unlock()
	manifests := h.manifests(w.placement)
	before := w.status
	if before == nil {
		status, _ := report.Work(v1beta1.WorkStatus{}, w.generation, report.Pass{Manifests: manifests}, w.since)
		before = &status
	}
	if !available {
		last := &manifests[len(manifests)-1]
		last.Available = report.Finding{Reason: v1beta1.ReasonManifestNotAvailableYet, Message: "Not available yet"}
	}
	status, _ := report.Work(*before, w.generation, report.Pass{Manifests: manifests}, metav1.NewTime(time.Now().Truncate(time.Second)))
	if err := h.patch(ctx, key, statusBody(status), "status"); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	found.status = &status
	return nil
}

// of returns the Works of a placement.
func (h *hollowFleet) of(placement string) (out []types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, w := range h.known {
		if w.placement == placement {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int {
		return slices.Compare([]string{a.Namespace}, []string{b.Namespace})
	})
	return out
}

// count returns the number of all Works, or of those of one member.
func (h *hollowFleet) count(member string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if member == "" {
		return len(h.known)
	}
	return h.perOwner[contract.MemberNamespace(member)]
}

// everywhere waits until so many members have a revision of a placement, and returns when the last got it.
func (h *hollowFleet) everywhere(ctx context.Context, placement string, index, members int) (time.Time, error) {
	for {
		h.mu.Lock()
		var is arrived
		if found := h.arrivals[arrival{placement, index}]; found != nil {
			is = *found
		}
		h.mu.Unlock()
		if is.members >= members {
			return is.last, nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("wait for revision %d of %s, which %d of %d members have: %w", index, placement, is.members, members, err)
		}
	}
}

// mute stops the heartbeats of a member, or lets them go on.
func (h *hollowFleet) mute(member string, muted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.muted[member] = muted
}

func (h *hollowFleet) isMuted(member string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.muted[member]
}

// join reports that the agent of a member has joined, and starts its heartbeats. They continue until ctx ends.
func (h *hollowFleet) join(ctx context.Context, member string, i, members int) error {
	imc := &clusterv1beta1.InternalMemberCluster{}
	imc.Namespace, imc.Name = contract.MemberNamespace(member), member
	if err := h.beat(ctx, imc, i); err != nil {
		return err
	}
	go func() {
		next := time.Now().Add(hollowPeriod * time.Duration(1+i%members) / time.Duration(members))
		for wait(ctx, time.Until(next)) == nil {
			next = next.Add(hollowPeriod)
			if h.isMuted(member) {
				continue
			}
			if err := h.beat(ctx, imc, i); err != nil && ctx.Err() == nil {
				progress(fmt.Sprintf("scale: heartbeat of %s: %v", member, err))
			}
		}
	}()
	return nil
}

// beat sends one heartbeat. imc is the object as the agent has it in its cache.
func (h *hollowFleet) beat(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster, i int) error {
	for {
		if imc.UID == "" {
			if err := h.hub.Get(ctx, client.ObjectKeyFromObject(imc), imc); err != nil {
				return err
			}
		}
		facts := report.AgentFacts{
			Generation: imc.Generation, Healthy: true, Cluster: types.UID("hollow-" + imc.Name),
			Inventory: &report.Inventory{Properties: map[clusterv1beta1.PropertyName]string{contract.PropertyNodeCount: strconv.Itoa(1 + i%97)}},
		}
		imc.Status = report.AgentJoined(imc.Status, facts, metav1.Now())
		err := h.hub.Status().Update(ctx, imc)
		if err == nil {
			h.beats.Add(1)
			return nil
		}
		if !apierrors.IsConflict(err) {
			return errors.Join(err, ctx.Err())
		}
		imc.UID = "" // the hub agent has written it; read it again
	}
}
