package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// The leading hub agent is halted while an update run waits. Another leads when the lease has run out, and not before;
// it writes nothing, for there is nothing new, and nor does the first, which ends itself when it goes on. The run goes
// on from where it was, and no cluster is given its release twice.
func TestLeadIsTakenOver(t *testing.T) {
	agents := startReplicas(t, 2, steady)
	p := begin(t, "lead", randomSeed(t))
	gate := make(chan struct{})
	p.shut[contract.AfterStageApproval("run-001", "canary")] = gate
	run := p.start("")
	testworld.Await(t, testworld.Workload, run.Name+" to wait at its first gate for nothing else", func(ctx context.Context) error {
		p.get(ctx, run)
		if len(run.Status.StagesStatus) == 0 {
			return errors.New("it has no plan")
		}
		canary := run.Status.StagesStatus[0]
		for _, task := range canary.AfterStageTaskStatus {
			if task.Type == v1beta1.StageTaskTimedWait && !meta.IsStatusConditionTrue(task.Conditions, v1beta1.ConditionWaitTimeElapsed) {
				return fmt.Errorf("it is still at %+v", canary)
			}
		}
		return nil
	})

	before := p.atRest()
	first := p.leader(agents) // not before: on a slow machine another may lead by then
	life := first.life()
	held, err := theLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.signal(syscall.SIGSTOP)
	defer first.signal(syscall.SIGCONT)
	halted := time.Now()
	second := p.leader(agents, first)
	took, err := theLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("another led %s after the leader was halted; the lease lasts %s", time.Since(halted).Round(10*time.Millisecond), agents.terms.lease)
	if *took.Spec.HolderIdentity == *held.Spec.HolderIdentity {
		t.Errorf("%s says that it leads, and the lease is %s's", second.name, *held.Spec.HolderIdentity)
	}
	// Electors see renewals in whole seconds.
	if after := took.Spec.AcquireTime.Sub(held.Spec.RenewTime.Time); after < agents.terms.lease-time.Second {
		t.Errorf("the lease was taken over %s after it was renewed; it lasts %s", after, agents.terms.lease)
	}
	first.signal(syscall.SIGCONT)
	testworld.Await(t, testworld.Soon, "the first leader to end itself", func(context.Context) error {
		if first.life() == life {
			return errors.New("it lives on")
		}
		return nil
	})
	testworld.Await(t, testworld.Soon, second.name+" to lead still", func(ctx context.Context) error {
		if !second.leads(ctx) {
			return errors.New("it does not")
		}
		return nil
	})
	if after := p.versions(); !maps.Equal(before, after) {
		t.Errorf("nothing has happened but that another leads, and something was written:\n%v\n%v", before, after)
	}

	close(gate)
	testworld.Await(t, testworld.Workload, run.Name+" to succeed", func(ctx context.Context) error {
		p.get(ctx, run)
		if !meta.IsStatusConditionTrue(run.Status.Conditions, v1beta1.ConditionSucceeded) {
			return fmt.Errorf("its conditions are %+v", run.Status.Conditions)
		}
		return nil
	})
	p.holds("0")
	p.gates(run.Name)
	testworld.Await(t, testworld.Soon, "the observer to have seen all", p.caughtUp)
	p.noFaults(t)
	// Made by the scheduler, and changed by the run.
	for _, b := range p.bindings() {
		if b.Generation != 2 {
			t.Errorf("the content of binding %s was written %d times, want 2", b.Name, b.Generation)
		}
	}
}

// leader waits until one of the agents leads, beside those left out.
func (p *play) leader(agents *replicas, leftOut ...*replica) *replica {
	p.Helper()
	var found *replica
	testworld.Await(p, testworld.Soon, "an agent to lead", func(ctx context.Context) (err error) {
		found, err = agents.leader(ctx, leftOut...)
		return err
	})
	return found
}

func (p *play) bindings() []v1beta1.ClusterResourceBinding {
	p.Helper()
	var list v1beta1.ClusterResourceBindingList
	if err := theHub.List(p.Context(), &list, client.MatchingLabels{contract.LabelPlacement: p.name}); err != nil {
		p.Fatal(err)
	}
	return list.Items
}

// atRest returns the versions when none has changed for much longer than agents keep reports back: a busy machine
// writes them late.
func (p *play) atRest() map[string]string {
	p.Helper()
	return testworld.AwaitStill(p, 10*report.Patience, "the hub", func(context.Context) (map[string]string, error) {
		return p.versions(), nil
	})
}

// versions are those of everything that hub agents write for the placement, but for events.
func (p *play) versions() map[string]string {
	p.Helper()
	out := map[string]string{}
	for _, list := range []client.ObjectList{
		&v1beta1.ClusterResourcePlacementList{}, &v1beta1.ClusterSchedulingPolicySnapshotList{}, &v1beta1.ClusterResourceSnapshotList{},
		&v1beta1.ClusterResourceBindingList{}, &v1beta1.WorkList{}, &v1beta1.ClusterStagedUpdateRunList{}, &v1beta1.ClusterApprovalRequestList{},
	} {
		if err := theHub.List(p.Context(), list); err != nil {
			p.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			p.Fatal(err)
		}
		for _, item := range items {
			obj := item.(client.Object)
			out[fmt.Sprintf("%T %s", obj, client.ObjectKeyFromObject(obj))] = obj.GetResourceVersion()
		}
	}
	return out
}
