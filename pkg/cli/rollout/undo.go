package rollout

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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// UndoOptions are those of "kubectl fleet rollout undo".
type UndoOptions struct {
	target
	to       int
	strategy string
}

func newUndoCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &UndoOptions{target: newTarget(streams)}
	cmd := &cobra.Command{
		Use:   "undo PLACEMENT --to REVISION",
		Short: "Return a placement to an older revision",
		Long: `Create an update run that releases an older revision, with the strategy of the last run. Active runs are set to Stop
first. "kubectl fleet rollout history" lists the revisions.

A placement with a rolling update follows its objects on the hub, so the objects themselves must be reverted. For such a
placement the command changes nothing; it prints the command that reverts them, and what that does not cover.`,
		Example: `  kubectl fleet rollout undo web --to 3

  # With another strategy, for example one that updates all clusters at once
  kubectl fleet rollout undo web --to 3 --strategy at-once`,
		Args: onePlacement,
		RunE: verb.Run(o),
	}
	cmd.Flags().IntVar(&o.to, "to", -1, "the revision to return to (required)")
	cmd.Flags().StringVar(&o.strategy, "strategy", "", "name of the update strategy; by default that of the last run")
	o.addTo(cmd.Flags())
	return cmd
}

// Validate checks that a revision is given.
func (o *UndoOptions) Validate() error {
	if o.to < 0 {
		return fmt.Errorf("--to is required: a revision from 0; %q lists them", naming.Command(o.key.Namespace, "fleet rollout history", o.key.Name))
	}
	return nil
}

// Run creates the run that returns to the revision, or prints how to revert the objects.
func (o *UndoOptions) Run(ctx context.Context) error {
	hub, err := o.connect()
	if err != nil {
		return err
	}
	return o.run(ctx, hub)
}

func (o *UndoOptions) run(ctx context.Context, c client.Client) error {
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
		fmt.Fprintf(o.Out, "update run %s is stopping\n", run.GetName())
	}
	run := o.back()
	if err := c.Create(ctx, run); err != nil {
		return fmt.Errorf("create update run %s: %w", run.GetName(), err)
	}
	text := fmt.Sprintf("update run %s returns %s to revision %d with strategy %s\n", run.GetName(), o.subject(), o.to, o.strategy)
	if gone, err := o.gone(groups); err == nil && len(gone) > 0 {
		text += fmt.Sprintf("these objects are not in revision %d and will be deleted from the clusters:\n  %s\n",
			o.to, strings.Join(gone, "\n  "))
	}
	_, err = fmt.Fprint(o.Out, text)
	return err
}

// gone are the objects that a newer revision has and the revision to return to lacks.
func (o *UndoOptions) gone(groups []snapshot.Group) ([]string, error) {
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

// revisions returns the revisions that are kept, the oldest first. It returns an error unless the revision to return
// to is one of them.
func (o *UndoOptions) revisions(ctx context.Context, c client.Client) ([]snapshot.Group, error) {
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

// byHand returns an error with the commands that revert the objects of a placement with a rolling update.
func (o *UndoOptions) byHand(groups []snapshot.Group) error {
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
	text := fmt.Sprintf("%s. Revert its objects on the hub, and it rolls them out:\n  %s | kubectl replace -f -\n"+
		"Also revert their source, such as a GitOps repository. From revision %d to %d:", o.followsResources(), stored, latest.Index, o.to)
	hints := map[string]string{"+": "  (deleted since: use kubectl create -f - instead of replace)", "-": "  (created since: stays until you delete it)"}
	for _, change := range changes(was, now) {
		text += "\n  " + change + hints[change[:1]]
	}
	return errors.New(text)
}

// check finds the strategy.
func (o *UndoOptions) check(ctx context.Context, c client.Client, runs []v1beta1.UpdateRunObject) error {
	if o.strategy == "" && len(runs) > 0 {
		o.strategy = runs[0].GetSpec().StagedUpdateStrategyName
	}
	if o.strategy == "" {
		return fmt.Errorf("--strategy is required: %s has no update run to take it from", o.subject())
	}
	_, err := scope.UpdateStrategies.Get(ctx, c, types.NamespacedName{Namespace: o.key.Namespace, Name: o.strategy})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("--strategy %s: update strategy not found", o.strategy)
	}
	return err
}

// back returns the run that returns to the revision.
func (o *UndoOptions) back() v1beta1.UpdateRunObject {
	run := scope.UpdateRuns.New(o.key)
	run.SetNamespace(o.key.Namespace)
	run.SetName(runName(o.key.Name, "-undo-"+strconv.Itoa(o.to)))
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: o.key.Name, ResourceSnapshotIndex: strconv.Itoa(o.to), StagedUpdateStrategyName: o.strategy, State: v1beta1.UpdateRunRun,
	}
	return run
}
