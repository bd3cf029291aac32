package dispatcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// dividing is a hub whose placement divides the Deployments web, of 20 replicas, and inner, of 5 in an envelope. Its
// second snapshot has a ConfigMap.
func dividing(t *testing.T, indexes ...int) *world {
	t.Helper()
	p := placement()
	p.Spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll, Replicas: &v1beta1.ReplicaPolicy{}}
	objects := []client.Object{member(), p, bound(0)}
	for _, index := range indexes {
		snapshots := group(index, 2, 0)
		envelope := fmt.Sprintf(`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceEnvelope",
			"metadata":{"namespace":"shop","name":"e"},"data":{"inner.yaml":%s}}`, workload("inner", 5))
		first := &snapshots[0].(*v1beta1.ClusterResourceSnapshot).Spec
		first.SelectedResources[0].Raw = []byte(workload("web", 20))
		first.SelectedResources = append(first.SelectedResources, v1beta1.ResourceContent{})
		first.SelectedResources[1].Raw = []byte(envelope)
		objects = append(objects, snapshots...)
	}
	return newWorld(t, objects...)
}

func workload(name string, replicas int) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":%q},"spec":{"replicas":%d}}`, name, replicas)
}

// decide writes shares of web and inner for a revision, as the divider does, next to those of others.
func (w *world) decide(index int, web, inner int32, change ...func(*v1beta1.RevisionShares)) {
	w.Helper()
	b, snapshot := w.binding(), contract.MasterSnapshotName("web", index)
	shares := v1beta1.RevisionShares{ResourceSnapshotName: snapshot, Workloads: []v1beta1.ReplicaShare{
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", Replicas: web, Of: 20},
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "inner", Replicas: inner, Of: 5},
	}}
	for _, c := range change {
		c(&shares)
	}
	b.Spec.Shares = append(slices.DeleteFunc(b.Spec.Shares, func(s v1beta1.RevisionShares) bool { return s.ResourceSnapshotName == snapshot }), shares)
	if err := w.client.Update(w.Context(), b); err != nil {
		w.Fatal(err)
	}
}

// replicas are those in the Works, by the names of the Deployments.
func (w *world) replicas() string {
	w.Helper()
	var list v1beta1.WorkList
	if err := w.client.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, work := range list.Items {
		for _, m := range work.Spec.Workload.Manifests {
			var o struct {
				Kind     string
				Metadata struct{ Name string }
				Spec     struct{ Replicas int }
			}
			if err := json.Unmarshal(m.Raw, &o); err != nil {
				w.Fatal(err)
			}
			if o.Kind == "Deployment" {
				out = append(out, fmt.Sprintf("%s=%d", o.Metadata.Name, o.Spec.Replicas))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// pours reconciles once, and checks which kinds of Works were written, how many, and what they have then.
func (w *world) pours(writes, replicas string) {
	w.Helper()
	_, got, err := w.pass()
	if err != nil {
		w.Fatal(err)
	}
	var short []string
	for _, write := range got {
		verb, name, _ := strings.Cut(write, " Work ")
		if strings.Contains(name, "envelope") || !strings.HasPrefix(name, "web-") {
			name = "envelope"
		}
		short = append(short, verb+" "+name)
	}
	slices.Sort(short)
	if got := strings.Join(short, ", "); got != writes {
		w.Errorf("writes %q, want %q", got, writes)
	}
	if got := w.replicas(); got != replicas {
		w.Errorf("the Works have %q, want %q", got, replicas)
	}
}

const (
	first, second, wrapped = "web-work", "web-0", "envelope"
	create, patch          = "create ", "patch "
)

func TestNothingIsWrittenBeforeReplicasAreDivided(t *testing.T) {
	w := dividing(t, 0)
	w.wants()
	w.now = w.now.Add(report.Patience)
	w.wants(writeStatus)
	if got := w.condition(v1beta1.ConditionWorkSynchronized); !strings.HasPrefix(got, "False/") || !strings.Contains(got, "Waiting until the replicas are divided") {
		t.Errorf("it reports %s", got)
	}
	w.decide(1, 9, 9) // of another revision
	w.wants()
	w.decide(0, 7, 2)
	w.pours(create+wrapped+", "+create+second+", "+create+first, "inner=2 web=7")
}

func TestOnlyWorksWithAChangedShareAreWritten(t *testing.T) {
	w := dividing(t, 0)
	w.decide(0, 7, 2)
	w.pours(create+wrapped+", "+create+second+", "+create+first, "inner=2 web=7")
	w.decide(0, 8, 2)
	w.pours(patch+first, "inner=2 web=8")
	w.decide(0, 8, 3)
	w.pours(patch+wrapped, "inner=3 web=8")
	w.decide(0, 8, 3, func(s *v1beta1.RevisionShares) { // what matters to the divider only
		s.Rules, s.Lost = "other", true
		s.Workloads[0].Target, s.Workloads[0].Of = ptr.To[int32](10), 24
		slices.Reverse(s.Workloads)
	})
	w.pours("", "inner=3 web=8")
	w.decide(1, 1, 1)
	w.pours("", "inner=3 web=8")
	w.decide(0, 0, 0)
	w.pours(patch+wrapped+", "+patch+first, "inner=0 web=0")
}

// A binding that gets a revision whose shares are not decided keeps the Works that it has.
func TestARevisionWaitsForItsShares(t *testing.T) {
	w := dividing(t, 0, 1)
	w.decide(0, 7, 2)
	w.pours(create+wrapped+", "+create+second+", "+create+first, "inner=2 web=7")
	b := w.binding()
	b.Spec.ResourceSnapshotName = contract.MasterSnapshotName("web", 1)
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.pours("", "inner=2 web=7")
	w.decide(1, 9, 3)
	w.pours(patch+wrapped+", "+patch+second+", "+patch+first, "inner=3 web=9")
}

func TestThePolicyComesAndGoes(t *testing.T) {
	w := dividing(t, 0)
	policy := func(replicas *v1beta1.ReplicaPolicy) {
		p := placement()
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			t.Fatal(err)
		}
		p.Spec.Policy.Replicas = replicas
		if err := w.client.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	w.decide(0, 7, 2)
	w.pours(create+wrapped+", "+create+second+", "+create+first, "inner=2 web=7")
	policy(nil)
	w.pours(patch+wrapped+", "+patch+first, "inner=5 web=20")
	w.pours("", "inner=5 web=20")
	b := w.binding()
	b.Spec.Shares = nil
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	policy(&v1beta1.ReplicaPolicy{})
	w.pours("", "inner=5 web=20")
	w.decide(0, 6, 1)
	w.pours(patch+wrapped+", "+patch+first, "inner=1 web=6")
}

// Its events, when the policy comes and goes, requeue the bindings; edits of it do not, because shares follow.
func TestChangesOfThePolicyRequeue(t *testing.T) {
	passes := (&Dispatcher{}).placements().Update
	with := func(replicas *v1beta1.ReplicaPolicy) *v1beta1.ClusterResourcePlacement {
		p := placement()
		p.Spec.Policy = &v1beta1.PlacementPolicy{Replicas: replicas}
		return p
	}
	one := &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](1)}
	for name, tc := range map[string]struct {
		before, after *v1beta1.ReplicaPolicy
		want          bool
	}{
		"comes": {nil, one, true}, "goes": {one, nil, true}, "is edited": {one, &v1beta1.ReplicaPolicy{}, false}, "is none": {nil, nil, false},
	} {
		if got := passes(event.UpdateEvent{ObjectOld: with(tc.before), ObjectNew: with(tc.after)}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
