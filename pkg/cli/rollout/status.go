package rollout

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/follow"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// StatusOptions are those of "kubectl fleet rollout status".
type StatusOptions struct {
	target
	watch bool
}

func newStatusCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &StatusOptions{target: newTarget(streams)}
	cmd := &cobra.Command{
		Use:   "status PLACEMENT",
		Short: "Show the progress of a placement's rollout",
		Long: `Show the newest update run of a placement: its stages, its clusters, what it waits for, and the command that lets it
continue. For a placement with a rolling update, show the revision of each cluster, and what blocks the clusters that do not
have the latest one.

With a failure policy, the output also shows which clusters have failed within the budget and how much of its health window
each cluster has left. During a rollback it shows to which revision each cluster returns, and which clusters are not rolled back.

With --watch, keep showing until the rollout has ended: on a terminal in place, in a pipe by a line for each change. The exit
code is 0 if the rollout succeeds and 1 if it fails or the command is interrupted, so that a script can wait for it. Ctrl-C
stops the command, not the rollout.`,
		Example: `  # Show the status once
  kubectl fleet rollout status web

  # Wait for the release in a script
  kubectl fleet rollout status web --watch && echo released

  # A ResourcePlacement
  kubectl fleet rollout status web -n shop`,
		Args: onePlacement,
		RunE: verb.Run(o),
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "keep showing until the rollout has ended")
	o.addTo(cmd.Flags())
	return cmd
}

// Run shows the rollout once, or until it is done.
func (o *StatusOptions) Run(ctx context.Context) error {
	hub, err := o.connect()
	if err != nil {
		return err
	}
	subject, render, err := o.subjectOf(ctx, hub)
	if err != nil {
		return err
	}
	screen := terminal.NewScreen(o.Out)
	if o.watch {
		return await(ctx, hub, screen, subject, render)
	}
	v, err := render(ctx, subject)
	if err == nil {
		screen.Show(v.Lines, false)
	}
	return err
}

// renderer returns the view of a rollout from the current state of its subject.
type renderer func(ctx context.Context, subject client.Object) (terminal.View, error)

// subjectOf returns the object that shows the rollout, and its renderer: the newest run, or else the placement.
func (o *StatusOptions) subjectOf(ctx context.Context, c client.Client) (client.Object, renderer, error) {
	placement, err := o.placement(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	var runs []v1beta1.UpdateRunObject
	if byRuns(placement) {
		if runs, err = o.runs(ctx, c); err != nil {
			return nil, nil, err
		}
	}
	bindings := func(ctx context.Context) ([]v1beta1.BindingObject, error) {
		return scope.Bindings.List(ctx, c, o.key.Namespace, client.MatchingLabels{contract.LabelPlacement: o.key.Name})
	}
	if len(runs) > 0 {
		return runs[0], func(ctx context.Context, subject client.Object) (terminal.View, error) {
			run := subject.(v1beta1.UpdateRunObject)
			v := viewOfRun(run)
			if stage.Read(*run.GetStatus()).Phase != stage.Succeeded {
				return v, nil
			}
			now, err := bindings(ctx)
			if err != nil {
				return v, nil //nolint:nilerr // how the run has ended does not depend on it
			}
			return since(v, run, now), nil
		}, nil
	}
	return placement, func(ctx context.Context, subject client.Object) (terminal.View, error) {
		// Only the binding has the revision of a cluster: the placement's status has the latest revision.
		now, err := bindings(ctx)
		return viewOfClusters(subject.(v1beta1.PlacementObject), now), err
	}, nil
}

// await shows a rollout until it is done.
func await(ctx context.Context, c client.WithWatch, s *terminal.Screen, subject client.Object, render renderer) error {
	live := terminal.NewLive(s)
	defer live.Close()
	var last terminal.View
	err := follow.Object(ctx, c, subject, live.Requested, func(now client.Object) (bool, error) {
		v, err := render(ctx, now)
		if err == nil {
			last = v
			live.Show(v)
		}
		return v.Done, err
	})
	switch {
	case ctx.Err() != nil:
		live.Leave()
		return errors.New("interrupted; the rollout continues")
	case err != nil:
		return fmt.Errorf("watch the rollout: %w", err)
	case last.Failed != "":
		return fmt.Errorf("the rollout failed: %s", last.Failed)
	}
	return nil
}
