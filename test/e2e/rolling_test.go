package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// oneAtATime lets one cluster be unavailable.
var oneAtATime = testworld.MaxUnavailable(intstr.FromInt32(1))

// period is for how long content counts as not ready where nobody can see whether it is.
func period(seconds int) testworld.Option {
	return func(s *v1beta1.PlacementSpec) { s.Strategy.RollingUpdate.UnavailablePeriodSeconds = &seconds }
}

// placeOne places the scenario's namespace with everything in it, or, if its placement is namespaced, this object
// alone.
func (s *scene) placeOne(object v1beta1.ResourceIdentifier, options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	if s.namespaced {
		options = append(options, testworld.Selecting(testworld.Named(object.Group, object.Version, object.Kind, object.Name)))
	}
	p := s.place(append(options, oneAtATime)...)
	s.of(p).selects(object)
	return p
}

// identified is an object of the scenario's namespace as a status names it.
func (s contents) identified(group, kind, name string) v1beta1.ResourceIdentifier {
	return v1beta1.ResourceIdentifier{Group: group, Version: "v1", Kind: kind, Namespace: s.app, Name: name}
}

// envelopedAs is an object as a status names it when it came in the scenario's envelope.
func (s contents) envelopedAs(object v1beta1.ResourceIdentifier) v1beta1.ResourceIdentifier {
	object.Envelope = &v1beta1.EnvelopeIdentifier{Name: "envelope", Namespace: s.app, Type: v1beta1.EnvelopeTypeResourceEnvelope}
	return object
}

// stalls waits until the rollout has stopped at its first cluster, because of this object alone, and asserts that it
// goes no further.
func (s ofPlacement) stalls(index string, object v1beta1.ResourceIdentifier, generation int64) {
	s.Helper()
	want := testworld.Blocked([]string{c1.name}, c2.name, c3.name).AtOrNext(index)
	s.expectWithin(testworld.Workload, want)
	s.stays(want)
	for _, entry := range s.p.GetStatus().PerClusterPlacementStatuses {
		if entry.ClusterName != c1.name {
			if len(entry.FailedPlacements) > 0 {
				s.Errorf("%s, which waits, says that %+v failed", entry.ClusterName, entry.FailedPlacements)
			}
			continue
		}
		if len(entry.FailedPlacements) != 1 {
			s.Fatalf("on %s failed %+v; want %s alone", entry.ClusterName, entry.FailedPlacements, object.Name)
		}
		f := entry.FailedPlacements[0]
		if !sameIdentity(f.ResourceIdentifier, object) || f.Condition.Type != v1beta1.ConditionAvailable ||
			f.Condition.Reason != v1beta1.ReasonManifestNotAvailableYet || f.Condition.ObservedGeneration != generation {
			s.Errorf("on %s failed %+v; want %+v not available at generation %d", entry.ClusterName, f, object, generation)
		}
	}
}

func sameIdentity(a, b v1beta1.ResourceIdentifier) bool {
	if (a.Envelope == nil) != (b.Envelope == nil) || a.Envelope != nil && *a.Envelope != *b.Envelope {
		return false
	}
	a.Envelope, b.Envelope = nil, nil
	return a == b
}

// image changes the image of the scenario's deployment on the hub.
func (s *scene) image(image string) {
	s.Helper()
	testworld.Update(s, theHub, s.deployment(), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// runs waits until the deployment is up on all members, with this image.
func (s *scene) runs(image string) {
	s.Helper()
	for _, m := range members() {
		testworld.Await(s.T, testworld.Workload, "the deployment on "+m.name, func(ctx context.Context) error {
			d := s.deployment()
			if err := m.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
				return err
			}
			if got := d.Spec.Template.Spec.Containers[0].Image; got != image {
				return fmt.Errorf("its image is %s; want %s", got, image)
			}
			up := d.Status
			wanted := *d.Spec.Replicas
			if up.ObservedGeneration != d.Generation || up.ReadyReplicas != wanted || up.UpdatedReplicas != wanted || up.Replicas != wanted {
				return fmt.Errorf("its status is %+v", up)
			}
			return nil
		})
	}
}

// works are those of the scenario's placement.
func (s *scene) works(ctx context.Context) ([]v1beta1.Work, error) {
	labels := client.MatchingLabels{contract.LabelPlacement: s.name}
	if s.namespaced {
		labels[contract.LabelPlacementNamespace] = s.app
	}
	var list v1beta1.WorkList
	err := theHub.List(ctx, &list, labels)
	return list.Items, err
}

// contract:150 contract:156
func TestWorksOfAnEnvelopedDeployment(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.create(s.wrapped(s.deployment()))
		p := s.placeOne(s.selectedEnvelope("ResourceEnvelope", s.app, "envelope"))
		s.of(p).expectWithin(testworld.Workload, onAll())
		s.runs("example.com/web")
		testworld.Await(s.T, testworld.Soon, "the Works to tell", func(ctx context.Context) error {
			works, err := s.works(ctx)
			if err != nil {
				return err
			}
			if len(works) != 6 {
				return fmt.Errorf("there are %d; want two for each member", len(works))
			}
			for _, w := range works {
				applied := meta.FindStatusCondition(w.Status.Conditions, v1beta1.ConditionApplied)
				available := meta.FindStatusCondition(w.Status.Conditions, v1beta1.ConditionAvailable)
				if applied == nil || applied.Status != metav1.ConditionTrue || applied.Reason != v1beta1.ReasonAllManifestsApplied ||
					available == nil || available.Status != metav1.ConditionTrue || available.Reason != v1beta1.ReasonAllManifestsAvailable {
					return fmt.Errorf("work %s/%s says %+v", w.Namespace, w.Name, w.Status.Conditions)
				}
			}
			return nil
		})
	})
}

// contract:151 contract:157
func TestBadImageStopsAtTheFirstCluster(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.create(s.deployment())
		object := s.identified("apps", "Deployment", "web")
		p := s.placeOne(object)
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("0"))
		s.image(brokenImage)
		s.of(p).stalls("1", object, 2)
	})
}

// contract:152 contract:158
func TestBadImageInAnEnvelopeStopsAtTheFirstCluster(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		db := s.statefulSet()
		db.Spec.VolumeClaimTemplates = nil
		envelope := s.wrapped(db)
		s.create(envelope)
		p := s.placeOne(s.selectedEnvelope("ResourceEnvelope", s.app, "envelope"))
		s.of(p).expectWithin(2*testworld.Workload, onAll().AtOrNext("0"))
		db.Spec.Template.Spec.Containers[0].Image = brokenImage
		testworld.Update(s, theHub, envelope, func(e *v1beta1.ResourceEnvelope) { e.Data = wrapping(db) })
		s.of(p).stalls("1", s.envelopedAs(s.identified("apps", "StatefulSet", "db")), 2)
	})
}

// contract:153 contract:159
func TestServiceWithoutAProviderStopsAtTheFirstCluster(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "web"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		s.create(service)
		object := s.identified("", "Service", "web")
		p := s.placeOne(object)
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("0"))
		testworld.Update(s, theHub, service, func(o *corev1.Service) { o.Spec.Type = corev1.ServiceTypeLoadBalancer })
		s.of(p).stalls("1", object, 0)
	})
}

// contract:154 contract:160
func TestGoodImageAfterBadOnesWithOneRevisionKept(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.create(s.deployment())
		object := s.identified("apps", "Deployment", "web")
		p := s.placeOne(object, testworld.Keeping(1))
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("0"))
		s.image(brokenImage)
		s.of(p).stalls("1", object, 2)
		s.disturb()
		s.image(brokenImage + "-too")
		s.of(p).stalls("2", object, 3)
		s.disturb()
		s.image("nginx:1.26.2")
		s.runs("nginx:1.26.2")
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("3"))
	})
}

// disturb wipes what members reported of the objects in the placement's Works.
func (s *scene) disturb() {
	s.Helper()
	name := s.name + "-work"
	if s.namespaced {
		name = s.app + "." + name
	}
	for _, m := range members() {
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(m.name), Name: name}}
		testworld.Await(s.T, testworld.Soon, "work "+name+" of "+m.name+" to lose its report", func(ctx context.Context) error {
			if err := theHub.Get(ctx, client.ObjectKeyFromObject(work), work); err != nil {
				return err
			}
			work.Status.ManifestConditions = nil
			return theHub.Status().Update(ctx, work)
		})
	}
}

// contract:155 contract:162
func TestUntrackableContentWaitsForItsPeriod(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		const wait = 30 * time.Second
		kind := schema.GroupVersionKind{Group: s.name + ".flagship.dev", Version: "v1", Kind: "Widget"}
		crd := widgets(kind)
		s.create(crd)
		widget := &unstructured.Unstructured{}
		widget.SetGroupVersionKind(kind)
		widget.SetNamespace(s.app)
		widget.SetName("widget")
		widget.Object["spec"] = map[string]any{"size": "small"}
		testworld.Await(s.T, testworld.Soon, kind.Group+" to be served", func(ctx context.Context) error { return theHub.Create(ctx, widget) })
		s.Cleanup(func() { remove(s.T, theHub, widget) })

		definition := testworld.Named(apiextensionsv1.GroupName, "v1", "CustomResourceDefinition", crd.GetName())
		what := []v1beta1.ResourceSelectorTerm{testworld.Named("", "v1", "Namespace", s.app), definition}
		if s.namespaced {
			carrier := testworld.ClusterPlacement(s.name+"-crd", s.app, testworld.Selecting(definition))
			s.create(carrier)
			s.of(carrier).expectWithin(testworld.Workload, onAll())
			what = []v1beta1.ResourceSelectorTerm{testworld.Named(kind.Group, "v1", "Widget", "widget")}
		}
		p := s.place(testworld.Selecting(what...), testworld.PickFixed(c1.name), oneAtATime, period(int(wait/time.Second)))
		s.of(p).expectWithin(2*wait, testworld.Complete(c1.name).Untrackable().AtOrNext("0"))
		since := s.of(p).availableSince()
		testworld.Update(s, theHub, widget, func(w *unstructured.Unstructured) { w.Object["spec"] = map[string]any{"size": "large"} })
		// The time in the condition is of whole seconds, and the change is told to the member as soon as the period is
		// over.
		testworld.Stable(s.T, time.Until(since.Add(wait-2*time.Second)), "the old widget on "+c1.name, func(ctx context.Context) error {
			if s.widget(ctx, kind) == "small" || time.Since(since) > wait-time.Second {
				return nil
			}
			return errors.New("it is another")
		})
		s.of(p).expectWithin(4*wait, testworld.Complete(c1.name).Untrackable().AtOrNext("1"))
		if got := s.widget(s.Context(), kind); got != "large" {
			s.Errorf("the widget is %q", got)
		}
	})
}

func (s *scene) widget(ctx context.Context, kind schema.GroupVersionKind) (size string) {
	s.Helper()
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(kind)
	if err := c1.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "widget"}, got); err != nil {
		s.Fatalf("get the widget: %v", err)
	}
	size, _, _ = unstructured.NestedString(got.Object, "spec", "size")
	return size
}

// availableSince is when the content of the placement's only binding became available.
func (s ofPlacement) availableSince() time.Time {
	s.Helper()
	bindings, err := scope.Bindings.List(s.Context(), theHub, s.p.GetNamespace(), client.MatchingLabels{contract.LabelPlacement: s.p.GetName()})
	if err != nil || len(bindings) != 1 {
		s.Fatalf("there are %d bindings, %v; want one", len(bindings), err)
	}
	available := meta.FindStatusCondition(*bindings[0].GetConditions(), v1beta1.ConditionAvailable)
	if available == nil {
		s.Fatal("the binding does not say that its content is available")
	}
	return available.LastTransitionTime.Time
}

// contract:161
func TestStateOfAJobBlocksNothing(t *testing.T) {
	s := beginNamespaced(t)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "once"}, Spec: batchv1.JobSpec{Template: pod("once")}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(job)
	p := s.placeOne(s.identified("batch", "Job", "once"), period(15))
	s.of(p).expectWithin(testworld.Workload, onAll().Untrackable().AtOrNext("0"))
	testworld.Update(s, theHub, job, func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	s.of(p).expectWithin(75*time.Second, onAll().Untrackable().AtOrNext("1"))
}

// A rollout that is held takes a change of its limits at once.
func TestLimitsCanBeRaisedWhileARolloutIsHeld(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.create(s.deployment())
		object := s.identified("apps", "Deployment", "web")
		p := s.placeOne(object)
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("0"))
		s.image(brokenImage)
		s.of(p).stalls("1", object, 2)
		s.of(p).edit(testworld.MaxUnavailable(intstr.FromInt32(2)))
		s.of(p).expect(testworld.Blocked([]string{c1.name, c2.name}, c3.name).AtOrNext("1"))
		s.of(p).edit(testworld.MaxUnavailable(intstr.FromInt32(3)))
		s.of(p).expect(testworld.NotAvailable(c1.name, c2.name, c3.name).AtOrNext("1"))
		s.image("example.com/web")
		s.of(p).expectWithin(testworld.Workload, onAll().AtOrNext("2"))
	})
}

// A cluster that is leaving, and then is gone, is missed by its placement, but the others go on changing.
func TestRolloutGoesOnWithoutAClusterThatLeaves(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("a-member-of-early-name", nil)
		f1.Healthy()
		p := s.place(testworld.PickFixed(f1.Name, c1.name, c2.name, c3.name), oneAtATime)
		s.of(p).expect(everywhereAnd(f1))
		f1.Leave()
		testworld.Update(s, theHub, testworld.ConfigMap(s.app, ""), func(cm *corev1.ConfigMap) { cm.Data["data"] = "while it leaves" })
		s.placed("while it leaves", members()...)
		f1.Left()
		s.of(p).expect(testworld.Partial(1, c1.name, c2.name, c3.name))
		testworld.Update(s, theHub, testworld.ConfigMap(s.app, ""), func(cm *corev1.ConfigMap) { cm.Data["data"] = "without it" })
		s.placed("without it", members()...)
		s.of(p).expect(testworld.Partial(1, c1.name, c2.name, c3.name))
	})
}

// A label whose value an override puts into the content is rolled out to its cluster alone.
func TestLabelOfAMemberIsRolledOut(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		key := "floor-" + s.name
		for _, m := range members() {
			s.on(m).label(key, "one")
		}
		floor := testworld.Patch(v1beta1.JSONPatchAdd, "/data/floor", "${MEMBER-CLUSTER-LABEL-KEY-"+key+"}")
		o := s.narrow(s.name, testworld.Patching(everywhere, floor))
		p := s.place(oneAtATime)
		all := []string{s.app + "/" + o.Name + "-0"}
		s.of(p).overridden(onAll().Overridden(), all, members()...)
		on := func(m cluster, floor string) { s.on(m).has(map[string]string{"data": "test", "floor": floor}) }
		for _, m := range members() {
			on(m, "one")
		}
		s.on(c2).label(key, "two")
		on(c2, "two")
		s.of(p).overridden(onAll().Overridden(), all, members()...)
		on(c1, "one")
		on(c3, "one")
	})
}

// contract:163 contract:164 contract:165 contract:166 With intervals of D the contract's hub leaves a placement alone
// for D after a change. This one lets the first change after quiet go at once: the intervals bound how long a stream
// of changes is gathered, not how long one change waits. So what is asserted is what comes of the change, in time: the
// status, everything placed, and exactly two snapshots; but not that nothing happens before D is over, and not that
// the snapshots were made D apart. 164 and 166 change the label as soon as the first snapshot is there. Not beside
// other scenarios: the hub's agent gets other flags.
func TestSnapshotIntervals(t *testing.T) {
	if local == nil {
		t.Skip("needs a fleet whose hub agent can be given other flags")
	}
	const interval = 5 * time.Second
	slow := local.Config().Hub.Agent
	slow.Flags = maps.Clone(slow.Flags)
	slow.Flags["resource-snapshot-creation-minimum-interval"] = interval.String()
	slow.Flags["resource-changes-collection-duration"] = interval.String()
	scenes := together(t, false, false, true, true)
	was := local.Config().Hub.Agent
	restartAgent(t, local.Hub(), &slow)
	defer restartAgent(t, local.Hub(), &was)

	placements := make([]v1beta1.PlacementObject, len(scenes))
	for i, s := range scenes {
		kind := "Namespace"
		if s.namespaced {
			kind = "ConfigMap"
		}
		placements[i] = s.place(testworld.Selecting(testworld.WithLabel(kind, "chosen", s.name)))
		if i%2 == 0 { // 163, 165
			s.of(placements[i]).expect(onAll().At("0").Selecting())
		} else {
			s.of(placements[i]).hasSnapshots(1)
		}
		s.choose()
	}
	for i, s := range scenes {
		p := placements[i]
		s.of(p).expectWithin(interval+testworld.Soon, onAll().At("1").Selecting(s.all()...))
		s.placed("test", members()...)
		s.of(p).hasSnapshots(2)
		testworld.Stable(t, interval, "two snapshots of "+p.GetName(), s.of(p).have(2))
		s.of(p).deletes()
	}
}

// choose puts the label on what the scenario's placement is to select.
func (s *scene) choose() {
	s.Helper()
	label := func(o client.Object) {
		labels := maps.Clone(o.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels["chosen"] = s.name
		o.SetLabels(labels)
	}
	if s.namespaced {
		testworld.Update(s, theHub, client.Object(s.cm()), label)
		return
	}
	testworld.Update(s, theHub, s.namespace(), label)
}

// hasSnapshots waits until a placement has so many resource snapshots.
func (s ofPlacement) hasSnapshots(count int) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%d snapshots of %s", count, s.p.GetName()), s.have(count))
}

func (s ofPlacement) have(count int) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := scope.ResourceSnapshots.List(ctx, theHub, s.p.GetNamespace(), client.MatchingLabels{contract.LabelPlacement: s.p.GetName()})
		if err != nil {
			return err
		}
		if len(found) != count {
			var names []string
			for _, f := range found {
				names = append(names, f.GetName())
			}
			slices.Sort(names)
			return fmt.Errorf("there are %v", names)
		}
		return nil
	}
}
