package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// divisionSettings are the sizes of the section "division".
type divisionSettings struct{ placements int }

func (s *divisionSettings) addFlags() {
	flag.IntVar(&s.placements, "divisions", 100, "division: placements of a Deployment on three members, with divided replicas and then without")
}

// The replicas of a Deployment on each member before and after it is scaled, and on each of the two that are left when
// one is lost.
const replicasBefore, replicasAfter, replicasLost = 1, 2, 3

// divisionFigures are the results of the section.
type divisionFigures struct {
	Placements int            `json:"placements"`
	Changes    []replicaFlows `json:"changes"`
}

// replicaFlows is a change of all placements: from the change until the replicas are available on the members. The
// loss of a member is timed from its last heartbeat, without the time of the failover policy.
type replicaFlows struct {
	Change    string    `json:"change"`
	Available quantiles `json:"available"`
	// WholeSeconds is the time until the last placement has its replicas, MemberWrites what the member agents wrote to
	// members.
	WholeSeconds float64 `json:"wholeSeconds"`
	MemberWrites float64 `json:"memberWrites"`
	cost
}

func (f *divisionFigures) print(w io.Writer) error {
	fmt.Fprintf(w, "\ndivision: %d placements of a Deployment on 3 members, until its replicas are available; losses minus the %s of the policy\n",
		f.Placements, failoverAfter)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "change\tp50 s\tp99 s\twhole s\tdecisions\tdivisions\thub writes\tmember writes\tCPU s\t")
	for _, c := range f.Changes {
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t\n", c.Change, c.Available.P50, c.Available.P99, c.WholeSeconds,
			c.Decisions, c.Divisions, c.HubWrites, c.MemberWrites, c.CPUSeconds)
	}
	return table.Flush()
}

// divisions is the running section.
type divisions struct {
	*bench
	figures  *divisionFigures
	clusters *log
	// deployments are those of each member, by its name.
	deployments map[string]*log
}

// divisionTimes is the section "division": the same placements with and without divided replicas are scaled, and lose a
// member.
func divisionTimes(ctx context.Context, s settings, r *results) error {
	config := localfleet.DefaultConfig()
	for i := range config.Members {
		config.Members[i].HeartbeatPeriodSeconds = failoverPeriodSeconds
		// Each member has room for all pods.
		config.Members[i].Nodes = []localfleet.NodeSet{{Count: 1 + s.division.placements*replicasLost/100}}
	}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		run := divisions{bench: b, figures: &divisionFigures{Placements: s.division.placements}, deployments: map[string]*log{}}
		r.Division = run.figures
		var err error
		if run.clusters, err = follow(ctx, b.hub, &clusterv1beta1.MemberClusterList{}); err != nil {
			return err
		}
		for _, m := range b.members {
			if run.deployments[m.name], err = follow(ctx, m, &appsv1.DeploymentList{}, client.MatchingLabels{"bench": "true"}); err != nil {
				return err
			}
		}
		for i, divided := range []bool{true, false} {
			if err := run.measure(ctx, divided, b.members[i].name); err != nil {
				return err
			}
		}
		return nil
	})
}

// measure places, scales, and loses a member.
func (d *divisions) measure(ctx context.Context, divided bool, lost string) error {
	kind, factor := "divided", int32(len(d.members))
	if !divided {
		kind, factor = "not divided", 1
	}
	progress(fmt.Sprintf("%d placements of a Deployment, %s", d.figures.Placements, kind))
	all := names(map[bool]string{true: "divided", false: "whole"}[divided], d.figures.Placements)
	err := each(all, 16, func(name string) error {
		return errors.Join(d.hub.Create(ctx, namespace(name)), d.hub.Create(ctx, webOf(name, replicasBefore*factor)), d.hub.Create(ctx, placing(name, divided)))
	})
	if err != nil {
		return err
	}
	if _, err := d.await(ctx, all, time.Now(), replicasBefore, ""); err != nil {
		return err
	}
	if err := wait(ctx, 5*time.Second); err != nil { // until everything has been reported
		return err
	}
	err = d.change(ctx, kind+": scale", func() (figure, error) {
		begin := time.Now()
		if err := each(all, 16, func(name string) error { return d.hub.Update(ctx, webOf(name, replicasAfter*factor)) }); err != nil {
			return nil, err
		}
		return d.await(ctx, all, begin, replicasAfter, "")
	})
	if err != nil {
		return err
	}
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	err = d.change(ctx, kind+": loss of a member", func() (took figure, err error) {
		last, err := d.halt(ctx, d.clusters, lost)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, d.resume(lost)) }() // a halted agent does not say how many writes it made
		if !divided {                                             // nothing moves
			return nil, wait(ctx, time.Until(last.Add(failoverAfter+5*time.Second)))
		}
		return d.await(ctx, all, last.Add(failoverAfter), replicasLost, lost)
	})
	return errors.Join(err, d.forgetAll(ctx, all))
}

// await waits until all members but one have so many replicas of each Deployment available, and returns when that was
// after begin.
func (d *divisions) await(ctx context.Context, all []string, begin time.Time, replicas int32, without string) (figure, error) {
	var out figure
	for _, name := range all {
		last := begin
		for _, m := range d.members {
			if m.name == without {
				continue
			}
			at, err := d.deployments[m.name].when(ctx, key(name, "web"), func(e event, ok bool) bool {
				if !ok || e.gone {
					return false
				}
				web := e.object.(*appsv1.Deployment)
				return ptr.Deref(web.Spec.Replicas, 1) == replicas && web.Status.AvailableReplicas == replicas
			})
			if err != nil {
				return nil, fmt.Errorf("%d replicas on %s: %w", replicas, m.name, err)
			}
			if at.After(last) {
				last = at
			}
		}
		out = append(out, last.Sub(begin))
	}
	return out, nil
}

// change measures one change.
func (d *divisions) change(ctx context.Context, what string, do func() (figure, error)) error {
	progress("  " + what)
	before, err := d.cost(ctx)
	if err != nil {
		return err
	}
	var times figure
	c, err := d.counted(ctx, what, 0, 0, func() (err error) {
		times, err = do()
		return err
	})
	if err != nil {
		return err
	}
	after, err := d.cost(ctx)
	if err != nil {
		return err
	}
	d.figures.Changes = append(d.figures.Changes, replicaFlows{
		Change: what, Available: times.quantiles(), WholeSeconds: times.percentile(100).Seconds(), MemberWrites: c.member(), cost: after.minus(before),
	})
	return nil
}

// webOf is the Deployment of a placement.
func webOf(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "web", Labels: map[string]string{"bench": "true"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
			},
		},
	}
}

// placing is a placement on all members. Without division it has no failover policy either, which the API does not
// allow there.
func placing(name string, divided bool) *v1beta1.ClusterResourcePlacement {
	p := placement(name)
	if divided {
		p.Spec.Policy.Replicas = &v1beta1.ReplicaPolicy{}
		p.Spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: failoverAfter}}
	}
	return p
}
