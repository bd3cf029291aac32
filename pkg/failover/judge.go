package failover

import (
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
	Now   time.Time
	Fleet []*clusterv1beta1.MemberCluster
	// Clear is since when no silence has been Widespread, as far as this process has seen; zero if one was at the last
	// look.
	Clear time.Time
}

// Judgement is the result for one cluster.
type Judgement struct {
	// Silence is what to record; nil for none.
	Silence *clusterv1beta1.ClusterSilence
	// Again is when to judge again without an event; zero if there is no need.
	Again time.Duration
	// Evidence is what the others showed, if they were asked.
	Evidence Evidence
	Asked    bool
}

// Next judges a cluster. Its recorded silence is the last judgement.
func (j Judge) Next(cluster *clusterv1beta1.MemberCluster, look Look) Judgement {
	was := cluster.Status.Silence
	if !Watched(cluster) {
		return Judgement{}
	}
	last := liveness.LastHeard(cluster)
	if was != nil && was.Since.Time.After(look.Now) {
		was = nil // the clock was set back
	}
	if left := last.Add(liveness.Grace(cluster)).Sub(look.Now); left >= 0 {
		return Judgement{Silence: heard(was, look.Now), Again: left + time.Nanosecond}
	}
	if left := j.Awake.Add(liveness.Grace(cluster)).Sub(look.Now); left > 0 {
		return Judgement{Silence: was, Again: left}
	}
	switch {
	case was == nil || was.State == clusterv1beta1.SilenceOver:
		since := last
		if j.Awake.After(since) {
			since = j.Awake
		}
		was = enter(clusterv1beta1.SilenceSuspected, metav1.NewTime(since), look.Now)
	case was.State == clusterv1beta1.SilenceLost || was.State == clusterv1beta1.SilenceReleased:
		return Judgement{Silence: was}
	}
	if released(cluster, was) {
		return Judgement{Silence: enter(clusterv1beta1.SilenceReleased, was.Since, look.Now)}
	}
	if was.State == clusterv1beta1.SilenceSuspected {
		if left := was.Since.Add(liveness.LostAfter(cluster)).Sub(look.Now); left > 0 {
			return Judgement{Silence: was, Again: left}
		}
	}
	return j.ask(cluster, was, look)
}

// ask judges a silence that has lasted long enough by who else is heard.
func (j Judge) ask(cluster *clusterv1beta1.MemberCluster, was *clusterv1beta1.ClusterSilence, look Look) Judgement {
	count := CountFor(cluster, look.Fleet, j.Domain, look.Now)
	out := Judgement{Silence: was, Evidence: count.Evidence, Asked: true}
	if !count.Next.IsZero() {
		out.Again = max(count.Next.Sub(look.Now), 0) + time.Nanosecond
	}
	if was.State == clusterv1beta1.SilenceSuspected {
		switch count.Evidence {
		case Alone:
			out.Silence = enter(clusterv1beta1.SilenceLost, was.Since, look.Now)
		case Widespread:
			out.Silence = enter(clusterv1beta1.SilenceBraked, was.Since, look.Now)
		}
		return out
	}
	if count.Evidence != Alone {
		return out
	}
	clear := look.Clear
	if clear.IsZero() {
		clear = look.Now
	}
	if left := clear.Add(liveness.Period(cluster)).Sub(look.Now); left > 0 {
		out.Again = left
		return out
	}
	now := metav1.NewTime(look.Now)
	out.Silence = enter(clusterv1beta1.SilenceSuspected, now, look.Now)
	out.Again = liveness.LostAfter(cluster)
	return out
}

// heard is what remains of a silence once heartbeats arrive.
func heard(was *clusterv1beta1.ClusterSilence, now time.Time) *clusterv1beta1.ClusterSilence {
	switch {
	case was == nil:
		return nil
	case was.State == clusterv1beta1.SilenceOver:
		return was
	case was.State == clusterv1beta1.SilenceLost || was.State == clusterv1beta1.SilenceReleased:
		return enter(clusterv1beta1.SilenceOver, was.Since, now)
	default:
		return nil
	}
}

// released reports whether an administrator declared the cluster lost, in this silence.
func released(cluster *clusterv1beta1.MemberCluster, s *clusterv1beta1.ClusterSilence) bool {
	return cluster.Annotations[contract.AnnotationRelease] == Release(s)
}

// Release is the value of the annotation that declares a cluster lost in this silence, and in no later one.
func Release(s *clusterv1beta1.ClusterSilence) string { return s.Since.UTC().Format(time.RFC3339) }

func enter(state clusterv1beta1.SilenceState, since metav1.Time, now time.Time) *clusterv1beta1.ClusterSilence {
	return &clusterv1beta1.ClusterSilence{Since: since, State: state, StateSince: metav1.NewTime(now)}
}
