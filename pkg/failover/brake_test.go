package failover

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const region = "topology.kubernetes.io/region"

type change func(*clusterv1beta1.MemberCluster)

// member has a heartbeat period of 60 seconds and was heard that long before noon.
func member(name string, age time.Duration, changes ...change) *clusterv1beta1.MemberCluster {
	c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon.Add(-age)),
	}}
	for _, change := range changes {
		change(c)
	}
	return c
}

func period(seconds int32) change {
	return func(c *clusterv1beta1.MemberCluster) { c.Spec.HeartbeatPeriodSeconds = seconds }
}

func in(name string) change {
	return func(c *clusterv1beta1.MemberCluster) { c.Labels = map[string]string{region: name} }
}

// silence is a record of so long before noon: since, and of its state.
func silence(state clusterv1beta1.SilenceState, since, stateSince time.Duration) change {
	return func(c *clusterv1beta1.MemberCluster) {
		c.Status.Silence = enter(state, noon.Add(-since), noon.Add(-stateSince))
	}
}

func annotated(key, value string) change {
	return func(c *clusterv1beta1.MemberCluster) { c.Annotations = map[string]string{key: value} }
}

func leaving(c *clusterv1beta1.MemberCluster)  { c.DeletionTimestamp = &metav1.Time{Time: noon} }
func unjoined(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus = nil }

// members are alike, with names from that of the first.
func members(n int, first string, age time.Duration, changes ...change) (out []*clusterv1beta1.MemberCluster) {
	for i := range n {
		out = append(out, member(fmt.Sprintf("%s%d", first, i), age, changes...))
	}
	return out
}

func TestEvidence(t *testing.T) {
	const dead, well = 3 * time.Minute, 20 * time.Second
	away := annotated(contract.AnnotationAway, "true")
	for _, tc := range []struct {
		what   string
		others [][]*clusterv1beta1.MemberCluster
		domain string
		want   Evidence
		counts string
		next   time.Duration
	}{
		{"one of two", [][]*clusterv1beta1.MemberCluster{members(1, "b", well)}, "", Alone, "1/1", 0},
		{"both of two", [][]*clusterv1beta1.MemberCluster{members(1, "b", dead)}, "", Widespread, "2/0", 0},
		{"the only cluster", nil, "", Widespread, "1/0", 0},
		{"two of three", [][]*clusterv1beta1.MemberCluster{members(1, "b", dead), members(1, "h", well)}, "", Alone, "2/1", 0},
		{"three of eight", [][]*clusterv1beta1.MemberCluster{members(2, "b", dead), members(5, "h", well)}, "", Widespread, "3/5", 0},
		{"three of nine", [][]*clusterv1beta1.MemberCluster{members(2, "b", dead), members(6, "h", well)}, "", Alone, "3/6", 0},
		{"all of nine", [][]*clusterv1beta1.MemberCluster{members(8, "b", dead)}, "", Widespread, "9/0", 0},
		{"a region of three", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", dead, in("west")), members(3, "h", well, in("east")), members(3, "i", well, in("north")),
		}, region, Alone, "3/6", 0},
		{"the larger of two regions", [][]*clusterv1beta1.MemberCluster{members(8, "b", dead, in("west")), members(1, "h", well, in("east"))}, region, Alone, "9/1", 0},
		{"a region, without the label of domains", [][]*clusterv1beta1.MemberCluster{
			members(4, "b", dead, in("west")), members(4, "h", well, in("east")),
		}, "", Widespread, "5/4", 0},
		{"a region, and one of another", [][]*clusterv1beta1.MemberCluster{
			members(3, "b", dead, in("west")), members(1, "c", dead, in("east")), members(4, "h", well, in("east")),
		}, region, Widespread, "5/4", 0},
		{"two of three regions: the hub may hear only its own", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", dead, in("west")), members(3, "c", dead, in("north")), members(3, "h", well, in("east")),
		}, region, Widespread, "6/3", 0},
		{"two of four regions", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", dead, in("west")), members(3, "c", dead, in("north")), members(3, "h", well, in("east")), members(3, "i", well, in("south")),
		}, region, Alone, "6/6", 0},
		{"five of nine, each in a region of its own", [][]*clusterv1beta1.MemberCluster{
			members(1, "b", dead, in("1")), members(1, "c", dead, in("2")), members(1, "d", dead, in("3")), members(1, "e", dead, in("4")),
			members(1, "h", well, in("5")), members(1, "i", well, in("6")), members(1, "j", well, in("7")), members(1, "k", well, in("8")),
		}, region, Widespread, "5/4", 0},
		{"all regions", [][]*clusterv1beta1.MemberCluster{members(4, "b", dead, in("west")), members(4, "c", dead, in("east"))}, region, Widespread, "9/0", 0},
		{"a region, and one without", [][]*clusterv1beta1.MemberCluster{
			members(3, "b", dead, in("west")), members(1, "c", dead), members(4, "h", well, in("east")),
		}, region, Widespread, "5/4", 0},
		{"a region, and the others are in none", [][]*clusterv1beta1.MemberCluster{members(4, "b", dead, in("west")), members(4, "h", well)}, region, Widespread, "5/4", 0},
		{"another one that reports rarely", [][]*clusterv1beta1.MemberCluster{members(1, "b", 4*time.Minute, period(600))}, "", Undecided, "1/0", 400 * time.Second},
		{"two, and another one that reports rarely", [][]*clusterv1beta1.MemberCluster{
			members(1, "b", dead), members(1, "c", 4*time.Minute, period(600)),
		}, "", Widespread, "2/0", 400 * time.Second},
		{"three, and others that report rarely", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", dead), members(6, "c", 4*time.Minute, period(600)),
		}, "", Widespread, "3/0", 400 * time.Second},
		{"the others fell silent after it was due", [][]*clusterv1beta1.MemberCluster{members(8, "b", 100*time.Second)}, "", Widespread, "9/0", 0},
		{"lost not long ago", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", time.Hour, silence(clusterv1beta1.SilenceLost, time.Hour, 9*time.Minute)), members(2, "h", well),
		}, "", Widespread, "3/2", time.Minute},
		{"lost long ago", [][]*clusterv1beta1.MemberCluster{
			members(4, "b", time.Hour, silence(clusterv1beta1.SilenceLost, time.Hour, 11*time.Minute)), members(2, "h", well),
		}, "", Alone, "1/2", 0},
		{"lost long ago, after it had been heard when the other was due", [][]*clusterv1beta1.MemberCluster{
			members(4, "b", 100*time.Second, silence(clusterv1beta1.SilenceLost, time.Hour, 11*time.Minute)),
		}, "", Widespread, "1/0", 0},
		{"others are dead for weeks, and were never judged", [][]*clusterv1beta1.MemberCluster{
			members(2, "b", 500*time.Hour), members(2, "c", 17*time.Minute), members(6, "h", well),
		}, "", Alone, "1/6", 0},
		{"others are dead for weeks, and braked", [][]*clusterv1beta1.MemberCluster{
			members(4, "b", 500*time.Hour, silence(clusterv1beta1.SilenceBraked, 500*time.Hour, 500*time.Hour)), members(6, "h", well),
		}, "", Alone, "1/6", 0},
		{"others fell silent not long before", [][]*clusterv1beta1.MemberCluster{members(4, "b", 15*time.Minute), members(6, "h", well)}, "", Widespread, "5/6", 0},
		{"released", [][]*clusterv1beta1.MemberCluster{
			members(4, "b", time.Hour, silence(clusterv1beta1.SilenceReleased, time.Hour, 0)), members(2, "h", well),
		}, "", Alone, "1/2", 0},
		{"away, leaving, never reported", [][]*clusterv1beta1.MemberCluster{
			members(3, "b", dead, away), members(3, "c", dead, leaving), members(3, "d", dead, unjoined),
			members(3, "e", well, away), members(3, "f", well, leaving), members(1, "h", well),
		}, "", Alone, "1/1", 0},
	} {
		t.Run(tc.what, func(t *testing.T) {
			a := member("a", dead, in("west"))
			fleet := append([]*clusterv1beta1.MemberCluster{a}, slices.Concat(tc.others...)...)
			got := CountFor(a, fleet, tc.domain, noon)
			if counts := fmt.Sprintf("%d/%d", len(got.Suspects), len(got.Heard)); got.Evidence != tc.want || counts != tc.counts {
				t.Errorf("evidence %d, %s: suspects %v, heard %v; want %d, %s", got.Evidence, counts, got.Suspects, got.Heard, tc.want, tc.counts)
			}
			if !slices.Contains(got.Suspects, "a") || !slices.IsSorted(got.Suspects) || !slices.IsSorted(got.Heard) {
				t.Errorf("suspects %v, heard %v", got.Suspects, got.Heard)
			}
			next := time.Duration(0)
			if !got.Next.IsZero() {
				next = got.Next.Sub(noon)
			}
			if next != tc.next {
				t.Errorf("the next is due in %s; want %s", next, tc.next)
			}
		})
	}
}

// Clusters that fell silent together are due at times that differ by up to the longest period, and stay so for ever.
func TestSilencesThatBeganTogether(t *testing.T) {
	const cut = 12 * time.Hour
	rare, often := member("a", cut+10*time.Minute, period(600)), member("b", cut, period(1))
	late := member("c", cut, period(600))
	for _, judged := range []*clusterv1beta1.MemberCluster{rare, often, late} {
		fleet := append([]*clusterv1beta1.MemberCluster{rare, often, late}, members(1, "h", 20*time.Second)...)
		if got := CountFor(judged, fleet, "", noon); len(got.Suspects) != 3 || got.Evidence != Widespread {
			t.Errorf("%s: %+v", judged.Name, got)
		}
		if !widespread(judged, fleet, "", noon) {
			t.Errorf("%s: not widespread", judged.Name)
		}
	}
}

// What began long after says nothing either, but only once it is not new: the hub may be cut off just now.
func TestOthersThatFellSilentLater(t *testing.T) {
	for _, tc := range []struct {
		age  time.Duration
		want Evidence
		next time.Duration
	}{
		{10 * time.Minute, Widespread, 13*time.Minute + 73*time.Second - 10*time.Minute},
		{15 * time.Minute, Alone, 0},
	} {
		a := member("a", 500*time.Hour)
		fleet := append(members(4, "b", tc.age), members(6, "h", 20*time.Second)...)
		got := CountFor(a, fleet, "", noon)
		next := time.Duration(0)
		if !got.Next.IsZero() {
			next = got.Next.Sub(noon)
		}
		if got.Evidence != tc.want || next != tc.next {
			t.Errorf("%s: evidence %d, next in %s", tc.age, got.Evidence, next)
		}
	}
}

func TestBraked(t *testing.T) {
	braked := silence(clusterv1beta1.SilenceBraked, time.Hour, time.Hour)
	for what, tc := range map[string]struct {
		cluster *clusterv1beta1.MemberCluster
		want    bool
	}{
		"braked":          {member("a", time.Hour, braked), true},
		"suspected":       {member("a", time.Hour, silence(clusterv1beta1.SilenceSuspected, time.Hour, time.Hour)), false},
		"well":            {member("a", 0), false},
		"braked and away": {member("a", time.Hour, braked, annotated(contract.AnnotationAway, "true")), false},
		"braked, leaving": {member("a", time.Hour, braked, leaving), false},
		"not \"true\"":    {member("a", time.Hour, braked, annotated(contract.AnnotationAway, "TRUE")), true},
	} {
		if got := Braked([]*clusterv1beta1.MemberCluster{member("b", 0), tc.cluster}); got != tc.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}
