package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// findings are what the entries of clusters list, in the words of failing, drifted, different and missing. A cluster
// that is left out lists nothing.
type findings map[string][]string

func failing(object, reason string) string { return object + " fails: " + reason }

func drifted(object, path, hub, member string, generation int64) string {
	return fmt.Sprintf("%s of generation %d has drifted: %s (%s→%s)", object, generation, path, hub, member)
}

func different(object, path, hub, member string, generation int64) string {
	return fmt.Sprintf("%s of generation %d differs: %s (%s→%s)", object, generation, path, hub, member)
}

// missing is an object that would be new.
func missing(object string) string { return object + " is not there" }

// told puts the lists of one cluster into words.
func told(entry v1beta1.PerClusterPlacementStatus) (out []string, err error) {
	object := func(id v1beta1.ResourceIdentifier) string { return id.Kind + " " + id.Name }
	for _, f := range entry.FailedPlacements {
		out = append(out, failing(object(f.ResourceIdentifier), f.Condition.Reason))
	}
	for _, d := range entry.DriftedPlacements {
		for _, detail := range d.ObservedDrifts {
			generation := d.TargetClusterObservedGeneration
			out = append(out, drifted(object(d.ResourceIdentifier), detail.Path, detail.ValueInHub, detail.ValueInMember, generation))
		}
		if d.FirstDriftedObservedTime.IsZero() || d.ObservationTime.Before(&d.FirstDriftedObservedTime) {
			err = fmt.Errorf("%s drifted first at %s, last at %s", object(d.ResourceIdentifier), d.FirstDriftedObservedTime, d.ObservationTime)
		}
	}
	for _, d := range entry.DiffedPlacements {
		for _, detail := range d.ObservedDiffs {
			whole := v1beta1.PatchDetail{Path: "/", ValueInHub: contract.TextWholeObject}
			switch generation := d.TargetClusterObservedGeneration; {
			case generation != nil:
				out = append(out, different(object(d.ResourceIdentifier), detail.Path, detail.ValueInHub, detail.ValueInMember, *generation))
			case detail == whole:
				out = append(out, missing(object(d.ResourceIdentifier)))
			default:
				err = fmt.Errorf("%+v of %s says no generation", detail, object(d.ResourceIdentifier))
			}
		}
		if d.FirstDiffedObservedTime.IsZero() || d.ObservationTime.Before(&d.FirstDiffedObservedTime) {
			err = fmt.Errorf("%s differed first at %s, last at %s", object(d.ResourceIdentifier), d.FirstDiffedObservedTime, d.ObservationTime)
		}
	}
	slices.Sort(out)
	return out, err
}

// listed compares what a status lists with what it must.
func listed(status *v1beta1.PlacementStatus, want findings) error {
	for _, entry := range status.PerClusterPlacementStatuses {
		got, err := told(entry)
		if err != nil {
			return fmt.Errorf("%s: %w", entry.ClusterName, err)
		}
		expected := slices.Sorted(slices.Values(want[entry.ClusterName]))
		if d := cmp.Diff(expected, got); d != "" {
			return fmt.Errorf("%s lists (-want +got):\n%s", entry.ClusterName, d)
		}
	}
	return nil
}

func finding(p v1beta1.PlacementObject, status testworld.Status, want findings) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := statusIs(p, status)(ctx); err != nil {
			return err
		}
		return listed(p.GetStatus(), want)
	}
}

// finds waits until the status is as it must be and lists this, and nothing else.
func (s ofPlacement) finds(status testworld.Status, want findings) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "findings of "+s.p.GetName(), finding(s.p, status, want))
}

// finally is finds, and asserts that it holds.
func (s ofPlacement) finally(status testworld.Status, want findings) {
	s.Helper()
	s.finds(status, want)
	testworld.Stable(s.T, calm, "findings of "+s.p.GetName(), finding(s.p, status, want))
}

// look is something that an object must be.
type look func(client.Object) error

func labelled(key, value string) look {
	return func(obj client.Object) error {
		if got := obj.GetLabels()[key]; got != value {
			return fmt.Errorf("label %s is %q, want %q", key, got, value)
		}
		return nil
	}
}

func containing(value string) look {
	return func(obj client.Object) error {
		if cm, ok := obj.(*corev1.ConfigMap); !ok || cm.Data["data"] != value {
			return fmt.Errorf("it is %+v, want data %q", obj, value)
		}
		return nil
	}
}

// belongingTo is to be owned by the AppliedWork of a placement alone.
func belongingTo(p v1beta1.PlacementObject) look {
	name := contract.WorkName(contract.WorkBase(p.GetNamespace(), p.GetName()), -1)
	return func(obj client.Object) error {
		if refs := obj.GetOwnerReferences(); len(refs) != 1 || refs[0].Kind != "AppliedWork" || refs[0].Name != name {
			return fmt.Errorf("owners are %+v, want AppliedWork %s", refs, name)
		}
		return nil
	}
}

func unowned(obj client.Object) error {
	if refs := obj.GetOwnerReferences(); len(refs) > 0 {
		return fmt.Errorf("owners are %+v, want none", refs)
	}
	return nil
}

func looking(m cluster, obj client.Object, looks ...look) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := m.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		for _, l := range looks {
			if err := l(obj); err != nil {
				return err
			}
		}
		return nil
	}
}

// shows waits until an object on a member is as it must be.
func (s onCluster) shows(obj client.Object, looks ...look) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%T %s on %s", obj, obj.GetName(), s.cluster.name), looking(s.cluster, obj, looks...))
}

// keeps asserts that an object on a member is as it must be, and stays so.
func (s onCluster) keeps(obj client.Object, looks ...look) {
	s.Helper()
	testworld.Stable(s.T, calm, fmt.Sprintf("%T %s on %s", obj, obj.GetName(), s.cluster.name), looking(s.cluster, obj, looks...))
}

// absent asserts that an object is not on a cluster, and stays away.
func (s onCluster) absent(obj client.Object) {
	s.Helper()
	testworld.Stable(s.T, calm, fmt.Sprintf("absence of %T %s on %s", obj, obj.GetName(), s.cluster.name), func(ctx context.Context) error {
		err := s.cluster.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if err == nil {
			return fmt.Errorf("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

// Scenarios about differences are about two objects: cm, whose data is changed on c1, and another that has a label
// more there. That is the namespace, and for a ResourcePlacement a second config map.

const second = "second"

// pair begins a scenario about both, and gives the other one.
func (s *scene) pair() (other client.Object) {
	s.Helper()
	if !s.namespaced {
		return testworld.Namespace(s.app)
	}
	cm := s.secondMap()
	s.create(cm)
	return s.secondMap()
}

func (s contents) secondMap() *corev1.ConfigMap {
	cm := testworld.ConfigMap(s.app, "test")
	cm.Name = second
	return cm
}

// otherName is how findings call the other object.
func (s contents) otherName() string {
	if s.namespaced {
		return "ConfigMap " + second
	}
	return "Namespace " + s.app
}

const cmName = "ConfigMap cm"

// placeBoth places both.
func (s *scene) placeBoth(options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	if s.namespaced {
		options = append(options,
			testworld.Selecting(testworld.Named("", "v1", "ConfigMap", "cm"), testworld.Named("", "v1", "ConfigMap", second)))
	}
	return s.place(options...)
}

// beforehand puts both on c1, different from the hub's: other as it is with label foo, and cm with data custom-1.
func (s *scene) beforehand(other client.Object) {
	s.Helper()
	labels := map[string]string{"foo": "bar"}
	for k, v := range other.GetLabels() {
		labels[k] = v
	}
	there := other.DeepCopyObject().(client.Object)
	there.SetLabels(labels)
	s.on(c1).createHere(there)
	s.on(c1).createHere(testworld.ConfigMap(s.app, "custom-1"))
}

// tamper makes the same differences on c1 where both are placed.
func (s *scene) tamper(other client.Object) {
	s.Helper()
	testworld.Update(s, c1, other, func(o client.Object) {
		labels := o.GetLabels()
		labels["foo"] = "bar"
		o.SetLabels(labels)
	})
	testworld.Update(s, c1, s.cm(), func(cm *corev1.ConfigMap) { cm.Data["data"] = "custom-1" })
}

// makeUp undoes the differences on c1.
func (s *scene) makeUp(other client.Object) {
	s.Helper()
	testworld.Update(s, c1, other, func(o client.Object) {
		labels := o.GetLabels()
		delete(labels, "foo")
		o.SetLabels(labels)
	})
	testworld.Update(s, c1, s.cm(), func(cm *corev1.ConfigMap) { cm.Data["data"] = "test" })
}

// placedOn waits until both are on members as the hub has them.
func (s ofPlacement) placedOn(other client.Object, on ...cluster) {
	s.Helper()
	for _, m := range on {
		s.on(m).shows(other, belongingTo(s.p), labelled("foo", ""))
		s.on(m).shows(s.cm(), belongingTo(s.p), containing("test"))
	}
}

var (
	fully      = v1beta1.ComparisonOptionFullComparison
	allPercent = testworld.MaxUnavailable(intstr.FromString("100%"))
)

// contract:125 contract:133
func TestTakeOverAlways(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		other := s.pair()
		theirs := other.DeepCopyObject().(client.Object)
		theirs.SetLabels(nil)
		s.beforehand(theirs)
		p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverAlways}))
		s.of(p).finds(onAll(), nil)
		for key, value := range other.GetLabels() {
			s.on(c1).shows(theirs, labelled("foo", "bar"), labelled(key, value), belongingTo(p))
		}
		s.on(c1).shows(s.cm(), containing("test"), belongingTo(p))
		s.of(p).placedOn(other, c2, c3)
	})
}

// contract:126 contract:134
func TestTakeOverIfNoDiff(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		other := s.pair()
		s.beforehand(other)
		p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff}))
		s.of(p).finds(onAll().FailingOn(c1.name), findings{c1.name: {
			failing(cmName, v1beta1.ReasonManifestFailedToTakeOver), different(cmName, "/data/data", "test", "custom-1", 0),
		}})
		s.of(p).placedOn(other.DeepCopyObject().(client.Object), c2, c3)
		s.on(c1).keeps(s.cm(), containing("custom-1"), unowned)
		s.on(c1).keeps(other, labelled("foo", "bar"), belongingTo(p))
	})
}

// contract:135
func TestTakeOverIfNoDiffAtAll(t *testing.T) {
	s := beginNamespaced(t)
	other := s.pair()
	s.beforehand(other)
	p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff, ComparisonOption: fully}))
	s.of(p).finds(onAll().FailingOn(c1.name), findings{c1.name: {
		failing(cmName, v1beta1.ReasonManifestFailedToTakeOver), different(cmName, "/data/data", "test", "custom-1", 0),
		failing(s.otherName(), v1beta1.ReasonManifestFailedToTakeOver), different(s.otherName(), "/metadata/labels/foo", "", "bar", 0),
	}})
	s.of(p).placedOn(other.DeepCopyObject().(client.Object), c2, c3)
	s.on(c1).keeps(s.cm(), containing("custom-1"), unowned)
	s.on(c1).keeps(other, labelled("foo", "bar"), unowned)
}

// contract:136
func TestDriftIsUndone(t *testing.T) {
	s := beginNamespaced(t)
	other := s.pair()
	p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{ComparisonOption: fully, WhenToApply: v1beta1.WhenToApplyAlways}))
	s.of(p).expect(onAll())
	s.tamper(other)
	s.on(c1).shows(s.cm(), containing("test"), belongingTo(p))
	s.of(p).settles(onAll())
	s.on(c1).keeps(s.cm(), containing("test"), belongingTo(p))
}

// contract:127 contract:137
func TestDriftIsLeftAndReported(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		other := s.pair()
		p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{ComparisonOption: fully, WhenToApply: v1beta1.WhenToApplyIfNotDrifted}))
		s.of(p).finds(onAll(), nil)
		s.tamper(other)
		s.of(p).finally(onAll().FailingOn(c1.name), findings{c1.name: {
			failing(cmName, v1beta1.ReasonManifestFoundDrifts), drifted(cmName, "/data/data", "test", "custom-1", 0),
			failing(s.otherName(), v1beta1.ReasonManifestFoundDrifts), drifted(s.otherName(), "/metadata/labels/foo", "", "bar", 0),
		}})
		s.on(c1).keeps(s.cm(), containing("custom-1"), belongingTo(p))
		s.on(c1).keeps(other, labelled("foo", "bar"), belongingTo(p))
		s.of(p).placedOn(other.DeepCopyObject().(client.Object), c2, c3)
	})
}

// contract:128 contract:138
func TestDifferencesAreOnlyReported(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		other := s.pair()
		s.beforehand(other)
		p := s.placeBoth(testworld.Applying(v1beta1.ApplyStrategy{
			Type: v1beta1.ApplyStrategyTypeReportDiff, ComparisonOption: fully, WhenToTakeOver: v1beta1.WhenToTakeOverNever,
		}))
		status := testworld.DiffReported(c1.name, c2.name, c3.name).AtOrNext("0")
		want := findings{
			c1.name: {different(cmName, "/data/data", "test", "custom-1", 0), different(s.otherName(), "/metadata/labels/foo", "", "bar", 0)},
			c2.name: {missing(cmName), missing(s.otherName())},
			c3.name: {missing(cmName), missing(s.otherName())},
		}
		s.of(p).finally(status, want)
		s.on(c1).keeps(s.cm(), containing("custom-1"), unowned)
		s.on(c1).keeps(other, labelled("foo", "bar"), unowned)
		for _, m := range []cluster{c2, c3} {
			s.on(m).absent(s.cm())
			s.on(m).absent(other.DeepCopyObject().(client.Object))
		}
		s.makeUp(other)
		delete(want, c1.name)
		s.of(p).finally(status, want)
		s.on(c1).keeps(s.cm(), unowned)
	})
}

// observed are the times at which a cluster's only object with details began to differ, and was last found different.
func observed(p v1beta1.PlacementObject, on cluster) (first, last time.Time) {
	for _, entry := range p.GetStatus().PerClusterPlacementStatuses {
		if entry.ClusterName != on.name {
			continue
		}
		for _, d := range entry.DriftedPlacements {
			first, last = d.FirstDriftedObservedTime.Time, d.ObservationTime.Time
		}
		for _, d := range entry.DiffedPlacements {
			first, last = d.FirstDiffedObservedTime.Time, d.ObservationTime.Time
		}
	}
	return first, last
}

// contract:129
func TestDriftsAndDifferencesThroughTheirLives(t *testing.T) {
	s := beginEmpty(t)
	web := s.deployment()
	web.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To(int64(60))
	s.create(web)
	grace := func(c cluster, seconds int64) {
		s.Helper()
		testworld.Update(s, c, s.deployment(), func(d *appsv1.Deployment) { d.Spec.Template.Spec.TerminationGracePeriodSeconds = &seconds })
	}
	replicas := func(n int32) {
		s.Helper()
		testworld.Update(s, c1, s.deployment(), func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	}
	s.on(c1).createHere(testworld.Namespace(s.app))
	theirs := s.deployment()
	theirs.Spec = *web.Spec.DeepCopy()
	theirs.Spec.Replicas = ptr.To(int32(2))
	s.on(c1).createHere(theirs)
	elsewhere := testworld.Namespace(s.app)
	elsewhere.Labels["process"] = "theirs"
	s.on(c3).createHere(elsewhere)

	p := s.place(allPercent, testworld.Applying(v1beta1.ApplyStrategy{
		Type: v1beta1.ApplyStrategyTypeServerSideApply, ServerSideApplyConfig: &v1beta1.ServerSideApplyConfig{ForceConflicts: true},
		WhenToApply: v1beta1.WhenToApplyIfNotDrifted, WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff,
	}))
	const web1, period = "Deployment web", "/spec/template/spec/terminationGracePeriodSeconds"
	namespace := "Namespace " + s.app
	onC1 := func(member string, generation int64) []string {
		return []string{failing(web1, v1beta1.ReasonManifestFailedToTakeOver), different(web1, "/spec/replicas", "1", member, generation)}
	}
	onC2 := func(member string, generation int64) []string {
		return []string{failing(web1, v1beta1.ReasonManifestFoundDrifts), drifted(web1, period, "60", member, generation)}
	}
	onC3 := []string{
		failing(namespace, v1beta1.ReasonManifestFailedToTakeOver), different(namespace, "/metadata/labels/process", s.app, "theirs", 0),
	}
	await := func(status testworld.Status, want findings) {
		s.Helper()
		testworld.Await(s.T, testworld.Workload, "findings of "+p.GetName(), finding(p, status, want))
	}
	await(onAll().FailingOn(c1.name, c3.name), findings{c1.name: onC1("2", 1), c3.name: onC3})
	grace(c2, 30)
	grace(c3, 10)
	onC3 = append(onC3, failing(web1, v1beta1.ReasonManifestFoundDrifts), drifted(web1, period, "60", "10", 2))
	failed := onAll().FailingOn(c1.name, c2.name, c3.name)
	await(failed, findings{c1.name: onC1("2", 1), c2.name: onC2("30", 2), c3.name: onC3})

	type times struct{ first, last time.Time }
	before := map[string]times{}
	for _, m := range []cluster{c1, c2} {
		first, last := observed(p, m)
		before[m.name] = times{first, last}
	}
	testworld.Await(s.T, testworld.Soon, "another second", func(context.Context) error {
		for _, m := range before {
			if time.Since(m.last) < time.Second {
				return fmt.Errorf("last observed at %s", m.last)
			}
		}
		return nil
	})
	replicas(3)
	grace(c2, 20)
	await(failed, findings{c1.name: onC1("3", 2), c2.name: onC2("20", 3), c3.name: onC3})
	for _, m := range []cluster{c1, c2} {
		if first, last := observed(p, m); !first.Equal(before[m.name].first) || !last.After(before[m.name].last) {
			t.Errorf("%s was observed first at %s and last at %s, before that at %+v", m.name, first, last, before[m.name])
		}
	}

	replicas(1)
	grace(c2, 60)
	await(onAll().FailingOn(c3.name), findings{c3.name: onC3})
	grace(theHub, 10)
	testworld.Update(s, theHub, testworld.Namespace(s.app), func(n *corev1.Namespace) { n.Labels["process"] = "theirs" })
	await(onAll(), nil)
}

// placeV1 creates the scenario's placement, on c1 alone, through v1 of the API.
func (s *scene) placeV1(options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	p := testworld.ClusterPlacement(s.name, s.app, append(options, testworld.PickFixed(c1.name))...)
	v1 := &unstructured.Unstructured{Object: must(runtime.DefaultUnstructuredConverter.ToUnstructured(p))}
	v1.SetAPIVersion(v1beta1.GroupVersion.Group + "/v1")
	v1.SetKind("ClusterResourcePlacement")
	s.create(v1)
	return p
}

// findsV1 is finds, where what is listed is read through v1 of the API.
func (s ofPlacement) findsV1(status testworld.Status, want findings) {
	s.Helper()
	s.finds(status, want)
	v1 := &unstructured.Unstructured{}
	v1.SetAPIVersion(v1beta1.GroupVersion.Group + "/v1")
	v1.SetKind("ClusterResourcePlacement")
	testworld.Await(s.T, testworld.Soon, "findings in v1 of "+s.p.GetName(), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), v1); err != nil {
			return err
		}
		var read v1beta1.ClusterResourcePlacement
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(v1.Object, &read); err != nil {
			return err
		}
		if err := status.Check(&read); err != nil {
			return err
		}
		return listed(&read.Status, want)
	})
}

// custom is the scenario's namespace with a label of this value.
func (s *scene) custom(value string) *corev1.Namespace {
	n := testworld.Namespace(s.app)
	n.Labels["label"] = value
	return n
}

// contract:130
func TestDifferenceInV1(t *testing.T) {
	t.Parallel()
	s := bare(t)
	s.create(s.custom("custom-1"))
	s.on(c1).createHere(s.custom("custom-2"))
	p := s.placeV1(allPercent, testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff}))
	s.of(p).findsV1(testworld.ApplyFailed(c1.name, c1.name).AtOrNext("0"), findings{c1.name: {
		failing("Namespace "+s.app, v1beta1.ReasonManifestFailedToTakeOver),
		different("Namespace "+s.app, "/metadata/labels/label", "custom-1", "custom-2", 0),
	}})
}

// contract:131
func TestDriftInV1(t *testing.T) {
	t.Parallel()
	s := bare(t)
	s.create(s.custom("custom-1"))
	p := s.placeV1(testworld.Applying(v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted}))
	s.of(p).findsV1(testworld.Complete(c1.name), nil)
	testworld.Update(s, c1, testworld.Namespace(s.app), func(n *corev1.Namespace) { n.Labels["label"] = "custom-2" })
	s.of(p).findsV1(testworld.ApplyFailed(c1.name, c1.name), findings{c1.name: {
		failing("Namespace "+s.app, v1beta1.ReasonManifestFoundDrifts),
		drifted("Namespace "+s.app, "/metadata/labels/label", "custom-1", "custom-2", 0),
	}})
}

// contract:132
func TestReportDiffInV1(t *testing.T) {
	t.Parallel()
	s := bare(t)
	s.create(s.custom("custom-1"))
	s.on(c1).createHere(s.custom("custom-2"))
	p := s.placeV1(testworld.Applying(v1beta1.ApplyStrategy{
		Type: v1beta1.ApplyStrategyTypeReportDiff, WhenToTakeOver: v1beta1.WhenToTakeOverNever,
	}))
	s.of(p).findsV1(testworld.DiffReported(c1.name).AtOrNext("0"), findings{c1.name: {
		different("Namespace "+s.app, "/metadata/labels/label", "custom-1", "custom-2", 0),
	}})
}

// contract:140
func TestDiffOfAnUnknownKind(t *testing.T) {
	s := beginEmpty(t)
	s.create(s.envelope(map[string]string{"bad.yaml": s.unknownKind()}))
	p := s.place(testworld.PickFixed(c1.name), testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}))
	s.of(p).finally(testworld.DiffFailed(c1.name), nil)
	s.on(c1).absent(testworld.Namespace(s.app))
}

// contract:142
func TestNamespacedDiffOfAnUnknownKind(t *testing.T) {
	s := beginNamespaced(t)
	s.create(s.envelope(map[string]string{"bad.yaml": s.unknownKind(), "good.yaml": s.enveloped("bar")}))
	p := s.place(testworld.PickFixed(c1.name), testworld.Applying(v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}),
		testworld.Selecting(testworld.Named(v1beta1.GroupVersion.Group, "v1beta1", "ResourceEnvelope", "envelope")))
	s.of(p).finally(testworld.DiffFailed(c1.name), nil)
	s.on(c1).absent(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "wrapped"}})
}

// unknownKind is the manifest of an object of a kind that no cluster has.
func (s *scene) unknownKind() string {
	return `{"apiVersion":"dummy/v10","kind":"Fake","metadata":{"name":"fake","namespace":"` + s.app + `"}}`
}
