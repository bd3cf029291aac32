package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Limits on bytes of JSON. An API server stores objects of up to 1.5 MiB, of which annotations may take 256 KiB.
const (
	// mostStatus is the limit for a placement's status.
	mostStatus = 1200 << 10
	// mostDetails is the limit for the lists of one binding.
	mostDetails = 256 << 10
	// mostFailure is the limit for the quoted failure of one object once mostDetails is reached.
	mostFailure = 512
)

// details are the lists of single objects on one cluster.
type details struct {
	failed  []v1beta1.FailedResourcePlacement
	drifted []v1beta1.DriftedResourcePlacement
	diffed  []v1beta1.DiffedResourcePlacement
}

// shortenings make details smaller, each on top of those before it. The most useful details per byte go last.
var shortenings = []func(details) details{
	details.namePaths, details.quoteLess,
	func(d details) details { return d.first(30) },
	func(d details) details { return d.first(10) },
	func(d details) details { return d.first(3) },
	func(d details) details { return d.first(1) },
	func(d details) details { return d.first(0) },
}

// fitting shortens details until they have at most limit bytes, and reports whether that was necessary.
func (d details) fitting(limit int) (details, bool) {
	shortened := false
	for _, shorten := range shortenings {
		if d.size() <= limit {
			break
		}
		d, shortened = shorten(d), true
	}
	return d, shortened
}

// first keeps at most n of each list.
func (d details) first(n int) details {
	return details{d.failed[:min(n, len(d.failed))], d.drifted[:min(n, len(d.drifted))], d.diffed[:min(n, len(d.diffed))]}
}

// equal reports whether two details hold the same, where one may be shortened from the other.
func (d details) equal(o details) bool {
	failed := func(a, b v1beta1.FailedResourcePlacement) bool { return a.Condition.Message == b.Condition.Message }
	drifted := func(a, b v1beta1.DriftedResourcePlacement) bool {
		return slices.Equal(a.ObservedDrifts, b.ObservedDrifts)
	}
	diffed := func(a, b v1beta1.DiffedResourcePlacement) bool { return slices.Equal(a.ObservedDiffs, b.ObservedDiffs) }
	return slices.EqualFunc(d.failed, o.failed, failed) && slices.EqualFunc(d.drifted, o.drifted, drifted) &&
		slices.EqualFunc(d.diffed, o.diffed, diffed)
}

// namePaths leaves one path and no values of all changed fields of an object.
func (d details) namePaths() details {
	out := details{failed: d.failed, drifted: slices.Clone(d.drifted), diffed: slices.Clone(d.diffed)}
	for i := range out.drifted {
		out.drifted[i].ObservedDrifts = trimmed(out.drifted[i].ObservedDrifts)
	}
	for i := range out.diffed {
		out.diffed[i].ObservedDiffs = trimmed(out.diffed[i].ObservedDiffs)
	}
	return out
}

// quoteLess cuts the messages of failures.
func (d details) quoteLess() details {
	out := details{failed: slices.Clone(d.failed), drifted: d.drifted, diffed: d.diffed}
	for i := range out.failed {
		out.failed[i].Condition.Message = cut(out.failed[i].Condition.Message, mostFailure)
	}
	return out
}

// cut shortens text to n bytes and marks the cut with an ellipsis.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

// Sizes of JSON without its texts, rounded up.
const (
	sizeCondition = 122
	sizeObject    = 64
	sizeEnvelope  = 52
	sizeObserved  = 160
	sizeField     = 50
	sizeList      = 50
	sizeCluster   = 80
	sizeName      = 28
	sizeShare     = 140
)

func (d details) size() int {
	if len(d.failed)+len(d.drifted)+len(d.diffed) == 0 {
		return 0
	}
	n := 3 * sizeList
	for i := range d.failed {
		n += identifierSize(&d.failed[i].ResourceIdentifier) + sizeField + conditionSize(&d.failed[i].Condition)
	}
	for i := range d.drifted {
		n += identifierSize(&d.drifted[i].ResourceIdentifier) + sizeObserved + fieldsSize(d.drifted[i].ObservedDrifts)
	}
	for i := range d.diffed {
		n += identifierSize(&d.diffed[i].ResourceIdentifier) + sizeObserved + fieldsSize(d.diffed[i].ObservedDiffs)
	}
	return n
}

func fieldsSize(fields []v1beta1.PatchDetail) int {
	n := 0
	for i := range fields {
		n += sizeField + textSize(fields[i].Path, fields[i].ValueInHub, fields[i].ValueInMember)
	}
	return n
}

func identifierSize(id *v1beta1.ResourceIdentifier) int {
	n := sizeObject + textSize(id.Group, id.Version, id.Kind, id.Namespace, id.Name)
	if e := id.Envelope; e != nil {
		n += sizeEnvelope + textSize(e.Name, e.Namespace, string(e.Type))
	}
	return n
}

func conditionsSize(conditions []metav1.Condition) int {
	n := 0
	for i := range conditions {
		n += conditionSize(&conditions[i])
	}
	return n
}

func conditionSize(c *metav1.Condition) int {
	return sizeCondition + textSize(c.Type, string(c.Status), c.Reason, c.Message)
}

func clusterSize(entry *v1beta1.PerClusterPlacementStatus) int {
	n := sizeCluster + textSize(entry.ClusterName, entry.ObservedResourceIndex) + conditionsSize(entry.Conditions) + detailsOf(entry).size()
	if len(entry.ApplicableResourceOverrides)+len(entry.ApplicableClusterResourceOverrides) > 0 {
		n += 2 * sizeList
	}
	for i := range entry.ApplicableResourceOverrides {
		n += sizeName + textSize(entry.ApplicableResourceOverrides[i].Name, entry.ApplicableResourceOverrides[i].Namespace)
	}
	for _, name := range entry.ApplicableClusterResourceOverrides {
		n += sizeName + textSize(name)
	}
	if len(entry.Shares) > 0 {
		n += sizeList
	}
	for i := range entry.Shares {
		s := &entry.Shares[i]
		n += sizeShare + textSize(s.Group, s.Kind, s.Namespace, s.Name, s.Field)
	}
	return n
}

// textSize is an upper bound of the bytes that texts take in JSON.
func textSize(texts ...string) int {
	n := 0
	for _, text := range texts {
		n += len(text)
		for _, r := range text {
			switch {
			case r == '"' || r == '\\':
				n++
			case r < ' ' || r == '<' || r == '>' || r == '&' || r == utf8.RuneError || r == '\u2028' || r == '\u2029':
				n += 5
			}
		}
	}
	return n
}

func (d details) into(entry *v1beta1.PerClusterPlacementStatus) {
	entry.FailedPlacements, entry.DriftedPlacements, entry.DiffedPlacements = d.failed, d.drifted, d.diffed
}

func detailsOf(entry *v1beta1.PerClusterPlacementStatus) details {
	return details{entry.FailedPlacements, entry.DriftedPlacements, entry.DiffedPlacements}
}

// fit makes a placement's status small enough to be stored, in the same way for every cluster: first it clears the
// messages of True conditions and all shares but one, then it shortens details, then long messages; the clusters
// themselves stay. A note marks where details are left out and names where to find them. bindings names the binding of
// each entry; empty for none.
func fit(status *v1beta1.PlacementStatus, bindings []string) {
	entries, selected := status.PerClusterPlacementStatuses, len(status.SelectedResources)
	most := mostStatus - conditionsSize(status.Conditions) - sizeNote
	listFirst(status, max(most/2, most-entriesSize(entries, most)))
	for _, reduce := range reductions {
		room := most - identifiersSize(status.SelectedResources)
		if entriesSize(entries, room) <= room {
			break
		}
		for i := range entries {
			reduce(&entries[i], bindings[i])
		}
	}
	listFirst(status, most-entriesSize(entries, most))
	if listed := len(status.SelectedResources); listed < selected {
		status.Conditions[0].Message += fmt.Sprintf("; selectedResources lists the first %d of %d objects, see the resource snapshots for all",
			listed, selected)
	}
}

// sizeNote is room for the note that fit adds to a message.
const sizeNote = 200

// mostQuoted is the limit for each message of one cluster when nothing else can be left out.
const mostQuoted = 80

// reductions make an entry smaller, each on top of those before it.
var reductions = func() []func(*v1beta1.PerClusterPlacementStatus, string) {
	out := []func(*v1beta1.PerClusterPlacementStatus, string){silence, dropShares}
	for _, shorten := range shortenings {
		out = append(out, func(entry *v1beta1.PerClusterPlacementStatus, binding string) {
			d := detailsOf(entry)
			shorter := shorten(d)
			if shorter.equal(d) {
				return
			}
			shorter.into(entry)
			last := &entry.Conditions[len(entry.Conditions)-1]
			if note := shortened + binding; !strings.HasSuffix(last.Message, note) {
				last.Message += note
			}
		})
	}
	return append(out, quote)
}()

const shortened = "; the lists are shortened here, see all of them in the binding "

// silence clears the messages of conditions that are True.
func silence(entry *v1beta1.PerClusterPlacementStatus, _ string) {
	for i := range entry.Conditions {
		if c := &entry.Conditions[i]; c.Status == metav1.ConditionTrue {
			c.Message = ""
		}
	}
}

// dropShares leaves one share. The bindings have all of them.
func dropShares(entry *v1beta1.PerClusterPlacementStatus, _ string) {
	entry.Shares = entry.Shares[:min(len(entry.Shares), 1)]
}

// quote cuts messages, except for the note on where to find the lists.
func quote(entry *v1beta1.PerClusterPlacementStatus, binding string) {
	for i := range entry.Conditions {
		c := &entry.Conditions[i]
		text, noted := strings.CutSuffix(c.Message, shortened+binding)
		c.Message = cut(text, mostQuoted)
		if noted {
			c.Message += shortened + binding
		}
	}
}

// listFirst keeps as many of the selected objects as fit in limit bytes.
func listFirst(status *v1beta1.PlacementStatus, limit int) {
	listed := len(status.SelectedResources)
	for n, i := 0, 0; i < listed; i++ {
		if n += identifierSize(&status.SelectedResources[i]); n > limit {
			status.SelectedResources, listed = status.SelectedResources[:i:i], i
		}
	}
}

// entriesSize stops counting once the sum exceeds enough.
func entriesSize(entries []v1beta1.PerClusterPlacementStatus, enough int) int {
	n := 0
	for i := 0; i < len(entries) && n <= enough; i++ {
		n += clusterSize(&entries[i])
	}
	return n
}

func identifiersSize(ids []v1beta1.ResourceIdentifier) int {
	n := 0
	for i := range ids {
		n += identifierSize(&ids[i])
	}
	return n
}
