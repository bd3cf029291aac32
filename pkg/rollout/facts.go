package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// BindingOf reads a binding. It leaves Gone, Silent, Unheard, Lost and Fallback to the caller, who knows the
// cluster.
func BindingOf(b v1beta1.BindingObject) Binding {
	spec := b.GetSpec()
	replacedBy := ptr.Deref(failover.ReplacedBy(b), failover.Exchange{})
	return Binding{
		Name:        b.GetName(),
		Cluster:     spec.TargetCluster,
		State:       spec.State,
		Previous:    delivery.Previous(b),
		ReplacedBy:  replacedBy.With,
		Failback:    replacedBy.Reason.Chosen(),
		Deleting:    !b.GetDeletionTimestamp().IsZero(),
		Stays:       b.GetAnnotations()[contract.AnnotationCarriedOver] == contract.CarriedOverHeld,
		Snapshot:    spec.ResourceSnapshotName,
		Overrides:   delivery.OverridesOf(b),
		Strategy:    spec.ApplyStrategy,
		Status:      delivery.StatusOf(b),
		LastHealthy: b.GetStatus().LastHealthy,
		Mark:        delivery.RolloutMark(b),
	}
}

// Revision is what the binding was given.
func (b Binding) Revision() v1beta1.Revision {
	return delivery.NewRevision(b.Snapshot, b.Overrides, b.Strategy)
}

// Before is what the cluster was last healthy with when it was given what it has; nil if it never was healthy. Of a
// binding that a rollout without a failure policy changed it is what was last healthy there.
func (b Binding) Before() *v1beta1.Revision {
	if m := b.mark(); m != nil {
		return m.Before
	}
	return b.LastHealthy
}

// NewMark is the mark of a binding that is given a revision now.
func NewMark(b Binding, to v1beta1.Revision, course Course, now time.Time) delivery.Mark {
	if !now.After(course.Done) {
		now = course.Done.Add(1) // the replica that wrote Done has a faster clock
	}
	return delivery.Mark{To: to, At: now, Before: delivery.ReturnTo(b.LastHealthy, to, b.mark())}
}

// Affected returns whether a rollout of snapshot that has spent its failure budget changed the binding, rolled back or
// not.
func Affected(b Binding, snapshot string, course Course) bool {
	if b.Gone || !b.living() || b.State != v1beta1.BindingStateBound {
		return false
	}
	return b.SentBack() || b.Snapshot == snapshot && b.changedBy(course)
}

// mark is the binding's mark if it is about what the binding has, else nil.
func (b Binding) mark() *delivery.Mark {
	if b.Mark == nil || !delivery.Same(b.Mark.To, b.Revision()) {
		return nil
	}
	return b.Mark
}

// SentBack returns whether the binding has what it was rolled back to.
func (b Binding) SentBack() bool { m := b.mark(); return m != nil && m.Back }

// living returns whether the scheduler wants the binding and it is not being deleted.
func (b Binding) living() bool { return !b.Deleting && b.State != v1beta1.BindingStateUnscheduled }

// changedBy returns whether a rollout gave the binding something new. A cluster that joined after the content proved
// healthy elsewhere is no evidence about the content.
func (b Binding) changedBy(course Course) bool {
	before, mark := b.Before(), b.mark()
	if before == nil {
		return course.Done.IsZero()
	}
	return !delivery.Same(*before, b.Revision()) && (course.Done.IsZero() || mark == nil || mark.At.After(course.Done))
}

// change is what the binding was given, as the failure policy judges it.
func (b Binding) change() delivery.Change {
	c := delivery.Change{Status: b.Status, Before: b.Before(), Sent: b.SentBack(), WasHealthy: b.wasHealthy()}
	// The binding of content that is only compared does not record health, so its window begins with the first report.
	if m := b.mark(); m != nil && !delivery.Compared(b.Strategy) {
		c.Given = m.At
	}
	if !c.Sent {
		c.Obstacle = b.Lost
	}
	return c
}

// wasHealthy returns whether the cluster has been healthy with what it has since it was given it.
func (b Binding) wasHealthy() bool {
	mark := b.mark()
	if mark == nil {
		return b.LastHealthy != nil && delivery.Same(*b.LastHealthy, b.Revision())
	}
	// It may have been reported before a write that changed only the scheduler's part of the binding.
	c := meta.FindStatusCondition(b.Conditions, v1beta1.ConditionAvailable)
	if c != nil && c.Status == metav1.ConditionTrue && !c.LastTransitionTime.Time.Before(mark.At) {
		return true
	}
	if mark.Back { // which it had been healthy with before it was sent there, too
		return b.Is(v1beta1.ConditionRolledBack, metav1.ConditionTrue)
	}
	return b.LastHealthy != nil && delivery.Same(*b.LastHealthy, b.Revision())
}
