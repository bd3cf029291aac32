package report

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// Inventory is what a member cluster consists of.
type Inventory struct {
	// Properties by name.
	Properties map[v1beta1.PropertyName]string
	// Usage of nodes, without its time; nil if it is not known.
	Usage *v1beta1.ResourceUsage
	// Namespaces with the names of the AppliedWorks that own them; nil if they are not collected.
	Namespaces map[string]string
	// Conditions say how the collecting went, in any order and without times and generations.
	Conditions []metav1.Condition
	// Partial is whether something is not known now: what is missing here then stays as it was reported.
	Partial bool
}

// collected are the types of an Inventory's conditions, in the order in which they are reported.
var collected = []string{
	v1beta1.ConditionClusterPropertyProviderStarted,
	v1beta1.ConditionClusterPropertyCollectionSucceeded,
	v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded,
	v1beta1.ConditionNamespaceCollectionSucceeded,
}

// ordered puts the conditions of an Inventory into the order in which they are reported, whatever order a member has them in, and others
// behind them.
func ordered(conditions []metav1.Condition) []metav1.Condition {
	rank := func(c metav1.Condition) int {
		if at := slices.Index(collected, c.Type); at >= 0 {
			return at
		}
		return len(collected)
	}
	out := slices.Clone(conditions)
	slices.SortStableFunc(out, func(a, b metav1.Condition) int { return rank(a) - rank(b) })
	return out
}

// into puts the inventory, if there is one, into the status of the InternalMemberCluster whose generation was acted on.
func (i *Inventory) into(status *v1beta1.InternalMemberClusterStatus, generation int64, now metav1.Time) {
	if i == nil {
		return
	}
	properties := make(map[v1beta1.PropertyName]v1beta1.PropertyValue, len(i.Properties))
	if i.Partial {
		maps.Copy(properties, status.Properties)
	}
	for name, value := range i.Properties {
		properties[name] = v1beta1.PropertyValue{Value: value, ObservationTime: now}
	}
	status.Properties = properties
	if i.Usage != nil {
		status.ResourceUsage = *i.Usage.DeepCopy()
		status.ResourceUsage.ObservationTime = now
	}
	if i.Namespaces != nil || !i.Partial {
		status.Namespaces = maps.Clone(i.Namespaces)
	}
	old := status.Conditions
	wanted := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool { return slices.Contains(collected, c.Type) })
	for _, kind := range collected {
		is := meta.FindStatusCondition(i.Conditions, kind)
		if is == nil && i.Partial {
			is = meta.FindStatusCondition(old, kind)
		}
		if is != nil {
			c := *is
			c.ObservedGeneration = generation
			wanted = append(wanted, c)
		}
	}
	status.Conditions = merge(old, wanted, now)
}

// ProviderStarted says that the property provider runs.
func ProviderStarted() metav1.Condition {
	return yes(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonPropertyProviderStarted, "The property provider runs")
}

// ProviderLate says that the property provider has not started in time, and what it waits for.
func ProviderLate(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonTimedOut, "The property provider goes on trying: "+why)
}

// ProviderRefused says that the property provider may not do its work, and what would let it.
func ProviderRefused(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonPropertyProviderFailedToStart, "The property provider goes on trying: "+why)
}

// PropertiesCollected says that all properties are known.
func PropertiesCollected() metav1.Condition {
	return yes(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonPropertiesCollected, "The cluster's properties are collected")
}

// CollectionLate says that not all properties were known in time.
func CollectionLate(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonTimedOut,
		"Not all properties are known; the others are those of the last time: "+why)
}

// CollectionBusy says that earlier calls of the property provider have not come back.
func CollectionBusy(calls int) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonTooManyCalls,
		fmt.Sprintf("%d earlier calls of the property provider have not come back; what it said last is kept", calls))
}

// NamespacesCollected says whether all namespaces are listed, of which there are at most so many, or some are left out.
func NamespacesCollected(most, left int) metav1.Condition {
	if left == 0 {
		return yes(0, v1beta1.ConditionNamespaceCollectionSucceeded, v1beta1.ReasonNamespacesCollected, "Every namespace is listed")
	}
	return no(0, v1beta1.ConditionNamespaceCollectionSucceeded, v1beta1.ReasonNamespaceCollectionDegraded,
		fmt.Sprintf("The %d oldest namespaces are listed and %d are left out; ResourcePlacements do not come to namespaces that are not listed", most, left))
}

// CostsCalculated says that costs are known. but is what speaks against them, "" if nothing does.
func CostsCalculated(but string) metav1.Condition {
	if but == "" {
		return yes(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculated, "Costs are those of all nodes")
	}
	return yes(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculationDegraded, "Costs may be wrong: "+but)
}

// CostsFailed says why costs are not known.
func CostsFailed(why string) metav1.Condition {
	return no(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculationFailed, "Costs are not known: "+why)
}
