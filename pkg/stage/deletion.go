package stage

import (
	"fmt"

	"github.com/flagship-fleet/flagship/pkg/brief"
)

// delete takes the placement off the clusters that are no longer picked, all at once.
func (d *decision) delete(s *Stage) error {
	if s.Start.IsZero() {
		s.Start = d.Now
	}
	if s.Phase != Active {
		s.at(Active, "Clusters that are no longer picked are being cleaned", d.Now)
	}
	if err := d.deleting(s); err != nil {
		return err
	}
	var left []string
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if b := d.doomed[c.Name]; b != nil {
			left = append(left, c.Name)
			if c.Phase == Pending {
				if d.Refused[c.Name] != "" {
					continue
				}
				c.Phase, c.Since = Active, d.Now
				if b.GetDeletionTimestamp().IsZero() {
					d.step.Drop = append(d.step.Drop, b.GetName())
				}
			}
		} else if c.Phase == Pending {
			c.Phase, c.Since = Succeeded, d.Now
		}
	}
	if len(left) > 0 {
		d.run(Active, fmt.Sprintf("All stages are done; waits for the placement to be gone from %s", brief.List(left, 3)))
		return nil
	}
	s.Cause = "The placement is gone from all clusters that are no longer picked"
	s.at(Succeeded, s.Cause, d.Now)
	d.more = true
	return nil
}

// deleting judges the clusters whose binding is being deleted.
func (d *decision) deleting(s *Stage) error {
	for i := range s.Clusters {
		c := &s.Clusters[i]
		b := d.doomed[c.Name]
		switch {
		case b == nil && c.Phase == Active:
			c.Phase = Succeeded
		case b != nil && c.Phase == Succeeded:
			return defect("cluster %s was cleaned and has a binding again that is to be given up: %s", c.Name, b.GetName())
		case b != nil && c.Phase == Active && b.GetDeletionTimestamp().IsZero():
			return defect("binding %s of cluster %s was deleted and is there again", b.GetName(), c.Name)
		}
	}
	return nil
}
