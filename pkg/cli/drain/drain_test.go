package drain

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/spf13/cobra"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func TestCordon(t *testing.T) {
	other := testworld.Taint("other", "x")
	member := testworld.NewMemberCluster("c1")
	member.Spec.Taints = []clusterv1beta1.Taint{other}
	member.Annotations = map[string]string{"other": "x"}
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(member).Build()
	for _, step := range []struct {
		what    string
		change  cordonChange
		changed bool
		taints  int
		away    bool
	}{
		{"cordon", cordon, true, 2, false}, {"cordon again", cordon, false, 2, false},
		{"away", cordonAway, true, 2, true}, {"away again", cordonAway, false, 2, true}, {"a drain keeps it away", cordon, false, 2, true},
		{"uncordon", uncordon, true, 1, false}, {"uncordon again", uncordon, false, 1, false},
		{"cordon and away", cordonAway, true, 2, true},
	} {
		changed, err := setCordon(t.Context(), c, "c1", step.change)
		if err != nil || changed != step.changed {
			t.Errorf("%s: changed %t, error %v", step.what, changed, err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(member), member); err != nil {
			t.Fatal(err)
		}
		if taints := member.Spec.Taints; len(taints) != step.taints || taints[0] != other || step.taints == 2 && taints[1] != cordonTaint {
			t.Errorf("%s: taints %v", step.what, taints)
		}
		if failover.Away(member) != step.away || member.Annotations["other"] != "x" {
			t.Errorf("%s: annotations %v", step.what, member.Annotations)
		}
	}
	if _, err := setCordon(t.Context(), c, "c9", cordon); err == nil || !strings.Contains(err.Error(), `no member cluster "c9"`) {
		t.Errorf("error %v", err)
	}
}

func TestUncordonOfAnOddAnnotation(t *testing.T) {
	member := testworld.NewMemberCluster("c1")
	member.Annotations = map[string]string{contract.AnnotationAway: "perhaps"}
	if !uncordon(member) || len(member.Annotations) > 0 {
		t.Errorf("annotations %v", member.Annotations)
	}
}

func TestCordonPrintsTheOutcome(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(testworld.NewMemberCluster("c1")).Build()
	for _, step := range []struct {
		away bool
		want string
	}{
		{false, "cluster c1: cordoned: nothing new will be placed on it\n"},
		{false, "cluster c1: is already cordoned\n"},
		{true, "cluster c1: cordoned and away: nothing new will be placed on it, and no placement leaves it while it is not heard\n"},
		{true, "cluster c1: is already cordoned and away\n"},
	} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		o := &CordonOptions{target: target{cluster: "c1", IOStreams: streams}, away: step.away}
		if err := o.cordon(t.Context(), c); err != nil || out.String() != step.want {
			t.Errorf("printed %q, error %v; want %q", out, err, step.want)
		}
	}
}

func TestEvictionName(t *testing.T) {
	for _, placement := range []string{"web", strings.Repeat("a.", 125) + "a"} {
		name := evictionName(placement, "c1")
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	const stem = "drain-eviction-web-c1-"
	if a, b := evictionName("web", "c1"), evictionName("web", "c1"); a == b || !strings.HasPrefix(a, stem) || len(a) != len(stem)+8 {
		t.Errorf("names %s and %s", a, b)
	}
}

// evictor is a hub on which evictions have an outcome at once: that of their placement's name.
func evictor(t *testing.T, outcome func(c client.Client, e v1beta1.EvictionObject), objects ...client.Object) client.WithWatch {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(apis.Scheme())
	for _, kind := range scope.Evictions.Both() {
		builder.WithIndex(kind, metav1.ObjectNameField, func(o client.Object) []string { return []string{o.GetName()} })
	}
	return builder.WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if e, ok := obj.(v1beta1.EvictionObject); ok {
				outcome(c, e)
			}
			return c.Create(ctx, obj, opts...)
		},
	}).Build()
}

func ends(e v1beta1.EvictionObject, kind string, status metav1.ConditionStatus, message string) {
	meta.SetStatusCondition(e.GetConditions(), metav1.Condition{Type: kind, Status: status, Reason: "Tested", Message: message})
}

// bound is a binding of a placement to c1.
func bound(key types.NamespacedName, name string) v1beta1.BindingObject {
	b := scope.Bindings.New(key)
	b.SetNamespace(key.Namespace)
	b.SetName(name)
	b.SetUID(uuid.NewUUID())
	b.SetLabels(map[string]string{contract.LabelPlacement: key.Name})
	b.GetSpec().TargetCluster = "c1"
	return b
}

func newDrainer(c client.WithWatch) (*drainer, *strings.Builder) {
	out := &strings.Builder{}
	return &drainer{hub: c, cluster: "c1", out: out, left: map[placementKey]bool{}}, out
}

func TestDrainPrintsEveryPlacement(t *testing.T) {
	web, held, fixed, gone := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Name: "held"},
		types.NamespacedName{Name: "fixed"}, types.NamespacedName{Name: "gone"}
	elsewhere := bound(types.NamespacedName{Name: "elsewhere"}, "elsewhere")
	elsewhere.GetSpec().TargetCluster = "c2"
	pinned := testworld.ClusterPlacement("fixed", "app", testworld.PickFixed("c1"))
	of := map[string]v1beta1.BindingObject{
		"web": bound(web, "web-c1"), "held": bound(held, "held-c1"), "fixed": bound(fixed, "fixed-c1"), "gone": bound(gone, "gone-c1"),
	}
	budget := &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "held"}}
	c := evictor(t, func(c client.Client, e v1beta1.EvictionObject) {
		name := e.GetSpec().PlacementName
		if name == "web" || name == "gone" {
			if err := c.Delete(t.Context(), of[name]); err != nil {
				t.Error(err)
			}
		}
		switch name {
		case "web":
			ends(e, v1beta1.ConditionEvictionExecuted, metav1.ConditionTrue, "allowed")
		case "held":
			ends(e, v1beta1.ConditionEvictionExecuted, metav1.ConditionFalse, "blocked")
		default:
			ends(e, v1beta1.ConditionEvictionValid, metav1.ConditionFalse, "invalid")
		}
	}, of["web"], of["held"], of["fixed"], of["gone"], elsewhere, pinned, budget)
	d, out := newDrainer(c)
	if err := d.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := map[placementKey]bool{web: true, held: false, fixed: false, gone: true}; !maps.Equal(d.left, want) || d.stayed() != 2 {
		t.Errorf("outcomes %v, want %v", d.left, want)
	}
	for _, want := range []string{
		"ResourcePlacement shop/web: evicted: allowed\n", "ClusterResourcePlacement held: stays: blocked; budget held has neither",
		"ClusterResourcePlacement fixed: stays: invalid; remove the cluster from its spec.policy.clusterNames\n",
		"ClusterResourcePlacement gone: evicted: it already left the cluster\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed %q without %q", out, want)
		}
	}
}

func TestDrainEndsWhereAPlacementComesBack(t *testing.T) {
	key := types.NamespacedName{Name: "web"}
	b := bound(key, "web-c1")
	evictions := 0
	c := evictor(t, func(c client.Client, e v1beta1.EvictionObject) {
		evictions++
		if err := errors.Join(c.Delete(t.Context(), b), c.Create(t.Context(), bound(key, "web-c1"))); err != nil {
			t.Error(err)
		}
		ends(e, v1beta1.ConditionEvictionExecuted, metav1.ConditionTrue, "allowed")
	}, b)
	d, out := newDrainer(c)
	if err := d.all(t.Context()); err != nil || evictions != rounds || d.stayed() != 1 || !strings.Contains(out.String(), "placed again") {
		t.Errorf("%d evictions, outcomes %v, printed %q, error %v", evictions, d.left, out, err)
	}
}

// A drain does not repeat the evictions of an interrupted drain.
func TestDrainGoesOn(t *testing.T) {
	key := types.NamespacedName{Name: "web"}
	asked := (&drainer{cluster: "c1"}).eviction(key)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := interceptor.NewClient(evictor(t, func(_ client.Client, e v1beta1.EvictionObject) {
		t.Errorf("another eviction %s", e.GetName())
	}, bound(key, "web-c1"), asked), interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			defer cancel() // it waits, and the user does not
			return c.Watch(ctx, list, opts...)
		},
	})
	d, _ := newDrainer(c)
	if err := d.all(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), asked.GetName()+" has no outcome") {
		t.Errorf("error %v", err)
	}
}

func TestDrainOfAHubWithoutNamespacedKinds(t *testing.T) {
	key := types.NamespacedName{Name: "web"}
	inner := evictor(t, func(_ client.Client, e v1beta1.EvictionObject) {
		ends(e, v1beta1.ConditionEvictionExecuted, metav1.ConditionTrue, "allowed")
	}, bound(key, "web-c1"))
	c := interceptor.NewClient(inner, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			switch list.(type) {
			case *v1beta1.ResourceBindingList, *v1beta1.ResourcePlacementEvictionList:
				return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "ResourceBinding"}}
			}
			return c.List(ctx, list, opts...)
		},
	})
	d, _ := newDrainer(c)
	if err := d.all(t.Context()); err != nil || !d.left[key] {
		t.Errorf("outcomes %v, error %v", d.left, err)
	}
}

func TestDrainNeedsOneCluster(t *testing.T) {
	for args, want := range map[string]string{
		"drain": "name the cluster", "cordon --away": "name the cluster", "uncordon": "name the cluster", "draincluster --hub-cluster-context hub": "name the cluster",
		"drain a --cluster-name b": "name one cluster",
	} {
		streams := genericiooptions.NewTestIOStreamsDiscard()
		root := &cobra.Command{Use: "fleet", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(NewCommand(streams), NewCordonCommand(streams), NewUncordonCommand(streams))
		root.SetArgs(strings.Fields(args))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}
