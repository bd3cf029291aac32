package hub

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/dispatcher"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/testworld"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// stored are the kinds of the fleet that hold what was placed. Of most of them one object is made unreadable.
var stored = []schema.GroupVersionKind{
	clusterv1beta1.GroupVersion.WithKind("MemberCluster"),
	clusterv1beta1.GroupVersion.WithKind("InternalMemberCluster"),
	v1beta1.GroupVersion.WithKind("ClusterResourcePlacement"),
	v1beta1.GroupVersion.WithKind("ResourcePlacement"),
	v1beta1.GroupVersion.WithKind("ClusterSchedulingPolicySnapshot"),
	v1beta1.GroupVersion.WithKind("SchedulingPolicySnapshot"),
	v1beta1.GroupVersion.WithKind("ClusterResourceSnapshot"),
	v1beta1.GroupVersion.WithKind("ResourceSnapshot"),
	v1beta1.GroupVersion.WithKind("ClusterResourceBinding"),
	v1beta1.GroupVersion.WithKind("ResourceBinding"),
	v1beta1.GroupVersion.WithKind("ClusterResourceOverride"),
	v1beta1.GroupVersion.WithKind("ResourceOverride"),
	v1beta1.GroupVersion.WithKind("ClusterResourceOverrideSnapshot"),
	v1beta1.GroupVersion.WithKind("ResourceOverrideSnapshot"),
	v1beta1.GroupVersion.WithKind("ClusterResourcePlacementDisruptionBudget"),
	v1beta1.GroupVersion.WithKind("ClusterStagedUpdateStrategy"),
	v1beta1.GroupVersion.WithKind("ClusterStagedUpdateRun"),
	v1beta1.GroupVersion.WithKind("ClusterApprovalRequest"),
	v1beta1.GroupVersion.WithKind("Work"),
}

// fleet is a hub with two model members, and all agents of the hub.
type fleet struct {
	*testing.T
	*testworld.Cluster
	// whole is the test that the agents run in, beyond its parts.
	whole  testing.TB
	faults *lenient.Faults
	stop   func()
	edits  int
	// awake is for how long the agents have received heartbeats when they start; zero for none.
	awake time.Duration
	// through changes how the agents reach the hub; nil for no change.
	through func(*rest.Config) *rest.Config
	// tracer records spans of the agents; nil for none.
	tracer *trace.Tracer
}

// start starts all agents, as a leader does.
func (f *fleet) start() {
	f.Helper()
	var o Options
	flags := flag.NewFlagSet("hubagent", flag.ContinueOnError)
	o.AddFlags(flags)
	f.must(flags.Parse([]string{"--resource-snapshot-creation-minimum-interval=0s", "--resource-changes-collection-duration=0s"}))
	if f.awake > 0 {
		o.awake = time.Now().Add(-f.awake)
	}
	cfg := f.Config
	if f.through != nil {
		cfg = f.through(cfg)
	}
	f.faults = &lenient.Faults{}
	var watches lenient.Watches
	options := testworld.ManagerOptions()
	options.Scheme, options.NewCache = apis.Scheme(), reading(f.faults, &watches).NewCache
	options.Cache = cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&v1beta1.Work{}: {Transform: dispatcher.Strip}},
	}
	o.tracer = f.tracer
	mgr, err := ctrl.NewManager(cfg, options)
	f.must(err)
	f.must(addAgents(f.whole.Context(), mgr, o, f.faults, &watches))
	f.stop = testworld.Run(f.whole, mgr)
}

func (f *fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// things are the objects of the stored kinds, but for those of the placement "control", as what must not change of
// them.
func (f *fleet) things(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, kind := range stored {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := f.Client.List(ctx, list); err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			if strings.HasPrefix(o.GetName(), "control") {
				continue
			}
			state, _, _ := unstructured.NestedString(o.Object, "spec", "state")
			if state == string(v1beta1.BindingStateScheduled) {
				state = string(v1beta1.BindingStateBound) // a rollout goes on
			}
			out[kind.Kind+" "+o.GetNamespace()+"/"+o.GetName()] = fmt.Sprintf("%s, deleted: %v, state: %s", o.GetUID(), o.GetDeletionTimestamp() != nil, state)
		}
	}
	return out, nil
}

// an is one object of a kind, of snapshots a latest one: the first by name, so that member west stays well.
func (f *fleet) an(kind schema.GroupVersionKind) *unstructured.Unstructured {
	f.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	f.must(f.Client.List(f.Context(), list))
	var found *unstructured.Unstructured
	for i := range list.Items {
		o := &list.Items[i]
		if found == nil && !strings.HasPrefix(o.GetName(), "control") && o.GetLabels()[contract.LabelLatest] != "false" {
			found = o
		}
	}
	if found == nil {
		f.Fatalf("there is no %s", kind.Kind)
	}
	return found
}

// put stores a spec as it is.
func (f *fleet) put(o *unstructured.Unstructured, spec any) {
	f.Helper()
	text, err := json.Marshal(spec)
	f.must(err)
	f.must(f.Client.Patch(f.Context(), o.DeepCopy(), client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/spec","value":%s}]`, text))))
}

// edit changes what is placed, and waits until that of the placement "control" has arrived at member west: agents have
// then looked at the rest for as long.
func (f *fleet) edit() {
	f.Helper()
	f.edits++
	value := fmt.Sprintf("edit-%d", f.edits)
	for _, namespace := range []string{"shop", "till"} {
		f.must(f.Client.Update(f.Context(), testworld.ConfigMap(namespace, value)))
	}
	testworld.Await(f, testworld.Soon, "edit "+value+" of control", func(ctx context.Context) error {
		var w v1beta1.Work
		if err := f.Client.Get(ctx, client.ObjectKey{Namespace: contract.MemberNamespace("west"), Name: "control-work"}, &w); err != nil {
			return err
		}
		for _, m := range w.Spec.Workload.Manifests {
			if strings.Contains(string(m.Raw), value) {
				return nil
			}
		}
		return errors.New("it has not arrived")
	})
}

// evict asks for an eviction that the disruption budget forbids.
func (f *fleet) evict() *v1beta1.ClusterResourcePlacementEviction {
	f.Helper()
	e := &v1beta1.ClusterResourcePlacementEviction{ObjectMeta: metav1.ObjectMeta{GenerateName: "e-"}}
	e.Spec.PlacementName, e.Spec.ClusterName = "wide", "west"
	f.must(f.Client.Create(f.Context(), e))
	return e
}

// stage has an update run give the placement "staged" to member east, and wait for an approval before member west.
func (f *fleet) stage() {
	f.Helper()
	staged := testworld.ClusterPlacement("staged", "shop", testworld.Keeping(1000))
	staged.Spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: "staged"}}
	strategy.Spec.Stages = []v1beta1.StageConfig{
		{
			Name: "east", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "east"}},
			AfterStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}},
		},
		{Name: "west", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "west"}}},
	}
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: "staged"}}
	run.Spec.PlacementName, run.Spec.StagedUpdateStrategyName, run.Spec.State = staged.Name, strategy.Name, v1beta1.UpdateRunRun
	f.must(f.Client.Create(f.Context(), staged))
	testworld.Await(f, testworld.Workload, "placement staged to be scheduled", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(staged), staged); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(staged.Status.Conditions, staged.ConditionType(v1beta1.ConditionScheduled)) {
			return fmt.Errorf("conditions %+v", staged.Status.Conditions)
		}
		return nil
	})
	f.must(f.Client.Create(f.Context(), strategy))
	f.must(f.Client.Create(f.Context(), run))
	testworld.Await(f, testworld.Workload, "the run to ask for an approval", func(ctx context.Context) error {
		var requests v1beta1.ClusterApprovalRequestList
		if err := f.Client.List(ctx, &requests); err != nil {
			return err
		}
		if len(requests.Items) == 0 {
			return errors.New("there is no request")
		}
		return f.waits(ctx)
	})
}

// waits is an error if member west has what the run must not give it yet, or member east lacks it.
func (f *fleet) waits(ctx context.Context) error {
	var works v1beta1.WorkList
	if err := f.Client.List(ctx, &works, client.MatchingLabels{contract.LabelPlacement: "staged"}); err != nil {
		return err
	}
	if len(works.Items) != 1 || works.Items[0].Namespace != contract.MemberNamespace("east") {
		return fmt.Errorf("Works of the update run: %d, %+v", len(works.Items), works.Items)
	}
	return nil
}

// unwatched are the kinds that the agents read only when they need them: with an eviction, and with a new run.
var unwatched = []string{"ClusterResourcePlacementDisruptionBudget", "ClusterStagedUpdateStrategy"}

// Promise 1 for all agents of the hub: an object that they cannot decode, of whatever kind, is no reason to delete, to
// take from a member or to evict anything, neither when it turns bad nor after a restart; and all that has nothing to
// do with it goes on (promise 6).
func TestAnUnreadableObjectTakesNothingAway(t *testing.T) {
	t.Parallel()
	f := &fleet{T: t, whole: t, Cluster: testworld.StartHub(t).Cluster}
	f.start()
	watching, err := client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	for _, name := range []string{"east", "west"} {
		cluster := testworld.NewMemberCluster(name)
		cluster.Labels = map[string]string{"name": name}
		member := testworld.StartModelMember(t, watching, cluster)
		defer member.Left() // while there are agents, which end before what the test cleans up at its end
		member.Healthy()
	}
	keep := testworld.Keeping(1000)
	wide, narrow := testworld.ClusterPlacement("wide", "shop", keep), testworld.Placement("shop", "narrow", keep)
	control := testworld.ClusterPlacement("control", "till", keep, testworld.PickFixed("west"))
	budget := &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "wide"}}
	none := intstr.FromInt32(0)
	budget.Spec.MaxUnavailable = &none
	tint := []v1beta1.OverrideRule{testworld.Patching(testworld.Everywhere(), testworld.Annotating("tint", "red"))}
	for _, o := range []client.Object{
		testworld.Namespace("shop"), testworld.ConfigMap("shop", "0"), testworld.Namespace("till"), testworld.ConfigMap("till", "0"),
		testworld.ClusterOverride("tint", "shop", tint...), testworld.Override("shop", "tint", tint...), budget, wide, narrow, control,
	} {
		f.must(f.Client.Create(t.Context(), o))
	}
	f.stage()
	for _, p := range []v1beta1.PlacementObject{wide, narrow, control} {
		testworld.Await(t, testworld.Workload, p.GetName()+" to be available", func(ctx context.Context) error {
			if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if kind := p.ConditionType(v1beta1.ConditionAvailable); !meta.IsStatusConditionTrue(*p.GetConditions(), kind) {
				return fmt.Errorf("conditions %+v", *p.GetConditions())
			}
			return nil
		})
	}
	var definitions []string
	for _, kind := range stored {
		mapping, err := f.Client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		f.must(err)
		definitions = append(definitions, mapping.Resource.Resource+"."+kind.Group)
	}
	testworld.Unbound(t, f.Client, definitions...)

	for _, kind := range stored {
		if kind.Kind == "Work" {
			continue // model members decode Works as usual clients do; TestUnreadableIsNotAbsent is about Works
		}
		if t.Failed() {
			return // what the last kind has left behind
		}
		t.Run(kind.Kind, func(t *testing.T) {
			here := *f
			here.T = t
			here.edit()
			before, err := here.things(t.Context())
			here.must(err)
			bad := here.an(kind)
			spec := bad.Object["spec"]
			here.put(bad, 7)
			var evictions []*v1beta1.ClusterResourcePlacementEviction
			for _, when := range []string{"while the agents run", "after a restart"} {
				if !slices.Contains(unwatched, kind.Kind) {
					testworld.Await(t, testworld.Soon, "the agents to see that it cannot be read "+when, func(context.Context) error {
						if notes := here.faults.Notes(); !slices.ContainsFunc(notes, func(note string) bool {
							return strings.HasPrefix(note, kind.Kind+" ") && strings.Contains(note, bad.GetName())
						}) {
							return fmt.Errorf("unreadable: %q", notes)
						}
						return nil
					})
				}
				evictions = append(evictions, here.evict())
				if kind.Kind != "ClusterResourceOverrideSnapshot" { // while one cannot be read, all rollouts are held: it may concern each
					here.edit()
				}
				testworld.Stable(t, 500*time.Millisecond, "nothing to go "+when, func(ctx context.Context) error {
					after, err := here.things(ctx)
					if err != nil {
						return err
					}
					for name, was := range before {
						if is := after[name]; is != was && name != kind.Kind+" "+bad.GetNamespace()+"/"+bad.GetName() || is == "" || strings.Contains(is, "deleted: true") {
							return fmt.Errorf("%s: %s", name, cmp.Diff(was, is))
						}
					}
					return here.waits(ctx)
				})
				here.stop()
				here.start()
			}
			here.put(bad, spec)
			for _, e := range evictions {
				here.must(client.IgnoreNotFound(here.Client.Delete(t.Context(), e)))
			}
			testworld.Await(t, testworld.Soon, "all to be readable again", func(context.Context) error {
				if notes := here.faults.Notes(); len(notes) > 0 {
					return fmt.Errorf("unreadable: %q", notes)
				}
				return nil
			})
			f.stop, f.faults, f.edits = here.stop, here.faults, here.edits
		})
	}
}
