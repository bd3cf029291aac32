package stage

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// delete removes the placement from all clusters that it no longer picks, at once; from one that is not heard when it
// is heard again, and from one that another cluster replaces when that one is available. ended is whether that is
// done.
func (f *forward) delete(s *Stage) (ended bool, err error) {
	if s.Start.IsZero() {
		s.Start = f.Now
	}
	if s.Phase != Active {
		s.set(Active, "Removing the placement from clusters that it no longer picks", f.Now)
	}
	if err := f.deleting(s); err != nil {
		return false, err
	}
	var left, unheard, needed []string
	for i := range s.Clusters {
		c := &s.Clusters[i]
		b := f.dropped[c.Name]
		if b != nil {
			left = append(left, c.Name)
		}
		switch {
		case c.Phase != Pending || b != nil && f.Refused[c.Name] != "":
		case b != nil && f.parked(b):
			unheard = append(unheard, c.Name)
		case b != nil && f.needed(b):
			needed = append(needed, c.Name)
		case b == nil:
			c.Phase, c.Since = Succeeded, f.Now
		default:
			c.Phase, c.Since = Active, f.Now
			if b.GetDeletionTimestamp().IsZero() {
				f.step.Drop = append(f.step.Drop, b.GetName())
			}
		}
	}
	if len(unheard) > 0 {
		f.set(Active, "All stages are done; the placement is removed from %s when the hub hears from it again", brief.List(unheard, 3))
		return false, nil
	}
	if len(needed) > 0 {
		f.set(Active, "All stages are done; the placement is removed from %s when it is available on the clusters that replace them", brief.List(needed, 3))
		return false, nil
	}
	if len(left) > 0 {
		f.set(Active, "All stages are done; waiting until the placement is removed from %s", brief.List(left, 3))
		return false, nil
	}
	s.Cause = "The placement is removed from all clusters that it no longer picks"
	s.set(Succeeded, s.Cause, f.Now)
	return true, nil
}

// parked returns whether there may be content because of a binding, and the cluster is not heard.
func (f *forward) parked(b v1beta1.BindingObject) bool {
	spec, previous := b.GetSpec(), v1beta1.BindingState(b.GetAnnotations()[contract.AnnotationPreviousState])
	return f.Unheard[spec.TargetCluster] && b.GetDeletionTimestamp().IsZero() &&
		delivery.MayHaveContent(spec.State, previous, spec.ResourceSnapshotName)
}

// needed returns whether another cluster replaces that of a binding, and the placement is not available there, as far
// as can be known: the last report of a cluster that is not heard may be out of date. There are such bindings if the
// placement had another strategy when it left the cluster.
func (f *forward) needed(b v1beta1.BindingObject) bool {
	replaced := failover.ReplacedBy(b)
	if replaced == nil || !b.GetDeletionTimestamp().IsZero() {
		return false
	}
	by := f.picked[replaced.With]
	return by != nil && (f.Unheard[replaced.With] || !delivery.StatusOf(by).Well())
}

// deleting judges the clusters whose binding is being deleted.
func (f *forward) deleting(s *Stage) error {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		b := f.dropped[c.Name]
		switch {
		case b == nil && c.Phase == Active:
			c.Phase = Succeeded
		case b != nil && c.Phase == Succeeded:
			return defect("the placement was removed from cluster %s, which has an unscheduled binding again: %s", c.Name, b.GetName())
		case b != nil && c.Phase == Active && b.GetDeletionTimestamp().IsZero():
			return defect("binding %s of cluster %s was deleted and exists again", b.GetName(), c.Name)
		}
	}
	return nil
}
