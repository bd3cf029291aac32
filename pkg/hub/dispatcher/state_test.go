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
)

// taking is a failover policy that takes the steps of Deployments along.
func taking(path string) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Failover: &v1beta1.Failover{State: []v1beta1.FailoverState{
		{Group: "apps", Kind: "Deployment", JSONPath: path, Annotation: "step"},
	}}}
}

// steps are the annotations in the Works, by the names of the objects, and what the Works report back.
func (w *world) steps() string {
	w.Helper()
	var list v1beta1.WorkList
	if err := w.client.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, work := range list.Items {
		back := "-"
		if s := work.Spec.ReportBackStrategy; s != nil {
			back = string(s.Type) + "/" + string(ptr.Deref(s.Destination, ""))
		}
		for _, m := range work.Spec.Workload.Manifests {
			var o struct {
				Metadata struct {
					Name        string
					Annotations map[string]string
				}
			}
			if err := json.Unmarshal(m.Raw, &o); err != nil {
				w.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s=%s %s", o.Metadata.Name, o.Metadata.Annotations["step"], back))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// The Works of a cluster that replaced another one have the annotations that were taken along, and members report back
// what the next exchange takes along, with one write for each Work that differs.
func TestObjectsGetTheStateOfAFailover(t *testing.T) {
	w := dividing(t, 0)
	p := placement()
	policy := func(to *v1beta1.PlacementPolicy) {
		t.Helper()
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			t.Fatal(err)
		}
		p.Spec.Policy = to
		if err := w.client.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	state := func(web, inner string) {
		t.Helper()
		b := w.binding()
		b.Spec.FailoverState = nil
		for name, value := range map[string]string{"web": web, "inner": inner} {
			if value != "" {
				b.Spec.FailoverState = append(b.Spec.FailoverState, v1beta1.ObjectAnnotation{
					Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name, Annotation: "step", Value: value,
				})
			}
		}
		if err := w.client.Update(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string) {
		t.Helper()
		if got := w.steps(); got != want {
			t.Errorf("the Works have %q, want %q", got, want)
		}
	}
	const all = "inner=5 web=20"
	policy(nil)
	w.pours(create+wrapped+", "+create+second+", "+create+first, all)
	says("c= -, inner= -, web= -")
	policy(taking(".status.step"))
	w.pours(patch+wrapped+", "+patch+second+", "+patch+first, all)
	says("c= Mirror/WorkAPI, inner= Mirror/WorkAPI, web= Mirror/WorkAPI")
	policy(taking(".status.other"))
	w.pours("", all)
	state("7", "")
	w.pours(patch+first, all)
	says("c= Mirror/WorkAPI, inner= Mirror/WorkAPI, web=7 Mirror/WorkAPI")
	state("7", "8")
	w.pours(patch+wrapped, all)
	w.pours("", all)
	says("c= Mirror/WorkAPI, inner=8 Mirror/WorkAPI, web=7 Mirror/WorkAPI")
	policy(nil) // what was taken along stays
	w.pours(patch+wrapped+", "+patch+second+", "+patch+first, all)
	says("c= -, inner=8 -, web=7 -")
	state("", "")
	w.pours(patch+wrapped+", "+patch+first, all)
	says("c= -, inner= -, web= -")
}

// Its events, when the policy begins or ends to take something along, requeue the bindings; other edits do not.
func TestChangesOfTheStateRequeue(t *testing.T) {
	with := func(policy *v1beta1.PlacementPolicy) *v1beta1.ClusterResourcePlacement {
		p := placement()
		p.Spec.Policy = policy
		return p
	}
	one, other := taking(".status.step"), taking(".status.other")
	for name, tc := range map[string]struct {
		before, after *v1beta1.PlacementPolicy
		want          bool
	}{
		"begins": {nil, one, true}, "ends": {one, nil, true}, "is edited": {one, other, false}, "is none": {nil, nil, false},
	} {
		if got := (&Dispatcher{}).placements().Update(event.UpdateEvent{ObjectOld: with(tc.before), ObjectNew: with(tc.after)}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
