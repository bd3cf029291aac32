package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// subject is the object that scenarios about apply strategies find on c1: the namespace, or cm for a
// ResourcePlacement.
func (s contents) subject() client.Object {
	if s.namespaced {
		return testworld.ConfigMap(s.app, "test")
	}
	return testworld.Namespace(s.app)
}

func (s contents) subjectName() string {
	if s.namespaced {
		return cmName
	}
	return "Namespace " + s.app
}

// annotatedOnC1 puts the subject on c1 with the annotation k=1.
func (s *scene) annotatedOnC1(owners ...metav1.OwnerReference) {
	s.Helper()
	subject := s.subject()
	subject.SetAnnotations(map[string]string{key: "1"})
	subject.SetOwnerReferences(owners)
	s.on(c1).createHere(subject)
}

// foreigner is an owner on c1 that no placement knows.
func (s *scene) foreigner() metav1.OwnerReference {
	s.Helper()
	if s.namespaced {
		owner := s.secondMap()
		s.on(c1).createHere(owner)
		return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}
	}
	owner := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-owner"}}
	s.on(c1).createHere(owner)
	return metav1.OwnerReference{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: owner.Name, UID: owner.UID}
}

// leavesToOwner is the deletion check where c1 keeps the subject, because somebody else owns it too.
func (s ofPlacement) leavesToOwner() {
	s.Helper()
	if err := theHub.Delete(s.Context(), s.p); err != nil {
		s.Fatalf("delete %s: %v", s.p.GetName(), err)
	}
	s.finalized()
	for _, m := range []cluster{c2, c3} {
		s.on(m).clean()
		if !s.namespaced {
			s.on(m).leaving()
		}
	}
	s.on(c1).shows(s.subject(), released)
	s.on(c1).keeps(s.subject(), released)
}

// released is to be there to stay, where no AppliedWork that is left among the owners holds anything.
func released(obj client.Object) error {
	if obj.GetDeletionTimestamp() != nil {
		return fmt.Errorf("it is being deleted")
	}
	for _, ref := range obj.GetOwnerReferences() {
		if ref.Kind == "AppliedWork" && (ref.BlockOwnerDeletion == nil || *ref.BlockOwnerDeletion) {
			return fmt.Errorf("AppliedWork %s of %s blocks", ref.Name, obj.GetName())
		}
	}
	return nil
}

// forced is a strategy of server-side apply that wins over other field managers.
func forced(strategy v1beta1.ApplyStrategy) v1beta1.ApplyStrategy {
	strategy.Type = v1beta1.ApplyStrategyTypeServerSideApply
	strategy.ServerSideApplyConfig = &v1beta1.ServerSideApplyConfig{ForceConflicts: true}
	return strategy
}

// contract:110 contract:117
func TestCoOwnedObjectIsLeftToItsOwner(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.annotatedOnC1(s.foreigner())
		p := s.place(testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeClientSideApply, AllowCoOwnership: true}))
		s.of(p).finds(onAll().AtOrNext("0"), nil)
		s.on(c1).carries(s.subject(), "1")
		s.placed("test", members()...)
		s.of(p).leavesToOwner()
	})
}

// contract:111 contract:118
func TestOwnerlessObjectIsTakenOver(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.annotatedOnC1()
		p := s.place(testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeClientSideApply}))
		s.of(p).finds(onAll().AtOrNext("0"), nil)
		s.on(c1).carries(s.subject(), "1")
		s.placed("test", members()...)
		s.of(p).deletes()
	})
}

// contract:112
func TestOwnerlessObjectIsTakenOverByTheServer(t *testing.T) {
	s := begin(t)
	s.annotatedOnC1()
	p := s.place(testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}))
	s.of(p).finds(onAll().AtOrNext("0"), nil)
	s.on(c1).carries(s.subject(), "1")
	s.placed("test", members()...)
	s.of(p).deletes()
}

// contract:113 contract:120
func TestForcedFieldOfAnotherManager(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.annotatedOnC1(s.foreigner())
		testworld.Update(s, theHub, s.subject(), func(o client.Object) { o.SetAnnotations(map[string]string{key: "2"}) })
		p := s.place(testworld.Applying(forced(v1beta1.ApplyStrategy{AllowCoOwnership: true})))
		s.of(p).finds(onAll().AtOrNext("0"), nil)
		for _, m := range members() {
			s.on(m).carries(s.subject(), "2")
		}
		s.of(p).leavesToOwner()
	})
}

// contract:119
func TestForeignObjectIsNotTakenOver(t *testing.T) {
	s := beginNamespaced(t)
	s.annotatedOnC1(s.foreigner())
	p := s.place(testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}))
	s.of(p).finds(onAll().FailingOn(c1.name), findings{c1.name: {failing(cmName, v1beta1.ReasonManifestFailedToTakeOver)}})
	s.of(p).leavesToOwner()
}

// contract:114 contract:121
func TestServerSideApplyFollowsTheHub(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place(testworld.MaxUnavailable(intstr.FromInt32(1)), oneMore,
			testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}))
		s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
		s.placed("test", members()...)
		s.fill(s.cm(), "foobar")
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("1"))
		s.placed("foobar", members()...)
	})
}

// What the hub drops goes from members, in whatever way it was applied.
func TestServerSideApplyDropsWhatTheHubDrops(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		keep := map[string]string{"data": "test"}
		testworld.Update(s, theHub, s.cm(), func(cm *corev1.ConfigMap) { cm.Data["more"] = "test" })
		p := s.place(testworld.PickFixed(c1.name), testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}))
		s.of(p).expect(testworld.Complete(c1.name))
		testworld.Update(s, theHub, s.cm(), func(cm *corev1.ConfigMap) { cm.Data = keep })
		s.on(c1).has(keep)
	})
}

// oneMore lets a rollout use one cluster more than it must for a while.
func oneMore(spec *v1beta1.PlacementSpec) {
	one := intstr.FromInt32(1)
	spec.Strategy.RollingUpdate.MaxSurge = &one
}

// fill changes the data of one of the scenario's config maps on the hub.
func (s *scene) fill(cm *corev1.ConfigMap, value string) {
	s.Helper()
	testworld.Update(s, theHub, cm, func(cm *corev1.ConfigMap) { cm.Data["data"] = value })
}

// contract:115 contract:123
func TestStuckRolloutReportsDifferencesInstead(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		changed, name := s.cm(), cmName
		if s.namespaced {
			s.create(s.secondMap())
			changed, name = s.secondMap(), "ConfigMap "+second
		}
		s.on(c1).createHere(s.subject())
		never := v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted, WhenToTakeOver: v1beta1.WhenToTakeOverNever}
		p := s.placeBoth(testworld.PickFixed(c1.name, c2.name), allPercent, testworld.Applying(never))
		stuck := testworld.ApplyFailed(c1.name, c1.name, c2.name)
		refused := findings{c1.name: {failing(s.subjectName(), v1beta1.ReasonManifestNotTakenOver)}}
		s.of(p).selects(s.selected("ConfigMap", changed.Name))
		s.of(p).finds(stuck.AtOrNext("0"), refused)
		s.of(p).edit(testworld.MaxUnavailable(intstr.FromInt32(1))) // only now: what the hub sees late must still come to both
		s.of(p).finds(stuck.AtOrNext("0"), refused)

		s.fill(changed, "bar")
		s.of(p).finally(stuck.AtOrNext("1").Blocked(c2.name), refused)

		s.of(p).edit(testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff, WhenToTakeOver: v1beta1.WhenToTakeOverNever}))
		reported := findings{c2.name: {different(name, "/data/data", "bar", "test", 0)}}
		s.of(p).finally(testworld.DiffReported(c1.name, c2.name).AtOrNext("1"), reported)
	})
}

// contract:116 contract:124
func TestFromReportingToApplying(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		theirs := s.subject()
		label := func(o client.Object) {
			labels := o.GetLabels()
			labels["foo"] = "bar"
			o.SetLabels(labels)
		}
		label(theirs)
		s.on(c1).createHere(theirs)
		p := s.place(testworld.PickFixed(c1.name, c2.name),
			testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff, ComparisonOption: fully}))
		onC1, onC2 := []string{}, []string{missing(s.subjectName())}
		if !s.namespaced {
			onC1, onC2 = []string{missing(cmName)}, append(onC2, missing(cmName))
		}
		status := testworld.DiffReported(c1.name, c2.name)
		s.of(p).finds(status.AtOrNext("0"), findings{
			c1.name: append(slices.Clone(onC1), different(s.subjectName(), "/metadata/labels/foo", "", "bar", 0)), c2.name: onC2,
		})
		testworld.Update(s, theHub, s.subject(), label)
		s.of(p).finds(status.AtOrNext("1"), findings{c1.name: onC1, c2.name: onC2})

		s.of(p).edit(testworld.Applying(forced(v1beta1.ApplyStrategy{})))
		s.of(p).finds(testworld.Complete(c1.name, c2.name).AtOrNext("1"), nil)
		for _, m := range []cluster{c1, c2} {
			s.on(m).shows(s.subject(), labelled("foo", "bar"), belongingTo(p))
		}
		s.placed("test", c1, c2)
	})
}

// An object that can be compared in part only, because what is immutable differs, hides no difference of its own or of
// others.
//
// It is the case reportdiff-one-immutable-hides-all.
func TestReportDiffOneImmutableHidesAll(t *testing.T) {
	s := begin(t)
	fixed := func(value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "fixed"}, Immutable: ptr.To(true), Data: map[string]string{"data": value},
		}
	}
	s.create(fixed("hub"))
	absent := fixed("hub")
	absent.Name = "absent"
	s.create(absent)
	s.on(c1).createHere(s.namespace())
	s.on(c1).createHere(fixed("member"))
	theirs := s.cm()
	theirs.Data = map[string]string{"data": "member"}
	s.on(c1).createHere(theirs)
	p := s.place(testworld.PickFixed(c1.name), testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}))
	want := map[string]string{"fixed": "/data/data", "cm": "/data/data", "absent": "/"}
	testworld.Await(t, testworld.Workload, "all that differs", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		got := map[string][]string{}
		for _, entry := range p.GetStatus().PerClusterPlacementStatuses {
			for _, d := range entry.DiffedPlacements {
				for _, at := range d.ObservedDiffs {
					got[d.Name] = append(got[d.Name], at.Path)
				}
			}
		}
		for name, path := range want {
			if !slices.Contains(got[name], path) {
				return fmt.Errorf("differences are %v, want those in %v too", got, want)
			}
		}
		return nil
	})
}

// contract:122
func TestObjectTooLargeToRemember(t *testing.T) {
	s := beginNamespaced(t)
	p := s.place(testworld.PickFixed(c1.name))
	s.of(p).expect(testworld.Complete(c1.name).AtOrNext("0").Selecting(s.all()...))
	remembered := func(yes bool) {
		s.Helper()
		s.on(c1).shows(s.cm(), func(obj client.Object) error {
			if got := obj.GetAnnotations()[contract.AnnotationLastApplied]; (got != "") != yes {
				return fmt.Errorf("what was applied last takes %d bytes", len(got))
			}
			return nil
		})
	}
	remembered(true)

	random := make([]byte, 600_000)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	large := base64.StdEncoding.EncodeToString(random)
	testworld.Update(s, theHub, s.cm(), func(cm *corev1.ConfigMap) { cm.Data["large"] = large })
	s.of(p).expect(testworld.Complete(c1.name).AtOrNext("1"))
	remembered(false)
	s.on(c1).shows(s.cm(), func(obj client.Object) error {
		if cm, ok := obj.(*corev1.ConfigMap); !ok || cm.Data["large"] != large {
			return fmt.Errorf("it is not large")
		}
		if !slices.ContainsFunc(obj.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Manager == contract.ManagerMember }) {
			return fmt.Errorf("managers are %+v", obj.GetManagedFields())
		}
		return nil
	})

	testworld.Update(s, theHub, s.cm(), func(cm *corev1.ConfigMap) { delete(cm.Data, "large") })
	s.of(p).expect(testworld.Complete(c1.name).AtOrNext("2"))
	remembered(true)
	s.on(c1).shows(s.cm(), containing("test"), func(obj client.Object) error {
		if cm, ok := obj.(*corev1.ConfigMap); !ok || len(cm.Data) != 1 {
			return fmt.Errorf("what was large is still there")
		}
		return nil
	})
}

// A Job is deleted and made anew on the hub, right after another change or between two releases: both fall into one
// revision. Members get the new Job in place of the old one.
//
// It is the case recreated-job-stuck-and-reason-cut-off.
func TestRecreatedJobStuckAndReasonCutOff(t *testing.T) {
	const before, after = "example.invalid/m:1", "example.invalid/m:2"
	job := func(s *scene, image string) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "migrate"},
			Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "migrate"}},
				Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: image}}},
			}},
		}
	}
	running := func(image string) look {
		return func(obj client.Object) error {
			if j, ok := obj.(*batchv1.Job); !ok || j.Spec.Template.Spec.Containers[0].Image != image {
				return fmt.Errorf("it is another Job: %+v", obj)
			}
			return nil
		}
	}
	again := func(s *scene) {
		s.Helper()
		old := job(s, before)
		if err := theHub.Delete(s.Context(), old, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			s.Fatal(err)
		}
		s.on(theHub).gone(old)
		s.create(job(s, after))
	}
	t.Run("rolling", func(t *testing.T) {
		s := begin(t)
		s.create(job(s, before))
		s.place(testworld.PickFixed(c1.name))
		s.on(c1).shows(job(s, before), running(before))
		s.fill(s.cm(), "other")
		again(s)
		s.on(c1).shows(job(s, after), running(after))
		s.on(c1).holds("other")
	})
	t.Run("released", func(t *testing.T) {
		s := begin(t)
		s.create(job(s, before))
		r := staged(s, []v1beta1.StageConfig{{Name: "all", LabelSelector: &metav1.LabelSelector{}}}, external, testworld.PickFixed(c1.name))
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.succeeds(first, "0", "0", [][]string{{"c1"}})
		s.on(c1).shows(job(s, before), running(before))
		s.fill(s.cm(), "other")
		again(s)
		r.run("2", "", v1beta1.UpdateRunRun)
		s.on(c1).shows(job(s, after), running(after))
		s.on(c1).holds("other")
	})
}
