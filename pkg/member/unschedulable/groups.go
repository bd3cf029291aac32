package unschedulable

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// pod holds the needed fields of a Pod without a node.
type pod struct {
	metav1.ObjectMeta
	owner owner
	// reason is why the pod is not scheduled, and since the time from which on it is not; both are zero before the
	// scheduler has tried.
	reason string
	since  time.Time
	// leaving is whether the pod is being deleted.
	leaving bool
}

// owner is the controller of a pod.
type owner struct {
	uid  types.UID
	name string
	// set is whether it is a ReplicaSet.
	set bool
}

func podOf(p *corev1.Pod) *pod {
	small := &pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion},
		leaving:    p.DeletionTimestamp != nil,
	}
	if by := metav1.GetControllerOfNoCopy(p); by != nil {
		kind := schema.FromAPIVersionAndKind(by.APIVersion, by.Kind).GroupKind()
		small.owner = owner{uid: by.UID, name: by.Name, set: kind == schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			small.reason, small.since = c.Reason, later(p.CreationTimestamp.Time, c.LastTransitionTime.Time)
		}
	}
	return small
}

// waits reports whether the scheduler has found no node for the pod. A pod with a scheduling gate has another reason.
func (p *pod) waits() bool {
	return p != nil && p.reason == corev1.PodReasonUnschedulable && !p.leaving && p.owner.uid != ""
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// groups are the pods that wait, by the UID of their owner.
type groups map[types.UID]*group

// group are the pods of one owner. It exists as long as there are any, and with it what was read of the owner.
type group struct {
	owner
	namespace string
	// since is when each pod began to wait, by its UID.
	since map[types.UID]time.Time
	// known is what was read of the owner, if it is a ReplicaSet; nil if it has to be read. round counts how often it
	// became outdated.
	known *replicaSet
	round int
}

// replicaSet holds the needed fields of a ReplicaSet; it is empty if there is none.
type replicaSet struct {
	// owner is the UID of its controller, revision its number among the ReplicaSets of a Deployment.
	owner    types.UID
	revision string
	// again, if not zero, is when to try again to read it.
	again time.Time
}

func replicaSetOf(o *metav1.PartialObjectMetadata) *replicaSet {
	out := &replicaSet{revision: o.Annotations[contract.AnnotationDeploymentRevision]}
	if by := metav1.GetControllerOfNoCopy(o); by != nil {
		out.owner = by.UID
	}
	return out
}

// move replaces was by is, and reports whether that changes the groups; nil is an absent pod.
func (g groups) move(was, is *pod, now time.Time) bool {
	if was != nil && is != nil && was.UID != is.UID {
		left, came := g.move(was, nil, now), g.move(nil, is, now)
		return left || came
	}
	if !is.waits() {
		return was.waits() && g.remove(was)
	}
	since := is.since
	switch {
	case was.waits():
		before := g[was.owner.uid].since[was.UID]
		if since = later(since, before); since.Equal(before) && was.owner.uid == is.owner.uid {
			return false
		}
		if was.owner.uid != is.owner.uid {
			g.remove(was)
		}
	case was != nil && was.reason != "" && was.reason != is.reason:
		since = later(since, now) // the transition is older: the pod had another reason to have no node, such as a gate
	}
	to := g[is.owner.uid]
	if to == nil {
		to = &group{owner: is.owner, namespace: is.Namespace, since: map[types.UID]time.Time{}}
		g[is.owner.uid] = to
	}
	to.since[is.UID] = since
	return true
}

// remove removes a pod that waits; it returns true.
func (g groups) remove(p *pod) bool {
	from := g[p.owner.uid]
	delete(from.since, p.UID)
	if len(from.since) == 0 {
		delete(g, p.owner.uid)
	}
	return true
}

// outdate forgets what was read of ReplicaSets that may belong to w: those that did, and those that belong to none of
// the asked workloads.
func (g groups) outdate(w apply.Workload, asked map[types.UID]*question) {
	for _, of := range g {
		if of.namespace == w.Namespace && (of.known == nil || of.known.owner == w.UID || asked[of.known.owner] == nil) {
			of.known = nil
			of.round++
		}
	}
}

// tally is the count at one time.
type tally struct {
	// counts are by the UID of the workload.
	counts map[types.UID]int32
	// read are the owners that have to be read, and open their namespaces: the counts there are not complete.
	read []*group
	open map[string]bool
	// next is when the count changes if no pod does; zero if it does not.
	next time.Time
}

// count counts the pods of asked workloads that have waited for the time after.
func (g groups) count(asked map[types.UID]*question, now time.Time, after time.Duration) tally {
	t := tally{counts: map[types.UID]int32{}, open: map[string]bool{}}
	deployments := map[string]bool{} // by namespace
	for _, q := range asked {
		if q.Revision != "" {
			deployments[q.Namespace] = true
		}
	}
	for uid, of := range g {
		if asked[uid] == nil && (!of.set || !deployments[of.namespace]) {
			continue
		}
		n := t.due(of, now, after)
		switch {
		case n == 0:
		case asked[uid] != nil:
			t.counts[uid] += n
		case of.known == nil || !of.known.again.IsZero() && !of.known.again.After(now):
			t.read = append(t.read, of)
			t.open[of.namespace] = t.open[of.namespace] || of.known == nil
		case !of.known.again.IsZero():
			t.look(of.known.again)
		default:
			if q := asked[of.known.owner]; q != nil && of.known.revision != "" && q.Revision == of.known.revision {
				t.counts[of.known.owner] += n
			}
		}
	}
	return t
}

// due returns how many pods of a group have waited long enough.
func (t *tally) due(of *group, now time.Time, after time.Duration) (n int32) {
	for _, since := range of.since {
		if at := since.Add(after); at.After(now) {
			t.look(at)
		} else {
			n++
		}
	}
	return n
}

func (t *tally) look(at time.Time) {
	if t.next.IsZero() || at.Before(t.next) {
		t.next = at
	}
}
