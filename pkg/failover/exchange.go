package failover

import (
	"encoding/json"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Reason is why a placement leaves a cluster.
type Reason string

// Reasons.
const (
	// Lost: the cluster is not heard.
	Lost Reason = "Lost"
	// Unhealthy: the cluster reports that its API server is unhealthy.
	Unhealthy Reason = "Unhealthy"
	// Tainted: the cluster has an evicting taint that the placement does not tolerate, or not any longer.
	Tainted Reason = "Tainted"
	// Unavailable: what was available on the cluster is not any more.
	Unavailable Reason = "Unavailable"
	// Failback: the cluster that the placement left before is well again.
	Failback Reason = "Failback"
	// Rebalance: a user asked for what would be picked now, and the other cluster would be.
	Rebalance Reason = "Rebalance"
)

// Chosen reports whether a placement leaves a cluster that is well, for a better one.
func (r Reason) Chosen() bool { return r == Failback || r == Rebalance }

// After reports whether an exchange was decided after another one.
func (e Exchange) After(other Exchange) bool {
	if e.Decided == nil || other.Decided == nil {
		return e.Decided != nil
	}
	return e.Decided.After(other.Decided.Time)
}

// Exchange is recorded on the bindings of both clusters when one replaces the other.
type Exchange struct {
	// With is the other cluster.
	With string `json:"with"`
	// Reason is why the placement left the first cluster, and Since when that began; for Rebalance, when it was asked for.
	Reason Reason      `json:"reason"`
	Since  metav1.Time `json:"since"`
	// Decided is when the exchange was decided, later than any exchange before it of either cluster. Exchanges of earlier
	// versions have none.
	Decided *metav1.MicroTime `json:"decided,omitempty"`
	// Resources is the resource snapshot with which the placement last left a cluster because it was unavailable there;
	// empty if it never did.
	Resources string `json:"resources,omitempty"`
}

// ReplacedBy returns what replaces the cluster of a binding; nil if nothing does, or if it cannot be read.
func ReplacedBy(b v1beta1.BindingObject) *Exchange { return read(b, contract.AnnotationReplacedBy) }

// Replaces returns what the cluster of a binding replaced; nil if nothing, or if it cannot be read.
func Replaces(b v1beta1.BindingObject) *Exchange { return read(b, contract.AnnotationReplaces) }

// TakenBack returns when a placement returned last to the cluster of a binding, which it had left too early; zero if
// it never did, or if the time cannot be read.
func TakenBack(b v1beta1.BindingObject) time.Time {
	at, err := time.Parse(time.RFC3339, b.GetAnnotations()[contract.AnnotationTakenBack])
	if err != nil {
		return time.Time{}
	}
	return at
}

// Exchanged reports whether a binding that was given up belongs to an exchange of clusters: another cluster replaces
// its own, or the placement has returned to the one that it replaced. bindings are those of the placement. With
// strategy External the roller deletes such bindings; update runs delete the others.
func Exchanged(b v1beta1.BindingObject, bindings []v1beta1.BindingObject) bool {
	if b.GetSpec().State != v1beta1.BindingStateUnscheduled {
		return false
	}
	if ReplacedBy(b) != nil {
		return true
	}
	e := Replaces(b)
	return e != nil && slices.ContainsFunc(bindings, func(other v1beta1.BindingObject) bool {
		spec := other.GetSpec()
		return spec.TargetCluster == e.With && spec.State != v1beta1.BindingStateUnscheduled && other.GetDeletionTimestamp().IsZero()
	})
}

func read(b v1beta1.BindingObject, annotation string) *Exchange {
	text := b.GetAnnotations()[annotation]
	if text == "" {
		return nil
	}
	e := new(Exchange)
	if decode.JSON([]byte(text), e) != nil || e.With == "" || e.With == b.GetSpec().TargetCluster {
		return nil
	}
	return e
}

// String is the value of either annotation.
func (e Exchange) String() string {
	text, _ := json.Marshal(e) //nolint:errchkjson // two strings and a time of the API always have a JSON form
	return string(text)
}
