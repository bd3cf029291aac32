package delivery

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FateState is the state of the rollback of a changed cluster.
type FateState string

const (
	// Waiting means that the cluster still has the failed revision, and can be rolled back.
	Waiting FateState = ""
	// Returning means that the cluster was given its last healthy revision, and is not healthy yet.
	Returning FateState = "returning"
	// Returned means that the cluster has been healthy with it.
	Returned FateState = "returned"
	// Astray means that the cluster was not healthy in time, or cannot be rolled back.
	Astray FateState = "astray"
	// NeverHealthy means that there is no revision to which the cluster could be rolled back.
	NeverHealthy FateState = "neverHealthy"
)

// Fate is how the rollback of one cluster, or of all clusters of an update run, goes.
type Fate struct {
	State FateState
	// Message is for the condition RolledBack.
	Message string
}

// FateOf reads a condition RolledBack; both results are zero if there is none. A cluster that waits for its turn is read as
// Returning: its condition is the same.
func FateOf(conditions []metav1.Condition) (f Fate, since time.Time) {
	c := meta.FindStatusCondition(conditions, v1beta1.ConditionRolledBack)
	if c == nil {
		return Fate{}, time.Time{}
	}
	f.Message = c.Message
	switch {
	case c.Status == metav1.ConditionUnknown:
		f.State = Returning
	case c.Status == metav1.ConditionTrue:
		f.State = Returned
	case c.Reason == v1beta1.ReasonNeverHealthy:
		f.State = NeverHealthy
	default:
		f.State = Astray
	}
	return f, c.LastTransitionTime.Time
}

// Fate returns how the rollback of a changed cluster goes. left is how much of the health window is left, zero if none
// runs.
func (p FailurePolicy) Fate(c Change, now time.Time) (f Fate, left time.Duration) {
	switch {
	case c.Obstacle != "":
		return NotRolledBack(c.Obstacle), 0
	case c.Before == nil:
		return Fate{State: NeverHealthy, Message: "No healthy revision is recorded for this cluster, so it is not rolled back"}, 0
	case !c.Sent:
		return Fate{State: Waiting}, 0
	case c.Well() || c.WasHealthy:
		return Fate{State: Returned, Message: "Rolled back to " + c.Before.ResourceSnapshotName + " and healthy"}, 0
	}
	failed, left := p.Failed(c, now)
	if failed {
		return Fate{State: Astray, Message: fmt.Sprintf("Given %s again, but not healthy for %s: %s",
			c.Before.ResourceSnapshotName, p.Window, c.Complaint())}, 0
	}
	return Sent(*c.Before), left
}

// Sent is the fate of a cluster that is being given its last healthy revision.
func Sent(to v1beta1.Revision) Fate {
	return Fate{State: Returning, Message: "Rolling back to " + to.ResourceSnapshotName}
}

// WaitingFor is the fate of a cluster that can be rolled back, but not yet.
func WaitingFor(reason string, to v1beta1.Revision) Fate {
	return Fate{State: Waiting, Message: "Waiting to be rolled back to " + to.ResourceSnapshotName + ": " + reason}
}

// NotRolledBack is the fate of a cluster that keeps what it has.
func NotRolledBack(why string) Fate {
	return Fate{State: Astray, Message: "Not rolled back: " + why}
}

// ReturnTo returns the revision to which a cluster can be rolled back once it is given the revision to; nil if it has
// never been healthy. That is what it was last healthy with. A cluster that was healthy with to itself, and was rolled
// back from it, returns to where it was rolled back; has is the mark of what it has, nil if there is none.
func ReturnTo(lastHealthy *v1beta1.Revision, to v1beta1.Revision, has *Mark) *v1beta1.Revision {
	if lastHealthy != nil && has != nil && Same(*lastHealthy, to) {
		return has.Before
	}
	return lastHealthy
}
