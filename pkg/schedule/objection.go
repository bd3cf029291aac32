package schedule

import "errors"

// Objection is why a filter refuses a cluster.
type Objection struct {
	Filter Filter
	cause  error
}

// String returns the name of the filter and the detail.
func (o *Objection) String() string { return string(o.Filter) + ": " + o.Detail() }

// Reason is for statuses: it describes what the policy requires and the cluster lacks, and contains no value that
// changes on its own.
func (o *Objection) Reason() string { return o.cause.Error() }

// Detail is for interactive output: the reason with the current value of the cluster.
func (o *Objection) Detail() string { return detail(o.cause) }

// detailed is an objection with more detail than its text.
type detailed interface{ Detail() string }

func detail(err error) string {
	var more detailed
	if errors.As(err, &more) {
		return more.Detail()
	}
	return err.Error()
}

// text is an objection without further detail.
type text string

func (t text) Error() string { return string(t) }
