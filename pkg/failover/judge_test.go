package failover

import (
	"encoding/json"
	"testing"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

const (
	suspected, braked = clusterv1beta1.SilenceSuspected, clusterv1beta1.SilenceBraked
	isLost, freed     = clusterv1beta1.SilenceLost, clusterv1beta1.SilenceReleased
	over              = clusterv1beta1.SilenceOver
)

// stored is the cluster as it comes back from the API server, whose times are seconds.
func stored(t testing.TB, c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	t.Helper()
	text, err := json.Marshal(c)
	out := &clusterv1beta1.MemberCluster{}
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNextJudgement(t *testing.T) {
	const s, m = time.Second, time.Minute
	well, gone := members(6, "h", 20*s), members(6, "h", 3*m)
	release := func(since time.Duration) change {
		return annotated(contract.AnnotationRelease, noon.Add(-since).Format(time.RFC3339))
	}
	type want struct {
		state             clusterv1beta1.SilenceState
		since, stateSince time.Duration
		again             time.Duration
	}
	none := want{}
	for _, tc := range []struct {
		what    string
		cluster *clusterv1beta1.MemberCluster
		fleet   []*clusterv1beta1.MemberCluster
		// awake is the age of the process, one day if zero; clear and brakedAt are its memory, none if zero.
		awake, clear, brakedAt time.Duration
		want                   want
	}{
		{"heard", member("a", 20*s), well, 0, 0, 0, want{again: 110 * s}},
		{"overdue", member("a", 130*s), well, 0, 0, 0, none},
		{"suspected", member("a", 131*s), well, 0, 0, 0, want{suspected, 131 * s, 0, 50 * s}},
		{"suspected before", member("a", 140*s, silence(suspected, 140*s, 10*s)), well, 0, 0, 0, want{suspected, 140 * s, 10 * s, 40 * s}},
		{"lost", member("a", 180*s, silence(suspected, 180*s, 50*s)), well, 0, 0, 0, want{isLost, 180 * s, 0, 0}},
		{"braked", member("a", 180*s, silence(suspected, 180*s, 50*s)), gone, 0, 0, 0, want{braked, 180 * s, 0, 0}},
		{"no evidence yet", member("a", 180*s, silence(suspected, 180*s, 50*s)), members(6, "h", 4*m, period(600)), 0, 0, 0, want{suspected, 180 * s, 50 * s, 400 * s}},
		{"every second: lost once it is suspected", member("a", 13*s, period(1)), members(2, "h", 0), 0, 0, 0, want{isLost, 13 * s, 0, 0}},

		{"stays lost", member("a", time.Hour, silence(isLost, time.Hour, 57*m)), well, 0, 0, 0, want{isLost, time.Hour, 57 * m, 0}},
		{"stays lost, while all are silent", member("a", time.Hour, silence(isLost, time.Hour, 57*m)), gone, 0, 0, 0, want{isLost, time.Hour, 57 * m, 0}},
		{"stays lost after a start", member("a", time.Hour, silence(isLost, time.Hour, 57*m)), gone, s, 0, 0, want{isLost, time.Hour, 57 * m, 0}},
		{"lost, and heard again", member("a", s, silence(isLost, time.Hour, 57*m)), well, 0, 0, 0, want{over, time.Hour, 0, 129 * s}},
		{"released, and heard again", member("a", s, silence(freed, time.Hour, 57*m)), well, 0, 0, 0, want{over, time.Hour, 0, 129 * s}},
		{"suspected, and heard again", member("a", s, silence(suspected, 140*s, 10*s)), well, 0, 0, 0, want{again: 129 * s}},
		{"braked, and heard again", member("a", s, silence(braked, time.Hour, 57*m)), well, 0, 0, 0, want{again: 129 * s}},
		{"lost, and the period is longer now", member("a", 4*m, period(600), silence(isLost, 4*m, m)), well, 0, 0, 0, want{isLost, 4 * m, m, 970 * s}},
		{"suspected, and the period is longer now", member("a", 4*m, period(600), silence(suspected, 4*m, m)), well, 0, 0, 0, want{again: 970 * s}},
		{"the period is shorter now", member("a", 5*m), well, 0, 0, 0, want{suspected, 5 * m, 0, 50 * s}},
		{"over", member("a", s, silence(over, time.Hour, 20*m)), well, 0, 0, 0, want{over, time.Hour, 20 * m, 129 * s}},
		{"over for long, and suspected again", member("a", 131*s, silence(over, time.Hour, 40*m)), well, 0, 0, 0, want{suspected, 131 * s, 0, 50 * s}},
		{"over not long ago: a suspicion does not hide it", member("a", 131*s, silence(over, time.Hour, 20*m)), well, 0, 0, 0, want{over, time.Hour, 20 * m, 49 * s}},
		{"over not long ago, and lost again", member("a", 180*s, silence(over, time.Hour, 20*m)), well, 0, 0, 0, want{isLost, 180 * s, 0, 0}},
		{"over not long ago, and braked", member("a", 180*s, silence(over, time.Hour, 20*m)), gone, 0, 0, 0, want{braked, 180 * s, 0, 0}},

		{"just after a start", member("a", time.Hour), well, m, 0, 0, want{again: 70 * s}},
		{"after the grace: the silence counts from the start", member("a", time.Hour), well, 130 * s, 0, 0, want{suspected, 130 * s, 0, 50 * s}},
		{"suspected before the start", member("a", time.Hour, silence(suspected, 140*s, 100*s)), well, m, 0, 0, want{suspected, 140 * s, 100 * s, 70 * s}},
		{"suspected before the start, after the grace", member("a", time.Hour, silence(suspected, 230*s, 150*s)), well, 130 * s, 0, 0, want{isLost, 230 * s, 0, 0}},

		{"stays braked", member("a", time.Hour, silence(braked, time.Hour, 57*m)), gone, 0, time.Hour, 0, want{braked, time.Hour, 57 * m, 0}},
		{"others are heard since just now", member("a", time.Hour, silence(braked, time.Hour, 57*m)), well, 0, 0, 0, want{braked, time.Hour, 57 * m, m}},
		{"others are heard since a moment", member("a", time.Hour, silence(braked, time.Hour, 57*m)), well, 0, 20 * s, 0, want{braked, time.Hour, 57 * m, 40 * s}},
		{"others are heard for a period: the clock starts anew", member("a", time.Hour, silence(braked, time.Hour, 57*m)), well, 0, m, 0, want{suspected, 0, 0, 3 * m}},
		{"the same just after a start", member("a", time.Hour, silence(braked, time.Hour, 57*m)), well, m, m, 0, want{suspected, 0, 0, 3 * m}},
		{"rarely heard, and others are heard for a minute", member("a", time.Hour, period(600), silence(braked, time.Hour, 30*m)), well, 0, m, 0, want{suspected, 0, 0, 30 * m}},
		{
			"suspected while another is braked", member("a", time.Hour, silence(suspected, time.Hour, 57*m)),
			append(members(1, "b", time.Hour, silence(braked, time.Hour, 57*m)), well...), 0, 0, 0, want{suspected, time.Hour, 57 * m, 3 * m},
		},
		{"suspected since before the end of a brake", member("a", time.Hour, silence(suspected, time.Hour, 57*m)), well, 0, 0, m, want{suspected, m, 57 * m, 2 * m}},
		{"suspected, after the end of a brake", member("a", time.Hour, silence(suspected, time.Hour, 57*m)), well, 0, 0, 3 * m, want{isLost, 3 * m, 0, 0}},
		{"over not long ago, and a brake ended since", member("a", 180*s, silence(over, time.Hour, 20*m)), well, 0, 0, m, want{over, time.Hour, 20 * m, 2 * m}},

		{"suspected and released", member("a", 140*s, silence(suspected, 140*s, 10*s), release(140*s)), gone, 0, 0, 0, want{freed, 140 * s, 0, 0}},
		{"braked and released", member("a", time.Hour, silence(braked, time.Hour, 57*m), release(time.Hour)), gone, 0, 0, 0, want{freed, time.Hour, 0, 0}},
		{"braked and released, just after a start", member("a", time.Hour, silence(braked, time.Hour, 57*m), release(time.Hour)), gone, s, 0, 0, want{freed, time.Hour, 0, 0}},
		{"released in an earlier silence", member("a", time.Hour, silence(braked, time.Hour, 57*m), release(3*time.Hour)), gone, 0, 0, 0, want{braked, time.Hour, 57 * m, 0}},
		{"lost and released", member("a", time.Hour, silence(isLost, time.Hour, 57*m), release(time.Hour)), gone, 0, 0, 0, want{freed, time.Hour, 57 * m, 0}},
		{"heard and released", member("a", s, silence(braked, time.Hour, 57*m), release(time.Hour)), gone, 0, 0, 0, want{again: 129 * s}},

		{"away", member("a", time.Hour, silence(isLost, time.Hour, 57*m), annotated(contract.AnnotationAway, "true")), well, 0, 0, 0, none},
		{"no longer away", member("a", time.Hour), well, 0, 0, 0, want{suspected, time.Hour, 0, 50 * s}},
		{"leaving", member("a", time.Hour, silence(isLost, time.Hour, 57*m), leaving), well, 0, 0, 0, none},
		{"never reported", member("a", time.Hour, silence(isLost, time.Hour, 57*m), unjoined), well, 0, 0, 0, none},
		{"a state that no version knows", member("a", time.Hour, silence("Odd", time.Hour, time.Hour)), well, 0, 0, 0, want{suspected, time.Hour, 0, 50 * s}},
		{"the clock was set back", member("a", time.Hour, silence(suspected, -time.Hour, -time.Hour)), well, 0, 0, 0, want{suspected, time.Hour, 0, 50 * s}},
		{"the clock was set back after a loss", member("a", time.Hour, silence(isLost, -time.Hour, -time.Hour)), well, 0, 0, 0, want{isLost, -time.Hour, -time.Hour, 0}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			before := stored(t, tc.cluster)
			judge := Judge{Awake: noon.Add(-24 * time.Hour)}
			if tc.awake != 0 {
				judge.Awake = noon.Add(-tc.awake)
			}
			look := Look{Now: noon, Fleet: append([]*clusterv1beta1.MemberCluster{tc.cluster}, tc.fleet...)}
			if tc.clear != 0 {
				look.Memory.Clear = noon.Add(-tc.clear)
			}
			if tc.brakedAt != 0 {
				look.Memory.Braked = noon.Add(-tc.brakedAt)
			}
			got := judge.Next(tc.cluster, look)
			var is want
			if got.Silence != nil {
				is = want{got.Silence.State, noon.Sub(got.Silence.Since.Time), noon.Sub(got.Silence.StateSince.Time), 0}
			}
			is.again = got.Again.Truncate(time.Second)
			if is != tc.want {
				t.Errorf("%+v; want %+v", is, tc.want)
			}
			if !same(stored(t, tc.cluster), before) {
				t.Error("the judged cluster was changed")
			}
		})
	}
}

// same compares the silences as they are stored.
func same(a, b *clusterv1beta1.MemberCluster) bool {
	x, y := a.Status.Silence, b.Status.Silence
	return x == nil && y == nil || x != nil && y != nil && x.State == y.State && x.Since.Equal(&y.Since) && x.StateSince.Equal(&y.StateSince)
}

// What is recorded is what the API server stores: a judgement that changes nothing writes nothing.
func TestJudgementIsStoredAsItIs(t *testing.T) {
	now := noon.Add(700 * time.Millisecond)
	for _, age := range []time.Duration{131 * time.Second, 150*time.Second + 400*time.Millisecond, 4 * time.Minute} {
		c := member("a", age)
		fleet := members(6, "h", 20*time.Second)
		got := Judge{}.Next(c, Look{Now: now, Fleet: fleet}).Silence
		c.Status.Silence = got
		back := stored(t, c)
		if !same(c, back) {
			t.Fatalf("recorded %+v, stored %+v", got, back.Status.Silence)
		}
		for _, c := range []*clusterv1beta1.MemberCluster{c, back} {
			next := Judge{}.Next(c, Look{Now: now.Add(10 * time.Millisecond), Fleet: fleet})
			was := *c
			was.Status.Silence = next.Silence
			if !same(c, &was) {
				t.Errorf("%s: %+v became %+v", age, c.Status.Silence, next.Silence)
			}
		}
	}
}

// The memory of a process: when a brake was seen last, and since when no silence was widespread.
func TestMemoryOfTheJudge(t *testing.T) {
	well, gone := members(6, "h", 20*time.Second), members(6, "h", time.Hour)
	silent := member("a", time.Hour, silence(braked, time.Hour, time.Hour))
	began := noon.Add(-30 * time.Second)
	for what, tc := range map[string]struct {
		cluster *clusterv1beta1.MemberCluster
		fleet   []*clusterv1beta1.MemberCluster
		was     Memory
		want    Memory
	}{
		"heard, and no other is braked":    {member("a", 0), well, Memory{Clear: began, Braked: began}, Memory{Clear: began, Braked: began}},
		"heard, and another one is braked": {member("h", 0), append(gone, silent), Memory{Clear: began}, Memory{Clear: began, Braked: noon}},
		"was braked until now":             {member("a", 0, silence(braked, time.Hour, time.Hour)), well, Memory{}, Memory{Braked: noon}},
		"heard, and many others are overdue": {
			member("a", 0), append(members(3, "g", 100*time.Second), members(2, "h", 0)...), Memory{Clear: began}, Memory{Clear: began, Braked: noon},
		},
		"heard, and few others are overdue": {
			member("a", 0), append(members(2, "g", 100*time.Second), members(2, "h", 0)...), Memory{Clear: began}, Memory{Clear: began},
		},
		"heard, two others are overdue since just now, and none is heard since": {
			member("a", 10*time.Second), append(members(2, "g", 74*time.Second), members(4, "h", 10*time.Second)...), Memory{Clear: began}, Memory{Clear: began},
		},
		"heard, and many others were lost long ago": {
			member("a", 0), members(3, "g", time.Hour, silence(isLost, time.Hour, 57*time.Minute)), Memory{Clear: began}, Memory{Clear: began},
		},
		"found widespread":                 {silent, gone, Memory{Clear: began}, Memory{Braked: noon}},
		"first found not to be widespread": {silent, well, Memory{}, Memory{Clear: noon, Braked: noon}},
		"found again not to be widespread": {silent, well, Memory{Clear: began}, Memory{Clear: began, Braked: noon}},
	} {
		if got := (Judge{}).Next(tc.cluster, Look{Now: noon, Fleet: tc.fleet, Memory: tc.was}).Memory; got != tc.want {
			t.Errorf("%s: %+v; want %+v", what, got, tc.want)
		}
	}
}
