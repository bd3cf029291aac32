package testworld

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// onIndex returns a placement whose status is as s wants it, except that it is on this resource index.
func onIndex(uid string, s Status, index string) *v1beta1.ClusterResourcePlacement {
	p := &v1beta1.ClusterResourcePlacement{}
	p.Name, p.UID = "p", types.UID(uid)
	p.Status.ObservedResourceIndex = index
	for _, v := range s.placement {
		p.Status.Conditions = append(p.Status.Conditions, conditionOf(p.ConditionType(v.kind), v))
	}
	for name, conditions := range s.clusters {
		entry := v1beta1.PerClusterPlacementStatus{ClusterName: name, ObservedResourceIndex: index}
		for _, v := range conditions {
			entry.Conditions = append(entry.Conditions, conditionOf(v.kind, v))
		}
		p.Status.PerClusterPlacementStatuses = append(p.Status.PerClusterPlacementStatuses, entry)
	}
	return p
}

func conditionOf(kind string, v expected) metav1.Condition {
	return metav1.Condition{Type: kind, Status: v.status, Reason: v.reason}
}

func TestIndexOfAStatus(t *testing.T) {
	at := func(index string) Status { return Complete("c").At(index) }
	atOrNext := func(index string) Status { return Complete("c").AtOrNext(index) }
	type look struct {
		want Status
		on   string
		ok   bool
		// pending is a placement whose status is not as wanted yet.
		pending bool
	}
	for name, looks := range map[string][]look{
		"At accepts its index only":                         {{want: at("0"), on: "0", ok: true}, {want: at("0"), on: "1"}, {want: at("1"), on: "1", ok: true}, {want: at("1"), on: "2"}},
		"At does not depend on the first index":             {{want: atOrNext("0"), on: "1", ok: true}, {want: at("1"), on: "1", ok: true}, {want: at("1"), on: "2"}},
		"AtOrNext counts from a first index of 0":           {{want: atOrNext("0"), on: "0", ok: true}, {want: atOrNext("1"), on: "2"}, {want: atOrNext("1"), on: "1", ok: true}},
		"AtOrNext counts from a first index of 1":           {{want: atOrNext("0"), on: "1", ok: true}, {want: atOrNext("1"), on: "1"}, {want: atOrNext("1"), on: "2", ok: true}, {want: atOrNext("0"), on: "0"}},
		"AtOrNext accepts no first index above 1":           {{want: atOrNext("0"), on: "2"}},
		"AtOrNext counts from 0 without a first look at 0":  {{want: atOrNext("1"), on: "2"}, {want: atOrNext("1"), on: "1", ok: true}},
		"a status that is wrong does not set the first one": {{want: atOrNext("0"), on: "1", pending: true}, {want: atOrNext("0"), on: "0", ok: true}, {want: atOrNext("1"), on: "2"}},
		"Blocked keeps the index and how it counts":         {{want: atOrNext("0"), on: "1", ok: true}, {want: atOrNext("0").Blocked(), on: "1", ok: true}, {want: atOrNext("1").Blocked(), on: "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, l := range looks {
				p := onIndex(name, l.want, l.on)
				if l.pending {
					p.Status.Conditions = nil
				}
				if err := l.want.Check(p); (err == nil) != l.ok {
					t.Errorf("look %d, on index %s: accepted is %v, want %v: %v", i, l.on, err == nil, l.ok, err)
				}
			}
		})
	}
}
