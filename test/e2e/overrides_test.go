package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// key is the annotation that overrides of scenarios set.
const key = "k"

var (
	everywhere = testworld.Everywhere()
	nowhere    = testworld.Labelled(map[string]string{"region": "nowhere"})
	west       = testworld.Labelled(map[string]string{"region": "west"})
	anyRegion  = []v1beta1.ClusterSelectorTerm{testworld.Labelled(nil, metav1.LabelSelectorRequirement{Key: "region", Operator: metav1.LabelSelectorOpExists})}
)

// byRegionAndEnv gives c1, c2 and c3 the values v-0, v-1 and v-2.
func byRegionAndEnv() []v1beta1.OverrideRule {
	var rules []v1beta1.OverrideRule
	for i, labels := range []map[string]string{
		{"region": "east", "env": "prod"}, {"region": "east", "env": "canary"}, {"region": "west", "env": "prod"},
	} {
		rules = append(rules, testworld.Patching([]v1beta1.ClusterSelectorTerm{testworld.Labelled(labels)}, testworld.Annotating(key, fmt.Sprintf("v-%d", i))))
	}
	return rules
}

// wide is a ClusterResourceOverride of the scenario's namespace; limit names the placement that it is limited to, ""
// for none.
func (s *scene) wide(limit string, rules ...v1beta1.OverrideRule) *v1beta1.ClusterResourceOverride {
	o := testworld.ClusterOverride(s.name+"-cro", s.app, rules...)
	if limit != "" {
		o.Spec.Placement = &v1beta1.PlacementRef{Name: limit}
	}
	s.create(o)
	s.overridesStored(o.Name + "-0")
	return o
}

// narrow is a ResourceOverride of the scenario's config map; limit names the placement that it is limited to, "" for
// none.
func (s *scene) narrow(limit string, rules ...v1beta1.OverrideRule) *v1beta1.ResourceOverride {
	o := testworld.Override(s.app, s.name+"-ro", rules...)
	if limit != "" {
		o.Spec.Placement = &v1beta1.PlacementRef{Name: limit, Scope: v1beta1.PlacementScopeCluster}
		if s.namespaced {
			o.Spec.Placement.Scope = v1beta1.PlacementScopeNamespaced
		}
	}
	s.create(o)
	s.overridesStored(s.app + "/" + o.Name + "-0")
	return o
}

// rules changes what an override does.
func rules[O v1beta1.OverrideObject](s *scene, o O, change func([]v1beta1.OverrideRule) []v1beta1.OverrideRule) {
	s.Helper()
	testworld.Update(s, theHub, o, func(o O) { o.GetPolicy().OverrideRules = change(o.GetPolicy().OverrideRules) })
}

// overridden waits until the status is as it must be and names these override snapshots for the clusters, namespaced
// ones with their namespace, and none for others.
func (s ofPlacement) overridden(want testworld.Status, names []string, on ...cluster) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%s to be %v with overrides %v", s.p.GetName(), want, names), func(ctx context.Context) error {
		if err := statusIs(s.p, want)(ctx); err != nil {
			return err
		}
		for _, entry := range s.p.GetStatus().PerClusterPlacementStatuses {
			got := slices.Clone(entry.ApplicableClusterResourceOverrides)
			for _, o := range entry.ApplicableResourceOverrides {
				got = append(got, o.Namespace+"/"+o.Name)
			}
			want := names
			if !slices.ContainsFunc(on, func(c cluster) bool { return c.name == entry.ClusterName }) {
				want = nil
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("overrides of %s are %v, want %v", entry.ClusterName, got, want)
			}
		}
		return nil
	})
}

// carries waits until an object on a member has annotation k of this value; "" means none.
func (s onCluster) carries(object client.Object, value string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%T on %s to be annotated %q", object, s.cluster.name, value), func(ctx context.Context) error {
		if err := s.cluster.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		if got := object.GetAnnotations()[key]; got != value {
			return fmt.Errorf("annotation is %q", got)
		}
		return nil
	})
}

func (s contents) namespace() client.Object {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.app}}
}

func (s contents) cm() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: "cm"}}
}

// bothCarry waits for the annotation of namespace and config map.
func (s *scene) bothCarry(value string, on ...cluster) {
	s.Helper()
	for _, m := range on {
		s.on(m).carries(s.namespace(), value)
		s.on(m).carries(s.cm(), value)
	}
}

func (s *scene) cmCarries(value string, on ...cluster) {
	s.Helper()
	for _, m := range on {
		s.on(m).carries(s.cm(), value)
	}
}

// has waits until the config map on a member holds exactly this.
func (s onCluster) has(data map[string]string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "data on "+s.cluster.name, func(ctx context.Context) error {
		cm := s.cm()
		if err := s.cluster.Get(ctx, client.ObjectKeyFromObject(cm), cm); err != nil {
			return err
		}
		if fmt.Sprint(cm.Data) != fmt.Sprint(data) {
			return fmt.Errorf("it is %v, want %v", cm.Data, data)
		}
		return nil
	})
}

// blocked waits until the placement says no more than that its rollout has not started everywhere, with one cluster
// that failed.
func (s ofPlacement) blocked() {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, s.p.GetName()+" to be blocked", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		conditions := *s.p.GetConditions()
		if len(conditions) != 2 || conditions[0].Status != metav1.ConditionTrue || conditions[1].Reason != v1beta1.ReasonRolloutNotStartedYet {
			return fmt.Errorf("conditions are %+v", conditions)
		}
		return nil
	})
}

// reports waits until the condition Overridden of a cluster has these texts.
func (s ofPlacement) reports(texts ...string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, s.p.GetName()+" to report what is wrong", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		said := ""
		for _, entry := range s.p.GetStatus().PerClusterPlacementStatuses {
			for _, c := range entry.Conditions {
				if c.Type == v1beta1.ConditionOverridden {
					said += c.Message + "\n"
				}
			}
		}
		for _, text := range texts {
			if !strings.Contains(said, text) {
				return fmt.Errorf("%q is not in: %s", text, said)
			}
		}
		return nil
	})
}

// complain waits for a warning about an override.
func (s *scene) complain(override client.Object, reason string) {
	s.Helper()
	namespace := override.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	testworld.Await(s.T, testworld.Soon, "event "+reason+" on "+override.GetName(), func(ctx context.Context) error {
		var events corev1.EventList
		if err := theHub.List(ctx, &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.UID == override.GetUID() && e.Reason == reason && e.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("not among %d events", len(events.Items))
	})
}

var (
	complete   = func() testworld.Status { return testworld.Complete(c1.name, c2.name, c3.name) }
	failsThere = func() testworld.Status { return testworld.OverrideFailed(c1.name, c2.name, c3.name) }
)

// contract:86
func TestClusterOverrideThroughItsLife(t *testing.T) {
	s := begin(t)
	o := s.wide(s.name, testworld.Patching(everywhere, testworld.Annotating(key, "v")))
	p := s.place()
	s.of(p).selects(s.all()...)
	s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{o.Name + "-0"}, members()...)
	s.bothCarry("v", members()...)

	rules(s, o, func([]v1beta1.OverrideRule) []v1beta1.OverrideRule {
		return []v1beta1.OverrideRule{testworld.Patching(everywhere, testworld.Annotating(key, "w"))}
	})
	s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{o.Name + "-1"}, members()...)
	s.bothCarry("w", members()...)

	rules(s, o, func(r []v1beta1.OverrideRule) []v1beta1.OverrideRule { return append(r, testworld.LeavingOut(nowhere)) })
	s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{o.Name + "-2"}, members()...)
	s.bothCarry("w", members()...)

	remove(t, theHub, o)
	s.of(p).overridden(complete().AtOrNext("0"), nil)
	s.bothCarry("", members()...)
	s.of(p).deletes()
}

// contract:87
func TestClusterOverrideOfAnyPlacementByCluster(t *testing.T) {
	s := begin(t)
	o := s.wide("", byRegionAndEnv()...)
	p := s.place()
	s.of(p).overridden(complete().Overridden(), []string{o.Name + "-0"}, members()...)
	for i, m := range members() {
		s.bothCarry(fmt.Sprintf("v-%d", i), m)
	}
}

// contract:88
func TestClusterOverrideWithTheClustersName(t *testing.T) {
	s := begin(t)
	p := s.place()
	s.of(p).expect(complete())
	o := s.wide(s.name, testworld.Patching(anyRegion, testworld.Annotating(key, "test-${MEMBER-CLUSTER-NAME}")))
	s.of(p).overridden(complete().Overridden(), []string{o.Name + "-0"}, members()...)
	for _, m := range members() {
		s.bothCarry("test-"+m.name, m)
	}
}

// contract:89
func TestClusterOverrideThatFails(t *testing.T) {
	s := begin(t)
	o := s.wide(s.name, testworld.Patching(everywhere, testworld.Patch(v1beta1.JSONPatchAdd, "/metadata/annotations/k", "v")))
	p := s.place()
	s.of(p).overridden(failsThere().AtOrNext("0"), []string{o.Name + "-0"}, members()...)
	s.of(p).reports("ClusterResourceOverride "+o.Name, o.Name+"-0", "rule 1", "add /metadata/annotations/k")
	s.complain(o, "OverriddenFailed")
	s.placed("")
}

// contract:90 contract:91
func TestClusterOverrideOfOnePlacement(t *testing.T) {
	for name, mine := range map[string]bool{"mine": true, "another": false} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			limit, names, want, value := s.name, []string{s.name + "-cro-0"}, complete().Overridden(), "v"
			if !mine {
				limit, names, want, value = "another-"+s.name, nil, complete(), ""
			}
			s.wide(limit, testworld.Patching(everywhere, testworld.Annotating(key, "v")))
			p := s.place()
			s.of(p).overridden(want, names, members()...)
			s.bothCarry(value, members()...)
		})
	}
}

// contract:92
func TestClusterOverrideOfTheNamespaceAlone(t *testing.T) {
	s := begin(t)
	o := s.wide(s.name, testworld.Patching(everywhere, testworld.Annotating(key, "v")))
	p := s.place(testworld.NamespaceOnly)
	s.of(p).overridden(complete().Overridden().Selecting(s.selectedNamespace()), []string{o.Name + "-0"}, members()...)
	for _, m := range members() {
		s.on(m).carries(s.namespace(), "v")
		s.on(m).clean()
	}
}

// contract:93
func TestClusterOverrideForOneMember(t *testing.T) {
	s := begin(t)
	onlyC1 := []v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{contract.LabelMemberName: c1.name})}
	o := s.wide(s.name, testworld.Patching(onlyC1, testworld.Annotating(key, "v")))
	p := s.place()
	s.of(p).overridden(complete().Overridden(c1.name), []string{o.Name + "-0"}, c1)
	s.bothCarry("v", c1)
	s.bothCarry("", c2, c3)
	s.of(p).stays(complete().Overridden(c1.name))
}

// contract:94 contract:103
func TestOverrideThroughItsLife(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place()
		s.of(p).expect(complete())
		o := s.narrow(s.name, testworld.Patching(everywhere, testworld.Annotating(key, "v")))
		name := s.app + "/" + o.Name
		s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{name + "-0"}, members()...)
		s.cmCarries("v", members()...)
		rules(s, o, func([]v1beta1.OverrideRule) []v1beta1.OverrideRule {
			return []v1beta1.OverrideRule{testworld.Patching(everywhere, testworld.Annotating(key, "w"))}
		})
		s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{name + "-1"}, members()...)
		s.cmCarries("w", members()...)
		rules(s, o, func(r []v1beta1.OverrideRule) []v1beta1.OverrideRule { return append(r, testworld.LeavingOut(nowhere)) })
		s.of(p).overridden(complete().Overridden().AtOrNext("0"), []string{name + "-2"}, members()...)
		s.cmCarries("w", members()...)
	})
}

// contract:95 contract:104
func TestOverrideWithTwoPatches(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		o := s.narrow("", testworld.Patching(everywhere, testworld.Annotating(key, "v"), testworld.Patch(v1beta1.JSONPatchAdd, "/metadata/annotations/second", "w")))
		p := s.place()
		s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
		for _, m := range members() {
			cm := s.cm()
			s.on(m).carries(cm, "v")
			if cm.Annotations["second"] != "w" {
				s.Errorf("annotations on %s are %v", m.name, cm.Annotations)
			}
		}
	})
}

// contract:96
func TestOverrideByCluster(t *testing.T) {
	s := begin(t)
	p := s.place()
	s.of(p).expect(complete())
	o := s.narrow(s.name, byRegionAndEnv()...)
	s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
	for i, m := range members() {
		s.cmCarries(fmt.Sprintf("v-%d", i), m)
	}
}

// contract:97
func TestOverridesOfBothKinds(t *testing.T) {
	s := begin(t)
	wide := s.wide("", testworld.Patching(everywhere, testworld.Annotating(key, "wide")))
	narrow := s.narrow("", testworld.Patching(everywhere, testworld.Annotating(key, "narrow")))
	p := s.place()
	s.of(p).overridden(complete().Overridden(), []string{wide.Name + "-0", s.app + "/" + narrow.Name + "-0"}, members()...)
	for _, m := range members() {
		s.on(m).carries(s.namespace(), "wide")
		s.on(m).carries(s.cm(), "narrow")
	}
}

// contract:98 contract:105
func TestOverrideThatFails(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		o := s.narrow(s.name, testworld.Patching(everywhere, testworld.Patch(v1beta1.JSONPatchAdd, "/metadata/annotations/k", "v")))
		p := s.place()
		s.of(p).overridden(failsThere(), []string{s.app + "/" + o.Name + "-0"}, members()...)
		s.complain(o, "OverriddenFailed")
		s.placed("")
	})
}

// contract:99 contract:106
func TestOverrideThatSpoilsTheObject(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place(testworld.MaxUnavailable(intstr.FromString("100%")))
		s.of(p).expect(complete())
		o := s.narrow(s.name, testworld.Patching(everywhere, testworld.Patch(v1beta1.JSONPatchAdd, "/metadata/annotations", "no map")))
		s.of(p).overridden(testworld.SyncFailed(c1.name, c2.name, c3.name).AtOrNext("0"), []string{s.app + "/" + o.Name + "-0"}, members()...)
		s.placed("test", members()...)
		s.cmCarries("", members()...)
	})
}

// contract:100
func TestOverrideThatLeavesOut(t *testing.T) {
	s := begin(t)
	p := s.place()
	s.of(p).expect(complete())
	s.placed("test", members()...)
	o := s.narrow("", testworld.Patching([]v1beta1.ClusterSelectorTerm{east}, testworld.Annotating(key, "v")), testworld.LeavingOut(west))
	s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
	s.cmCarries("v", c1, c2)
	s.on(c3).clean()
	s.on(c3).carries(s.namespace(), "")
	s.of(p).stays(complete().Overridden())
	s.on(c3).clean()
}

// contract:101 contract:108
func TestOverrideWithLabels(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		fill := func(label string) []v1beta1.OverrideRule {
			return []v1beta1.OverrideRule{testworld.Patching(everywhere,
				testworld.Patch(v1beta1.JSONPatchAdd, "/data/region", "${MEMBER-CLUSTER-LABEL-KEY-"+label+"}"),
				testworld.Patch(v1beta1.JSONPatchReplace, "/data/data", "newdata-${MEMBER-CLUSTER-LABEL-KEY-env}"))}
		}
		filled := func() {
			s.Helper()
			s.on(c1).has(map[string]string{"data": "newdata-prod", "region": "east"})
			s.on(c2).has(map[string]string{"data": "newdata-canary", "region": "east"})
			s.on(c3).has(map[string]string{"data": "newdata-prod", "region": "west"})
		}
		o := s.narrow(s.name, fill("region")...)
		p := s.place()
		s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
		filled()
		rules(s, o, func([]v1beta1.OverrideRule) []v1beta1.OverrideRule { return fill("no-such-label") })
		s.of(p).blocked()
		s.of(p).reports(`has no label "no-such-label"`, o.Name+"-1")
		filled()
	})
}

// contract:102 contract:109
func TestOverrideWithALabelThatIsNotThere(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		o := s.narrow(s.name, testworld.Patching(everywhere, testworld.Patch(v1beta1.JSONPatchAdd, "/data/region", "${MEMBER-CLUSTER-LABEL-KEY-no-such-label}")))
		p := s.place()
		s.of(p).overridden(failsThere(), []string{s.app + "/" + o.Name + "-0"}, members()...)
		s.placed("")
	})
}

// contract:107
func TestNamespacedOverrideWithTheClustersName(t *testing.T) {
	s := beginNamespaced(t)
	o := s.narrow(s.name, testworld.Patching(anyRegion,
		testworld.Patch(v1beta1.JSONPatchReplace, "/data/data", "${MEMBER-CLUSTER-NAME}"),
		testworld.Patch(v1beta1.JSONPatchAdd, "/data/newField", "new-${MEMBER-CLUSTER-NAME}")))
	p := s.place()
	s.of(p).overridden(complete().Overridden(), []string{s.app + "/" + o.Name + "-0"}, members()...)
	for _, m := range members() {
		s.on(m).has(map[string]string{"data": m.name, "newField": "new-" + m.name})
	}
}

// An override made for a placement that selects nothing of it says so, there and on itself.
func TestOverrideThatSelectsNothing(t *testing.T) {
	s := begin(t)
	o := testworld.Override(s.app, s.name+"-ro", testworld.Patching(everywhere, testworld.Annotating(key, "v")))
	o.Spec.ResourceSelectors[0].Name = "typo"
	o.Spec.Placement = &v1beta1.PlacementRef{Name: s.name}
	s.create(o)
	p := s.place()
	s.of(p).expect(complete())
	s.of(p).reports("ResourceOverride " + s.app + "/" + o.Name)
	s.complain(o, "OverrideSelectsNothing")
}

// A label that an override needs, and gets, ends its failure; one that a rule selects by changes who is overridden.
func TestOverrideFollowsLabels(t *testing.T) {
	s := begin(t)
	label := s.name
	o := s.narrow(s.name, testworld.Patching([]v1beta1.ClusterSelectorTerm{testworld.Labelled(nil, metav1.LabelSelectorRequirement{
		Key: label, Operator: metav1.LabelSelectorOpExists,
	})}, testworld.Annotating(key, "${MEMBER-CLUSTER-LABEL-KEY-"+label+"}-${MEMBER-CLUSTER-LABEL-KEY-"+label+"-2}")))
	p := s.place()
	s.of(p).expect(complete())
	s.on(c2).label(label, "v")
	s.of(p).reports(`has no label "` + label + `-2"`)
	s.on(c2).label(label+"-2", "w")
	s.of(p).overridden(complete().Overridden(c2.name), []string{s.app + "/" + o.Name + "-0"}, c2)
	s.cmCarries("v-w", c2)
	s.cmCarries("", c1, c3)
}
