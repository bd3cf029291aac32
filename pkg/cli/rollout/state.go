package rollout

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// StateOptions are those of "kubectl fleet rollout pause" and "kubectl fleet rollout resume".
type StateOptions struct {
	target
	steering
}

// steering is pause or resume.
type steering struct {
	use, short, long, done, already string
	state                           v1beta1.UpdateRunState
}

var (
	pausing = steering{
		use: "pause", short: "Stop the update run of a placement",
		long: `Set the newest update run of a placement to Stop: it finishes the clusters in progress and starts no other. A rollback
stops in the same way. "kubectl fleet rollout resume" continues the run.`,
		done: "is stopping", already: "is already stopping", state: v1beta1.UpdateRunStop,
	}
	resuming = steering{
		use: "resume", short: "Start or continue the update run of a placement",
		long: `Set the newest update run of a placement to Run: a paused run continues, an initialized run starts.

A run that has ended without finishing, because a cluster joined or left, labels or the policy changed, its failure budget was
spent or another run was active, cannot continue itself. "resume" creates another run that continues it (spec.resumeFrom). That
run releases the same revision with the same strategy, does not repeat approvals and wait times that are complete, and visits
every stage, so that clusters that have joined since are updated too.

A placement with a rolling update has no runs. If it has spent the budget of its failurePolicy, "resume" retries the revision.`,
		done: "is running", already: "is already running", state: v1beta1.UpdateRunRun,
	}
)

func newStateCommand(streams genericiooptions.IOStreams, s steering) *cobra.Command {
	o := &StateOptions{newTarget(streams), s}
	cmd := &cobra.Command{
		Use:     s.use + " PLACEMENT",
		Short:   s.short,
		Long:    s.long,
		Example: "  kubectl fleet rollout " + s.use + " web",
		Args:    onePlacement,
		RunE:    verb.Run(o),
	}
	o.addTo(cmd.Flags())
	return cmd
}

// Run sets the state of the placement's newest update run, or creates a run that continues it, or retries the
// revision.
func (o *StateOptions) Run(ctx context.Context) error {
	hub, err := o.connect()
	if err != nil {
		return err
	}
	return o.run(ctx, hub)
}

func (o *StateOptions) run(ctx context.Context, c client.Client) error {
	placement, err := o.placement(ctx, c)
	if err != nil {
		return err
	}
	if o.state == v1beta1.UpdateRunRun && hasFailurePolicy(placement) {
		return o.retry(ctx, c)
	}
	runs, err := o.controlled(ctx, c, placement)
	if err != nil {
		return err
	}
	switch {
	case len(runs) == 0:
		return fmt.Errorf("%s has no update run", o.subject())
	case over(runs[0]) && o.state == v1beta1.UpdateRunRun:
		// An older run that was stopped would revert what this one has released.
		return o.resume(ctx, c, runs[0])
	case over(runs[0]):
		return fmt.Errorf("the newest update run of %s, %s, has ended", o.subject(), runs[0].GetName())
	}
	changed, err := setState(ctx, c, runs[0], o.state)
	if err != nil {
		return err
	}
	text := o.done
	if !changed {
		text = o.already
	}
	_, err = fmt.Fprintf(o.Out, "update run %s %s\n", runs[0].GetName(), text)
	return err
}

// setState sets the state of a run. changed reports whether the run had another state.
func setState(ctx context.Context, c client.Client, run v1beta1.UpdateRunObject, state v1beta1.UpdateRunState) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return err
		}
		if changed = run.GetSpec().State != state; !changed {
			return nil
		}
		if state == v1beta1.UpdateRunStop && run.GetSpec().State != v1beta1.UpdateRunRun {
			return errors.New("it has not started, and does nothing until it is resumed")
		}
		before := run.DeepCopyObject().(client.Object)
		run.GetSpec().State = state
		return c.Patch(ctx, run, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if err != nil {
		return false, fmt.Errorf("set update run %s to %s: %w", run.GetName(), state, err)
	}
	return changed, nil
}
