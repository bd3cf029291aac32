package validate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/validate"
	"github.com/flagship-fleet/flagship/pkg/validate/anyspec"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// agree checks with drawn specs that what is accepted can be read, and that enough of them are accepted, and refused,
// to tell. check returns what is wrong with one and why it cannot be read.
func agree(t *testing.T, check func(*rapid.T) (field.ErrorList, error)) {
	t.Helper()
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		wrong, err := check(t)
		if len(wrong) > 0 {
			refused++
			return
		}
		accepted++
		if err != nil {
			t.Fatalf("it is accepted, and: %v", err)
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d specs are accepted and %d refused", accepted, refused)
	}
}

// world has every named namespace and no other object.
type world struct{}

var errUnserved = fmt.Errorf("%w", selection.ErrUnknownKind)

func kinds(kind schema.GroupVersionKind) (namespaced bool, err error) {
	switch kind.Kind {
	case "Namespace", "ClusterRole":
		return false, nil
	case "ConfigMap":
		return true, nil
	}
	return false, errUnserved
}

func (world) Kind(kind schema.GroupVersionKind) (selection.Kind, error) {
	namespaced, err := kinds(kind)
	return selection.Kind{GroupVersionKind: kind, Namespaced: namespaced}, err
}

func (world) Contents([]string) ([]selection.Kind, []schema.GroupKind, error) { return nil, nil, nil }

func (world) Get(kind selection.Kind, namespace, name string) (*selection.Object, error) {
	if kind.Kind != "Namespace" {
		return nil, nil
	}
	return &selection.Object{Namespace: namespace, Name: name}, nil
}

func (world) List(selection.Kind, string) ([]*selection.Object, error) { return nil, nil }

func TestAcceptedSelectorsSelect(t *testing.T) {
	rules, err := selection.NewRules(selection.Config{})
	if err != nil {
		t.Fatal(err)
	}
	agree(t, func(t *rapid.T) (field.ErrorList, error) {
		spec := v1beta1.PlacementSpec{ResourceSelectors: anyspec.Placement(t).ResourceSelectors}
		var p v1beta1.PlacementObject = &v1beta1.ClusterResourcePlacement{Spec: spec}
		if rapid.Bool().Draw(t, "namespaced") {
			p = &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: "app"}, Spec: spec}
		}
		_, err := rules.Select(spec.ResourceSelectors, p.GetNamespace(), world{})
		return validate.Placement(p, kinds), err
	})
}

// What is refused for its selectors alone is what agents refuse, too.
func TestRefusedSelectorsDoNotSelect(t *testing.T) {
	rules, err := selection.NewRules(selection.Config{})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := &v1beta1.ClusterResourcePlacement{Spec: v1beta1.PlacementSpec{ResourceSelectors: anyspec.Placement(t).ResourceSelectors}}
		wrong := validate.Placement(p, kinds)
		_, err := rules.Select(p.Spec.ResourceSelectors, "", world{})
		var mistake *selection.UserError
		if (len(wrong) > 0) != errors.As(err, &mistake) {
			t.Fatalf("mistakes: %v; selecting: %v", wrong, err)
		}
	})
}

func TestAcceptedStrategiesHaveBudgets(t *testing.T) {
	agree(t, func(t *rapid.T) (field.ErrorList, error) {
		p := &v1beta1.ClusterResourcePlacement{Spec: v1beta1.PlacementSpec{Strategy: anyspec.Strategy(t)}}
		_, err := rollout.BudgetOf(p.Spec.Strategy, 7)
		return validate.Placement(p, nil), err
	})
}

// A placement that only has clusters to give up has a plan whatever the labels of clusters, if its strategy can be
// read.
func TestAcceptedUpdateStrategiesHavePlans(t *testing.T) {
	placement := &v1beta1.ClusterResourcePlacement{}
	placement.Spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	policy := &v1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{contract.LabelLatest: "true", contract.LabelPolicyIndex: "0"}}}
	policy.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionScheduled, Status: metav1.ConditionTrue}}
	binding := &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateUnscheduled, TargetCluster: "m"}}
	fleet := stage.Fleet{Placement: placement, Policies: []v1beta1.PolicySnapshotObject{policy}, Bindings: []v1beta1.BindingObject{binding}}
	agree(t, func(t *rapid.T) (field.ErrorList, error) {
		spec := anyspec.UpdateStrategy(t)
		wrong := validate.UpdateStrategy(&spec)
		_, err := stage.NewPlan(fleet, spec)
		if len(wrong) > 0 && stage.AbortOf(err) == nil {
			t.Fatalf("%v, and there is a plan", wrong)
		}
		return wrong, err
	})
}

func TestAcceptedEnvelopesBecomeWorks(t *testing.T) {
	order := work.Order{
		Binding: types.NamespacedName{Name: "b"}, Placement: types.NamespacedName{Name: "p"}, Cluster: "m",
		Content: v1beta1.Revision{ResourceSnapshotName: "p-0-snapshot"},
	}
	agree(t, func(t *rapid.T) (field.ErrorList, error) {
		e := anyspec.Envelope(t)
		kind := "ClusterResourceEnvelope"
		if e.GetNamespace() != "" {
			kind = "ResourceEnvelope"
		}
		e.GetObjectKind().SetGroupVersionKind(v1beta1.GroupVersion.WithKind(kind))
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		wrong := validate.Envelope(e)
		_, err = work.Wanted(order, work.Group{Index: "0", Parts: []work.Part{{Sub: -1, Objects: [][]byte{raw}}}}, work.AsIs)
		if len(wrong) > 0 && err == nil {
			t.Fatalf("%v, and there are Works", wrong)
		}
		return wrong, err
	})
}

// FuzzAnything reads any JSON as an object of each kind: validation says the same each time, says it in words, and
// comes to an end.
func FuzzAnything(f *testing.F) {
	for kind, seed := range []string{
		`{"metadata":{"name":"p"},"spec":{"resourceSelectors":[{"version":"v1","kind":"Namespace","labelSelector":{"matchLabels":{"a b":"c d","e":"f g"}}}],"policy":{"placementType":"PickN","numberOfClusters":-1,"affinity":{"clusterAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"clusterSelectorTerms":[{"propertySelector":{"matchExpressions":[{"name":"a","operator":"Eq","values":["1e99999999"]},{"name":"a","operator":"Gt","values":["1"]}]}}]}}}},"strategy":{"type":"External","rollingUpdate":{"maxSurge":"x"}}}}`,
		`{"metadata":{"namespace":"app","deletionTimestamp":"2020-01-01T00:00:00Z"},"spec":{"policy":{"tolerations":[{"operator":"Equal","value":"x"}]},"strategy":{"rollingUpdate":{"failurePolicy":{"failureBudget":"1"}}}}}`,
		`{"spec":{"clusterResourceSelectors":[{"kind":"A"},{"kind":"A","labelSelector":{}}],"policy":{"overrideRules":[{"clusterSelector":{"clusterSelectorTerms":[{}]},"jsonPatchOverrides":[{"op":"add","path":"//","value":"${MEMBER-CLUSTER-LABEL-KEY-"}]}]}}}`,
		`{"metadata":{"namespace":"app"},"spec":{"resourceSelectors":[{"kind":"A"},{"kind":"A"}],"policy":null}}`,
		`{"spec":{"stages":[{"name":"a","maxConcurrency":"x","afterStageTasks":[{"type":"TimedWait"}]},{"name":"a","labelSelector":{"matchExpressions":[{}]}}]}}`,
		`{"metadata":{"name":"r"},"spec":{"resumeFrom":"r","resourceSnapshotIndex":"x"}}`,
		`{"metadata":{"name":"a.b"},"spec":{"taints":[{"key":"a b"},{"key":"a b"}]}}`,
		`{"data":{"a":{"apiVersion":"v1","kind":"A","metadata":{"name":1}},"b":null,"c":[]}}`,
		`{"spec":{"maxUnavailable":"x","minAvailable":"10%"}}`,
	} {
		f.Add(uint8(kind), seed)
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		all := []func(func(any) bool) field.ErrorList{placements[v1beta1.ClusterResourcePlacement], placements[v1beta1.ResourcePlacement],
			overrides[v1beta1.ClusterResourceOverride], overrides[v1beta1.ResourceOverride], strategies, runs, members, envelopes, budgets}
		check := all[int(kind)%len(all)]
		read := func(into any) bool { return json.Unmarshal([]byte(text), into) == nil }
		once, again := fmt.Sprint(check(read)), fmt.Sprint(check(read))
		if once != again {
			t.Errorf("%s, and then %s", once, again)
		}
		for _, mistake := range check(read) {
			if mistake.Field == "" || mistake.ErrorBody() == "" {
				t.Errorf("a mistake without words: %+v", mistake)
			}
		}
	})
}

func placements[T any](read func(any) bool) field.ErrorList {
	var o, old T
	if !read(&o) {
		return nil
	}
	p, was := any(&o).(v1beta1.PlacementObject), any(&old).(v1beta1.PlacementObject)
	_, copied := validate.StatusNamespace(p.GetSpec(), "app")
	wrong := append(validate.Placement(p, kinds), copied...)
	wrong = append(wrong, validate.PlacementUpdate(was, p, kinds)...)
	wrong = append(wrong, validate.PlacementUpdate(p, was, kinds)...)
	return append(append(wrong, validate.ReportBack(p.GetSpec())...), validate.Eviction(p)...)
}

func overrides[T any](read func(any) bool) field.ErrorList {
	var o, old T
	if !read(&o) {
		return nil
	}
	p, was := any(&o).(v1beta1.OverrideObject), any(&old).(v1beta1.OverrideObject)
	wrong := append(validate.Override(p, []v1beta1.OverrideObject{was, p}), validate.OverrideSnapshot(p)...)
	return append(wrong, validate.OverrideUpdate(was, p, nil)...)
}

func strategies(read func(any) bool) field.ErrorList {
	var o v1beta1.ClusterStagedUpdateStrategy
	if !read(&o) {
		return nil
	}
	return validate.UpdateStrategy(&o.Spec)
}

func runs(read func(any) bool) field.ErrorList {
	var o v1beta1.ClusterStagedUpdateRun
	if !read(&o) {
		return nil
	}
	return validate.UpdateRun(&o)
}

func members(read func(any) bool) field.ErrorList {
	var o clusterv1beta1.MemberCluster
	if !read(&o) {
		return nil
	}
	wrong := append(validate.MemberCluster(&o), validate.MemberClusterUpdate(&clusterv1beta1.MemberCluster{}, &o)...)
	return append(wrong, validate.MemberClusterDeletion(&o, []string{"web"})...)
}

func envelopes(read func(any) bool) field.ErrorList {
	var o v1beta1.ResourceEnvelope
	if !read(&o) {
		return nil
	}
	return validate.Envelope(&o)
}

func budgets(read func(any) bool) field.ErrorList {
	var o v1beta1.ResourcePlacementDisruptionBudget
	if !read(&o) {
		return nil
	}
	return validate.DisruptionBudget(&o.Spec, &v1beta1.ResourcePlacement{})
}
