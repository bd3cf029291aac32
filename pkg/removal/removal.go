// Package removal is the brake on deletion: it decides whether a change removes more from member clusters than the
// placement's removal policy allows, and is held. The input is the policy, what would be removed, what is held already
// and what a user has released; the output is what is held. dispatcher, scheduler and placer use it, each before the
// write that removes.
package removal

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Policy is what one change may remove.
type Policy struct {
	// Max is a number or a percentage; nil for no limit by number.
	Max *intstr.IntOrString
	// Protect are kinds of objects that no change may remove.
	Protect []schema.GroupKind
}

// PolicyOf is the policy of a placement, or the hub's defaults if it has none.
func PolicyOf(placement v1beta1.PlacementObject, defaults Policy) Policy {
	own := placement.GetSpec().Strategy.Removal
	if own == nil {
		return defaults
	}
	out := Policy{Max: own.Max}
	for _, kind := range own.Protect {
		out.Protect = append(out.Protect, schema.GroupKind{Group: kind.Group, Kind: kind.Kind})
	}
	return out
}

// mostProtected is how many kinds a policy may protect.
const mostProtected = 32

// Parse reads a policy from flags: max is a number or a percentage, protect are kinds as Kind or Kind.group, separated
// by commas. Both may be empty.
func Parse(max, protect string) (Policy, error) {
	var out Policy
	if max != "" {
		value := intstr.Parse(max)
		if _, ok := limitOf(value); !ok {
			return Policy{}, fmt.Errorf("%q is neither a number from 0 to 2147483647 nor a percentage from 0%% to 100%%", max)
		}
		out.Max = &value
	}
	for _, text := range strings.Split(protect, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		kind := schema.ParseGroupKind(text)
		if kind.Kind == "" {
			return Policy{}, fmt.Errorf("%q is no kind: write Kind or Kind.group", text)
		}
		out.Protect = append(out.Protect, kind)
	}
	if len(out.Protect) > mostProtected {
		return Policy{}, fmt.Errorf("%d kinds are protected, and %d at most can be", len(out.Protect), mostProtected)
	}
	return out, nil
}

// None reports whether the policy limits nothing.
func (p Policy) None() bool { return p.Max == nil && len(p.Protect) == 0 }

// HoldsAll reports whether the policy holds a change that removes everything. If that depends on what it removes,
// known is false.
func (p Policy) HoldsAll() (holds, known bool) {
	if p.Max != nil {
		l, ok := limitOf(*p.Max)
		if !ok || l.value == 0 || l.share && l.value < 100 {
			return true, true
		}
		return false, l.share && len(p.Protect) == 0
	}
	return false, len(p.Protect) == 0
}

type limit struct {
	value int
	share bool
}

// limitOf reads a number or a percentage; ok is false for one out of range, which the API server does not store.
func limitOf(value intstr.IntOrString) (out limit, ok bool) {
	if value.Type == intstr.Int {
		return limit{value: int(value.IntVal)}, value.IntVal >= 0
	}
	text, share := strings.CutSuffix(value.StrVal, "%")
	n, err := strconv.ParseInt(text, 10, 32)
	ok = err == nil && n >= 0 && !strings.HasPrefix(text, "+") && (!share || n <= 100)
	return limit{value: int(n), share: share}, ok
}

// beyondNumber reports whether removed of total is more than the policy's number or share. A limit that cannot be read
// allows nothing.
func (p Policy) beyondNumber(removed, total int) bool {
	if p.Max == nil || removed == 0 {
		return false
	}
	l, ok := limitOf(*p.Max)
	switch {
	case !ok:
		return true
	case l.share:
		return int64(removed)*100 > int64(l.value)*int64(total)
	}
	return removed > l.value
}

// Exceeded reports whether removed of total is more than the policy's number or share.
func (p Policy) Exceeded(removed, total int) bool { return p.beyondNumber(removed, total) }

// protects reports whether the policy protects an object.
func (p Policy) protects(o Object) bool {
	return o.Unreadable || slices.Contains(p.Protect, schema.GroupKind{Group: o.Group, Kind: o.Kind})
}

// Subject is what a change removes.
type Subject string

const (
	// Content is a change of the objects on one cluster, of a binding.
	Content Subject = "content"
	// Clusters is a change of the clusters of a placement.
	Clusters Subject = "clusters"
	// Placement is the deletion of a placement.
	Placement Subject = "placement"
)

// Change is what one change would remove.
type Change struct {
	Subject Subject
	// Of is the UID of the binding or placement that changes.
	Of types.UID
	// Leaving are the objects, or clusters, that would be removed, in any order and each once; Total is how many there
	// are now.
	Leaving []Object
	Total   int
}

// Object identifies an object on a member, or a cluster, which has a name only.
type Object struct {
	Group, Kind, Namespace, Name string
	// Unreadable is whether the manifest cannot be read; then the name identifies its text. A change that removes it
	// is always beyond the policy.
	Unreadable bool
}

// String names the object for users.
func (o Object) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	if o.Kind != "" {
		name = o.Kind + " " + name
	}
	return cut(name, mostName)
}

func compare(a, b Object) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

const (
	// mostFirst is how many names a held removal lists, and mostName how many bytes each has.
	mostFirst, mostName = 10, 512
	// digestLength is the length of digests: 80 bits, hex.
	digestLength = 20
	// mostReleased is how many bytes of digests an annotation may have; a longer one releases nothing.
	mostReleased = 64 << 10
)

// Decide returns what of a change is held: all or nothing. was is what is held now, nil for nothing, and released are
// digests that a user has released.
//
// A digest names exactly the removed objects, and since when they are held. If the change is reverted and made again,
// it is held since another time, so that an earlier release does not let it through.
func Decide(p Policy, c Change, was *v1beta1.HeldRemoval, released []string, now time.Time) *v1beta1.HeldRemoval {
	if !p.beyond(c) {
		return nil
	}
	leaving := slices.SortedFunc(slices.Values(c.Leaving), compare)
	since := metav1.NewTime(now.Truncate(time.Second))
	if was != nil && was.Digest == digestOf(c, leaving, was.Since) {
		if slices.Contains(released, was.Digest) {
			return nil
		}
		since = was.Since
	}
	return held(p, c, leaving, since)
}

// DigestOfDeletion is the digest of the deletion of a placement.
func DigestOfDeletion(placement types.UID, since metav1.Time) string {
	return digestOf(Change{Subject: Placement, Of: placement}, nil, since)
}

func held(p Policy, c Change, leaving []Object, since metav1.Time) *v1beta1.HeldRemoval {
	out := &v1beta1.HeldRemoval{
		Digest: digestOf(c, leaving, since), Since: since, Removed: int32(len(leaving)), Total: int32(max(c.Total, len(leaving))), //nolint:gosec // far from the limit
	}
	first := slices.Clone(leaving)
	slices.SortStableFunc(first, func(a, b Object) int { return boolean(p.protects(b)) - boolean(p.protects(a)) })
	for _, o := range first {
		out.Protected += int32(boolean(p.protects(o))) //nolint:gosec // 0 or 1
		if len(out.First) < mostFirst {
			out.First = append(out.First, o.String())
		}
	}
	return out
}

func (p Policy) beyond(c Change) bool {
	if p.None() || len(c.Leaving) == 0 {
		return false
	}
	if c.Subject == Clusters && len(p.Protect) > 0 {
		return true // which kinds a cluster has is not known here
	}
	return p.beyondNumber(len(c.Leaving), c.Total) || slices.ContainsFunc(c.Leaving, p.protects)
}

// digestOf identifies a change that is held since a time; leaving is sorted.
func digestOf(c Change, leaving []Object, since metav1.Time) string {
	hash, err := contract.Hash([]any{c.Subject, c.Of, since.Unix(), leaving})
	if err != nil {
		panic(err) // texts and numbers have a JSON form
	}
	return hash[:digestLength]
}

// Released are the digests that the annotation of a placement lets through.
func Released(placement v1beta1.PlacementObject) []string {
	text := placement.GetAnnotations()[contract.AnnotationReleaseRemoval]
	if text == "" || len(text) > mostReleased {
		return nil
	}
	return strings.Split(text, ",")
}

// Release is the value of the annotation that lets exactly these removals through, and how many of them: the
// annotation has a limited size, and the others are released by another one.
func Release(all []v1beta1.HeldRemoval) (text string, of int) {
	digests := make([]string, 0, len(all))
	for _, h := range all {
		digests = append(digests, h.Digest)
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	digests = digests[:min(len(digests), mostReleased/(digestLength+1))]
	return strings.Join(digests, ","), len(digests)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cut shortens text to at most n bytes of valid UTF-8.
func cut(text string, n int) string {
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n-len("…")], "") + "…"
	}
	return text
}
