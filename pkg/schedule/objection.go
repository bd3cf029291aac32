package schedule

import "errors"

// Objection is why a filter does not let a cluster pass.
type Objection struct {
	Filter Filter
	cause  error
}

// String names the filter and adds the detail.
func (o *Objection) String() string { return string(o.Filter) + ": " + o.Detail() }

// Reason is for statuses: it describes what the policy requires and the cluster lacks, and holds no figure that changes by itself.
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
