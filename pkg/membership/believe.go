package membership

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/capacity"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Limits of a member's report. The hub reads all MemberClusters together, so no member may make its own large.
const (
	mostProperties    = 300
	mostName          = validation.DNS1123SubdomainMaxLength + validation.LabelValueMaxLength + 1
	mostValue         = 16 << 10 // a bundle of certificates is the longest property
	mostValues        = 128 << 10
	mostNamespaces    = 200
	mostNamespaceName = validation.DNS1123LabelMaxLength
	mostOwnerName     = validation.DNS1123SubdomainMaxLength
	mostResources     = 100
	mostGroups        = capacity.MostGroups
	mostConditions    = 10
	mostMessage       = 1024
)

// mostAmount is more than any cluster has of a resource, in cores, bytes or pieces; mostCount is more than the nodes
// of any cluster, and more than the hourly cost of a core.
var mostAmount, mostCount = resource.MustParse("1E"), resource.MustParse("1M")

// Believed is the part of a report that the hub accepts.
type Believed struct {
	Status v1beta1.InternalMemberClusterStatus
	// Doubts name the values that are out of range, sorted; the values in range are accepted.
	Doubts []string
	// Mistakes name the invalid items of the annotation AnnotationBelieved, in their order.
	Mistakes []string
	Skew     Skew
}

// Believe checks the reports of the cluster's agents, and applies the limits that the hub's administrator sets for its
// properties. It omits values that are out of range; it reduces available to allocatable, and allocatable to the
// total. live is as in Heartbeat.
func Believe(cluster *v1beta1.MemberCluster, reported *v1beta1.InternalMemberClusterStatus, live bool, now time.Time) Believed {
	b := &believing{before: &cluster.Status, now: now.Truncate(time.Second)}
	is := reported.DeepCopy()
	out := Believed{Status: v1beta1.InternalMemberClusterStatus{
		Conditions:    b.conditions(is.Conditions, cluster.Status.Conditions, collected),
		Properties:    b.properties(is.Properties),
		ResourceUsage: b.usage(is.ResourceUsage),
		Namespaces:    b.namespaces(is.Namespaces),
	}}
	out.Status.AgentStatus, out.Skew = b.agents(is.AgentStatus, live)
	out.Mistakes = pin(&out.Status, cluster.Annotations[contract.AnnotationBelieved], cluster.CreationTimestamp)
	slices.Sort(b.doubts)
	out.Doubts = slices.Compact(b.doubts)
	return out
}

// collected are the conditions that an agent reports about its cluster; the other conditions of a MemberCluster belong
// to the hub and to other programs.
var collected = []string{
	v1beta1.ConditionClusterPropertyProviderStarted,
	v1beta1.ConditionClusterPropertyCollectionSucceeded,
	v1beta1.ConditionNamespaceCollectionSucceeded,
	v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded,
}

// believing is the state while one report is checked.
type believing struct {
	before *v1beta1.MemberClusterStatus
	now    time.Time
	doubts []string
}

func (b *believing) doubt(format string, args ...any) {
	b.doubts = append(b.doubts, fmt.Sprintf(format, args...))
}

// named quotes and shortens a name, which may have any length and content.
func named(name string) string {
	const most = 100
	if len(name) > most {
		name = name[:most] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// names matches names of properties. Some have two slashes, so they are not qualified names.
var names = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)

var reasons = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

// conditions returns the conditions of the given types, or of any type if types is nil, with at most one of each.
// before contains the conditions that were copied last: a transition time in the future is replaced by the time at
// which the hub saw the transition.
func (b *believing) conditions(is, before []metav1.Condition, types []string) []metav1.Condition {
	out := []metav1.Condition{}
	for _, c := range is {
		switch {
		case types != nil && !slices.Contains(types, c.Type), len(validation.IsQualifiedName(c.Type)) > 0,
			meta.FindStatusCondition(out, c.Type) != nil, len(out) == mostConditions:
			b.doubt("condition %s is unknown, duplicated, or exceeds the maximum number", named(c.Type))
			continue
		case c.Status != metav1.ConditionTrue && c.Status != metav1.ConditionFalse && c.Status != metav1.ConditionUnknown:
			b.doubt("condition %s has invalid status %s", named(c.Type), named(string(c.Status)))
			c.Status = metav1.ConditionUnknown
		}
		if !reasons.MatchString(c.Reason) || len(c.Reason) > mostMessage {
			b.doubt("condition %s has invalid reason %s", named(c.Type), named(c.Reason))
			c.Reason = "Unknown"
		}
		c.Message = strings.ToValidUTF8(c.Message[:min(len(c.Message), mostMessage)], "")
		if c.LastTransitionTime.After(b.now) {
			b.doubt("condition %s has a transition time in the future", named(c.Type))
			c.LastTransitionTime = metav1.NewTime(b.now)
			if was := meta.FindStatusCondition(before, c.Type); was != nil && was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	return out
}

func (b *believing) properties(is map[v1beta1.PropertyName]v1beta1.PropertyValue) map[v1beta1.PropertyName]v1beta1.PropertyValue {
	size := 0
	var out map[v1beta1.PropertyName]v1beta1.PropertyValue
	for _, name := range slices.Sorted(maps.Keys(is)) {
		value := is[name]
		switch {
		case len(name) > mostName || !names.MatchString(string(name)):
			b.doubt("property %s has an invalid name: it may have at most %d letters, digits, dots, dashes, underscores and slashes",
				named(string(name)), mostName)
			continue
		case len(out) == mostProperties:
			b.doubt("there are more than %d properties", mostProperties)
			continue
		case len(value.Value) > mostValue:
			b.doubt("property %s is longer than %d bytes", name, mostValue)
			continue
		case size+len(value.Value) > mostValues:
			b.doubt("the properties are longer than %d bytes in total", mostValues)
			continue
		case counted(string(name)) && !inRange(value.Value):
			b.doubt("property %s is %s; it must be a quantity from 0 to %s", name, named(value.Value), mostCount.String())
			continue
		}
		size += len(value.Value)
		if out == nil {
			out = map[v1beta1.PropertyName]v1beta1.PropertyValue{}
		}
		out[name] = value
	}
	return out
}

// counted reports whether the property must be a number.
func counted(name string) bool {
	return name == contract.PropertyNodeCount || name == contract.PropertyCoreCost || name == contract.PropertyMemoryCost ||
		strings.HasPrefix(name, contract.PropertySizePrefix) && strings.HasSuffix(name, contract.PropertySizeSuffix)
}

func inRange(text string) bool {
	value, ok := decode.Quantity(text)
	return ok && value.Sign() >= 0 && value.Cmp(mostCount) <= 0
}

func (b *believing) usage(is v1beta1.ResourceUsage) v1beta1.ResourceUsage {
	if is.ObservationTime.After(b.now) {
		b.doubt("resourceUsage has an observation time in the future")
		is.ObservationTime = b.before.ResourceUsage.ObservationTime
	}
	is.Capacity = b.amounts("capacity", is.Capacity, nil, "")
	is.Allocatable = b.amounts("allocatable", is.Allocatable, is.Capacity, "capacity")
	is.Available = b.amounts("available", is.Available, is.Allocatable, "allocatable")
	is.Nodes = b.nodes(is.Nodes)
	return is
}

// nodes returns the groups of nodes with valid numbers.
func (b *believing) nodes(is []v1beta1.NodeGroup) (out []v1beta1.NodeGroup) {
	for i, g := range is {
		if len(out) == mostGroups {
			b.doubt("resourceUsage.nodes has more than %d groups", mostGroups)
			break
		}
		if g.Count < 1 || int64(g.Count) > mostCount.Value() {
			b.doubt("resourceUsage.nodes[%d].count must be from 1 to %s", i, mostCount.String())
			continue
		}
		g.Available = b.amounts(fmt.Sprintf("nodes[%d].available", i), g.Available, nil, "")
		out = append(out, g)
	}
	return out
}

// amounts returns the resource amounts of one field, limited by those of the field that bounds it.
func (b *believing) amounts(figure string, is, bounds corev1.ResourceList, bound string) corev1.ResourceList {
	var out corev1.ResourceList
	for _, name := range slices.Sorted(maps.Keys(is)) {
		value := is[name]
		switch {
		case len(validation.IsQualifiedName(string(name))) > 0:
			b.doubt("resourceUsage.%s has resource %s, which is not a qualified name", figure, named(string(name)))
			continue
		case len(out) == mostResources:
			b.doubt("resourceUsage.%s has more than %d resources", figure, mostResources)
			continue
		case !decode.Countable(value) || value.Sign() < 0 || value.Cmp(mostAmount) > 0:
			b.doubt("resourceUsage.%s[%s] must be from 0 to %s", figure, name, mostAmount.String())
			continue
		}
		if most, ok := bounds[name]; ok && value.Cmp(most) > 0 {
			b.doubt("resourceUsage.%s[%s] is more than %s", figure, name, bound)
			value = most
		}
		if out == nil {
			out = corev1.ResourceList{}
		}
		out[name] = value
	}
	return out
}

func (b *believing) namespaces(is map[string]string) map[string]string {
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if len(name) > mostNamespaceName || len(is[name]) > mostOwnerName || len(out) == mostNamespaces {
			b.doubt("there are more than %d namespaces, or their names are too long", mostNamespaces)
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = is[name]
	}
	return out
}

func (b *believing) agents(is []v1beta1.AgentStatus, live bool) (out []v1beta1.AgentStatus, skew Skew) {
	for _, agent := range is {
		same := func(a v1beta1.AgentStatus) bool { return a.Type == agent.Type }
		if !slices.Contains(Agents(true), agent.Type) || slices.ContainsFunc(out, same) {
			b.doubt("agentStatus has type %s, which is unknown or duplicated", named(string(agent.Type)))
			continue
		}
		var before *v1beta1.AgentStatus
		if i := slices.IndexFunc(b.before.AgentStatus, same); i >= 0 {
			before = &b.before.AgentStatus[i]
		}
		received, claimed, clock := Heartbeat(before, agent, live, b.now)
		agent.LastReceivedHeartbeat, agent.ReportedHeartbeat = received, claimed
		if agent.Type == v1beta1.AgentTypeMemberAgent {
			skew = clock
		}
		var were []metav1.Condition
		if before != nil {
			were = before.Conditions
		}
		agent.Conditions = b.conditions(agent.Conditions, were, nil)
		agent.HealthSince = b.healthSince(before, agent)
		out = append(out, agent)
	}
	return out, skew
}

// healthSince returns since when the hub knows that the member agent's Healthy condition is True, or that it is not;
// nil if there is none, or if it was not recorded then. The transition time in the condition is by the member's clock.
func (b *believing) healthSince(before *v1beta1.AgentStatus, agent v1beta1.AgentStatus) *metav1.Time {
	is := meta.FindStatusCondition(agent.Conditions, v1beta1.ConditionHealthy)
	if is == nil || agent.Type != v1beta1.AgentTypeMemberAgent {
		return nil
	}
	if before != nil && (before.HealthSince == nil || !before.HealthSince.After(b.now)) {
		was := meta.FindStatusCondition(before.Conditions, v1beta1.ConditionHealthy)
		if was != nil && (was.Status == metav1.ConditionTrue) == (is.Status == metav1.ConditionTrue) {
			return before.HealthSince
		}
	}
	return &metav1.Time{Time: b.now}
}

// pin applies the limits of the hub's administrator to the properties of a cluster, and returns the invalid items. It
// omits the property in an invalid item, because the administrator wanted to limit it. since is the observation time
// of a property that the cluster does not report.
func pin(status *v1beta1.InternalMemberClusterStatus, text string, since metav1.Time) (mistakes []string) {
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		at := strings.IndexAny(item, "<>=")
		if at <= 0 {
			mistakes = append(mistakes, named(item))
			continue
		}
		name := item[:at]
		operator, value := item[at:at+1], item[at+1:]
		if operator != "=" {
			operator, value = item[at:min(at+2, len(item))], item[min(at+2, len(item)):]
		}
		var ok bool
		if usage, is := strings.CutPrefix(name, contract.PropertyResourcePrefix); is {
			ok = pinUsage(&status.ResourceUsage, usage, operator, value)
		} else {
			ok = pinProperty(status, v1beta1.PropertyName(name), operator, value, since)
		}
		if !ok {
			mistakes = append(mistakes, named(item))
		}
	}
	return mistakes
}

func pinProperty(status *v1beta1.InternalMemberClusterStatus, name v1beta1.PropertyName, operator, value string, since metav1.Time) bool {
	is, reported := status.Properties[name]
	if operator == "=" && value != "" {
		if status.Properties == nil {
			status.Properties = map[v1beta1.PropertyName]v1beta1.PropertyValue{}
		}
		if is.Value = value; !reported {
			is.ObservationTime = since
		}
		status.Properties[name] = is
		return true
	}
	bound, readable := decode.Quantity(value)
	if !readable || operator != "<=" && operator != ">=" {
		delete(status.Properties, name)
		return false
	}
	if !reported {
		return true
	}
	amount, ok := decode.Quantity(is.Value)
	switch {
	case !ok:
		delete(status.Properties, name)
	case beyond(operator, amount, bound):
		is.Value = value
		status.Properties[name] = is
	}
	return true
}

func pinUsage(usage *v1beta1.ResourceUsage, name, operator, value string) bool {
	figure, of, _ := strings.Cut(name, "-")
	lists := map[string]*corev1.ResourceList{"total": &usage.Capacity, "allocatable": &usage.Allocatable, "available": &usage.Available}
	list := lists[figure]
	if list == nil || of == "" {
		return false
	}
	bound, readable := decode.Quantity(value)
	if !readable || operator != "=" && operator != "<=" && operator != ">=" {
		delete(*list, corev1.ResourceName(of))
		return false
	}
	amount, reported := (*list)[corev1.ResourceName(of)]
	if operator != "=" && (!reported || !beyond(operator, amount, bound)) {
		return true
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[corev1.ResourceName(of)] = bound
	return true
}

// beyond reports whether amount violates the limit with operator.
func beyond(operator string, amount, bound resource.Quantity) bool {
	if operator == "<=" {
		return amount.Cmp(bound) > 0
	}
	return amount.Cmp(bound) < 0
}
