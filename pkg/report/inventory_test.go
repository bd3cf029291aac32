package report_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// What is reported, step by step: each step is what is known then.
func TestInventory(t *testing.T) {
	began := time.Date(2031, 5, 1, 10, 0, 0, 0, time.UTC)
	cpu := func(n string) *v1beta1.ResourceUsage {
		return &v1beta1.ResourceUsage{Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}}
	}
	all := &report.Inventory{
		Properties: map[v1beta1.PropertyName]string{"a": "1", "b": "2"}, Usage: cpu("4"), Namespaces: map[string]string{"n": "w"},
		Conditions: []metav1.Condition{report.NamespacesCollected(200, 0), report.CostsCalculated(""), report.PropertiesCollected(), report.ProviderStarted()},
	}
	type want struct {
		properties map[v1beta1.PropertyName]string
		cpu        string
		namespaces map[string]string
		// conditions are type and reason, in order.
		conditions []string
	}
	everything := want{map[v1beta1.PropertyName]string{"a": "1", "b": "2"}, "4", map[string]string{"n": "w"}, []string{
		"Foreign Kept", "ClusterPropertyProviderStarted Started", "ClusterPropertyCollectionSucceeded PropertiesCollected", "AKSClusterCostPropertiesCollectionSucceeded CostsCalculated", "NamespaceCollectionSucceeded Succeeded",
	}}
	status := v1beta1.InternalMemberClusterStatus{Conditions: []metav1.Condition{{Type: "Foreign", Status: metav1.ConditionTrue, Reason: "Kept"}}}
	for i, step := range []struct {
		name string
		is   *report.Inventory
		want want
	}{
		{"everything is known", all, everything},
		{"nothing is", nil, everything},
		{"nothing but that it is late", &report.Inventory{Partial: true, Conditions: []metav1.Condition{report.CollectionLate("")}}, want{
			everything.properties, "4", everything.namespaces,
			[]string{"Foreign Kept", "ClusterPropertyProviderStarted Started", "ClusterPropertyCollectionSucceeded TimedOut", "AKSClusterCostPropertiesCollectionSucceeded CostsCalculated", "NamespaceCollectionSucceeded Succeeded"},
		}},
		{"one property is known anew", &report.Inventory{Partial: true, Properties: map[v1beta1.PropertyName]string{"b": "3"}}, want{
			map[v1beta1.PropertyName]string{"a": "1", "b": "3"}, "4", everything.namespaces,
			[]string{"Foreign Kept", "ClusterPropertyProviderStarted Started", "ClusterPropertyCollectionSucceeded TimedOut", "AKSClusterCostPropertiesCollectionSucceeded CostsCalculated", "NamespaceCollectionSucceeded Succeeded"},
		}},
		{"the report is the built-in one from now on", &report.Inventory{Properties: map[v1beta1.PropertyName]string{"a": "1"}, Usage: cpu("5")}, want{
			map[v1beta1.PropertyName]string{"a": "1"}, "5", nil, []string{"Foreign Kept"},
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			now := metav1.NewTime(began.Add(time.Duration(i) * time.Minute))
			status = report.AgentJoined(status, report.AgentFacts{Generation: 7, Healthy: true, Inventory: step.is}, now)
			properties := map[v1beta1.PropertyName]string{}
			for name, value := range status.Properties {
				properties[name] = value.Value
			}
			var conditions []string
			for _, c := range status.Conditions {
				conditions = append(conditions, c.Type+" "+c.Reason)
				if c.Type != "Foreign" && c.ObservedGeneration != 7 {
					t.Errorf("%s speaks of generation %d", c.Type, c.ObservedGeneration)
				}
			}
			if !maps.Equal(properties, step.want.properties) || status.ResourceUsage.Capacity.Cpu().String() != step.want.cpu ||
				!maps.Equal(status.Namespaces, step.want.namespaces) || !slices.Equal(conditions, step.want.conditions) {
				t.Errorf("properties %v, cpu %s, namespaces %v, conditions %v; want %+v",
					properties, status.ResourceUsage.Capacity.Cpu(), status.Namespaces, conditions, step.want)
			}
			for _, c := range status.Conditions {
				if c.Type == v1beta1.ConditionClusterPropertyProviderStarted && !c.LastTransitionTime.Time.Equal(began) {
					t.Errorf("%s moved at %s without a change", c.Type, c.LastTransitionTime)
				}
			}
		})
	}
}
