package stager

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// world reads the facts for a step.
func (s *Stager) world(ctx context.Context, run v1beta1.UpdateRunObject, fleet stage.Fleet) (stage.World, error) {
	status := run.GetStatus()
	index, err := strconv.Atoi(status.ResourceSnapshotIndexUsed)
	if err != nil {
		return stage.World{}, fmt.Errorf("status.resourceSnapshotIndexUsed of update run %s: %w", run.GetName(), err)
	}
	world := stage.World{
		Run: run.GetName(), UID: run.GetUID(), Config: *status.UpdateStrategySnapshot, Apply: status.ApplyStrategy.WithDefaults(), Bindings: fleet.Bindings,
		Snapshot: contract.MasterSnapshotName(run.GetSpec().PlacementName, index), Awake: s.awake, Now: s.Now(),
		Overrides: map[string]delivery.Overrides{}, Requests: map[string]stage.Request{}, Unheard: fleet.Unheard,
	}
	for _, st := range status.StagesStatus {
		for _, c := range st.Clusters {
			lists := delivery.Overrides{Cluster: c.ClusterResourceOverrideSnapshots, Namespaced: c.ResourceOverrideSnapshots}
			if meta.FindStatusCondition(c.Conditions, v1beta1.ConditionStarted) == nil {
				if lists.Fingerprint, err = give.Fingerprint(ctx, s.Client, lists, override.Cluster{Name: c.ClusterName, Labels: fleet.Labels[c.ClusterName]}); err != nil {
					return stage.World{}, err
				}
			}
			world.Overrides[c.ClusterName] = lists
		}
		for _, task := range slices.Concat(st.BeforeStageTaskStatus, st.AfterStageTaskStatus) {
			if task.ApprovalRequestName == "" || meta.IsStatusConditionTrue(task.Conditions, v1beta1.ConditionApprovalRequestApproved) {
				continue
			}
			request, err := s.request(ctx, run, task.ApprovalRequestName)
			if err != nil {
				return stage.World{}, err
			}
			if request != nil {
				world.Requests[task.ApprovalRequestName] = *request
			}
		}
	}
	return world, nil
}

// request reads an approval request of a run; nil if there is none. An approval is read from the API server: a cache
// may still hold a request whose approval was withdrawn, or that was deleted together with an earlier run of the name.
func (s *Stager) request(ctx context.Context, run v1beta1.UpdateRunObject, name string) (*stage.Request, error) {
	key := types.NamespacedName{Namespace: run.GetNamespace(), Name: name}
	request, err := scope.ApprovalRequests.Get(ctx, s.Client, key)
	if err == nil && (approved(request) || accepted(request) || former(request, run)) {
		request, err = scope.ApprovalRequests.Get(ctx, s.Direct, key)
	}
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !request.GetDeletionTimestamp().IsZero() && (!accepted(request) || former(request, run)) {
		return nil, nil
	}
	return &stage.Request{
		Run: request.GetSpec().UpdateRunName, Stage: request.GetSpec().TargetStage, Approved: approved(request) || accepted(request),
	}, nil
}

// former returns whether a request was created for an earlier run of the name. Its approval does not count for this
// run.
func former(r v1beta1.ApprovalRequestObject, run v1beta1.UpdateRunObject) bool {
	uid := r.GetAnnotations()[contract.AnnotationApprovalRun]
	return uid != "" && uid != string(run.GetUID())
}

func approved(r v1beta1.ApprovalRequestObject) bool {
	return delivery.IsTrue(*r.GetConditions(), v1beta1.ConditionApproved, r.GetGeneration())
}

func accepted(r v1beta1.ApprovalRequestObject) bool {
	return meta.IsStatusConditionTrue(*r.GetConditions(), v1beta1.ConditionApprovalAccepted)
}

// carryOut carries out a step. All of it may have been done already: then doing it again changes nothing. It returns
// the clusters whose binding the API server refuses to change, and its answers. On any other error, such as a
// conflict, the step is decided anew.
func (s *Stager) carryOut(ctx context.Context, run v1beta1.UpdateRunObject, step stage.Step, world stage.World) (map[string]string, error) {
	var mu sync.Mutex
	refused := map[string]string{}
	refuse := func(cluster string, err error) error {
		if loop.Refused(err) {
			mu.Lock()
			defer mu.Unlock()
			refused[cluster] = err.Error()
			return nil
		}
		return err
	}
	var jobs []func(context.Context) error
	for _, start := range step.Start {
		jobs = append(jobs, func(ctx context.Context) error {
			return refuse(start.Binding.GetSpec().TargetCluster, s.start(ctx, run, start))
		})
	}
	for _, name := range step.Drop {
		jobs = append(jobs, func(ctx context.Context) error { return s.drop(ctx, world, name, refuse) })
	}
	for _, ask := range step.Ask {
		jobs = append(jobs, func(ctx context.Context) error { return s.ask(ctx, run, ask) })
	}
	for _, name := range step.Accept {
		jobs = append(jobs, func(ctx context.Context) error { return s.accept(ctx, run.GetNamespace(), name) })
	}
	err := loop.All(ctx, writers, jobs...)
	return refused, err
}

// start gives a binding a revision, and then the condition that its rollout has started.
func (s *Stager) start(ctx context.Context, run v1beta1.UpdateRunObject, start stage.Start) error {
	b, snapshot := start.Binding, start.To.ResourceSnapshotName
	if start.Content {
		if err := give.Give(ctx, s.Client, b, give.Content{Revision: start.To, Fingerprint: start.Fingerprint, Mark: start.Mark}); err != nil {
			return err
		}
	}
	before := b.DeepCopyObject().(client.Object)
	started := report.RunStarted(b.GetGeneration(), run.GetName(), run.GetStatus().ResourceSnapshotIndexUsed)
	if start.Back {
		started = report.RunRollsBack(b.GetGeneration(), run.GetName(), snapshot)
	}
	*b.GetConditions() = report.Rollout(*b.GetConditions(), started, metav1.NewTime(s.Now()))
	if _, err := loop.WriteStatus(ctx, s.Client, before, b); err != nil {
		return err
	}
	if !start.Content {
		return nil
	}
	message := "Bound cluster"
	if start.Back {
		message = "Rolling back cluster"
	}
	ctrl.LoggerFrom(ctx).Info(message, "cluster", b.GetSpec().TargetCluster, "binding", b.GetName(), "snapshot", snapshot)
	return nil
}

// drop deletes a binding that the scheduler has given up.
func (s *Stager) drop(ctx context.Context, world stage.World, name string, refuse func(string, error) error) error {
	for _, b := range world.Bindings {
		if b.GetName() != name {
			continue
		}
		err := s.Client.Delete(ctx, b, client.Preconditions{UID: ptr.To(b.GetUID()), ResourceVersion: ptr.To(b.GetResourceVersion())})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return refuse(b.GetSpec().TargetCluster, fmt.Errorf("delete binding %s: %w", client.ObjectKeyFromObject(b), err))
		}
		ctrl.LoggerFrom(ctx).Info("Deleted binding", "cluster", b.GetSpec().TargetCluster, "binding", b.GetName())
	}
	return nil
}

// ask creates an approval request.
func (s *Stager) ask(ctx context.Context, run v1beta1.UpdateRunObject, ask stage.Ask) error {
	key := types.NamespacedName{Namespace: run.GetNamespace(), Name: ask.Name}
	request := scope.ApprovalRequests.New(key)
	request.SetNamespace(key.Namespace)
	request.SetName(key.Name)
	request.SetLabels(map[string]string{
		contract.LabelApprovalRun: run.GetName(), contract.LabelApprovalStage: ask.Stage, contract.LabelApprovalTask: ask.Task,
		contract.LabelApprovalLatest: strconv.FormatBool(true),
	})
	request.SetAnnotations(map[string]string{contract.AnnotationApprovalRun: string(run.GetUID())})
	*request.GetSpec() = v1beta1.ApprovalRequestSpec{UpdateRunName: run.GetName(), TargetStage: ask.Stage}
	if err := s.Client.Create(ctx, request); err != nil {
		return fmt.Errorf("create approval request %s: %w", key, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created approval request", "stage", ask.Stage, "object", key.Name)
	return nil
}

// accept writes the condition that the run has accepted the approval.
func (s *Stager) accept(ctx context.Context, namespace, name string) error {
	request, err := scope.ApprovalRequests.Get(ctx, s.Client, types.NamespacedName{Namespace: namespace, Name: name})
	if err != nil {
		return err
	}
	if accepted(request) {
		return nil
	}
	before := request.DeepCopyObject().(client.Object)
	*request.GetConditions() = report.ApprovalAccepted(*request.GetConditions(), request.GetGeneration(), metav1.NewTime(s.Now()))
	if _, err = loop.WriteStatus(ctx, s.Client, before, request); err != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("Accepted approval", "object", name)
	return nil
}
