package stager

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func tidies(s *scene) {
	s.lay(all(4, v1beta1.StageTask{Type: v1beta1.StageTaskApproval}))
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Waiting, 4)
	key := types.NamespacedName{Namespace: s.key.Namespace, Name: contract.AfterStageApproval(s.key.Name, "all")}
	var first types.UID
	testworld.Await(s, testworld.Soon, "the request, to be deleted", func(ctx context.Context) error {
		request, err := scope.ApprovalRequests.Get(ctx, s.Client, key)
		if err != nil {
			return err
		}
		first = request.GetUID()
		return s.Client.Delete(ctx, request)
	})
	testworld.Await(s, testworld.Soon, "another request", func(ctx context.Context) error {
		request, err := scope.ApprovalRequests.Get(ctx, s.Client, key)
		if err == nil && request.GetUID() == first {
			err = errors.New("it is the old one")
		}
		return err
	})
	s.ends()
	testworld.Await(s, testworld.Soon, "the request to go", func(ctx context.Context) error {
		if _, err := scope.ApprovalRequests.Get(ctx, s.Client, key); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
	if got := s.started(); !slices.Equal(got, members) {
		s.Errorf("the members that have the release are %q; a deleted run changes none", got)
	}
}

// namesake deletes a run that was let go on, while another client still holds its request, and makes it anew.
func namesake(s *scene) {
	s.lay(gated())
	s.schedule()
	s.start()
	s.run()
	s.is(stage.Waiting, 0)
	key := types.NamespacedName{Namespace: s.key.Namespace, Name: contract.BeforeStageApproval(s.key.Name, "all")}
	hold := func(finalizers ...string) {
		request, err := scope.ApprovalRequests.Get(s.Context(), s.Client, key)
		must(s.T, err)
		before := request.DeepCopyObject().(client.Object)
		request.SetFinalizers(finalizers)
		must(s.T, s.Client.Patch(s.Context(), request, client.MergeFrom(before)))
	}
	hold("example.com/audit")
	s.approve(key.Name)
	s.available("m1")
	s.is(stage.Active, 1)
	s.ends()
	s.run()
	s.says(s.key, v1beta1.ConditionInitialized, metav1.ConditionTrue, "")
	testworld.Stable(s, 300*time.Millisecond, "the run made anew", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		if progress := stage.Read(*run.GetStatus()); !progress.Stages[0].Start.IsZero() {
			return errors.New("it has begun without an approval")
		}
		return nil
	})
	hold()
	s.approve(key.Name)
	s.is(stage.Active, 1) // m1 has it already
	s.ends()
}

// ends deletes the placement's run, and waits until it is gone.
func (s *scene) ends() {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, s.key.Name)
	must(s.T, s.Client.Delete(s.Context(), run))
	testworld.Await(s, testworld.Soon, "the run to go", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, s.key, run); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}
