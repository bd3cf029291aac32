package work

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// A binding is carried out if its placement is there, made it, and picked its cluster, and what it names is that
// placement's.
func TestBelieve(t *testing.T) {
	for _, namespace := range []string{"", "shop"} {
		place := func(uid types.UID) v1beta1.PlacementObject {
			if namespace == "" {
				return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: uid}}
			}
			return &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", UID: uid}}
		}
		meta := func(name string, owner v1beta1.PlacementObject) metav1.ObjectMeta {
			m := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{contract.LabelPlacement: "web"}}
			if owner != nil {
				kind := v1beta1.GroupVersion.WithKind(owner.ConditionType(""))
				m.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)}
			}
			return m
		}
		binding := func(uid string, cluster string) v1beta1.BindingObject {
			b := &v1beta1.ResourceBinding{ObjectMeta: meta("web-east", nil)}
			if uid != "" {
				b.Annotations = map[string]string{contract.AnnotationPlacementUID: uid}
			}
			b.Spec.TargetCluster, b.Spec.ResourceSnapshotName = cluster, "web-0-snapshot"
			return b
		}
		picking := func(owner v1beta1.PlacementObject, clusters ...string) []v1beta1.PolicySnapshotObject {
			p := &v1beta1.SchedulingPolicySnapshot{ObjectMeta: meta("web-0", owner)}
			for _, cluster := range clusters {
				p.Status.ClusterDecisions = append(p.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: cluster, Selected: true})
			}
			p.Status.ClusterDecisions = append(p.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: "refused"})
			return []v1beta1.PolicySnapshotObject{p}
		}
		holding := func(owner v1beta1.PlacementObject) []v1beta1.ResourceSnapshotObject {
			return []v1beta1.ResourceSnapshotObject{&v1beta1.ResourceSnapshot{ObjectMeta: meta("web-0-snapshot", owner)}}
		}
		now, before := place("now"), place("before")
		for name, tc := range map[string]struct {
			binding   v1beta1.BindingObject
			placement v1beta1.PlacementObject
			policies  []v1beta1.PolicySnapshotObject
			snapshots []v1beta1.ResourceSnapshotObject
			why       string
		}{
			"the scheduler's":                  {binding("now", "east"), now, picking(now, "east"), holding(now), ""},
			"of an earlier version":            {binding("", "east"), now, picking(now, "east"), holding(now), ""},
			"content is pruned":                {binding("now", "east"), now, picking(now, "east"), nil, ""},
			"no longer picked":                 {binding("now", "east"), now, picking(now), holding(now), "has not picked cluster east"},
			"no placement":                     {binding("now", "east"), nil, picking(now, "east"), holding(now), "does not exist"},
			"an earlier placement of the name": {binding("before", "east"), now, picking(now, "east"), holding(now), "earlier placement"},
			"not picked":                       {binding("now", "west"), now, picking(now, "east"), holding(now), "has not picked cluster west"},
			"refused":                          {binding("now", "refused"), now, picking(now, "east"), holding(now), "has not picked cluster refused"},
			"picked by an earlier placement":   {binding("now", "east"), now, picking(before, "east"), holding(now), "has not picked cluster east"},
			"picked by another's policy":       {binding("now", "east"), now, picking(nil, "east"), holding(now), "has not picked cluster east"},
			"a snapshot of an earlier one":     {binding("now", "east"), now, picking(now, "east"), holding(before), "was not made for placement"},
			"a snapshot that another has made": {binding("now", "east"), now, picking(now, "east"), holding(nil), "was not made for placement"},
		} {
			t.Run(namespace+" "+name, func(t *testing.T) {
				doubt := Believe(tc.binding, tc.placement, tc.policies, tc.snapshots)
				if tc.why == "" && doubt != nil || tc.why != "" && (doubt == nil || !strings.Contains(doubt.Why, tc.why)) {
					t.Fatalf("doubt %+v; want %q", doubt, tc.why)
				}
				if doubt != nil && doubt.Keeps != strings.Contains(doubt.Why, "has not picked") {
					t.Errorf("doubt %+v; Works are kept for a cluster that is not picked, and for nothing else", doubt)
				}
			})
		}
	}
}
