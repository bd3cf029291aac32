package stage

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// delete removes the placement from all clusters that it no longer picks, at once, and from one that is not heard when
// it is heard again. It leaves exchanges of clusters to the roller. ended is whether that is done.
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
	var left, unheard []string
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
