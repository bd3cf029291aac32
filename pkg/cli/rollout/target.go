package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// target is the placement that a command is about, and its hub.
type target struct {
	hub hubclient.Flags
	key types.NamespacedName
	genericiooptions.IOStreams
}

func newTarget(streams genericiooptions.IOStreams) target {
	return target{hub: hubclient.NewFlags(), IOStreams: streams}
}

func (t *target) addTo(flags *pflag.FlagSet) {
	flags.StringVarP(&t.key.Namespace, "namespace", "n", "",
		"namespace of a ResourcePlacement; leave it out for a ClusterResourcePlacement")
	t.hub.AddTo(flags)
}

// onePlacement checks that the arguments name one placement.
func onePlacement(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one placement, not %d; \"kubectl get crp\" and \"kubectl get rp -A\" list them", len(args))
	}
	return nil
}

// Complete takes the placement from the argument.
func (t *target) Complete(args []string) (err error) {
	t.key, err = naming.PlacementOf(args[0], t.key.Namespace)
	return err
}

// Validate accepts any name.
func (t *target) Validate() error { return nil }

func (t *target) connect() (client.WithWatch, error) {
	return t.hub.Connect(scope.Placements.New(t.key))
}

// subject is "<kind> <name>" of the placement.
func (t *target) subject() string { return naming.Placement(t.key) }

// placement reads the placement.
func (t *target) placement(ctx context.Context, c client.Client) (v1beta1.PlacementObject, error) {
	placement, err := scope.Placements.Get(ctx, c, t.key)
	switch {
	case apierrors.IsNotFound(err) && t.key.Namespace == "":
		return nil, fmt.Errorf("there is no %s; a ResourcePlacement needs --namespace", t.subject())
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no %s; a ClusterResourcePlacement needs no --namespace", t.subject())
	}
	return placement, err
}

// runs reads the placement's update runs, the newest first.
func (t *target) runs(ctx context.Context, c client.Client) ([]v1beta1.UpdateRunObject, error) {
	all, err := scope.UpdateRuns.List(ctx, c, t.key.Namespace)
	return newestFirst(slices.DeleteFunc(all, func(r v1beta1.UpdateRunObject) bool { return r.GetSpec().PlacementName != t.key.Name })), err
}

func newestFirst(runs []v1beta1.UpdateRunObject) []v1beta1.UpdateRunObject {
	slices.SortFunc(runs, func(a, b v1beta1.UpdateRunObject) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(b.GetName(), a.GetName()))
	})
	return runs
}

// byRuns reports whether update runs roll the placement out.
func byRuns(p v1beta1.PlacementObject) bool {
	return p.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// over reports whether a run has ended.
func over(run v1beta1.UpdateRunObject) bool {
	return stage.Read(*run.GetStatus()).Phase.Done() || meta.IsStatusConditionFalse(run.GetStatus().Conditions, v1beta1.ConditionInitialized)
}

// controlled reads the runs of a placement. It returns an error unless update runs roll the placement out.
func (t *target) controlled(ctx context.Context, c client.Client, placement v1beta1.PlacementObject) ([]v1beta1.UpdateRunObject, error) {
	if !byRuns(placement) {
		return nil, fmt.Errorf("%s. To control its rollouts, set spec.strategy.type to External, which cannot be reverted, and create update runs",
			t.followsResources())
	}
	return t.runs(ctx, c)
}

// followsResources is why a command cannot control a placement with a rolling update.
func (t *target) followsResources() string {
	return t.subject() + " has a rolling update: it follows its resources immediately, and there is no update run to control"
}
