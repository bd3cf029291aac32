// Package joiner is the agent that makes a member part of the fleet. Its input is the member's InternalMemberCluster
// on the hub; its output is the status of that object (joined or left, heartbeat, health, properties and resource
// usage), and it starts and stops the applier.
//
// A quiet member writes one status per heartbeat. The heartbeat does not depend on the report: a cluster whose health
// or nodes are unknown still sends it.
package joiner

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// RecorderName is the name of the recorder of the joiner's events.
const RecorderName = "v1beta1InternalMemberClusterController"

const (
	// gate is closed while the cluster is not a member.
	gate = "membership"
	// factsLimit is how long a report waits for the data it reports.
	factsLimit = 3 * time.Second
	// retryMost bounds the wait after a report that the hub did not accept.
	retryFirst, retryMost = 50 * time.Millisecond, 5 * time.Second
)

// Applier is started and stopped by the joiner.
type Applier interface {
	// Identify sets the identity of the hub, which may be empty. The joiner calls it before Join, and again later.
	Identify(hub types.UID)
	// Join makes the applier apply Works.
	Join()
	// Pause makes it stop and releases no object.
	Pause()
	// Leave makes it stop; when it returns nil, every Work is released.
	Leave(context.Context) error
}

// Joiner reports for one member.
type Joiner struct {
	// Member is the cluster's name on the hub.
	Member string
	// Hub reads the InternalMemberCluster from a cache and writes its status.
	Hub client.Client
	// Cluster reads and writes the cluster's own marker of its membership, without a cache.
	Cluster  client.Client
	Applier  Applier
	Recorder record.EventRecorder
	// Health returns nil while the member's API server reports that it is ready.
	Health func(context.Context) error
	// Inventory describes the cluster. Nil with an error: not known at present.
	Inventory func(context.Context) (*report.Inventory, error)
	// Changes receives when the nodes change.
	Changes <-chan struct{}
	// Barred is called when the hub refuses a report: the agent has lost its access.
	Barred func(error)
	// Refused is called when the cluster belongs to another hub or member: nothing that the hub sent before is valid.
	Refused func()
	Gates   *process.Gates
	Now     func() time.Time

	// applying is whether the applier has joined: another Join would make it pause.
	applying bool
	// clusterUID identifies the cluster; refused is the last reason why it could not join.
	clusterUID types.UID
	refused    string
}

// SetupWithManager registers the agent with the manager of the hub.
func (j *Joiner) SetupWithManager(hub ctrl.Manager) error {
	j.Gates.Close(gate, "has not looked for InternalMemberCluster "+j.key().String()+" yet")
	options := loop.Options(1)
	options.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryMost)
	err := builder.ControllerManagedBy(hub).
		Named("internalmembercluster-controller").
		For(&clusterv1beta1.InternalMemberCluster{}, builder.WithPredicates(
			// The status is our own writing.
			predicate.GenerationChangedPredicate{},
			predicate.NewPredicateFuncs(func(obj client.Object) bool { return client.ObjectKeyFromObject(obj) == j.key() }),
		)).
		WatchesRawSource(source.Func(j.start)).
		WithOptions(options).
		Complete(loop.Settle(j))
	if err != nil {
		return fmt.Errorf("set up joiner: %w", err)
	}
	return nil
}

// start enqueues the InternalMemberCluster once even if it does not exist, so that the agent reports that, and again
// whenever the nodes change.
func (j *Joiner) start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue.Add(reconcile.Request{NamespacedName: j.key()})
	go func() {
		for {
			select {
			case <-j.Changes:
				queue.Add(reconcile.Request{NamespacedName: j.key()})
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

func (j *Joiner) key() types.NamespacedName {
	return types.NamespacedName{Namespace: contract.MemberNamespace(j.Member), Name: j.Member}
}

// Reconcile joins or leaves as the InternalMemberCluster requests.
func (j *Joiner) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	imc := &clusterv1beta1.InternalMemberCluster{}
	if err := j.Hub.Get(ctx, req.NamespacedName, imc); apierrors.IsNotFound(err) {
		// A missing object is no request to leave: a hub that lost its objects is no reason to release any.
		j.Gates.Close(gate, fmt.Sprintf("InternalMemberCluster %s does not exist on the hub; is there a MemberCluster %s?", req, j.Member))
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("get InternalMemberCluster %s: %w", req, err)
	}
	switch imc.Spec.State {
	case clusterv1beta1.ClusterStateJoin:
		return j.join(ctx, imc)
	case clusterv1beta1.ClusterStateLeave:
		return reconcile.Result{}, j.leave(ctx, imc)
	}
	ctrl.LoggerFrom(ctx).Info("Ignored an unknown state of the InternalMemberCluster", "cluster", j.Member, "state", imc.Spec.State)
	return reconcile.Result{}, nil
}

func (j *Joiner) join(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) (reconcile.Result, error) {
	switch why, err := j.claim(ctx, imc); {
	case why != nil:
		return j.refuse(ctx, imc, *why)
	case err != nil && !j.applying:
		j.Gates.Close(gate, err.Error())
		return reconcile.Result{}, err
	case err != nil: // the owner of the cluster is known from an earlier pass, and there is no sign that it changed
		ctrl.LoggerFrom(ctx).Info("Failed to read the marker of this cluster's membership", "cluster", j.Member, "reason", err.Error())
	}
	j.refused = ""
	j.Applier.Identify(hubOf(imc))
	// Nothing is applied before the agent's first report: the hub does not wait for an agent that never reported.
	if report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent) != nil {
		j.apply()
	}
	facts := j.look(ctx)
	facts.Generation, facts.Cluster = imc.Generation, j.clusterUID

	now, period := j.Now(), period(imc)
	wanted := report.AgentJoined(imc.Status, facts, metav1.NewTime(now))
	step := next(j.Member, &imc.Status, &wanted, period, now)
	if step.write {
		if err := j.write(ctx, imc, wanted); err != nil {
			return reconcile.Result{}, err
		}
		step = next(j.Member, &wanted, &wanted, period, now)
	}
	j.apply()
	j.Gates.Open(gate)
	return reconcile.Result{RequeueAfter: step.again}, nil
}

// apply starts the applier.
func (j *Joiner) apply() {
	if !j.applying {
		j.Applier.Join()
		j.applying = true
	}
}

// look collects the data of a report within factsLimit. Data that is missing does not prevent the report.
func (j *Joiner) look(ctx context.Context) report.AgentFacts {
	ctx, cancel := context.WithTimeout(ctx, factsLimit)
	defer cancel()
	log := ctrl.LoggerFrom(ctx)
	var facts report.AgentFacts
	var both sync.WaitGroup
	both.Go(func() {
		err := j.Health(ctx)
		facts.Healthy = err == nil
		if err != nil {
			log.Info("The API server of the member is not ready", "cluster", j.Member, "reason", err.Error())
		}
	})
	both.Go(func() {
		inventory, err := j.Inventory(ctx)
		facts.Inventory = inventory
		if err != nil {
			log.Info("Cluster properties are incomplete", "cluster", j.Member, "reason", err.Error())
		}
	})
	both.Wait()
	return facts
}

func (j *Joiner) leave(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster) error {
	j.applying = false
	j.Gates.Close(gate, fmt.Sprintf("the cluster is leaving the fleet: MemberCluster %s is being deleted", j.Member))
	if other, err := j.rival(ctx, imc); err != nil || other != "" {
		return err // the request is for the cluster that reports
	}
	left := j.Applier.Leave(ctx)
	if left == nil {
		left = j.unmark(ctx, imc)
	}
	wanted := report.AgentLeft(imc.Status, imc.Generation, left == nil, metav1.NewTime(j.Now()))
	before := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent)
	after := report.Agent(&wanted, clusterv1beta1.AgentTypeMemberAgent)
	if before == nil || !sameCondition(before, after, clusterv1beta1.ConditionJoined) {
		if err := j.write(ctx, imc, wanted); err != nil {
			return err
		}
	}
	return left
}

// write updates the status on the hub, and records an event for each changed condition.
func (j *Joiner) write(ctx context.Context, imc *clusterv1beta1.InternalMemberCluster, status clusterv1beta1.InternalMemberClusterStatus) error {
	before := imc.DeepCopy()
	imc.Status = status
	if _, err := loop.WriteStatus(ctx, j.Hub, before, imc); err != nil {
		if apierrors.IsForbidden(err) {
			j.Barred(err)
		}
		return err
	}
	for _, c := range changed(&before.Status, &status) {
		kind := corev1.EventTypeNormal
		if c.Reason == clusterv1beta1.ReasonInternalMemberClusterUnhealthy {
			kind = corev1.EventTypeWarning
		}
		j.Recorder.Event(imc, kind, c.Reason, c.Message)
		countMembership(c)
		ctrl.LoggerFrom(ctx).Info("Reported a change", "cluster", j.Member, "condition", c.Type, "status", c.Status, "reason", c.Reason)
	}
	return nil
}

// countMembership counts a condition that reports a change of membership.
func countMembership(c metav1.Condition) {
	switch c.Reason {
	case clusterv1beta1.ReasonInternalMemberClusterJoined:
		metrics.CountJoin()
	case clusterv1beta1.ReasonInternalMemberClusterLeft:
		metrics.CountLeave()
	}
}
