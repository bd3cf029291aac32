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
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Bounds of what a member reports. A MemberCluster is read with every other one, so no member may make its own large.
const (
	mostProperties    = 300
	mostName          = validation.DNS1123SubdomainMaxLength + validation.LabelValueMaxLength + 1
	mostValue         = 16 << 10 // a bundle of certificates is the longest property
	mostValues        = 128 << 10
	mostNamespaces    = 200
	mostNamespaceName = validation.DNS1123LabelMaxLength
	mostOwnerName     = validation.DNS1123SubdomainMaxLength
	mostResources     = 100
	mostConditions    = 10
	mostMessage       = 1024
)

// mostAmount is more than any cluster has of a resource, in cores, bytes or pieces; mostCount more than any cluster has nodes, and more
// than an hour of a core costs.
var mostAmount, mostCount = resource.MustParse("1E"), resource.MustParse("1M")

// Believed is what the hub believes of a report.
type Believed struct {
	Status v1beta1.InternalMemberClusterStatus
	// Doubts name the values that are out of range, sorted; what is in range counts all the same.
	Doubts []string
	// Mistakes name the items of the annotation AnnotationBelieved that cannot be read, in their order.
	Mistakes []string
	Skew     Skew
}

// Believe bounds what the agents of cluster report, and what its admin says of its properties. What is out of range is left out, or cut to
// the bound where that is a number of an order: available, allocatable, total. live is as in Heartbeat.
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

// collected are the conditions that an agent reports of its cluster; the others of a MemberCluster are the hub's, and other programs'.
var collected = []string{
	v1beta1.ConditionClusterPropertyProviderStarted,
	v1beta1.ConditionClusterPropertyCollectionSucceeded,
	v1beta1.ConditionNamespaceCollectionSucceeded,
	v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded,
}

// believing is one report being looked at.
type believing struct {
	before *v1beta1.MemberClusterStatus
	now    time.Time
	doubts []string
}

func (b *believing) doubt(format string, args ...any) {
	b.doubts = append(b.doubts, fmt.Sprintf(format, args...))
}

// named cuts a name that may be of any length and content.
func named(name string) string {
	const most = 100
	if len(name) > most {
		name = name[:most] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// names are of properties. Some have two slashes, so they are no qualified names.
var names = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)

var reasons = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

// conditions are those of the given types, or of any if types is nil, with at most one of each. before holds them as they were copied last:
// a transition in the future is put at the time when the hub learned of it.
func (b *believing) conditions(is, before []metav1.Condition, types []string) []metav1.Condition {
	out := []metav1.Condition{}
	for _, c := range is {
		switch {
		case types != nil && !slices.Contains(types, c.Type), len(validation.IsQualifiedName(c.Type)) > 0,
			meta.FindStatusCondition(out, c.Type) != nil, len(out) == mostConditions:
			b.doubt("condition %s is not one that an agent reports, or one too many", named(c.Type))
			continue
		case c.Status != metav1.ConditionTrue && c.Status != metav1.ConditionFalse && c.Status != metav1.ConditionUnknown:
			b.doubt("condition %s has status %s", named(c.Type), named(string(c.Status)))
			c.Status = metav1.ConditionUnknown
		}
		if !reasons.MatchString(c.Reason) || len(c.Reason) > mostMessage {
			b.doubt("condition %s has reason %s", named(c.Type), named(c.Reason))
			c.Reason = "Unknown"
		}
		c.Message = strings.ToValidUTF8(c.Message[:min(len(c.Message), mostMessage)], "")
		if c.LastTransitionTime.After(b.now) {
			b.doubt("condition %s changes in the future", named(c.Type))
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
			b.doubt("property %s has a name of other characters than letters, digits, dots, dashes, underscores and slashes, or a long one", named(string(name)))
			continue
		case len(out) == mostProperties:
			b.doubt("there are more than %d properties", mostProperties)
			continue
		case len(value.Value) > mostValue:
			b.doubt("property %s is longer than %d bytes", name, mostValue)
			continue
		case size+len(value.Value) > mostValues:
			b.doubt("the properties are longer than %d bytes in all", mostValues)
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

// counted reports whether the property of that name is known to be a number.
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
		b.doubt("resourceUsage was observed in the future")
		is.ObservationTime = b.before.ResourceUsage.ObservationTime
	}
	is.Capacity = b.amounts("capacity", is.Capacity, nil, "")
	is.Allocatable = b.amounts("allocatable", is.Allocatable, is.Capacity, "capacity")
	is.Available = b.amounts("available", is.Available, is.Allocatable, "allocatable")
	return is
}

// amounts are the amounts of one figure, none larger than that of the figure that bounds it.
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
			b.doubt("namespaces are more than %d, or have names that are too long", mostNamespaces)
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
			b.doubt("agentStatus has type %s, which is unknown or there already", named(string(agent.Type)))
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
		out = append(out, agent)
	}
	return out, skew
}

// pin applies what the hub's admin says of the properties of a cluster, and returns the items that cannot be read. The property that such
// an item names is left out: what its admin meant to bound is not believed unbounded. since is the time of a property that is not reported.
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

// beyond reports whether amount is not what operator asks for.
func beyond(operator string, amount, bound resource.Quantity) bool {
	if operator == "<=" {
		return amount.Cmp(bound) > 0
	}
	return amount.Cmp(bound) < 0
}
