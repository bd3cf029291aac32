package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// onAll is a placement that runs on all of the fleet's members.
func onAll() testworld.Status { return testworld.Complete(c1.name, c2.name, c3.name) }

// beginEmpty begins a scenario whose namespace has nothing in it.
func beginEmpty(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	s := bare(t)
	s.create(testworld.Namespace(s.app))
	return s
}

// contract:64
func TestSelectNamespaceByName(t *testing.T) {
	s := begin(t)
	p := s.place()
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
}

// contract:65
func TestSelectNamespaceByLabel(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.Selecting(testworld.WithLabel("Namespace", "process", s.app)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
}

// contract:66
func TestNamespaceGetsTheLabel(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.Selecting(testworld.WithLabel("Namespace", "wanted", s.app)))
	s.of(p).settles(onAll().At("0").Selecting())
	s.placed("")
	testworld.Update(s, theHub, testworld.Namespace(s.app), func(n *corev1.Namespace) { n.Labels["wanted"] = s.app })
	s.of(p).expect(onAll().At("1").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
}

// contract:67
func TestNamespaceLosesTheLabel(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.Selecting(testworld.WithLabel("Namespace", "process", s.app)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	testworld.Update(s, theHub, testworld.Namespace(s.app), func(n *corev1.Namespace) { n.Labels["process"] = "other" })
	s.of(p).expect(onAll().AtOrNext("1").Selecting())
	s.placed("")
	s.of(p).deletes()
}

// contract:68
func TestNamespaceGetsContent(t *testing.T) {
	s := beginEmpty(t)
	p := s.place()
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.selectedNamespace()))
	s.holdNamespace(members()...)
	s.create(testworld.ConfigMap(s.app, "test"))
	s.of(p).expect(onAll().AtOrNext("1").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
}

// contract:69
func TestNamespaceLosesContent(t *testing.T) {
	s := begin(t)
	p := s.place()
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	if err := theHub.Delete(t.Context(), testworld.ConfigMap(s.app, "")); err != nil {
		t.Fatal(err)
	}
	s.of(p).expect(onAll().AtOrNext("1").Selecting(s.selectedNamespace()))
	s.placed("")
	s.holdNamespace(members()...)
	s.of(p).deletes()
}

// holdNamespace waits until members have the scenario's namespace.
func (s *scene) holdNamespace(on ...cluster) {
	s.Helper()
	for _, m := range on {
		testworld.Await(s.T, testworld.Soon, "namespace "+s.app+" on "+m.name, func(ctx context.Context) error {
			return m.Get(ctx, client.ObjectKey{Name: s.app}, &corev1.Namespace{})
		})
	}
}

// contract:70
func TestSelectTwice(t *testing.T) {
	s := begin(t)
	once := testworld.Named("", "v1", "Namespace", s.app)
	p := s.place(testworld.Selecting(once, once))
	s.of(p).settles(testworld.Refused().Selecting())
	s.placed("")
	s.of(p).edit(testworld.Selecting(once))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
}

// contract:71
func TestSelectClusterRole(t *testing.T) {
	t.Parallel()
	s := bare(t)
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "role-" + s.name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "watch", "list"}}},
	}
	s.create(role)
	p := s.place(testworld.Selecting(testworld.Named(rbacv1.GroupName, "v1", "ClusterRole", role.Name)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(v1beta1.ResourceIdentifier{Group: rbacv1.GroupName, Version: "v1", Kind: "ClusterRole", Name: role.Name}))
	for _, m := range members() {
		testworld.Await(t, testworld.Soon, role.Name+" on "+m.name, func(ctx context.Context) error {
			var got rbacv1.ClusterRole
			if err := m.Get(ctx, client.ObjectKeyFromObject(role), &got); err != nil {
				return err
			}
			if !equality.Semantic.DeepEqual(got.Rules, role.Rules) || got.AggregationRule != nil {
				return fmt.Errorf("its rules are %v, aggregated by %v; want %v", got.Rules, got.AggregationRule, role.Rules)
			}
			return nil
		})
	}
	s.of(p).deletes()
	for _, m := range members() {
		s.on(m).gone(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name}})
	}
}

// contract:72
func TestSelectMissingNamespaceAndMore(t *testing.T) {
	s := begin(t)
	missing, there := testworld.Named("", "v1", "Namespace", "missing-"+s.app), testworld.Named("", "v1", "Namespace", s.app)
	p := s.place(testworld.Selecting(missing))
	s.of(p).expect(onAll().At("0").Selecting())
	s.of(p).edit(testworld.Selecting(missing, there))
	s.of(p).expect(onAll().At("1").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).snapshots(1, 2)
	s.of(p).deletes()
}

// contract:80 contract:81
func TestNamespacedSelectMissingAndMore(t *testing.T) {
	t.Parallel()
	for history, left := range map[int32]int{0: 2, 1: 1} { // 0 is the default
		t.Run(fmt.Sprintf("history limit %d", history), func(t *testing.T) {
			s := beginNamespaced(t)
			missing, there := testworld.Named("", "v1", "ConfigMap", "missing"), testworld.Named("", "v1", "ConfigMap", "cm")
			options := []testworld.Option{testworld.Selecting(missing)}
			if history > 0 {
				options = append(options, testworld.Keeping(history))
			}
			p := s.place(options...)
			s.of(p).expect(onAll().At("0").Selecting())
			s.of(p).edit(testworld.Selecting(missing, there))
			s.of(p).expect(onAll().At("1").Selecting(s.all()...))
			s.placed("test", members()...)
			s.of(p).snapshots(1, left)
			s.of(p).deletes()
		})
	}
}

// snapshots waits until a placement has so many snapshots of its policy and of its resources.
func (s ofPlacement) snapshots(policies, resources int) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "the snapshots of "+s.p.GetName(), func(ctx context.Context) error {
		ours := client.MatchingLabels{contract.LabelPlacement: s.p.GetName()}
		ofPolicy, err := scope.PolicySnapshots.List(ctx, theHub, s.p.GetNamespace(), ours)
		if err != nil {
			return err
		}
		ofResources, err := scope.ResourceSnapshots.List(ctx, theHub, s.p.GetNamespace(), ours)
		if err != nil {
			return err
		}
		if len(ofPolicy) != policies || len(ofResources) != resources {
			return fmt.Errorf("there are %d of the policy and of resources %v, want %d and %d", len(ofPolicy), described(ofResources), policies, resources)
		}
		return nil
	})
}

// described tells resource snapshots apart: which index, since when, and what is in them.
func described(snapshots []v1beta1.ResourceSnapshotObject) []string {
	var out []string
	for _, snapshot := range snapshots {
		line := fmt.Sprintf("%s of %s:", snapshot.GetName(), snapshot.GetCreationTimestamp().UTC().Format(time.TimeOnly))
		for _, content := range snapshot.GetSpec().SelectedResources {
			var object metav1.PartialObjectMetadata
			if err := json.Unmarshal(content.Raw, &object); err != nil {
				return append(out, err.Error())
			}
			line += fmt.Sprintf(" %s %s (%d bytes)", object.Kind, object.Name, len(content.Raw))
		}
		out = append(out, line)
	}
	return out
}

// largeSecrets creates three Secrets that do not fit into one snapshot, and returns how a status names them.
func (s *scene) largeSecrets() []v1beta1.ResourceIdentifier {
	s.Helper()
	var out []v1beta1.ResourceIdentifier
	for _, name := range []string{"large-0", "large-1", "large-2"} {
		s.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: name},
			Data:       map[string][]byte{"data": append([]byte(marked("large")), bytes.Repeat([]byte("large"), 280_000/5)...)}, // a third more in JSON
		})
		out = append(out, s.selected("Secret", name))
	}
	return out
}

// inTwoSnapshots waits until the resources of a placement, as its status last was, are in two snapshots: the latest
// master, and one more.
func (s ofPlacement) inTwoSnapshots() {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "two snapshots of "+s.p.GetName(), func(ctx context.Context) error {
		index := s.p.GetStatus().ObservedResourceIndex
		group, err := scope.ResourceSnapshots.List(ctx, theHub, s.p.GetNamespace(),
			client.MatchingLabels{contract.LabelPlacement: s.p.GetName(), contract.LabelResourceIndex: index})
		if err != nil {
			return err
		}
		masters := slices.DeleteFunc(slices.Clone(group), func(o v1beta1.ResourceSnapshotObject) bool {
			return o.GetLabels()[contract.LabelLatest] != "true" || o.GetAnnotations()[contract.AnnotationSnapshotCount] != "2"
		})
		if len(group) != 2 || len(masters) != 1 {
			return fmt.Errorf("of index %s there are %v, want two, of which one is the latest and counts two", index, described(group))
		}
		return nil
	})
}

// receives waits until members have an object.
func (s *scene) receives(obj client.Object, on ...cluster) {
	s.Helper()
	for _, m := range on {
		testworld.Await(s.T, testworld.Soon, obj.GetName()+" on "+m.name, func(ctx context.Context) error {
			return m.Get(ctx, client.ObjectKeyFromObject(obj), obj.DeepCopyObject().(client.Object))
		})
	}
}

// contract:73 contract:82
func TestSelectMoreThanOneSnapshotHolds(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		secrets := s.largeSecrets()
		options := []testworld.Option{testworld.PickFixed(c1.name, c2.name)}
		if s.namespaced {
			options = append(options, testworld.Selecting(testworld.Named("", "v1", "ConfigMap", "cm"), testworld.Named("", "v1", "Secret", "")))
		}
		p := s.place(options...)
		// Secrets come before config maps.
		all := s.all()
		want := slices.Insert(all, len(all)-1, secrets...)
		s.of(p).expectWithin(testworld.Workload, testworld.Complete(c1.name, c2.name).AtOrNext("0").Selecting(want...))
		s.of(p).inTwoSnapshots()
		s.placed("test", c1, c2)
		for _, secret := range secrets {
			s.receives(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: secret.Name}}, c1, c2)
		}
		s.of(p).deletes()
		for _, secret := range secrets {
			for _, m := range members() {
				s.on(m).gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: secret.Name}})
			}
		}
	})
}

// assorted creates a Secret, a claim and a Role beside cm, and returns how a status names what of it is placed, in its
// order. Claims are not: the hub runs workloads of its own.
func (s *scene) assorted() []v1beta1.ResourceIdentifier {
	s.Helper()
	meta := metav1.ObjectMeta{Namespace: s.app, Name: "assorted"}
	s.create(&corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"key": marked("assorted")}})
	s.create(&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}})
	s.create(&corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}})
	role := s.selected("Role", "assorted")
	role.Group = rbacv1.GroupName
	return []v1beta1.ResourceIdentifier{s.selected("Secret", "assorted"), s.selected("ConfigMap", "cm"), role}
}

// contract:74 contract:83
func TestSelectInOrder(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		want := s.assorted()
		if s.namespaced {
			p := s.place(testworld.Selecting(testworld.Named("", "v1", "ConfigMap", ""), testworld.Named("", "v1", "Secret", ""),
				testworld.Named("", "v1", "PersistentVolumeClaim", ""), testworld.Named(rbacv1.GroupName, "v1", "Role", "")))
			s.of(p).expect(onAll().AtOrNext("0").Selecting(want...))
			return
		}
		s.of(s.place()).expect(onAll().AtOrNext("0").Selecting(append([]v1beta1.ResourceIdentifier{s.selectedNamespace()}, want...)...))
	})
}

// contract:75
func TestNamespacedSelectByName(t *testing.T) {
	s := beginNamespaced(t)
	p := s.place()
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
	s.holdNamespace(members()...)
}

// contract:76
func TestNamespacedSelectByLabel(t *testing.T) {
	s := beginNamespaced(t)
	p := s.place(testworld.Selecting(testworld.WithLabel("ConfigMap", "app", s.app)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	s.of(p).deletes()
	s.holdNamespace(members()...)
}

// contract:77
func TestNamespacedObjectLosesTheLabel(t *testing.T) {
	s := beginNamespaced(t)
	p := s.place(testworld.Selecting(testworld.WithLabel("ConfigMap", "app", s.app)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...))
	s.placed("test", members()...)
	testworld.Update(s, theHub, testworld.ConfigMap(s.app, ""), func(cm *corev1.ConfigMap) { cm.Labels["app"] = "other" })
	s.of(p).expect(onAll().AtOrNext("1").Selecting())
	s.placed("")
	s.of(p).deletes()
}

// contract:78
func TestNamespacedSelectReservedConfigMap(t *testing.T) {
	s := beginNamespaced(t)
	s.receives(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "kube-root-ca.crt"}}, theHub)
	p := s.place(testworld.Selecting(testworld.Named("", "v1", "ConfigMap", "kube-root-ca.crt")))
	s.of(p).settles(onAll().At("0").Selecting())
	s.of(p).deletes()
}

// contract:79
func TestNamespacedMeetsAnObjectThatIsOwned(t *testing.T) {
	s := beginNamespaced(t)
	owner := testworld.ConfigMap(s.app, "")
	owner.Name = "owner"
	s.on(c1).createHere(owner)
	theirs := testworld.ConfigMap(s.app, "theirs")
	theirs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	s.on(c1).createHere(theirs)
	p := s.place()
	s.of(p).expect(testworld.ApplyFailed(c1.name, c1.name, c2.name, c3.name).AtOrNext("0").Selecting(s.all()...))
	for _, entry := range p.GetStatus().PerClusterPlacementStatuses {
		failed := entry.FailedPlacements
		if entry.ClusterName != c1.name {
			if len(failed) > 0 {
				t.Errorf("failed placements of %s are %+v", entry.ClusterName, failed)
			}
			continue
		}
		if len(failed) != 1 || failed[0].ResourceIdentifier != s.selected("ConfigMap", "cm") || failed[0].Condition.Status != metav1.ConditionFalse ||
			failed[0].Condition.Type != v1beta1.ConditionApplied || failed[0].Condition.Reason != v1beta1.ReasonManifestFailedToTakeOver {
			t.Errorf("failed placements of %s are %+v, want cm, Applied %s", c1.name, failed, v1beta1.ReasonManifestFailedToTakeOver)
		}
	}
	s.on(c1).holds("theirs")
	s.on(c2).holds("test")
	s.on(c3).holds("test")
	if err := theHub.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s.of(p).finalized()
	s.on(c2).clean()
	s.on(c3).clean()
	testworld.Stable(t, calm, "cm on c1", s.on(c1).holding("theirs"))
}

// contract:84
func TestNamespaceWithSelectorsOfTheNamespaceAlone(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.NamespaceWithSelectors)
	s.of(p).settles(onAll().AtOrNext("0").Selecting(s.selectedNamespace()))
	s.holdNamespace(members()...)
	s.placed("")
	s.of(p).deletes()
}

// contract:85
func TestNamespaceWithSelectorsOfNoNamespace(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.Selecting(testworld.Named("", "v1", "Namespace", "missing-"+s.app)), testworld.NamespaceWithSelectors)
	const says = "NamespaceWithResourceSelectors mode requires exactly one namespace, but no namespaces were selected"
	testworld.Await(t, testworld.Soon, "a condition that tells what is wrong", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, c := range *p.GetConditions() {
			if strings.Contains(c.Message, says) {
				return nil
			}
		}
		return errors.New("no message contains " + says)
	})
	s.placed("")
	s.of(p).deletes()
}

// What users made themselves travels, and what stays on the hub is told: its owner hears of a claim, and of what a
// selector names.
//
// It is the case manual-endpoints-not-carried.
func TestManualEndpointsNotCarried(t *testing.T) {
	s := beginEmpty(t)
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "legacy-db"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}}})
	s.create(&corev1.Endpoints{ //nolint:staticcheck // users still have them
		ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "legacy-db"},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // users still have them
			Addresses: []corev1.EndpointAddress{{IP: "192.0.2.10"}}, Ports: []corev1.EndpointPort{{Port: 5432}}, //nolint:staticcheck // the same
		}},
	})
	s.create(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "new-db-1", Labels: map[string]string{
			discoveryv1.LabelServiceName: "new-db", discoveryv1.LabelManagedBy: "cluster-admins",
		}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.11"}}},
	})
	s.create(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}})
	p := s.place()
	for _, m := range members() {
		for _, obj := range []client.Object{
			&corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "legacy-db"}}, //nolint:staticcheck // see above
			&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "new-db-1"}},
		} {
			testworld.Await(t, testworld.Soon, fmt.Sprintf("%T on %s", obj, m.name), func(ctx context.Context) error {
				return m.Get(ctx, client.ObjectKeyFromObject(obj), obj)
			})
		}
	}
	const left = "left out: PersistentVolumeClaim "
	testworld.Await(t, testworld.Soon, "the claim to be told", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(*p.GetConditions(), p.ConditionType(v1beta1.ConditionScheduled))
		if c == nil || !strings.Contains(c.Message, left+s.app+"/data (") {
			return fmt.Errorf("its condition is %+v", c)
		}
		return nil
	})
	testworld.AwaitEvents(t, theHub, corev1.NamespaceDefault, "the claim to be told", func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == p.GetName() && e.Reason == "ResourcesLeftOut" && strings.Contains(e.Message, s.app+"/data")
		})
	})
}

// A finalizer of a controller of the hub does not keep the members' copies from being deleted.
//
// It is the case hub-finalizer-blocks-member-deletion.
func TestHubFinalizerBlocksMemberDeletion(t *testing.T) {
	s := begin(t)
	held := testworld.ConfigMap(s.app, "held")
	held.Name, held.Finalizers = "hold", []string{testworld.Blocker}
	s.create(held)
	p := s.place()
	for _, m := range members() {
		copied := &corev1.ConfigMap{}
		testworld.Await(t, testworld.Soon, "the object on "+m.name, func(ctx context.Context) error {
			return m.Get(ctx, client.ObjectKeyFromObject(held), copied)
		})
		if len(copied.Finalizers) > 0 {
			t.Errorf("on %s it has finalizers %v", m.name, copied.Finalizers)
		}
	}
	s.of(p).deletes()
	for _, m := range members() {
		s.on(m).gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "hold"}})
	}
}

// What every cluster has of its own is not taken along by a selector of its kind; naming it says why it is refused.
func TestBootstrapObjectsStay(t *testing.T) {
	t.Parallel()
	s := bare(t)
	mine := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "mine-" + s.name, Labels: map[string]string{"of": s.name}}}
	s.create(mine)
	p := s.place(testworld.Selecting(testworld.WithLabel("Namespace", "process", "none"), testworld.Named(rbacv1.GroupName, "v1", "ClusterRole", "view"),
		testworld.Named("scheduling.k8s.io", "v1", "PriorityClass", ""), testworld.Named(rbacv1.GroupName, "v1", "ClusterRole", mine.Name)))
	s.of(p).expect(onAll().AtOrNext("0").Selecting(v1beta1.ResourceIdentifier{Group: rbacv1.GroupName, Version: "v1", Kind: "ClusterRole", Name: mine.Name}))
	if c := (*p.GetConditions())[0]; !strings.Contains(c.Message, "ClusterRole view (every API server creates its own)") {
		t.Errorf("its first condition is %+v", c)
	}
}
