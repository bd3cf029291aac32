package replicas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Share describes a cluster's share of one workload to a user.
type Share struct {
	v1beta1.ReplicaShare
	// Lost is whether other clusters have the replicas because the cluster is lost.
	Lost bool `json:"lost,omitempty"`
}

// SharesOf returns the shares of a binding: those of the content that it has or, if it has none yet, of the newest.
func SharesOf(b v1beta1.BindingObject) []Share {
	of, ok := Of(b, b.GetSpec().ResourceSnapshotName)
	if !ok {
		of = Newest(b)
	}
	out := make([]Share, 0, len(of.Workloads))
	for _, s := range of.Workloads {
		out = append(out, Share{s, of.Lost})
	}
	return out
}

// Newest returns the shares of a binding for the newest revision for which it has any; it is empty without one.
func Newest(b v1beta1.BindingObject) v1beta1.RevisionShares {
	all := b.GetSpec().Shares
	if len(all) == 0 {
		return v1beta1.RevisionShares{}
	}
	return all[len(all)-1]
}

// String is one line of text.
func (s Share) String() string {
	out := fmt.Sprintf("%s: %d of %d", KeyOf(s.ReplicaShare), s.Replicas, s.Of)
	switch {
	case s.Lost:
		out += "; the cluster is lost, and other clusters have its share"
	case s.Pinned:
		out += ", set by an override"
	case s.Target != nil:
		out += fmt.Sprintf(", moving to %d", *s.Target)
	}
	if s.Limit != nil && s.LimitedUntil != nil {
		out += fmt.Sprintf(", at most %d until %s because more had no node", *s.Limit, s.LimitedUntil.UTC().Format(time.RFC3339))
	}
	return out
}

// Shift is the change of a cluster's share of one number.
type Shift struct {
	Cluster string
	Number  Key
	// Now is the present share, Then the one after the move.
	Now, Then int32
}

// Rebalance returns how shares would change if all were computed anew, by number and cluster.
func Rebalance(r Request) ([]Shift, error) {
	r.Rebalance += "?" // any other value than the present one
	decision, err := Decide(r)
	if err != nil {
		return nil, err
	}
	var out []Shift
	for _, w := range decision.Writes {
		at := slices.IndexFunc(r.Bindings, func(b Binding) bool { return b.Name == w.Binding })
		c := cluster{Binding: &r.Bindings[at]}
		if len(w.Shares) == 0 || !c.Picked {
			continue
		}
		newest := w.Shares[len(w.Shares)-1]
		for _, s := range newest.Workloads {
			was, _, _ := c.has(newest.ResourceSnapshotName, KeyOf(s))
			if then := ptr.Deref(s.Target, s.Replicas); then != was.Replicas && !newest.Lost {
				out = append(out, Shift{c.Cluster, KeyOf(s), was.Replicas, then})
			}
		}
	}
	slices.SortFunc(out, func(a, b Shift) int {
		return cmp.Or(strings.Compare(a.Number.String(), b.Number.String()), strings.Compare(a.Cluster, b.Cluster))
	})
	return out, nil
}
