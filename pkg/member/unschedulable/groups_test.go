package unschedulable

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// madePod is a pod that has been unschedulable for 10 minutes at noon, with changes. Its owner is a UID, of a
// ReplicaSet if it begins with "rs".
func madePod(name, owner string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: owner, UID: types.UID(owner), Controller: ptr.To(true)}},
	}}
	if owner[:2] == "rs" {
		p.OwnerReferences[0].Kind = "ReplicaSet"
	}
	scheduled(corev1.ConditionFalse, corev1.PodReasonUnschedulable, 10*time.Minute)(p)
	for _, change := range changes {
		change(p)
	}
	return p
}

// scheduled sets the condition of that name, with its age at noon.
func scheduled(status corev1.ConditionStatus, reason string, age time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}, {
			Type: corev1.PodScheduled, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(noon.Add(-age)),
		}}
	}
}

func waiting(age time.Duration) func(*corev1.Pod) {
	return scheduled(corev1.ConditionFalse, corev1.PodReasonUnschedulable, age)
}

// madeSet is what was read of a ReplicaSet.
func madeSet(owner, revision string) *replicaSet {
	return replicaSetOf(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Annotations:     map[string]string{contract.AnnotationDeploymentRevision: revision},
		OwnerReferences: []metav1.OwnerReference{{UID: types.UID(owner), Controller: ptr.To(true)}},
	}})
}

func asking(workloads ...apply.Workload) map[types.UID]*question {
	out := map[types.UID]*question{}
	for _, w := range workloads {
		w.Namespace = "shop"
		out[w.UID] = &question{Workload: w}
	}
	return out
}

func TestCount(t *testing.T) {
	web, db := apply.Workload{UID: "web", Revision: "2"}, apply.Workload{UID: "db"}
	both := []apply.Workload{web, db}
	in5 := noon.Add(5 * time.Minute)
	for name, tc := range map[string]struct {
		pods  []*corev1.Pod
		sets  map[types.UID]*replicaSet
		asked []apply.Workload
		want  map[types.UID]int32
		read  []types.UID
		next  time.Time
	}{
		"pods of the workload itself": {
			pods: []*corev1.Pod{madePod("a", "db"), madePod("b", "db")}, asked: both, want: map[types.UID]int32{"db": 2},
		},
		"pods of the newest ReplicaSet, not those of an older one": {
			pods: []*corev1.Pod{madePod("a", "rs2"), madePod("b", "rs2"), madePod("c", "rs1")}, asked: both,
			sets: map[types.UID]*replicaSet{"rs2": madeSet("web", "2"), "rs1": madeSet("web", "1")}, want: map[types.UID]int32{"web": 2},
		},
		"a ReplicaSet of another workload of the same name": {
			pods: []*corev1.Pod{madePod("a", "rs2")}, asked: both, sets: map[types.UID]*replicaSet{"rs2": madeSet("earlier-web", "2")},
		},
		"a ReplicaSet without a revision": {
			pods: []*corev1.Pod{madePod("a", "rs2")}, asked: []apply.Workload{{UID: "web"}, {UID: "api", Revision: "1"}},
			sets: map[types.UID]*replicaSet{"rs2": madeSet("web", "")},
		},
		"a ReplicaSet that is gone": {
			pods: []*corev1.Pod{madePod("a", "rs2")}, asked: both, sets: map[types.UID]*replicaSet{"rs2": {}},
		},
		"a ReplicaSet that is the workload": {
			pods: []*corev1.Pod{madePod("a", "rs2")}, asked: []apply.Workload{{UID: "rs2"}}, want: map[types.UID]int32{"rs2": 1},
		},
		"a ReplicaSet that was not read must be read": {
			pods: []*corev1.Pod{madePod("a", "rs2"), madePod("b", "db")}, asked: both, want: map[types.UID]int32{"db": 1}, read: []types.UID{"rs2"},
		},
		"a ReplicaSet is not read before its pods count": {
			pods: []*corev1.Pod{madePod("a", "rs2", waiting(0))}, asked: both, next: in5,
		},
		"a ReplicaSet is not read if no Deployment is asked about": {
			pods: []*corev1.Pod{madePod("a", "rs2"), madePod("b", "rs2", waiting(0))}, asked: []apply.Workload{db},
		},
		"a ReplicaSet that may not be read is read again later": {
			pods: []*corev1.Pod{madePod("a", "rs2"), madePod("b", "rs1")}, asked: both,
			sets: map[types.UID]*replicaSet{"rs2": {again: in5}, "rs1": {again: noon}}, read: []types.UID{"rs1"}, next: in5,
		},
		"a workload that is not asked about": {pods: []*corev1.Pod{madePod("a", "other"), madePod("b", "other", waiting(0))}, asked: both},
		"5 minutes, not less": {
			pods:  []*corev1.Pod{madePod("a", "db", waiting(5*time.Minute)), madePod("b", "db", waiting(5*time.Minute-time.Second)), madePod("c", "db", waiting(0))},
			asked: both, want: map[types.UID]int32{"db": 1}, next: noon.Add(time.Second),
		},
		"a pod has waited since its creation at most": {
			pods:  []*corev1.Pod{madePod("a", "db", waiting(time.Hour), func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(noon) })},
			asked: both, next: in5,
		},
		"a clock that is behind": {
			pods: []*corev1.Pod{madePod("a", "db", waiting(-time.Minute))}, asked: both, next: in5.Add(time.Minute),
		},
		"a pod with a scheduling gate": {
			pods: []*corev1.Pod{madePod("a", "db", scheduled(corev1.ConditionFalse, corev1.PodReasonSchedulingGated, time.Hour))}, asked: both,
		},
		"a pod that the scheduler failed to process": {
			pods: []*corev1.Pod{madePod("a", "db", scheduled(corev1.ConditionFalse, corev1.PodReasonSchedulerError, time.Hour))}, asked: both,
		},
		"a pod that is being bound": {
			pods: []*corev1.Pod{madePod("a", "db", scheduled(corev1.ConditionTrue, corev1.PodReasonUnschedulable, time.Hour))}, asked: both,
		},
		"a pod that the scheduler has not seen": {
			pods: []*corev1.Pod{madePod("a", "db", func(p *corev1.Pod) { p.Status.Conditions = nil })}, asked: both,
		},
		"a pod that is being deleted": {
			pods: []*corev1.Pod{madePod("a", "db", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(noon)) })}, asked: both,
		},
		"a pod whose owner is not its controller": {
			pods: []*corev1.Pod{madePod("a", "db", func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil })}, asked: both,
		},
		"a kind of the name ReplicaSet in another group": {
			pods:  []*corev1.Pod{madePod("a", "rs2", func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "example.com/v1" })},
			asked: both,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := groups{}
			for _, p := range tc.pods {
				g.move(nil, podOf(p), noon)
			}
			for uid, set := range tc.sets {
				g[uid].known = set
			}
			got := g.count(asking(tc.asked...), noon, 5*time.Minute)
			var read []types.UID
			for _, of := range got.read {
				read = append(read, of.uid)
			}
			if tc.want == nil {
				tc.want = map[types.UID]int32{}
			}
			if !maps.Equal(got.counts, tc.want) || !slices.Equal(read, tc.read) || !got.next.Equal(tc.next) {
				t.Errorf("counts %v, reads %v, next %s; want %v, %v, %s", got.counts, read, got.next, tc.want, tc.read, tc.next)
			}
			if unread := len(read) > 0 && tc.sets[read[0]] == nil; got.open["shop"] != unread {
				t.Errorf("the namespace is open: %t", got.open["shop"])
			}
		})
	}
}

// A pod counts 5 minutes after its gate is gone, although its condition is False since its creation.
func TestAGatedPodBeginsToWaitWhenTheGateIsGone(t *testing.T) {
	gated := podOf(madePod("a", "db", scheduled(corev1.ConditionFalse, corev1.PodReasonSchedulingGated, time.Hour)))
	free := podOf(madePod("a", "db", waiting(time.Hour)))
	g, asked := groups{}, asking(apply.Workload{UID: "db"})
	if g.move(nil, gated, noon) {
		t.Error("the gated pod counts as a change")
	}
	if !g.move(gated, free, noon) {
		t.Error("the removed gate is no change")
	}
	if g.move(free, free, noon.Add(time.Minute)) {
		t.Error("a further attempt of the scheduler counts as a change")
	}
	if got := g.count(asked, noon.Add(4*time.Minute), 5*time.Minute); got.counts["db"] != 0 || !got.next.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("after 4 minutes %+v", got)
	}
	if got := g.count(asked, noon.Add(5*time.Minute), 5*time.Minute); got.counts["db"] != 1 {
		t.Errorf("after 5 minutes %+v", got)
	}
}

func TestOutdate(t *testing.T) {
	web := apply.Workload{UID: "web", Namespace: "shop", Revision: "2"}
	elsewhere := func(p *corev1.Pod) { p.Namespace = "market" }
	g := groups{}
	for _, p := range []*corev1.Pod{madePod("a", "rs-web"), madePod("b", "rs-api"), madePod("c", "rs-gone"), madePod("d", "rs-unread"), madePod("e", "rs-market", elsewhere)} {
		g.move(nil, podOf(p), noon)
	}
	g["rs-web"].known, g["rs-api"].known = madeSet("web", "1"), madeSet("api", "1")
	g["rs-gone"].known, g["rs-market"].known = madeSet("earlier-web", "1"), madeSet("earlier-web", "1")
	g.outdate(web, asking(web, apply.Workload{UID: "api", Revision: "1"}))
	got := map[types.UID]string{}
	for uid, of := range g {
		got[uid] = fmt.Sprintf("read %t, round %d", of.known != nil, of.round)
	}
	want := map[types.UID]string{
		"rs-web": "read false, round 1", "rs-api": "read true, round 0", "rs-gone": "read false, round 1", "rs-unread": "read false, round 1",
		"rs-market": "read true, round 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever happens to pods, the groups are those of the pods that wait now.
func TestGroupsHoldWhatWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, present := groups{}, map[string]*pod{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			was := present[name]
			var is *pod
			if rapid.IntRange(0, 3).Draw(t, "stays") > 0 {
				is = podOf(madePod(name, rapid.SampledFrom([]string{"db", "rs1"}).Draw(t, "owner"), func(p *corev1.Pod) {
					p.UID = types.UID(rapid.SampledFrom([]string{name, name + "-again"}).Draw(t, "uid"))
					if rapid.Bool().Draw(t, "leaving") {
						p.DeletionTimestamp = ptr.To(metav1.NewTime(noon))
					}
					scheduled(corev1.ConditionFalse, rapid.SampledFrom([]string{corev1.PodReasonUnschedulable, corev1.PodReasonSchedulingGated}).Draw(t, "reason"),
						rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "age"))(p)
				}))
			}
			before := describe(g)
			changed := g.move(was, is, noon)
			if after := describe(g); (before != after) != changed {
				t.Fatalf("changed %t: %s, then %s", changed, before, after)
			}
			if present[name] = is; is == nil {
				delete(present, name)
			}
			want := map[types.UID]int{}
			for _, p := range present {
				if p.waits() {
					want[p.owner.uid]++
				}
			}
			got := map[types.UID]int{}
			for uid, of := range g {
				got[uid] = len(of.since)
			}
			if !maps.Equal(want, got) {
				t.Fatalf("%v wait; the groups have %v", want, got)
			}
		}
	})
}

func describe(g groups) string {
	out := map[types.UID]map[types.UID]time.Time{}
	for uid, of := range g {
		out[uid] = of.since
	}
	return fmt.Sprint(out)
}
