package failover

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// Judge concludes from missing heartbeats what happened to a cluster.
type Judge struct {
	// Domain is the label of the domains that can fail as a whole; empty for none.
	Domain string
	// Awake is when this process began to receive heartbeats. What was missing before counts only if it was recorded.
	Awake time.Time
}

// Look is the state of the fleet at the time of a judgement.
type Look struct {
	Now    time.Time
	Fleet  []*clusterv1beta1.MemberCluster
	Memory Memory
}

// Memory is what a process remembers from one judgement to the next; it starts without any.
type Memory struct {
	// Clear is since when no silence was found Widespread; zero if the last one was.
	Clear time.Time
	// Braked is when a cluster was last seen Braked, or so many overdue that they may be soon; zero if that was never.
	Braked time.Time
}

// Judgement is the result for one cluster.
type Judgement struct {
	// Silence is what to record; nil for none.
	Silence *clusterv1beta1.ClusterSilence
	// Again is when to judge again without an event; zero if there is no need.
	Again time.Duration
	// Waiting is whether the cluster would be judged otherwise if the hub heard other clusters.
	Waiting bool
	// Memory is that for the next judgement, of any cluster.
	Memory Memory
}

// calm is for how long, at most, no silence must have been Widespread before the brake ends.
const calm = time.Minute

// Next judges a cluster. Its recorded silence is the last judgement.
func (j Judge) Next(cluster *clusterv1beta1.MemberCluster, look Look) Judgement {
	c := judging{Judge: j, Look: look, cluster: cluster, was: recorded(cluster, look.Now)}
	c.braked = Braked(look.Fleet) || widespread(cluster, look.Fleet, j.Domain, look.Now)
	if c.braked || is(c.was, clusterv1beta1.SilenceBraked) {
		c.Memory.Braked = look.Now
	}
	silence, again := c.next()
	return Judgement{Silence: silence, Again: again, Waiting: c.waiting, Memory: c.Memory}
}

// judging is one judgement.
type judging struct {
	Judge
	Look
	cluster *clusterv1beta1.MemberCluster
	was     *clusterv1beta1.ClusterSilence
	// braked is whether a cluster of the fleet is Braked, or may be soon.
	braked bool
	// waiting is as in Judgement.
	waiting bool
}

func (j *judging) next() (silence *clusterv1beta1.ClusterSilence, again time.Duration) {
	if !Watched(j.cluster) {
		return nil, 0
	}
	grace, last := liveness.Grace(j.cluster), liveness.LastHeard(j.cluster)
	if left := last.Add(grace).Sub(j.Now); left >= 0 {
		return heard(j.was, last, j.Now), left + time.Nanosecond
	}
	switch {
	case is(j.was, clusterv1beta1.SilenceLost) && released(j.cluster, j.was):
		return &clusterv1beta1.ClusterSilence{Since: j.was.Since, State: clusterv1beta1.SilenceReleased, StateSince: j.was.StateSince}, 0
	case lost(j.was):
		return j.was, 0
	case Suspicious(j.was) && released(j.cluster, j.was):
		return enter(clusterv1beta1.SilenceReleased, j.was.Since.Time, j.Now), 0
	case is(j.was, clusterv1beta1.SilenceBraked):
		return j.brakeEnds()
	}
	if left := j.Awake.Add(grace).Sub(j.Now); left > 0 {
		return j.was, left
	}
	return j.suspected()
}

// suspected judges a cluster that is Suspected, or is from now on.
func (j *judging) suspected() (silence *clusterv1beta1.ClusterSilence, again time.Duration) {
	if is(j.was, clusterv1beta1.SilenceSuspected) {
		return j.conclude(j.was)
	}
	silence = enter(clusterv1beta1.SilenceSuspected, latest(liveness.LastHeard(j.cluster), j.Awake), j.Now)
	if !Flapping(j.cluster, j.Now) {
		return j.conclude(silence)
	}
	// The record that the cluster was lost not long ago must outlive a suspicion. This one is not recorded, so it
	// began when it would have been.
	silence.StateSince = metav1.NewTime(silence.Since.Add(liveness.Grace(j.cluster)))
	if silence, again = j.conclude(silence); is(silence, clusterv1beta1.SilenceSuspected) {
		silence = j.was
	}
	return silence, again
}

// conclude judges a suspicion that has lasted long enough by who else is heard.
func (j *judging) conclude(s *clusterv1beta1.ClusterSilence) (silence *clusterv1beta1.ClusterSilence, again time.Duration) {
	if end := seconds(j.Memory.Braked); !j.braked && end.After(s.Since.Time) {
		s = s.DeepCopy() // all clocks start anew when the brake ends
		s.Since = end
	}
	if left := untilJudged(j.cluster, s).Sub(j.Now); left > 0 {
		return s, left
	}
	switch evidence, next := j.ask(); {
	case evidence == Widespread:
		return enter(clusterv1beta1.SilenceBraked, s.Since.Time, j.Now), next
	case evidence == Alone && j.braked:
		return s, liveness.LostAfter(j.cluster)
	case evidence == Alone:
		j.waiting = false
		return enter(clusterv1beta1.SilenceLost, s.Since.Time, j.Now), 0
	default:
		return s, next
	}
}

// untilJudged is when a suspicion has lasted long enough: three periods, and no less after it was recorded than if it
// had been recorded when the first two had passed. A shorter heartbeat period, or the end of an absence, makes a
// cluster silent that had no chance to report.
func untilJudged(cluster *clusterv1beta1.MemberCluster, s *clusterv1beta1.ClusterSilence) time.Time {
	after := liveness.LostAfter(cluster)
	return latest(s.Since.Add(after), s.StateSince.Add(after-liveness.Grace(cluster)))
}

// brakeEnds judges whether the brake ends for a cluster. Its silence counts from then on, so that it needs no grace
// after a start of this process.
func (j *judging) brakeEnds() (silence *clusterv1beta1.ClusterSilence, again time.Duration) {
	evidence, next := j.ask()
	if evidence != Alone {
		return j.was, next
	}
	if left := j.Memory.Clear.Add(min(liveness.Period(j.cluster), calm)).Sub(j.Now); left > 0 {
		return j.was, left
	}
	j.waiting = false
	return enter(clusterv1beta1.SilenceSuspected, j.Now, j.Now), liveness.LostAfter(j.cluster)
}

// ask returns what the other clusters show about the silence, and when to ask again without an event.
func (j *judging) ask() (evidence Evidence, again time.Duration) {
	j.waiting = true
	count := CountFor(j.cluster, j.Fleet, j.Domain, j.Now)
	switch {
	case count.Evidence == Widespread:
		j.Memory.Clear = time.Time{}
	case j.Memory.Clear.IsZero():
		j.Memory.Clear = j.Now
	}
	if !count.Next.IsZero() {
		again = max(count.Next.Sub(j.Now), 0) + time.Nanosecond
	}
	return count.Evidence, again
}

// recorded is the last judgement about the cluster; nil if there is none, or if it means nothing: its state is
// unknown, or the clock was set back before its begin.
func recorded(cluster *clusterv1beta1.MemberCluster, now time.Time) *clusterv1beta1.ClusterSilence {
	s := cluster.Status.Silence
	if s == nil {
		return nil
	}
	switch s.State {
	case clusterv1beta1.SilenceLost, clusterv1beta1.SilenceReleased, clusterv1beta1.SilenceOver:
		return s
	case clusterv1beta1.SilenceSuspected, clusterv1beta1.SilenceBraked:
		if !s.Since.After(now) && !s.StateSince.After(now) {
			return s
		}
	}
	return nil
}

// heard is what remains of a silence once heartbeats arrive. Without a heartbeat, a longer heartbeat period can end a
// suspicion, but not a loss.
func heard(was *clusterv1beta1.ClusterSilence, last, now time.Time) *clusterv1beta1.ClusterSilence {
	switch {
	case lost(was):
		if at := seconds(last); !at.After(was.Since.Time) {
			return was
		}
		return enter(clusterv1beta1.SilenceOver, was.Since.Time, now)
	case Suspicious(was):
		return nil
	default:
		return was
	}
}

func is(s *clusterv1beta1.ClusterSilence, state clusterv1beta1.SilenceState) bool {
	return s != nil && s.State == state
}

// lost reports whether a silence is judged finally: the cluster is Lost or Released.
func lost(s *clusterv1beta1.ClusterSilence) bool {
	return is(s, clusterv1beta1.SilenceLost) || is(s, clusterv1beta1.SilenceReleased)
}

// Suspicious reports whether a silence is not judged finally: it is Suspected or Braked.
func Suspicious(s *clusterv1beta1.ClusterSilence) bool {
	return is(s, clusterv1beta1.SilenceSuspected) || is(s, clusterv1beta1.SilenceBraked)
}

// released reports whether an administrator declared the cluster lost, in this silence.
func released(cluster *clusterv1beta1.MemberCluster, s *clusterv1beta1.ClusterSilence) bool {
	return cluster.Annotations[contract.AnnotationRelease] == Release(s)
}

// Release is the value of the annotation that declares a cluster lost in this silence, and in no later one.
func Release(s *clusterv1beta1.ClusterSilence) string { return s.Since.UTC().Format(time.RFC3339) }

// enter begins a state. Its times are those that the API server stores.
func enter(state clusterv1beta1.SilenceState, since, now time.Time) *clusterv1beta1.ClusterSilence {
	return &clusterv1beta1.ClusterSilence{Since: seconds(since), State: state, StateSince: seconds(now)}
}

func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
