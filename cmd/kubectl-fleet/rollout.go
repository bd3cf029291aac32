package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// rollout is what the user says to a command about the rollout of a placement.
type rollout struct {
	hub     hubclient.Flags
	key     types.NamespacedName
	streams genericiooptions.IOStreams
}

func newRollout(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "See and steer how a placement's changes reach the clusters",
		Long: `See and steer how a placement's changes reach the clusters. spec.strategy.type of the placement says who brings them:

  RollingUpdate  The hub does, as soon as the resources change, to as many clusters at once as maxUnavailable and maxSurge allow.
                 "status" tells which clusters are held back and why, "history" what changed, "undo" how to take it back. One that
                 has spent the budget of its failurePolicy is tried again by "resume".
  External       An update run does: it releases one revision stage by stage, with the approvals and waits of an update strategy.
                 "pause" and "resume" steer the newest run, and "undo" makes one that goes back.

A PLACEMENT is a ClusterResourcePlacement; with --namespace, a ResourcePlacement.`,
		Example: `  kubectl fleet rollout status web --watch
  kubectl fleet rollout history web
  kubectl fleet rollout undo web --to 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRolloutStatus(streams), newRolloutHistory(streams), newRolloutUndo(streams),
		newRolloutState(streams, pausing), newRolloutState(streams, resuming))
	return cmd
}

// command completes a command of which the argument is a placement.
func (o *rollout) command(cmd *cobra.Command, run func(context.Context, client.WithWatch) error) *cobra.Command {
	o.hub = hubclient.NewFlags()
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name one placement, not %d; \"kubectl get crp\" and \"kubectl get rp -A\" list them", len(args))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.key.Name = args[0]
		c, err := o.hub.Connect(scope.Placements.New(o.key))
		if err != nil {
			return err
		}
		return run(cmd.Context(), c)
	}
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "",
		"namespace of a ResourcePlacement; without it a ClusterResourcePlacement is meant")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// subject is the placement as people write it.
func (o *rollout) subject() string { return naming.Placement(o.key) }

// placement reads the placement.
func (o *rollout) placement(ctx context.Context, c client.Client) (v1beta1.PlacementObject, error) {
	placement, err := scope.Placements.Get(ctx, c, o.key)
	switch {
	case apierrors.IsNotFound(err) && o.key.Namespace == "":
		return nil, fmt.Errorf("there is no %s; a ResourcePlacement needs --namespace", o.subject())
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no %s; a ClusterResourcePlacement needs no --namespace", o.subject())
	}
	return placement, err
}

// runs reads the placement's update runs, the newest first.
func (o *rollout) runs(ctx context.Context, c client.Client) ([]v1beta1.UpdateRunObject, error) {
	all, err := scope.UpdateRuns.List(ctx, c, o.key.Namespace)
	return newestFirst(slices.DeleteFunc(all, func(r v1beta1.UpdateRunObject) bool { return r.GetSpec().PlacementName != o.key.Name })), err
}

func newestFirst(runs []v1beta1.UpdateRunObject) []v1beta1.UpdateRunObject {
	slices.SortFunc(runs, func(a, b v1beta1.UpdateRunObject) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(b.GetName(), a.GetName()))
	})
	return runs
}

// byRuns says whether update runs roll the placement out.
func byRuns(p v1beta1.PlacementObject) bool {
	return p.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// over says whether nothing more comes of a run.
func over(run v1beta1.UpdateRunObject) bool {
	return stage.Read(*run.GetStatus()).Phase.Done() || meta.IsStatusConditionFalse(run.GetStatus().Conditions, v1beta1.ConditionInitialized)
}

// controlled reads the runs of a placement, which must be one that runs roll out.
func (o *rollout) controlled(ctx context.Context, c client.Client, placement v1beta1.PlacementObject) ([]v1beta1.UpdateRunObject, error) {
	if !byRuns(placement) {
		return nil, fmt.Errorf("%s. To have a say in its rollouts, set spec.strategy.type to External for good, and let update runs do them",
			o.followsResources())
	}
	return o.runs(ctx, c)
}

// steering is pause or resume.
type steering struct {
	use, short, long, done, already string
	state                           v1beta1.UpdateRunState
}

var (
	pausing = steering{
		use: "pause", short: "Stop the update run of a placement",
		long: `Set the newest update run of a placement to Stop: clusters in progress are finished, and no other is begun. A way back that the run
is on stops just so. "kubectl fleet rollout resume" lets it go on.`,
		done: "is told to stop", already: "is told to stop already", state: v1beta1.UpdateRunStop,
	}
	resuming = steering{
		use: "resume", short: "Let the update run of a placement begin, or go on",
		long: `Set the newest update run of a placement to Run: one that was paused goes on, one that is only initialized begins.

A run that has ended without finishing, because a cluster joined or left, labels or the policy changed, its failure budget was spent or
another run came between, cannot go on itself. Then another run is created that goes on from it (spec.resumeFrom): it releases the same
revision by the same strategy, does not ask again for approvals and waits that are behind it, and passes every stage, so that clusters
that have joined since get their turn.

A placement with a rolling update has no runs. If that has spent the budget of its failurePolicy, the revision is tried again.`,
		done: "is told to run", already: "is told to run already", state: v1beta1.UpdateRunRun,
	}
)

func newRolloutState(streams genericiooptions.IOStreams, s steering) *cobra.Command {
	o := &rollout{streams: streams}
	return o.command(&cobra.Command{
		Use: s.use + " PLACEMENT", Short: s.short, Long: s.long, Example: "  kubectl fleet rollout " + s.use + " web",
	}, func(ctx context.Context, c client.WithWatch) error { return o.steer(ctx, c, s) })
}

func (o *rollout) steer(ctx context.Context, c client.Client, s steering) error {
	placement, err := o.placement(ctx, c)
	if err != nil {
		return err
	}
	if s.state == v1beta1.UpdateRunRun && judges(placement) {
		return o.tryAgain(ctx, c)
	}
	runs, err := o.controlled(ctx, c, placement)
	if err != nil {
		return err
	}
	switch {
	case len(runs) == 0:
		return fmt.Errorf("%s has no update run", o.subject())
	case over(runs[0]) && s.state == v1beta1.UpdateRunRun:
		// An older one that was stopped would take back what this one has released.
		return o.goOn(ctx, c, runs[0])
	case over(runs[0]):
		return fmt.Errorf("the newest update run of %s, %s, is done", o.subject(), runs[0].GetName())
	}
	changed, err := setState(ctx, c, runs[0], s.state)
	if err != nil {
		return err
	}
	text := s.done
	if !changed {
		text = s.already
	}
	_, err = fmt.Fprintf(o.streams.Out, "update run %s %s\n", runs[0].GetName(), text)
	return err
}

// setState tells a run what to do, unless it is told so.
func setState(ctx context.Context, c client.Client, run v1beta1.UpdateRunObject, state v1beta1.UpdateRunState) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return err
		}
		if changed = run.GetSpec().State != state; !changed {
			return nil
		}
		if state == v1beta1.UpdateRunStop && run.GetSpec().State != v1beta1.UpdateRunRun {
			return errors.New("it has not begun, and does nothing until it is resumed")
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

// undo is what the user asked of "kubectl fleet rollout undo".
type undo struct {
	rollout
	to       int
	strategy string
}

func newRolloutUndo(streams genericiooptions.IOStreams) *cobra.Command {
	o := &undo{rollout: rollout{streams: streams}}
	cmd := o.command(&cobra.Command{
		Use:   "undo PLACEMENT --to REVISION",
		Short: "Take a placement back to an older revision",
		Long: `Create an update run that releases an older revision, by the strategy of the last run. A run that is under way is told to stop
first. "kubectl fleet rollout history" lists the revisions.

A placement with a rolling update follows its objects on the hub, so these are what has to be taken back. For one of those nothing is
changed; the answer is the command that does it, and what it does not cover.`,
		Example: `  kubectl fleet rollout undo web --to 3

  # All at once, by a strategy made for that
  kubectl fleet rollout undo web --to 3 --strategy at-once`,
	}, o.run)
	cmd.Flags().IntVar(&o.to, "to", -1, "the revision to go back to (required)")
	cmd.Flags().StringVar(&o.strategy, "strategy", "", "the update strategy to follow; that of the last run if it is empty")
	return cmd
}

func (o *undo) run(ctx context.Context, c client.WithWatch) error {
	if o.to < 0 {
		return fmt.Errorf("--to is required: a revision from 0; %q lists them", naming.Command(o.key.Namespace, "fleet rollout history", o.key.Name))
	}
	placement, err := o.placement(ctx, c)
	if err != nil {
		return err
	}
	groups, err := o.revisions(ctx, c)
	if err != nil {
		return err
	}
	if !byRuns(placement) {
		return o.byHand(groups)
	}
	runs, err := o.runs(ctx, c)
	if err != nil {
		return err
	}
	if err := o.check(ctx, c, runs); err != nil {
		return err
	}
	for _, run := range runs {
		if over(run) || run.GetSpec().State != v1beta1.UpdateRunRun {
			continue
		}
		if _, err := setState(ctx, c, run, v1beta1.UpdateRunStop); err != nil {
			return err
		}
		fmt.Fprintf(o.streams.Out, "update run %s is told to stop\n", run.GetName())
	}
	run := o.back()
	if err := c.Create(ctx, run); err != nil {
		return fmt.Errorf("create update run %s: %w", run.GetName(), err)
	}
	text := fmt.Sprintf("update run %s takes %s to revision %d by strategy %s\n", run.GetName(), o.subject(), o.to, o.strategy)
	if gone, err := o.gone(groups); err == nil && len(gone) > 0 {
		text += fmt.Sprintf("revision %d lacks what has come since; clusters that have it lose it, with all that is in it:\n  %s\n",
			o.to, strings.Join(gone, "\n  "))
	}
	_, err = fmt.Fprint(o.streams.Out, text)
	return err
}

// gone are the objects that some revision since has and the one to go back to lacks.
func (o *undo) gone(groups []snapshot.Group) ([]string, error) {
	to := groups[slices.IndexFunc(groups, func(g snapshot.Group) bool { return g.Index == o.to })]
	has, err := to.Items()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, group := range groups {
		if group.Index <= o.to {
			continue
		}
		items, err := group.Items()
		if err != nil {
			return nil, err
		}
		for _, change := range changes(items, has) {
			if name, ok := strings.CutPrefix(change, "- "); ok {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// revisions are those that are kept, the oldest first; the one to go back to is among them.
func (o *undo) revisions(ctx context.Context, c client.Client) ([]snapshot.Group, error) {
	all, err := scope.ResourceSnapshots.List(ctx, c, o.key.Namespace, client.MatchingLabels{contract.LabelPlacement: o.key.Name})
	if err != nil {
		return nil, err
	}
	whole := slices.DeleteFunc(snapshot.Groups(all), func(g snapshot.Group) bool { return !g.Complete() })
	var kept []string
	for _, group := range whole {
		kept = append(kept, group.IndexLabel())
	}
	if !slices.Contains(kept, strconv.Itoa(o.to)) {
		return nil, fmt.Errorf("--to %d: %s has no such revision; it has: %s", o.to, o.subject(), cmp.Or(strings.Join(kept, ", "), "none"))
	}
	return whole, nil
}

// byHand says how to take back a placement that follows its resources.
func (o *undo) byHand(groups []snapshot.Group) error {
	latest, _ := snapshot.Latest(groups)
	if latest.Index == o.to {
		return fmt.Errorf("--to %d: %s is at this revision; it is the latest", o.to, o.subject())
	}
	to := groups[slices.IndexFunc(groups, func(g snapshot.Group) bool { return g.Index == o.to })]
	was, err := latest.Items()
	if err != nil {
		return err
	}
	now, err := to.Items()
	if err != nil {
		return err
	}
	stored := resourcesOf(o.key, fmt.Sprintf("%s=%s,%s=%d", contract.LabelPlacement, o.key.Name, contract.LabelResourceIndex, o.to))
	text := fmt.Sprintf("%s. So take its objects on the hub back, and it does the rest:\n  %s | kubectl replace -f -\n"+
		"What makes them, such as a GitOps repository, has to be taken back too. From revision %d to %d:", o.followsResources(), stored, latest.Index, o.to)
	hints := map[string]string{"+": "  (gone since: kubectl create -f - in place of replace)", "-": "  (new since: stays until you delete it)"}
	for _, change := range changes(was, now) {
		text += "\n  " + change + hints[change[:1]]
	}
	return errors.New(text)
}

// check finds the strategy.
func (o *undo) check(ctx context.Context, c client.Client, runs []v1beta1.UpdateRunObject) error {
	if o.strategy == "" && len(runs) > 0 {
		o.strategy = runs[0].GetSpec().StagedUpdateStrategyName
	}
	if o.strategy == "" {
		return fmt.Errorf("--strategy is required: %s has no update run to take it from", o.subject())
	}
	_, err := scope.UpdateStrategies.Get(ctx, c, types.NamespacedName{Namespace: o.key.Namespace, Name: o.strategy})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("--strategy %s: there is no such update strategy", o.strategy)
	}
	return err
}

// back is the run that goes back.
func (o *undo) back() v1beta1.UpdateRunObject {
	run := scope.UpdateRuns.New(o.key)
	run.SetNamespace(o.key.Namespace)
	run.SetName(runName(o.key.Name, "-undo-"+strconv.Itoa(o.to)))
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: o.key.Name, ResourceSnapshotIndex: strconv.Itoa(o.to), StagedUpdateStrategyName: o.strategy, State: v1beta1.UpdateRunRun,
	}
	return run
}
