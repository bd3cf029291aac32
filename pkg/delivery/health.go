package delivery

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Meaning is what it means for the content on a cluster that a condition of its binding is False, from the least to
// the worst.
type Meaning int

const (
	// Pending means that its turn has not come. An eviction takes everything else for a failure; the contract fixes
	// that.
	Pending Meaning = iota
	// Unreported means that the content was written, and the cluster has not reported on any of it.
	Unreported
	// Progressing means that the cluster is at work on it, and time alone may well be enough.
	Progressing
	// Failed means that time alone will not change it.
	Failed
)

// meanings are those of the reasons that do not mean Failed. The contract names the first four; bindings never have
// these, but other clients may write them.
var meanings = map[string]Meaning{
	v1beta1.ReasonOverriddenPending:       Pending,
	v1beta1.ReasonWorkNotSynchronizedYet:  Pending,
	v1beta1.ReasonApplyPending:            Pending,
	v1beta1.ReasonResourceNotAvailableYet: Pending,

	v1beta1.ReasonRolloutNotStartedYet:   Pending,
	v1beta1.ReasonApplyInProgress:        Unreported,
	v1beta1.ReasonDiffReportInProgress:   Unreported,
	v1beta1.ReasonNotAllWorkAreAvailable: Progressing,
}

// MeaningOf returns what a condition that is False means, of a binding or of an entry in a placement's status, where
// the cluster reports this many failed objects. Without any of them a cluster that has not applied everything has only
// not finished.
func MeaningOf(c metav1.Condition, failedObjects int) Meaning {
	if c.Reason == v1beta1.ReasonNotAllWorkHaveBeenApplied && failedObjects == 0 {
		return Progressing
	}
	if m, ok := meanings[c.Reason]; ok {
		return m
	}
	return Failed
}
