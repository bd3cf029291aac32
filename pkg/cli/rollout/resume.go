package rollout

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// goOn creates the run that goes on from one that has ended without finishing.
func (o *StateOptions) goOn(ctx context.Context, c client.Client, ended v1beta1.UpdateRunObject) error {
	progress := stage.Read(*ended.GetStatus())
	initialized := meta.FindStatusCondition(ended.GetStatus().Conditions, v1beta1.ConditionInitialized)
	switch {
	case progress.Phase == stage.Succeeded:
		return fmt.Errorf("the newest update run of %s, %s, has succeeded: there is nothing to resume. A new run releases what the placement "+
			"selects now; \"kubectl fleet rollout undo\" goes back to an older revision", o.subject(), ended.GetName())
	case initialized != nil && !meta.IsStatusConditionTrue(ended.GetStatus().Conditions, v1beta1.ConditionInitialized):
		return fmt.Errorf("the newest update run of %s, %s, could not be planned, so there is nothing to resume; create another when this is mended: %s",
			o.subject(), ended.GetName(), plainly(initialized.Message))
	}
	run := o.successor(ended)
	if err := c.Create(ctx, run); err != nil {
		return fmt.Errorf("create update run %s: %w", run.GetName(), err)
	}
	fmt.Fprintf(o.Out, "update run %s had ended: %s\n", ended.GetName(), plainly(progress.Cause))
	if progress.Back.State != delivery.Waiting {
		fmt.Fprintln(o.Out, "its clusters were taken back, so everything that it had passed has to be approved and waited for again")
	}
	_, err := fmt.Fprintf(o.Out, "update run %s goes on from there with revision %s; see \"%s --watch\"\n",
		run.GetName(), ended.GetStatus().ResourceSnapshotIndexUsed, naming.Command(o.key.Namespace, "fleet rollout status", o.key.Name))
	return err
}

// successor is the run that goes on from another one, by the same strategy.
func (o *StateOptions) successor(ended v1beta1.UpdateRunObject) v1beta1.UpdateRunObject {
	run := scope.UpdateRuns.New(o.key)
	run.SetNamespace(o.key.Namespace)
	run.SetName(runName(resumed.ReplaceAllString(ended.GetName(), ""), "-resume"))
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: o.key.Name, StagedUpdateStrategyName: ended.GetSpec().StagedUpdateStrategyName, State: v1beta1.UpdateRunRun, ResumeFrom: ended.GetName(),
	}
	return run
}

// resumed is what successor adds to a name; the successor of a successor has it once.
var resumed = regexp.MustCompile(`-resume-[a-z0-9]{5}$`)

// runName is a name for an update run that no other has.
func runName(stem, what string) string {
	const longest, random = 63, 5 // of the name of an update run
	end := what + "-" + utilrand.String(random)
	return strings.TrimRight(stem[:min(len(stem), longest-len(end))], ".-") + end
}

// resourcesOf is the command that prints what a placement placed at a revision.
func resourcesOf(key types.NamespacedName, labels string) string {
	return naming.Command(key.Namespace, "get", strings.ToLower(scope.ResourceSnapshots.Kind(key))+"s") + " -l " + labels +
		` -o jsonpath='{range .items[*].spec.selectedResources[*]}{@}{"\n"}{end}'`
}
