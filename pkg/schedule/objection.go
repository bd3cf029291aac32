package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// Filter names what a cluster has to pass. The names are those that users of this API know.
type Filter string

// Filters, in the order in which they are asked.
const (
	// FilterNames: PickFixed chooses no cluster that it does not name.
	FilterNames Filter = "ClusterNames"
	// FilterAffinity: the required terms, of labels and properties.
	FilterAffinity Filter = "ClusterAffinity"
	// FilterEligibility: the cluster is connected, joined and healthy.
	FilterEligibility Filter = "ClusterEligibility"
	// FilterNamespace: the cluster has the namespace of a ResourcePlacement.
	FilterNamespace Filter = "NamespaceAffinity"
	// FilterTaints: the policy tolerates the taints.
	FilterTaints Filter = "TaintToleration"
	// FilterSpread: no DoNotSchedule constraint would be violated.
	FilterSpread Filter = "TopologySpreadConstraints"
)

// Objection is why a filter does not let a cluster pass.
type Objection struct {
	Filter Filter
	cause  error
}

// String names the filter and tells the detail.
func (o *Objection) String() string { return string(o.Filter) + ": " + o.Detail() }

// Reason is for statuses: it tells of the policy and of what the cluster lacks, and holds no figure that changes by itself.
func (o *Objection) Reason() string { return o.cause.Error() }

// Detail is for people who look now: the reason with what the cluster has instead.
func (o *Objection) Detail() string { return detail(o.cause) }

// detailed is an objection that has more to say than its text.
type detailed interface{ Detail() string }

func detail(err error) string {
	var more detailed
	if errors.As(err, &more) {
		return more.Detail()
	}
	return err.Error()
}

// text is an objection that needs no more than its words.
type text string

func (t text) Error() string { return string(t) }

// unlabelled objects to labels: the first requirement of a selector that they do not meet.
type unlabelled struct {
	want labels.Requirement
	has  labels.Set
}

func (u *unlabelled) Error() string { return wantedLabel(u.want) }

func (u *unlabelled) Detail() string {
	value, ok := u.has[u.want.Key()]
	if !ok {
		return u.Error() + "; it has none"
	}
	return fmt.Sprintf("%s; it is %s", u.Error(), value)
}

func wantedLabel(want labels.Requirement) string {
	key, values := want.Key(), strings.Join(want.ValuesUnsorted(), ", ")
	if len(want.ValuesUnsorted()) > 1 {
		values = "one of " + strings.Join(want.Values().List(), ", ")
	}
	switch want.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		return fmt.Sprintf("label %s must be %s", key, values)
	case selection.NotIn, selection.NotEquals:
		return fmt.Sprintf("label %s must not be %s", key, values)
	case selection.Exists:
		return fmt.Sprintf("label %s must be there", key)
	case selection.DoesNotExist:
		return fmt.Sprintf("label %s must not be there", key)
	default:
		return fmt.Sprintf("label %s must be %s %s", key, want.Operator(), values)
	}
}

// unmatched objects to all required terms.
type unmatched struct {
	first error
	terms int
}

func (u *unmatched) Error() string { return u.say(u.first.Error()) }

func (u *unmatched) Detail() string { return u.say(detail(u.first)) }

func (u *unmatched) say(first string) string {
	if u.terms == 1 {
		return "it does not match the required affinity term: " + first
	}
	return fmt.Sprintf("it matches none of the %d required affinity terms; the first: %s", u.terms, first)
}

// ineligible objects to the state of a cluster; its words come from Ineligible.
type ineligible struct {
	why     string
	cluster *clusterv1beta1.MemberCluster
	now     time.Time
	// named clusters are waited for.
	named bool
}

func (i *ineligible) Error() string {
	if i.named {
		return "not eligible yet: " + i.why
	}
	return "not eligible: " + i.why
}

func (i *ineligible) Detail() string {
	agent := memberAgent(i.cluster)
	switch i.why {
	case silent:
		return fmt.Sprintf("%s (the last was %s ago)", i, ago(i.now, agent.LastReceivedHeartbeat))
	case unhealthy:
		return fmt.Sprintf("%s (for %s)", i, ago(i.now, healthOf(agent).LastTransitionTime))
	}
	return i.Error()
}

func ago(now time.Time, then metav1.Time) time.Duration { return now.Sub(then.Time).Round(time.Second) }

// untolerated objects to a taint.
type untolerated struct{ taint *clusterv1beta1.Taint }

func (u *untolerated) Error() string {
	return fmt.Sprintf("its taint %s is not tolerated", taintText(*u.taint))
}

func taintText(t clusterv1beta1.Taint) string {
	return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
}

// homeless objects to a cluster without the placement's namespace.
type homeless struct{ namespace string }

func (h *homeless) Error() string {
	return fmt.Sprintf("target namespace %q does not exist on it", h.namespace)
}

// crowded objects to one more cluster in a domain.
type crowded struct {
	*domains
	domain      string
	count, skew int
}

func (c *crowded) Error() string {
	return fmt.Sprintf("the topology spread constraint on %s would be violated: more than %d apart", c.key, c.maxSkew)
}

func (c *crowded) Detail() string {
	return fmt.Sprintf("%s (%s=%s holds %d chosen, one more makes it %d)", c, c.key, c.domain, c.count, c.skew)
}
